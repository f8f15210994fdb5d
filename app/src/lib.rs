//! The programs `conch run`, `conch-api` and `conch-worker`: settings, wiring, telemetry, shutdown.
//!
//! Never in here: a rule about jobs, a route, a detail of a protocol.

pub mod config;
mod demo;
mod memory;
mod output;
mod plant;
mod shutdown;
mod supervisor;
mod system;
mod telemetry;
mod wiring;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use conch_http::serve::IoThreads;
use tokio_util::sync::CancellationToken;

use config::{EnvFile, Program, Settings, Source};
use system::System;
use telemetry::{LineQueue, Metrics};

pub use plant::Plant;
pub use wiring::Stores;

/// `EX_CONFIG` of sysexits.h: a setting can't work.
const EXIT_CONFIG: u8 = 78;
/// `EX_SOFTWARE`: a task that the process can't do without has ended. The process should be restarted.
const EXIT_SOFTWARE: u8 = 70;

/// How long a program that is about to end waits for its log to be written.
const LAST_LINES: Duration = Duration::from_millis(500);
/// How long it waits for DNS look-ups, which can't be cancelled.
const LAST_LOOKUPS: Duration = Duration::from_millis(100);

/// Runs a program from its command line to its end. The text that `announce` builds from the settings is
/// printed once everything is up.
pub fn main(
    program: Program,
    flags: &ArgMatches,
    announce: fn(&Settings) -> Option<String>,
) -> ExitCode {
    main_with(program, flags, announce, &())
}

/// As [`main`], with `plant` between the parts of the process.
pub fn main_with(
    program: Program,
    flags: &ArgMatches,
    announce: fn(&Settings) -> Option<String>,
    plant: &dyn Plant,
) -> ExitCode {
    // Before any secret is read.
    let hidden = hide_from_other_processes();
    // Checking the gateway's settings needs it.
    install_tls();
    let (mut settings, source) = match read(program, flags) {
        Ok(read) => read,
        Err(error) => {
            output::print_error(&error);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    plant.settings(&mut settings);
    let (metrics, log) = match telemetry::start(settings.log_format, &settings.log_filter) {
        Ok(started) => started,
        Err(error) => {
            output::print_error(&format_args!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let log = Flushed(log);
    if let Some(note) = source.note {
        tracing::info!("{note}");
    }
    for warning in source.warnings {
        tracing::warn!("{warning}");
    }
    if let Err(error) = hidden {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(
            error,
            "other programs of this user can read secrets from this process"
        );
    }
    run(settings, metrics, &log.0, announce, plant).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}

/// A log that is flushed when the program ends, even by a panic.
struct Flushed(LineQueue);

impl Drop for Flushed {
    fn drop(&mut self) {
        // Lines that can't be written by then are lost: nothing reads them.
        self.0.flush(LAST_LINES);
    }
}

/// Prevents generators and other programs of this user from reading this process's environment and memory
/// through `/proc`, and from attaching to it, unless they are privileged. As a consequence there are no
/// core dumps.
fn hide_from_other_processes() -> nix::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

/// The settings, and their source.
fn read(program: Program, flags: &ArgMatches) -> Result<(Settings, Source), config::Error> {
    let file = EnvFile::read(flags, |name| std::env::var(name).ok())?;
    let source = Source::read(program, flags, std::env::vars_os(), file)?;
    let settings = Settings::new(program, &source)?;
    Ok((settings, source))
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
    metrics: Metrics,
    log: &LineQueue,
    announce: fn(&Settings) -> Option<String>,
    plant: &dyn Plant,
) -> anyhow::Result<ExitCode> {
    memory::give_back().context("can't start a thread")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    // From here on, signals are handled.
    let asked_to_end = {
        let log = log.clone();
        let _entered = runtime.enter();
        shutdown::on_signal(move || {
            log.flush(LAST_LINES);
        })?
    };
    let threads = IoThreads::start(settings.http_threads)
        .context("can't start HTTP_THREADS: the system gives no more threads or descriptors")?;
    let code = runtime.block_on(async {
        let announcement = announce(&settings);
        // Nothing runs before everything is built, so this may be dropped halfway.
        let start = wiring::start(settings, metrics, &threads, plant);
        let Some(system) = asked_to_end.run_until_cancelled(start).await else {
            return Ok(ExitCode::SUCCESS);
        };
        let system = system?;
        if let Some(text) = announcement {
            output::print(text);
        }
        Ok(operate(system, &asked_to_end).await)
    });
    runtime.shutdown_timeout(LAST_LOOKUPS);
    // The threads outlive all tasks of the runtime.
    drop(threads);
    code
}

/// One TLS implementation for all clients.
fn install_tls() {
    // An error only means that one was installed before.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Waits for a reason to end, drains, and returns the exit code.
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
