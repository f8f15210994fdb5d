//! Cached results: plain strings with a time to live, under the key that other programs know. They
//! may be in a Redis of their own. Never looks into the bytes.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::JobId;
use conch_ports::{MAX_RESULT_BYTES, Result, ResultCache};

use crate::connection::{Connections, failed};
use crate::keys::Keys;
use crate::records::millis;

/// Results under `<prefix>:job:result:<job>`.
pub(crate) struct Cache {
    connections: Connections,
    keys: Keys,
    ttl: Duration,
}

impl Cache {
    pub(crate) fn new(connections: Connections, keys: Keys, ttl: Duration) -> Self {
        Self {
            connections,
            keys,
            ttl,
        }
    }
}

#[async_trait]
impl ResultCache for Cache {
    async fn get(&self, job_id: &JobId) -> Result<Option<Bytes>> {
        const OPERATION: &str = "result_cache.get";
        // One byte more than a result may have: what comes back is never larger, even if another program wrote it.
        let mut command = redis::cmd("GETRANGE");
        command
            .arg(self.keys.result(job_id))
            .arg(0)
            .arg(MAX_RESULT_BYTES);
        match self
            .connections
            .run_shared::<Vec<u8>>(OPERATION, &command)
            .await?
        {
            // Nothing, or what no program of ours wrote: no result.
            Ok(bytes) if bytes.is_empty() || bytes.len() > MAX_RESULT_BYTES => Ok(None),
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            // Somebody else's list or hash under this name: no result.
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
            Err(error) => Err(failed(OPERATION, error)),
        }
    }

    async fn put(&self, job_id: &JobId, result: Bytes) -> Result<()> {
        let mut command = redis::cmd("SET");
        command
            .arg(self.keys.result(job_id))
            .arg(&result[..])
            .arg("PX")
            .arg(millis(self.ttl));
        self.connections
            .ask_shared("result_cache.put", &command)
            .await
    }

    async fn remove(&self, job_id: &JobId) -> Result<()> {
        let mut command = redis::cmd("DEL");
        command.arg(self.keys.result(job_id));
        self.connections
            .ask_shared("result_cache.remove", &command)
            .await
    }

    async fn ping(&self) -> Result<()> {
        self.connections.ping("result_cache.ping").await
    }
}
