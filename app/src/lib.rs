//! The programs: `conch run`, `conch-api` and `conch-worker`. Settings, wiring, telemetry, the end.
//!
//! Never in here: a rule about jobs, a route, a byte of a protocol.

pub mod config;
mod demo;
#[cfg(feature = "sabotage")]
pub mod sabotage;
mod shutdown;
mod telemetry;
mod wiring;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use config::{Program, Settings, Source};

/// `EX_CONFIG` of sysexits.h: a setting can't work.
const EXIT_CONFIG: u8 = 78;

/// Runs a program from its command line to its end. `announce` is told the settings once everything
/// is up.
pub fn main(program: Program, flags: &ArgMatches, announce: fn(&Settings)) -> ExitCode {
    let source = Source::read(
        program,
        flags,
        std::env::vars_os().filter_map(|(name, value)| {
            // What isn't Unicode can't be a setting of ours.
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }),
    );
    let settings = match Settings::new(program, &source) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match run(settings, &source.warnings, announce) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
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

fn run(settings: Settings, warnings: &[String], announce: fn(&Settings)) -> anyhow::Result<()> {
    let metrics = telemetry::start(settings.log_format, &settings.log_filter)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    // One TLS implementation for all clients; an error only says that one was chosen before.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("a TLS provider was installed already");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let asked_to_end = shutdown::on_signal()?;
        let known = settings.clone();
        let system = wiring::start(settings, metrics).await?;
        announce(&known);
        asked_to_end.cancelled().await;
        system.drain().await;
        tracing::info!("drained");
        Ok(())
    })
}
