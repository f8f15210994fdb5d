//! The programs: `conch run`, `conch-api` and `conch-worker`. Settings, wiring, telemetry, the end.
//!
//! Never in here: a rule about jobs, a route, a byte of a protocol.

pub mod config;
mod demo;
#[cfg(feature = "sabotage")]
pub mod sabotage;
mod shutdown;
mod supervisor;
mod system;
mod telemetry;
mod wiring;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use conch_http::serve::IoThreads;
use tokio_util::sync::CancellationToken;

use config::{Program, Settings, Source};
use system::System;

/// `EX_CONFIG` of sysexits.h: a setting can't work.
const EXIT_CONFIG: u8 = 78;
/// `EX_SOFTWARE`: a task that the process can't do without is gone. To be started again.
const EXIT_SOFTWARE: u8 = 70;

/// Runs a program from its command line to its end. `announce` is told the settings once everything
/// is up.
pub fn main(program: Program, flags: &ArgMatches, announce: fn(&Settings)) -> ExitCode {
    // Checking the settings of the gateway needs it already.
    install_tls();
    let (settings, warnings) = match read(program, flags) {
        Ok(read) => read,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match run(settings, &warnings, announce) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The settings, and what is odd about them.
fn read(program: Program, flags: &ArgMatches) -> Result<(Settings, Vec<String>), config::Error> {
    let source = Source::read(program, flags, std::env::vars_os())?;
    let settings = Settings::new(program, &source)?;
    Ok((settings, source.warnings))
}

/// The command line of a program that has no subcommands.
pub fn command(name: &'static str, about: &'static str, program: Program) -> Command {
    config::command(
        Command::new(name)
            .about(about)
            .version(env!("CARGO_PKG_VERSION")),
        program,
    )
}

fn run(
    settings: Settings,
    warnings: &[String],
    announce: fn(&Settings),
) -> anyhow::Result<ExitCode> {
    let metrics = telemetry::start(settings.log_format, &settings.log_filter)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    // Before the runtime, so that they outlast all tasks of it.
    let threads = IoThreads::start(settings.http_threads)
        .context("can't start HTTP_THREADS: the system gives no more threads or descriptors")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let asked_to_end = shutdown::on_signal()?;
        let known = settings.clone();
        let system = wiring::start(settings, metrics, &threads).await?;
        announce(&known);
        Ok(operate(system, &asked_to_end).await)
    })
}

/// One TLS implementation for all clients.
fn install_tls() {
    // An error only says that one was chosen before.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Waits for a reason to end, drains, and says how it went.
async fn operate(system: System, asked_to_end: &CancellationToken) -> ExitCode {
    tokio::select! {
        () = asked_to_end.cancelled() => {}
        () = system.failed() => {}
    }
    let well = system.drain().await;
    tracing::info!("drained");
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_SOFTWARE)
    }
}
