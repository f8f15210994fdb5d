//! Cached results as far as they can be believed: a finished job's object, and this job's.
//!
//! A cache's bytes may be any program's, so nothing leaves this file unchecked. Never in here: what is
//! done when there is none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conch_domain::{Job, JobId, JobStatus};
use conch_ports::{Error, ResultCache};
use conch_wire::job;

/// How long a cached result is kept back for Triton's answer.
pub(crate) const RESULT_WAITS: Duration = Duration::from_millis(500);

/// Reads one cache; a cheap handle.
#[derive(Clone)]
pub(crate) struct Results(Arc<dyn ResultCache>);

impl Results {
    pub(crate) fn new(cache: Arc<dyn ResultCache>) -> Self {
        Self(cache)
    }

    /// The encoded job object. One that another program wrote with fewer fields is completed.
    ///
    /// # Errors
    /// When the cache is out of reach: there may be a result.
    pub(crate) async fn get(&self, job_id: &JobId) -> Result<Option<Bytes>, Error> {
        let Some(bytes) = self.0.get(job_id).await? else {
            return Ok(None);
        };
        // Ours, nearly always. Reading and writing it anew would cost half of the lookup's time.
        if job::status_if_whole(&bytes, job_id).is_some_and(JobStatus::is_terminal) {
            return Ok(Some(bytes));
        }
        Ok(ended(&bytes, job_id).map(|job| job::encode(&job)))
    }

    /// The job as its result tells it.
    ///
    /// # Errors
    /// As [`Results::get`].
    pub(crate) async fn job(&self, job_id: &JobId) -> Result<Option<Job>, Error> {
        let bytes = self.0.get(job_id).await?;
        Ok(bytes.and_then(|bytes| ended(&bytes, job_id)))
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
