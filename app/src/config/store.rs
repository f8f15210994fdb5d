//! Which store: what `STORE_URL` says, or the older `EVENT_BUS` and `REDIS_…`.
//!
//! Never in here: what a store is made of; that is its adapter's, and `wiring` asks for it.

use std::time::Duration;

use conch_ports::{Guarantees, Quota, Quotas};

use super::{Error, Program, Source, number, one_of, redis, scheme, seconds};

/// Where logs, queue, cache and catalogue are.
#[derive(Debug, Clone)]
pub enum Store {
    /// In this process.
    Memory(conch_memory::Settings),
    /// In Redis.
    Redis(Box<conch_redis::Settings>),
}

impl Store {
    /// Whether it announces what is appended by itself.
    pub(super) fn announces(&mut self, announces: bool) {
        match self {
            Self::Memory(memory) => memory.announces = announces,
            Self::Redis(redis) => redis.announces = announces,
        }
    }
}

/// What `STORE_URL` and `EVENT_BUS` choose among.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Memory,
    Redis,
}

/// What every store is told.
struct Kept {
    history_limit: usize,
    result_ttl: Duration,
    retention: Option<Duration>,
}

/// Another store is a kind, its scheme and an arm.
pub(super) fn read(
    program: Program,
    source: &Source,
    history_limit: usize,
) -> Result<Store, Error> {
    let (setting, kind) = chosen(program, source)?;
    let days = source.parse("RETENTION_DAYS", 0, |t| number(t, 0, 36_500))?;
    let kept = Kept {
        history_limit,
        result_ttl: source.parse("RESULT_TTL_SECONDS", Duration::from_hours(1), seconds)?,
        retention: (days > 0).then(|| Duration::from_hours(days * 24)),
    };
    let (store, guarantees) = match kind {
        Kind::Memory => {
            let memory = in_memory(source, &kept)?;
            let guarantees = memory.clone().build().log().guarantees();
            (Store::Memory(memory), guarantees)
        }
        Kind::Redis => {
            let (redis, guarantees) = in_redis(source, &kept)?;
            (Store::Redis(Box::new(redis)), guarantees)
        }
    };
    if !guarantees.shared && program != Program::AllInOne {
        return Err(Error::new(
            setting,
            "names a store that processes can't share: only `conch run`, which is one process, can use it",
        ));
    }
    Ok(store)
}

/// The kind of store, and the setting that decides on it.
fn chosen(program: Program, source: &Source) -> Result<(&'static str, Kind), Error> {
    let kinds = [("memory", Kind::Memory), ("redis", Kind::Redis)];
    let older = source.parse("EVENT_BUS", None, |text| one_of(&kinds, text).map(Some))?;
    let Some(url) = source.text("STORE_URL") else {
        let default = match program {
            Program::AllInOne => Kind::Memory,
            Program::Api | Program::Worker => Kind::Redis,
        };
        return Ok(("EVENT_BUS", older.unwrap_or(default)));
    };
    let kind = kind_of(url).map_err(|reason| Error::new("STORE_URL", reason))?;
    if older.is_some_and(|older| older != kind) {
        return Err(Error::new(
            "EVENT_BUS",
            "contradicts STORE_URL: leave EVENT_BUS unset",
        ));
    }
    let redis_url = source.text("REDIS_URL").map(str::trim);
    if redis_url.is_some_and(|redis_url| redis_url != url.trim()) {
        return Err(Error::new(
            "REDIS_URL",
            "contradicts STORE_URL: leave REDIS_URL unset, or set both to the same URL",
        ));
    }
    Ok(("STORE_URL", kind))
}

fn kind_of(url: &str) -> Result<Kind, &'static str> {
    if is_memory(url) {
        return Ok(Kind::Memory);
    }
    match scheme(url).as_str() {
        scheme if redis::SCHEMES.contains(&scheme) => Ok(Kind::Redis),
        "sqlite" => Err("names SQLite, which isn't built in"),
        "postgres" | "postgresql" => Err("names PostgreSQL, which isn't built in"),
        "nats" | "tls" => {
            Err("names NATS, which is a bus and keeps nothing: it belongs in BUS_URL")
        }
        _ => Err("must be `memory:` or the URL of Redis, redis://… or rediss://…"),
    }
}

/// Whether that URL means the store and bus in this process.
pub(super) fn is_memory(url: &str) -> bool {
    url.trim().eq_ignore_ascii_case("memory:")
}

fn in_memory(source: &Source, kept: &Kept) -> Result<conch_memory::Settings, Error> {
    let memory = conch_memory::Settings::default();
    Ok(conch_memory::Settings {
        history_limit: kept.history_limit,
        result_ttl: kept.result_ttl,
        retention: kept.retention,
        quotas: quotas(source, memory.quotas)?,
        ..memory
    })
}

fn in_redis(source: &Source, kept: &Kept) -> Result<(conch_redis::Settings, Guarantees), Error> {
    let (name, url) = match source.text("STORE_URL") {
        Some(url) => ("STORE_URL", url.to_owned()),
        None => redis::url(source)?,
    };
    let mut redis = redis::reached(source, &url)?;
    redis.history_limit = kept.history_limit;
    redis.result_ttl = kept.result_ttl;
    redis.finished_ttl = source.parse("HISTORY_TTL_SECONDS", redis.finished_ttl, seconds)?;
    redis.retention = kept.retention;
    redis.quotas = quotas(source, redis.quotas)?;
    // Building connects to nothing: it is how the adapter checks what it is given.
    let stores = redis
        .clone()
        .build()
        .map_err(|e| redis::wrong(source, name, &e))?;
    Ok((redis, stores.log.guarantees()))
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
