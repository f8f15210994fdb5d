//! Settings: from flags and environment to checked values, before anything is bound or connected.
//!
//! A setting that can't work stops the program with one line that names the variable and never its
//! value, which may be a secret.

mod limits;
mod source;
mod table;

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroU32;
use std::time::Duration;

use clap::Command;
use conch_domain::EventCap;
use conch_http::mare::Origins;
use conch_http::mare::auth::{self, Algorithm, KeySource};
use conch_http::{body, serve};
use conch_ports::{Quota, Quotas};
use conch_services::ingest::ForeignEvents;
use conch_wire::event::MAX_EVENT_BYTES;
pub use source::Source;
pub use table::{SETTINGS, Setting};

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
    name: &'static str,
    reason: String,
}

impl Error {
    fn new(name: &'static str, reason: impl Display) -> Self {
        Self {
            name,
            reason: reason.to_string(),
        }
    }
}

/// Where logs, queue, cache and catalogue are.
#[derive(Debug, Clone)]
pub enum Backend {
    /// In this process.
    Memory(conch_memory::Settings),
    /// In Redis.
    Redis(Box<conch_redis::Settings>),
}

/// Mare's settings.
#[derive(Debug, Clone)]
pub struct Mare {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it serves its operations apart, if anywhere.
    pub ops_address: Option<SocketAddr>,
    /// Whose tokens callers must bring; none: everybody may see and do all.
    pub auth: Option<auth::Jwt>,
    /// How it reaches Triton.
    pub gateway: conch_triton::Settings,
    /// How events reach watchers.
    pub hub: conch_services::hub::Settings,
    /// How often a caller may submit, or all together where they don't say who they are; none: as
    /// often as they like.
    pub submissions_per_minute: Option<NonZeroU32>,
    /// Whether foreign events are taken.
    pub foreign_events: ForeignEvents,
    /// Whose pages may read.
    pub cors_origins: Origins,
    /// Bytes of finished jobs kept in the process.
    pub local_results: u64,
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

/// The worker's settings, Triton's HTTP side included.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Where Triton listens; none: it doesn't.
    pub address: Option<SocketAddr>,
    /// Where a worker without HTTP tells how it is.
    pub ops_address: Option<SocketAddr>,
    /// The bearer that callers need.
    pub token: Option<Secret>,
    /// Jobs at once.
    pub concurrency: usize,
    /// How long a job stays claimed.
    pub lease: Duration,
    /// Attempts that a job gets.
    pub max_attempts: u32,
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
    pub backend: Backend,
    /// Set when the program is an edge API.
    pub mare: Option<Mare>,
    /// Set when the program is a worker.
    pub worker: Option<Worker>,
    /// Bounds of each listener.
    pub server: serve::Settings,
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
    source::flags(command, program)
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

fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || "must be host:port, as 127.0.0.1:16000".to_owned();
    let (_, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    port.parse::<u16>().map_err(|_| wrong())?;
    text.to_socket_addrs()
        .map_err(|_| wrong())?
        .next()
        .ok_or_else(wrong)
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
    pub fn new(program: Program, source: &Source) -> Result<Self, Error> {
        let history_limit = source.parse("HISTORY_LIMIT", 100, |t| number(t, 1, 10_000))? as usize;
        let token = source.text("TRITON_TOKEN").map(str::to_owned);
        if let Some(token) = &token {
            conch_triton::Token::parse(token).map_err(|e| Error::new("TRITON_TOKEN", e))?;
        }
        let worker = match program {
            Program::Api => None,
            Program::Worker | Program::AllInOne => Some(worker(source, token.clone())?),
        };
        let mare = match program {
            Program::Worker => None,
            Program::Api | Program::AllInOne => {
                let triton = worker.as_ref().and_then(|w| w.address);
                Some(mare(source, triton, token.as_deref(), history_limit)?)
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
        Ok(Self {
            backend: backend(program, source, history_limit)?,
            mare,
            worker,
            server: limits::server(source)?,
            body: limits::body(source)?,
            drain: source.parse("DRAIN_SECONDS", Duration::from_secs(10), seconds)?,
            log_format: source.parse("LOG_FORMAT", LogFormat::Text, |t| one_of(&formats, t))?,
            log_filter,
        })
    }
}

fn backend(program: Program, source: &Source, history_limit: usize) -> Result<Backend, Error> {
    let default = program == Program::AllInOne;
    let memory = source.parse("EVENT_BUS", default, |text| {
        one_of(&[("memory", true), ("redis", false)], text)
    })?;
    let hour = Duration::from_hours(1);
    let result_ttl = source.parse("RESULT_TTL_SECONDS", hour, seconds)?;
    let days = source.parse("RETENTION_DAYS", 0, |t| number(t, 0, 36_500))?;
    let retention = (days > 0).then(|| Duration::from_hours(days * 24));
    if memory {
        if program != Program::AllInOne {
            return Err(Error::new(
                "EVENT_BUS",
                "can be `memory` only for `conch run`: two processes share nothing in memory",
            ));
        }
        let memory = conch_memory::Settings::default();
        return Ok(Backend::Memory(conch_memory::Settings {
            history_limit,
            result_ttl,
            retention,
            quotas: quotas(source, memory.quotas)?,
            ..memory
        }));
    }
    let (name, url) = redis_url(source)?;
    let mut redis = conch_redis::Settings::new(url);
    redis.cache_url = source.text("CACHE_REDIS_URL").map(str::to_owned);
    redis.history_limit = history_limit;
    redis.result_ttl = result_ttl;
    redis.finished_ttl = source.parse("HISTORY_TTL_SECONDS", redis.finished_ttl, seconds)?;
    let limit = source.parse("REDIS_TIMEOUT_SECONDS", redis.response_timeout, seconds)?;
    // A probe goes there and comes back.
    redis.probe_timeout = limit.mul_f64(1.5);
    (redis.connect_timeout, redis.response_timeout) = (limit, limit);
    redis.probe_interval = source.parse("REDIS_PROBE_SECONDS", redis.probe_interval, seconds)?;
    redis.backoff_cap = source.parse("REDIS_BACKOFF_CAP_SECONDS", redis.backoff_cap, seconds)?;
    redis.retention = retention;
    redis.quotas = quotas(source, redis.quotas)?;
    if let Some(prefix) = source.text("CHANNEL_PREFIX") {
        prefix.clone_into(&mut redis.prefix);
    }
    // Building connects to nothing: it is how the adapter checks what it is given.
    redis.clone().build().map_err(|e| {
        let name = match e.setting() {
            "cache_url" => "CACHE_REDIS_URL",
            "prefix" => "CHANNEL_PREFIX",
            "history_limit" => "HISTORY_LIMIT",
            "result_ttl" => "RESULT_TTL_SECONDS",
            "retention" => "RETENTION_DAYS",
            "finished_ttl" => "HISTORY_TTL_SECONDS",
            _ => name,
        };
        Error::new(name, e.reason())
    })?;
    Ok(Backend::Redis(Box::new(redis)))
}

/// How many of what there may be; `default` is the backend's.
fn quotas(source: &Source, default: Quotas) -> Result<Quotas, Error> {
    let most = |quota: Quota| {
        source.parse(quota.setting(), default.of(quota), |text| {
            number(text, 1, 100_000_000).map(|n| n as usize)
        })
    };
    Ok(Quotas {
        queued_jobs: most(Quota::QueuedJobs)?,
        jobs: most(Quota::Jobs)?,
        clients: most(Quota::Clients)?,
        value_propositions: most(Quota::ValuePropositions)?,
        foreign_jobs: most(Quota::ForeignJobs)?,
    })
}

/// The URL, and the variable to name when it can't work.
fn redis_url(source: &Source) -> Result<(&'static str, String), Error> {
    if let Some(url) = source.text("REDIS_URL") {
        return Ok(("REDIS_URL", url.to_owned()));
    }
    let parts = ["REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD"];
    if parts.iter().all(|name| source.text(name).is_none()) {
        return Ok(("REDIS_URL", "redis://127.0.0.1:6379/0".to_owned()));
    }
    let host = source.text("REDIS_HOST").unwrap_or("127.0.0.1");
    let port = source.parse("REDIS_PORT", 6379, |t| number(t, 1, 65_535))?;
    let db = source.parse("REDIS_DB", 0, |t| number(t, 0, 1_000_000))?;
    let password = source
        .text("REDIS_PASSWORD")
        .map(|p| format!(":{}@", percent_encoded(p)))
        .unwrap_or_default();
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        // Anything more would be read as another part of the URL.
        _ if host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) =>
        {
            host.to_owned()
        }
        _ => {
            return Err(Error::new(
                "REDIS_HOST",
                "must be a name or an address alone",
            ));
        }
    };
    Ok((
        "REDIS_HOST",
        format!("redis://{password}{host}:{port}/{db}"),
    ))
}

/// A password as it may stand in a URL (RFC 3986 §2.1).
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |url, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url + char::from(byte).encode_utf8(&mut [0; 1])
        } else {
            url + &format!("%{byte:02X}")
        }
    })
}

