//! What answers behind an address. A node of a Redis Cluster and a Sentinel take a connection and answer
//! PING like any Redis, and then fail half of all commands: they are refused at each new connection, in
//! one clear sentence, until something else is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{RedisError, ServerErrorKind};

use crate::run;

pub(crate) const CLUSTER: &str = "a node of a Redis Cluster answers at this address, and Redis Cluster isn't supported yet: use a \
     Redis without cluster mode (cluster-enabled no)";
pub(crate) const SENTINEL: &str = "a Redis Sentinel answers at this address, and Sentinel isn't supported yet: give the address of \
     the Redis that it watches";

/// Looks at new connections. Says in the log what is wrong once, and again when it was well meanwhile.
#[derive(Clone)]
pub(crate) struct Inspector {
    told: Arc<AtomicBool>,
    /// Whether the line that operators look for at the first connection of all was said, or is not to be.
    greeted: Arc<AtomicBool>,
}

impl Inspector {
    /// `publishes` says whether events go through what it looks at.
    pub(crate) fn new(publishes: bool) -> Self {
        Self {
            told: Arc::default(),
            greeted: Arc::new(AtomicBool::new(!publishes)),
        }
    }

    /// What the server says of itself, empty if the user may not ask.
    ///
    /// # Errors
    /// Why a new connection is of no use.
    pub(crate) async fn inspect(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<String, &'static str> {
        // A user without the right to ask is taken at its word, and a connection that broke is found out
        // by its first command.
        let info = run::info(connection).await.unwrap_or_default();
        if let Some(words) = unsupported(&info) {
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::error!("{words}; trying again until another Redis answers there");
            }
            return Err(words);
        }
        if !info.is_empty() {
            self.told.store(false, Ordering::Relaxed);
        }
        if !self.greeted.swap(true, Ordering::Relaxed) {
            tracing::info!(target: "conch_redis::connection", "Event publisher connected to Redis");
        }
        Ok(info)
    }
}

/// What is not supported about a server that says this of itself.
fn unsupported(info: &str) -> Option<&'static str> {
    let mode = info
        .lines()
        .find_map(|line| line.strip_prefix("redis_mode:"));
    match mode?.trim() {
        "cluster" => Some(CLUSTER),
        "sentinel" => Some(SENTINEL),
        _ => None,
    }
}

/// What an error says about who answered; none: nothing. A cluster betrays itself by its errors, too, where
/// the user may not ask, or a database is chosen.
pub(crate) fn betrayed(error: &RedisError) -> Option<&'static str> {
    let is_of_cluster = matches!(
        error.kind(),
        redis::ErrorKind::Server(
            ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::CrossSlot
                | ServerErrorKind::ClusterDown
        )
    );
    let no_database = || {
        let detail = error.detail().unwrap_or_default();
        detail.contains("SELECT is not allowed in cluster mode")
    };
    (is_of_cluster || no_database()).then_some(CLUSTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_itself() {
        for (info, expected) in [
            (
                "redis_version:7.0.15\r\nredis_mode:standalone\r\nos:x",
                None,
            ),
            (
                "redis_version:7.0.15\r\nredis_mode:cluster\r\nos:x",
                Some(CLUSTER),
            ),
            ("redis_mode:sentinel\n", Some(SENTINEL)),
            ("server_name:valkey\r\n", None),
            ("", None),
        ] {
            assert_eq!(unsupported(info), expected, "{info:?}");
        }
    }
}
