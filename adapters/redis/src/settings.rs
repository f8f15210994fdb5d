//! What the adapter takes, checked before anything is built. Never prints a URL: it may hold a
//! password.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use conch_bus_kit::InvalidSettings;
use conch_ports::{Catalogue, EventBus, JobLog, JobQueue, Quota, Quotas, ResultCache, TicketStore};
use redis::{Client, IntoConnectionInfo};

use crate::bus::Channels;
use crate::cache::Cache;
use crate::connection::{Connections, tcp_settings};
use crate::keys::Keys;
use crate::log::Redis;
use crate::tls::{self, Tls};

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

/// Every store port, and the bus.
#[derive(Clone)]
pub struct Stores {
    /// The logs.
    pub log: Arc<dyn JobLog>,
    /// What is announced of the logs.
    pub bus: Arc<dyn EventBus>,
    /// The results of jobs that have ended.
    pub cache: Arc<dyn ResultCache>,
    /// The claimable jobs.
    pub queue: Arc<dyn JobQueue>,
    /// The records.
    pub catalogue: Arc<dyn Catalogue>,
    /// The tickets.
    pub tickets: Arc<dyn TicketStore>,
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

    /// Makes the ports. Connects to nothing yet: the process must start while Redis is down.
    ///
    /// # Errors
    /// When a setting cannot work.
    pub fn build(self) -> Result<Stores, InvalidSettings> {
        self.check()?;
        let keys = Keys::new(&self.prefix);
        let main = Connections::new(client("url", &self.url, &self.tls)?, &self, true);
        let cache = match &self.cache_url {
            Some(url) => Connections::new(client("cache_url", url, &self.tls)?, &self, false),
            None => main.clone(),
        };
        let cache = Arc::new(Cache::new(cache, keys.clone(), self.result_ttl));
        let bus = self.kit().bus(Channels::new(main.clone(), keys.clone()));
        let redis = Arc::new(Redis::new(main, keys, self, bus.id()));
        Ok(Stores {
            log: redis.clone(),
            bus,
            cache,
            queue: redis.clone(),
            catalogue: redis.clone(),
            tickets: redis,
        })
    }

    fn check(&self) -> Result<(), InvalidSettings> {
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

    fn kit(&self) -> conch_bus_kit::Settings {
        conch_bus_kit::Settings {
            probe_interval: self.probe_interval,
            probe_timeout: self.probe_timeout,
            backoff_cap: self.backoff_cap,
            send_timeout: self.response_timeout,
            ..conch_bus_kit::Settings::default()
        }
    }

    /// Finished logs outlive the cached result, so that a stream can always be resumed while the
    /// lookup still answers.
    pub(crate) fn finished_ttl(&self) -> Duration {
        self.finished_ttl.max(self.result_ttl)
    }
}

/// A client for that address. Connects to nothing.
pub(crate) fn client(
    setting: &'static str,
    url: &str,
    tls: &Tls,
) -> Result<Client, InvalidSettings> {
    let reason = "must be redis://[user:password@]host[:port][/database], rediss://… for TLS, or redis+unix:///path";
    let address = url
        .into_connection_info()
        .map_err(|_| InvalidSettings::new(setting, reason))?;
    tls::client(setting, address.set_tcp_settings(tcp_settings()), tls)
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

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_setting_that_cannot_work_is_named_without_its_value() {
        type Change = fn(&mut Settings);
        let rows: [(&str, Change); 14] = [
            ("url", |s| s.url = "rediss://u:hunter2@x#insecure".into()),
            ("cache_url", |s| {
                s.cache_url = Some("rediss://u:hunter2@x/#insecure".into());
            }),
            ("tls.authorities", |s| {
                s.url = "rediss://x".into();
                s.tls.authorities = Some(b"hunter2".to_vec());
            }),
            ("tls.authorities", |s| {
                s.url = "rediss://x".into();
                s.tls.authorities = Some(
                    b"-----BEGIN CERTIFICATE-----\nhunter2=\n-----END CERTIFICATE-----\n".to_vec(),
                );
            }),
            ("tls.certificate", |s| {
                s.cache_url = Some("rediss://x".into());
                s.tls.identity = Some(tls::Identity {
                    certificates: b"hunter2".to_vec(),
                    key: b"hunter2".to_vec(),
                });
            }),
            ("url", |s| s.url = "http://u:hunter2@x".into()),
            ("url", |s| s.url = "redis://u:hunter2@x:99999/0".into()),
            ("cache_url", |s| s.cache_url = Some("hunter2".into())),
            ("prefix", |s| s.prefix = "hunter2 ".into()),
            ("prefix", |s| s.prefix = String::new()),
            ("history_limit", |s| s.history_limit = 0),
            ("result_ttl", |s| s.result_ttl = Duration::ZERO),
            ("retention", |s| s.retention = Some(Duration::ZERO)),
            ("quotas", |s| s.quotas.clients = 0),
        ];
        for (setting, change) in rows {
            let mut settings = Settings::new("redis://:hunter2@127.0.0.1:1/0");
            change(&mut settings);
            let debug = format!("{settings:?}");
            let error = settings.build().expect_err(setting);
            assert_eq!(error.setting(), setting);
            let text = format!("{error} {error:?}");
            assert!(!text.contains("hunter2"), "{text}");
            assert!(setting == "prefix" || !debug.contains("hunter2"), "{debug}");
        }
    }

    #[tokio::test]
    async fn building_needs_no_redis() {
        Settings::new("redis://127.0.0.1:1/0")
            .build()
            .expect("nothing is connected yet");
    }
}
