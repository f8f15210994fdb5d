//! The store that is chosen, and its settings.
//!
//! Never in here: what a backend is made of; that is its adapter's, and `wiring` asks for it.

use std::net::IpAddr;
use std::time::Duration;

use conch_ports::{Quota, Quotas};

use super::{Error, Program, Source, number, one_of, seconds};

/// Where logs, queue, cache and catalogue are.
#[derive(Debug, Clone)]
pub enum Backend {
    /// In this process.
    Memory(conch_memory::Settings),
    /// In Redis.
    Redis(Box<conch_redis::Settings>),
}

/// The choices of `EVENT_BUS`.
#[derive(Clone, Copy)]
enum Bus {
    Memory,
    Redis,
}

/// What every store is told.
struct Kept {
    history_limit: usize,
    result_ttl: Duration,
    retention: Option<Duration>,
}

/// Another store is a name and an arm.
pub(super) fn read(
    program: Program,
    source: &Source,
    history_limit: usize,
) -> Result<Backend, Error> {
    let default = match program {
        Program::AllInOne => Bus::Memory,
        Program::Api | Program::Worker => Bus::Redis,
    };
    let choices = [("memory", Bus::Memory), ("redis", Bus::Redis)];
    let bus = source.parse("EVENT_BUS", default, |text| one_of(&choices, text))?;
    let days = source.parse("RETENTION_DAYS", 0, |t| number(t, 0, 36_500))?;
    let kept = Kept {
        history_limit,
        result_ttl: source.parse("RESULT_TTL_SECONDS", Duration::from_hours(1), seconds)?,
        retention: (days > 0).then(|| Duration::from_hours(days * 24)),
    };
    match bus {
        Bus::Memory => memory(program, source, &kept),
        Bus::Redis => redis(source, &kept),
    }
}

fn memory(program: Program, source: &Source, kept: &Kept) -> Result<Backend, Error> {
    if program != Program::AllInOne {
        return Err(Error::new(
            "EVENT_BUS",
            "can be `memory` only for `conch run`: two processes share nothing in memory",
        ));
    }
    let memory = conch_memory::Settings::default();
    Ok(Backend::Memory(conch_memory::Settings {
        history_limit: kept.history_limit,
        result_ttl: kept.result_ttl,
        retention: kept.retention,
        quotas: quotas(source, memory.quotas)?,
        ..memory
    }))
}

fn redis(source: &Source, kept: &Kept) -> Result<Backend, Error> {
    let (name, url) = redis_url(source)?;
    let mut redis = conch_redis::Settings::new(url);
    redis.cache_url = source.text("CACHE_REDIS_URL").map(str::to_owned);
    // Other programs read SSL_CERT_FILE, too: what it says matters only where it is used.
    if is_over_tls(&redis.url) || redis.cache_url.as_deref().is_some_and(is_over_tls) {
        redis.tls = tls(source)?;
    }
    redis.history_limit = kept.history_limit;
    redis.result_ttl = kept.result_ttl;
    redis.finished_ttl = source.parse("HISTORY_TTL_SECONDS", redis.finished_ttl, seconds)?;
    let limit = source.parse("REDIS_TIMEOUT_SECONDS", redis.response_timeout, seconds)?;
    // A probe goes there and comes back.
    redis.probe_timeout = limit.mul_f64(1.5);
    (redis.connect_timeout, redis.response_timeout) = (limit, limit);
    redis.probe_interval = source.parse("REDIS_PROBE_SECONDS", redis.probe_interval, seconds)?;
    redis.backoff_cap = source.parse("REDIS_BACKOFF_CAP_SECONDS", redis.backoff_cap, seconds)?;
    redis.retention = kept.retention;
    redis.quotas = quotas(source, redis.quotas)?;
    if let Some(prefix) = source.text("CHANNEL_PREFIX") {
        prefix.clone_into(&mut redis.prefix);
    }
    // Building connects to nothing: it is how the adapter checks what it is given.
    redis.clone().build().map_err(|e| {
        let name = match e.setting() {
            "cache_url" => "CACHE_REDIS_URL",
            "prefix" => "CHANNEL_PREFIX",
            "tls.authorities" if source.text("REDIS_CA_FILE").is_none() => "SSL_CERT_FILE",
            "tls.authorities" => "REDIS_CA_FILE",
            "tls.certificate" => "REDIS_CERT_FILE",
            "tls.key" => "REDIS_KEY_FILE",
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

/// Whether that address is spoken to over TLS. Schemes are read as in any URL: capitals don't count, nor
/// do blanks before it.
pub(super) fn is_over_tls(url: &str) -> bool {
    let scheme = url.trim_start().split(':').next().unwrap_or_default();
    ["rediss", "valkeys"]
        .iter()
        .any(|over_tls| scheme.eq_ignore_ascii_case(over_tls))
}

/// Whom to trust at `rediss://` addresses, and who we are.
fn tls(source: &Source) -> Result<conch_redis::Tls, Error> {
    let authorities = match source.file("REDIS_CA_FILE")? {
        None => source.file("SSL_CERT_FILE")?,
        some => some,
    };
    let identity = match (
        source.file("REDIS_CERT_FILE")?,
        source.file("REDIS_KEY_FILE")?,
    ) {
        (None, None) => None,
        (Some(certificates), Some(key)) => Some(conch_redis::Identity { certificates, key }),
        (Some(_), None) => {
            return Err(Error::new(
                "REDIS_KEY_FILE",
                "is required beside REDIS_CERT_FILE",
            ));
        }
        (None, Some(_)) => {
            return Err(Error::new(
                "REDIS_CERT_FILE",
                "is required beside REDIS_KEY_FILE",
            ));
        }
    };
    Ok(conch_redis::Tls {
        authorities,
        identity,
    })
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
        foreign_job_kib: external_job_kib(source)?,
        foreign_mib: source.parse(Quota::ForeignMib.setting(), default.foreign_mib, |text| {
            number(text, 1, 1_048_576).map(|n| n as usize)
        })?,
    })
}

/// KiB of one external job's kept events: of the store, and of a topic of the edge.
pub(super) fn external_job_kib(source: &Source) -> Result<usize, Error> {
    let default = Quotas::default().foreign_job_kib;
    source.parse(Quota::ForeignJobKib.setting(), default, |text| {
        number(text, 64, 1_048_576).map(|n| n as usize)
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
