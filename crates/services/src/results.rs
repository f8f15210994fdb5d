//! Cached results as far as they can be believed: a finished job's object, and this job's.
//!
//! A cache's bytes may be any program's, so nothing leaves this file unchecked. Never in here: what is
//! done when there is none.

use std::sync::Arc;

use bytes::Bytes;
use conch_domain::{Job, JobId, JobStatus};
use conch_ports::ResultCache;
use conch_wire::job;

/// Reads one cache; a cheap handle.
#[derive(Clone)]
pub(crate) struct Results(Arc<dyn ResultCache>);

impl Results {
    pub(crate) fn new(cache: Arc<dyn ResultCache>) -> Self {
        Self(cache)
    }

    /// The encoded job object. One that another program wrote with fewer fields is completed. None
    /// also when the cache is out of reach.
    pub(crate) async fn get(&self, job_id: &JobId) -> Option<Bytes> {
        let bytes = self.fetch(job_id).await?;
        // Ours, nearly always. Reading and writing it anew would cost half of the lookup's time.
        if job::status_if_whole(&bytes, job_id).is_some_and(JobStatus::is_terminal) {
            return Some(bytes);
        }
        ended(&bytes, job_id).map(|job| job::encode(&job))
    }

    /// The job as its result tells it.
    pub(crate) async fn job(&self, job_id: &JobId) -> Option<Job> {
        let bytes = self.fetch(job_id).await?;
        ended(&bytes, job_id)
    }

    async fn fetch(&self, job_id: &JobId) -> Option<Bytes> {
        self.0.get(job_id).await.unwrap_or_else(|error| {
            tracing::debug!(job.id = %job_id, %error, "cache out of reach");
            None
        })
    }
}

fn ended(bytes: &[u8], job_id: &JobId) -> Option<Job> {
    match job::decode(bytes, job_id) {
        Ok(job) => job.status.is_terminal().then_some(job),
        Err(error) => {
            metrics::counter!("conch_cache_blobs_refused_total").increment(1);
            tracing::warn!(job.id = %job_id, %error, "the cached result is unusable: passed over");
            None
        }
    }
}