fn worker(source: &Source, token: Option<String>) -> Result<Worker, Error> {
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
        ops_address: source.parse("WORKER_OPS_ADDR", None, |t| address(t).map(Some))?,
        token: token.map(Secret),
        concurrency: source.parse("WORKER_CONCURRENCY", 2, |t| number(t, 1, 1024))? as usize,
        lease: source.parse("LEASE_SECONDS", Duration::from_secs(30), seconds)?,
        max_attempts: source.parse("MAX_ATTEMPTS", 3, |t| number(t, 1, 1000))? as u32,
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

fn mare(
    source: &Source,
    triton: Option<SocketAddr>,
    token: Option<&str>,
    history_limit: usize,
) -> Result<Mare, Error> {
    let default = SocketAddr::from(([127, 0, 0, 1], 16_000));
    let listen = source.parse("MARE_API_ADDR", default, address)?;
    let insecure = source.parse("INSECURE", false, boolean)?;
    let auth = jwt(source)?;
    let says_who = auth.is_some();
    if !listen.ip().is_loopback() && auth.is_none() && !insecure {
        return Err(Error::new(
            "MARE_API_ADDR",
            "is a public address, and nobody has to say who they are: set AUTH=jwt, listen on a \
             loopback address behind a proxy that authenticates, or pass --insecure",
        ));
    }
    let cors_origins = source.parse("CORS_ORIGINS", Origins::Loopback, str::parse)?;
    if cors_origins == Origins::Any && source.text("AUTH_COOKIE").is_some() {
        return Err(Error::new(
            "CORS_ORIGINS",
            "can't be `*` where AUTH_COOKIE is set: name the origins whose pages may use the cookie",
        ));
    }
    // In one process the gateway finds Triton where it was just told to listen.
    let base = match (source.text("TRITON_BASE_URL"), triton) {
        (Some(base), _) => base.to_owned(),
        (None, Some(address)) => format!("http://{}", reachable(address)),
        (None, None) => "http://127.0.0.1:8000".to_owned(),
    };
    let mut gateway =
        conch_triton::Settings::new(&base).map_err(|e| Error::new("TRITON_BASE_URL", e))?;
    gateway.call_timeout = source.parse("TRITON_TIMEOUT_SECONDS", gateway.call_timeout, seconds)?;
    gateway.try_timeout = gateway.try_timeout.min(gateway.call_timeout);
    gateway.breaker_cool_down = source.parse(
        "TRITON_COOL_DOWN_SECONDS",
        gateway.breaker_cool_down,
        seconds,
    )?;
    if !gateway.is_loopback() && token.is_none() {
        return Err(Error::new(
            "TRITON_TOKEN",
            "is required when TRITON_BASE_URL isn't a loopback address",
        ));
    }
    if let Some(token) = token {
        let token = conch_triton::Token::parse(token).map_err(|e| Error::new("TRITON_TOKEN", e))?;
        gateway.token = Some(token);
    }
    let accept = ForeignEvents::Accept {
        max_bytes: source.parse("MAX_EVENT_BYTES", 65_536, |t| {
            number(t, 1024, MAX_EVENT_BYTES as u64)
        })? as usize,
        cap: limits::events(source)?,
    };
    let hub = conch_services::hub::Settings::default();
    let position_check = source.parse("POSITION_CHECK_SECONDS", hub.position_check, seconds)?;
    Ok(Mare {
        address: listen,
        ops_address: source.parse("MARE_OPS_ADDR", None, |t| address(t).map(Some))?,
        submissions_per_minute: limits::submissions(source, says_who)?,
        auth,
        gateway,
        hub: conch_services::hub::Settings {
            position_check,
            heartbeat: source.parse("HEARTBEAT_SECONDS", hub.heartbeat, seconds)?,
            record_lost_after: source.parse("RECORD_LOST_SECONDS", position_check * 3, seconds)?,
            history_limit,
            max_streams_per_caller: limits::streams(source, says_who)?,
            stream_lifetime: limits::lifetime(source)?,
            retry_ms: source
                .parse(
                    "STREAM_RETRY_SECONDS",
                    Duration::from_millis(hub.retry_ms),
                    seconds,
                )?
                .as_millis() as u64,
            ..hub
        },
        foreign_events: source.parse("FOREIGN_EVENTS", accept, |text| {
            one_of(
                &[("accept", accept), ("ignore", ForeignEvents::Ignore)],
                text,
            )
        })?,
        cors_origins,
        local_results: source.parse("LOCAL_RESULTS", 64, |t| number(t, 0, 1_048_576))? << 20,
    })
}

/// Whose tokens are taken; none: nobody needs one.
fn jwt(source: &Source) -> Result<Option<auth::Jwt>, Error> {
    let wanted = source.parse("AUTH", false, |text| {
        one_of(&[("off", false), ("jwt", true)], text)
    })?;
    if !wanted {
        return Ok(None);
    }
    let required = |name: &'static str| {
        let text = source.text(name).map(str::trim).filter(|t| !t.is_empty());
        text.map(str::to_owned)
            .ok_or_else(|| Error::new(name, "is required when AUTH=jwt"))
    };
    required("AUTH_JWT_ALGORITHM")?;
    let algorithms = Algorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm));
    let algorithm = source.parse("AUTH_JWT_ALGORITHM", Algorithm::Hs256, |text| {
        one_of(&algorithms, text)
    })?;
    let (name, key) = key_source(source, algorithm)?;
    let settings = auth::Settings {
        algorithm,
        key,
        issuer: required("AUTH_JWT_ISSUER")?,
        audience: required("AUTH_JWT_AUDIENCE")?,
        clients_claim: source
            .text("AUTH_CLIENTS_CLAIM")
            .unwrap_or("clients")
            .to_owned(),
        cookie: source.parse("AUTH_COOKIE", None, |text| text.parse().map(Some))?,
    };
    // Building reads the keys: it is how the adapter checks what it is given.
    settings.build().map(Some).map_err(|e| Error::new(name, e))
}

