//! The worker's settings, Triton's HTTP side and the generator included.

use std::net::SocketAddr;
use std::time::Duration;

use conch_domain::EventCap;
use conch_http::pages::Hosts;

use super::{Error, Secret, Source, address, boolean, hosts, limits, number, one_of, seconds};

/// The worker's settings, Triton's HTTP side included.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Where Triton listens; none: it doesn't.
    pub address: Option<SocketAddr>,
    /// By which names Triton is asked for.
    pub hosts: Hosts,
    /// Where a worker without HTTP tells how it is.
    pub ops_address: Option<SocketAddr>,
    /// The bearer that callers need.
    pub token: Option<Secret>,
    /// Jobs at once.
    pub concurrency: usize,
    /// How long a job stays claimed.
    pub lease: Duration,
    /// Attempts that a template, and a job that ends with an error, gets.
    pub max_attempts: u32,
    /// How often a template is tried within an attempt.
    pub template_tries: u32,
    /// Time between two pages of the search for lost jobs.
    pub sweep: Duration,
    /// Wait before a job's second attempt.
    pub backoff: Duration,
    /// Longest wait between two attempts.
    pub backoff_cap: Duration,
    /// How long a job may take.
    pub deadline: Duration,
    /// How many events a job takes.
    pub events: EventCap,
    /// What makes templates.
    pub generator: Generator,
    /// Whether an empty catalogue gets a client to try things with.
    pub demo_client: bool,
}

/// What makes templates.
#[derive(Debug, Clone)]
pub enum Generator {
    /// The built-in composer, at this pace.
    Builtin {
        /// Time per template.
        pace: Duration,
    },
    /// A user's program.
    Command {
        /// Its command line.
        command: String,
        /// How long it may take per template.
        timeout: Duration,
        /// Bytes that it may print for each.
        output_limit: usize,
    },
}

pub(super) fn read(source: &Source, token: Option<String>) -> Result<Worker, Error> {
    let default = SocketAddr::from(([127, 0, 0, 1], 8000));
    let http = source.parse("TRITON_API_ADDR", Some(default), |text| match text {
        "off" => Ok(None),
        text => address(text).map(Some),
    })?;
    if http.is_some_and(|a| !a.ip().is_loopback()) && token.is_none() {
        return Err(Error::new(
            "TRITON_TOKEN",
            "is required when TRITON_API_ADDR isn't a loopback address",
        ));
    }
    let command = source.text("GENERATOR_COMMAND");
    let is_command = source.parse("GENERATOR", false, |text| {
        one_of(&[("builtin", false), ("command", true)], text)
    })?;
    let generator = if is_command {
        let command = command
            .ok_or_else(|| Error::new("GENERATOR_COMMAND", "is required when GENERATOR=command"))?;
        // Building starts nothing: it is how the adapter checks what it is given.
        conch_generator::command::Settings::new(command.to_owned())
            .build()
            .map_err(|e| Error::new("GENERATOR_COMMAND", e))?;
        Generator::Command {
            command: command.to_owned(),
            timeout: source.parse("GENERATOR_TIMEOUT_SECONDS", Duration::from_mins(5), seconds)?,
            output_limit: source.parse("GENERATOR_OUTPUT_BYTES", 1 << 20, |t| {
                number(t, 1024, 4 << 20).map(|n| n as usize)
            })?,
        }
    } else {
        let pace = source.parse("BUILTIN_PACE_MS", 0, |t| number(t, 0, 3_600_000))?;
        Generator::Builtin {
            pace: Duration::from_millis(pace),
        }
    };
    Ok(Worker {
        address: http,
        hosts: http.map_or(Ok(Hosts::Any), |listen| hosts(source, listen))?,
        ops_address: source.parse("WORKER_OPS_ADDR", None, |t| address(t).map(Some))?,
        token: token.map(Secret),
        concurrency: source.parse("WORKER_CONCURRENCY", 2, |t| number(t, 1, 1024))? as usize,
        lease: source.parse("LEASE_SECONDS", Duration::from_secs(30), seconds)?,
        sweep: source.parse("QUEUE_SWEEP_SECONDS", Duration::from_secs(10), seconds)?,
        max_attempts: source.parse("MAX_ATTEMPTS", 3, |t| number(t, 1, 1000))? as u32,
        template_tries: source.parse("TEMPLATE_TRIES", 3, |t| number(t, 1, 10))? as u32,
        backoff: source.parse("RETRY_BACKOFF_SECONDS", Duration::from_secs(1), seconds)?,
        backoff_cap: source.parse(
            "RETRY_BACKOFF_CAP_SECONDS",
            Duration::from_secs(30),
            seconds,
        )?,
        deadline: source.parse("JOB_DEADLINE_SECONDS", Duration::from_hours(24), seconds)?,
        events: limits::events(source)?,
        generator,
        demo_client: source.parse("DEMO_CLIENT", http.is_some(), boolean)?,
    })
}
