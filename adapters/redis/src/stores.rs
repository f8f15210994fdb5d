//! The ports and the bus, built from the settings.
//!
//! Never in here: what one of them does.

use std::fmt;
use std::sync::Arc;

use conch_bus_kit::InvalidSettings;
use conch_ports::{Catalogue, EventBus, JobLog, JobQueue, ResultCache, TicketStore};
use redis::{Client, IntoConnectionInfo};

use crate::bus::Channels;
use crate::cache::Cache;
use crate::connection::{Connections, tcp_settings};
use crate::keys::Keys;
use crate::log::Redis;
use crate::settings::Settings;
use crate::tls::{self, Tls};

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
        let bus = kit(&self).bus(Channels::new(main.clone(), keys.clone()));
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
}

fn kit(settings: &Settings) -> conch_bus_kit::Settings {
    conch_bus_kit::Settings {
        probe_interval: settings.probe_interval,
        probe_timeout: settings.probe_timeout,
        backoff_cap: settings.backoff_cap,
        send_timeout: settings.response_timeout,
        ..conch_bus_kit::Settings::default()
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

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
