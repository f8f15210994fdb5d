//! [`ResultCache`]: bytes by job, each with its end.

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::JobId;
use conch_ports::{Result, ResultCache};
use tokio::time::Instant;

use crate::Memory;
use crate::store::Store;

impl Store {
    /// Keeps a result. A full cache lets go of the one that would run out next.
    pub(crate) fn cache_result(&mut self, job_id: &JobId, result: Bytes, now: Instant) {
        let results = &mut self.data.results;
        results.insert(job_id.clone(), result, now + self.settings.result_ttl);
        if results.len() > self.settings.max_results {
            results.remove_soonest();
        }
    }
}

#[async_trait]
impl ResultCache for Memory {
    async fn get(&self, job_id: &JobId) -> Result<Option<Bytes>> {
        self.step(|store, now| Ok(store.data.results.get(job_id, now).cloned()))
    }

    async fn put(&self, job_id: &JobId, result: Bytes) -> Result<()> {
        self.step(|store, now| {
            store.sweep(now);
            store.cache_result(job_id, result, now);
            Ok(())
        })
    }

    async fn remove(&self, job_id: &JobId) -> Result<()> {
        self.step(|store, _| {
            store.data.results.remove(job_id);
            Ok(())
        })
    }

    async fn ping(&self) -> Result<()> {
        self.step(|_, _| Ok(()))
    }
}