/// The one key, and the variable that names it.
fn key_source(source: &Source, algorithm: Algorithm) -> Result<(&'static str, KeySource), Error> {
    const SECRET: &str = "AUTH_JWT_SECRET";
    const PUBLIC_KEY: &str = "AUTH_JWT_PUBLIC_KEY_FILE";
    const KEY_SET: &str = "AUTH_JWKS_FILE";
    let given: Vec<_> = [SECRET, PUBLIC_KEY, KEY_SET]
        .into_iter()
        .filter_map(|name| Some((name, source.text(name)?)))
        .collect();
    match given[..] {
        [(name @ SECRET, text)] => Ok((name, KeySource::Secret(text.to_owned()))),
        [(name @ PUBLIC_KEY, path)] => Ok((name, KeySource::PublicKeyFile(path.into()))),
        [(name, path)] => Ok((name, KeySource::KeySetFile(path.into()))),
        [(first, _), (second, _), ..] => Err(Error::new(
            second,
            format!("can't be set beside {first}: give one key"),
        )),
        [] => Err(Error::new(
            match algorithm {
                Algorithm::Hs256 => SECRET,
                _ => PUBLIC_KEY,
            },
            "or AUTH_JWKS_FILE is required when AUTH=jwt",
        )),
    }
}

/// The address under which a listener is reached from this machine.
pub fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

#[cfg(test)]
mod tests;
