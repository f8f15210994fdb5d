//! The faults of the cached results.

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::JobId;
use conch_ports::{Result, ResultCache};

use super::Broken;
use crate::Fault;

#[async_trait]
impl ResultCache for Broken {
    async fn get(&self, job_id: &JobId) -> Result<Option<Bytes>> {
        let found = self.cache.get(job_id).await?;
        if self.is(Fault::CacheNothing) {
            return Ok(None);
        }
        if self.is(Fault::CacheOnlyJson) {
            return Ok(found.filter(|found| found.starts_with(b"{")));
        }
        if self.is(Fault::CacheForEver) {
            let mut seen = self.seen();
            seen.results
                .extend(found.iter().map(|found| (job_id.clone(), found.clone())));
            let known = seen.results.iter().rev().find(|(id, _)| id == job_id);
            return Ok(known.map(|(_, result)| result.clone()));
        }
        Ok(found)
    }

    async fn put(&self, job_id: &JobId, result: Bytes) -> Result<()> {
        self.cache.put(job_id, result).await
    }

    async fn remove(&self, job_id: &JobId) -> Result<()> {
        self.cache.remove(job_id).await
    }

    async fn ping(&self) -> Result<()> {
        self.cache.ping().await
    }
}
