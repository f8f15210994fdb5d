//! What the adapter takes, checked before anything is built. Never prints a URL: it may hold a
//! password.

use std::fmt;
use std::time::Duration;

use conch_bus_kit::InvalidSettings;
use conch_ports::{Quota, Quotas};

use crate::tls::Tls;

const DAY: Duration = Duration::from_hours(24);

/// What the adapter takes. [`Settings::new`] has the contract's defaults.
#[derive(Clone)]
pub struct Settings {
    /// Where Redis is: `redis://`, `rediss://` (TLS) or `redis+unix://`. May hold a password.
    pub url: String,
    /// Where cached results are, when that is another Redis. Commits then cache nothing.
    pub cache_url: Option<String>,
    /// Whom to trust at `rediss://` addresses.
    pub tls: Tls,
    /// What every key and channel begins with.
    pub prefix: String,
    /// Whether an append announces its events itself, on this Redis. If not, that is a step of its own, after it.
    pub announces: bool,
    /// Events kept per job, at least 1.
    pub history_limit: usize,
    /// How long a cached result lives.
    pub result_ttl: Duration,
    /// How long a record of the catalogue is kept after its last change; none: for ever.
    pub retention: Option<Duration>,
    /// How long an unfinished log lives without an append. Its job stays queued: the worker that claims it then
    /// begins the log anew.
    pub unfinished_ttl: Duration,
    /// How long a log lives after its terminal event.
    pub finished_ttl: Duration,
    /// Tickets at once; one more is refused by quota.
    pub max_tickets: usize,
    /// Tickets of one caller at once; one more is refused by quota.
    pub max_tickets_per_caller: usize,
    /// How many jobs, clients and value propositions there may be.
    pub quotas: Quotas,
    /// Most connections at once, not counted the subscription's, and one for each runtime that sends
    /// cheap commands.
    pub pool_size: usize,
    /// How long to wait for a connection, new or from the pool.
    pub connect_timeout: Duration,
    /// How long to wait for an answer.
    pub response_timeout: Duration,
    /// How often the subscription is tried through the real path.
    pub probe_interval: Duration,
    /// How long such a try, or a subscription's start, may take.
    pub probe_timeout: Duration,
    /// Longest pause between two tries to subscribe again, before jitter doubles it at most.
    pub backoff_cap: Duration,
}

impl Settings {
    /// Redis at `url`, and defaults for all else.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            cache_url: None,
            tls: Tls::default(),
            prefix: "triton".to_owned(),
            announces: true,
            history_limit: 100,
            result_ttl: Duration::from_hours(1),
            retention: None,
            // A job that is claimed lives a day at most; the second day is for lookups afterwards.
            unfinished_ttl: 2 * DAY,
            finished_ttl: DAY,
            max_tickets: 50_000,
            max_tickets_per_caller: 200,
            quotas: Quotas::default(),
            pool_size: 16,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
            probe_interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(3),
            backoff_cap: Duration::from_secs(2),
        }
    }

    pub(crate) fn check(&self) -> Result<(), InvalidSettings> {
        let require = |holds: bool, setting, reason| {
            if holds {
                Ok(())
            } else {
                Err(InvalidSettings::new(setting, reason))
            }
        };
        // Braces make a hash tag, which keeps all keys on one node of a cluster.
        let in_prefix = |b: u8| b.is_ascii_alphanumeric() || b"_-.:{}".contains(&b);
        require(
            (1..=64).contains(&self.prefix.len()) && self.prefix.bytes().all(in_prefix),
            "prefix",
            "must be 1 to 64 characters of A-Z a-z 0-9 _ - . : { }",
        )?;
        require(
            (1..=1_000_000).contains(&self.history_limit),
            "history_limit",
            "must be 1 to 1000000",
        )?;
        require(
            (1..=512).contains(&self.pool_size),
            "pool_size",
            "must be 1 to 512",
        )?;
        require(
            Quota::ALL.iter().all(|quota| self.quotas.of(*quota) > 0),
            "quotas",
            "must each be at least 1",
        )?;
        let times = [
            ("result_ttl", self.result_ttl),
            ("retention", self.retention.unwrap_or(DAY)),
            ("unfinished_ttl", self.unfinished_ttl),
            ("finished_ttl", self.finished_ttl),
            ("connect_timeout", self.connect_timeout),
            ("response_timeout", self.response_timeout),
            ("probe_interval", self.probe_interval),
            ("probe_timeout", self.probe_timeout),
            ("backoff_cap", self.backoff_cap),
        ];
        for (setting, time) in times {
            require(
                time >= Duration::from_millis(1) && time <= 36_500 * DAY,
                setting,
                "must be at least a millisecond and at most a hundred years",
            )?;
        }
        Ok(())
    }

    /// Finished logs outlive the cached result, so that a stream can always be resumed while the
    /// lookup still answers.
    pub(crate) fn finished_ttl(&self) -> Duration {
        self.finished_ttl.max(self.result_ttl)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &"<redacted>")
            .field("cache_url", &self.cache_url.as_ref().map(|_| "<redacted>"))
            .field("authorities", &self.tls.authorities.as_ref().map(Vec::len))
            .field(
                "identity",
                &self.tls.identity.as_ref().map(|_| "<redacted>"),
            )
            .field("prefix", &self.prefix)
            .field("announces", &self.announces)
            .field("history_limit", &self.history_limit)
            .field("result_ttl", &self.result_ttl)
            .field("retention", &self.retention)
            .field("unfinished_ttl", &self.unfinished_ttl)
            .field("finished_ttl", &self.finished_ttl)
            .field("max_tickets", &self.max_tickets)
            .field("max_tickets_per_caller", &self.max_tickets_per_caller)
            .field("quotas", &self.quotas)
            .field("pool_size", &self.pool_size)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("probe_interval", &self.probe_interval)
            .field("probe_timeout", &self.probe_timeout)
            .field("backoff_cap", &self.backoff_cap)
            .finish()
    }
}
