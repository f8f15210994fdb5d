//! Settings: from flags and environment to checked values, before anything is bound or connected.
//!
//! ```text
//!   flags  >  environment  >  .env      each says a secret X itself or, by X_FILE, a file that holds it
//! ```
//!
//! A setting that can't work stops the program with one line that names the variable and never its
//! value, which may be a secret.

mod bus;
mod dotenv;
mod env_file;
mod file;
mod limits;
mod mare;
mod redis;
mod source;
mod store;
mod table;
mod worker;

use std::borrow::Cow;
use std::fmt::Display;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZero;
use std::time::Duration;

use clap::Command;
use conch_http::pages::Hosts;
use conch_http::{body, serve};
use conch_services::mare::ingest::ForeignEvents;

pub use bus::Bus;
pub use env_file::EnvFile;
pub use mare::{Mare, reachable};
pub use source::Source;
pub use store::Store;
pub use table::{SETTINGS, Setting};
pub use worker::{Generator, Worker};

/// Which of the three programs runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `conch run`
    AllInOne,
    /// `conch-api`
    Api,
    /// `conch-worker`
    Worker,
}

/// A setting that can't work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {reason}")]
pub struct Error {
    name: Cow<'static, str>,
    reason: String,
}

impl Error {
    fn new(name: impl Into<Cow<'static, str>>, reason: impl Display) -> Self {
        Self {
            name: name.into(),
            reason: reason.to_string(),
        }
    }
}

/// Text that no log and no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one who checks it.
    pub fn expose(self) -> String {
        self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// All settings of one program.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything is kept.
    pub store: Store,
    /// Where it is announced.
    pub bus: Bus,
    /// Set when the program is an edge API.
    pub mare: Option<Mare>,
    /// Set when the program is a worker.
    pub worker: Option<Worker>,
    /// Bounds of each listener.
    pub server: serve::Settings,
    /// Threads that answer requests.
    pub http_threads: NonZero<usize>,
    /// What a request's body may take.
    pub body: body::Limits,
    /// How long the end may take.
    pub drain: Duration,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_filter: String,
}

/// The command line of a program, every setting a flag.
pub fn command(command: Command, program: Program) -> Command {
    env_file::flag(source::flags(command, program))
}

fn one_of<T: Clone>(choices: &[(&str, T)], text: &str) -> Result<T, String> {
    choices
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, value)| value.clone())
        .ok_or_else(|| {
            let names: Vec<_> = choices
                .iter()
                .map(|(name, _)| format!("`{name}`"))
                .collect();
            format!("must be {}", names.join(" or "))
        })
}

fn number(text: &str, least: u64, most: u64) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| format!("must be a whole number from {least} to {most}"))
}

/// Seconds, with a fraction if need be.
fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|s| (0.01..=31_536_000.0).contains(s))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "must be a number of seconds from 0.01 to 31536000".to_owned())
}

/// By which names a listener is asked for where nobody brings credentials: on a loopback address those
/// of this machine, or a page whose name was made to lead here would be one of ours.
fn hosts(source: &Source, listen: SocketAddr) -> Result<Hosts, Error> {
    let hosts = source.parse("ALLOWED_HOSTS", Hosts::Loopback(Vec::new()), str::parse)?;
    let is_named = source.text("ALLOWED_HOSTS").is_some();
    let is_wall = is_named || listen.ip().is_loopback();
    Ok(if is_wall { hosts } else { Hosts::Any })
}

/// An IPv4 address in IPv6's clothes, as `[::ffff:127.0.0.1]`, is the IPv4 address: what is loopback and
/// what isn't is then the same for all who ask.
fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || "must be host:port, as 127.0.0.1:16000".to_owned();
    let (_, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    port.parse::<u16>().map_err(|_| wrong())?;
    text.to_socket_addrs()
        .map_err(|_| wrong())?
        .next()
        .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
        .ok_or_else(wrong)
}

/// What a URL begins with. Capitals don't count, nor do blanks before it.
fn scheme(url: &str) -> String {
    let scheme = url.split(':').next().unwrap_or_default();
    scheme.trim_start().to_ascii_lowercase()
}

fn boolean(text: &str) -> Result<bool, String> {
    one_of(
        &[("true", true), ("1", true), ("false", false), ("0", false)],
        text,
    )
}

impl Settings {
    /// Checks everything that the program takes.
    ///
    /// # Errors
    /// The first setting that can't work.
    ///
    /// # Panics
    /// When no TLS implementation is installed: the gateway to Triton is built to check it.
    pub fn new(program: Program, source: &Source) -> Result<Self, Error> {
        let history_limit = source.parse("HISTORY_LIMIT", 100, |t| number(t, 1, 10_000))? as usize;
        let token = source.text("TRITON_TOKEN").map(str::to_owned);
        if let Some(token) = &token {
            conch_triton::Token::parse(token).map_err(|e| Error::new("TRITON_TOKEN", e))?;
        }
        let worker = match program {
            Program::Api => None,
            Program::Worker | Program::AllInOne => Some(worker::read(source, token.clone())?),
        };
        let mare = match program {
            Program::Worker => None,
            Program::Api | Program::AllInOne => {
                let triton = worker.as_ref().and_then(|w| w.address);
                Some(mare::read(source, triton, token.as_deref(), history_limit)?)
            }
        };
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let log_filter = source.text("RUST_LOG").unwrap_or("info").to_owned();
        tracing_subscriber::EnvFilter::try_new(&log_filter).map_err(|_| {
            Error::new(
                "RUST_LOG",
                "must be levels and modules, as info,conch=debug",
            )
        })?;
        let mut store = store::read(program, source, history_limit)?;
        let takes_external = mare
            .as_ref()
            .is_some_and(|mare| mare.foreign_events != ForeignEvents::Ignore);
        let bus = bus::read(program, source, &store, takes_external)?;
        store.announces(matches!(bus, Bus::OfStore));
        Ok(Self {
            store,
            bus,
            mare,
            worker,
            server: limits::server(source)?,
            http_threads: limits::http_threads(source)?,
            body: limits::body(source)?,
            drain: source.parse("DRAIN_SECONDS", Duration::from_secs(10), seconds)?,
            log_format: source.parse("LOG_FORMAT", LogFormat::Text, |t| one_of(&formats, t))?,
            log_filter,
        })
    }
}

#[cfg(test)]
mod tests;
