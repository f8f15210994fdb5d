//! Where external jobs come from, as Triton tells it: remembered for those who ask again.
//!
//! Never in here: a log, or what becomes of a job.

use std::sync::Arc;
use std::time::Duration;

use conch_domain::{Job, JobId, Origin};
use conch_ports::TritonGateway;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// External jobs of which is remembered where they come from.
const MAX_ORIGINS: usize = 10_000;
/// How long the first event of a job, and its end, wait for word of where it comes from.
const PATIENCE: Duration = Duration::from_millis(500);
/// For how long Triton isn't asked for that once it didn't answer.
const PAUSE: Duration = Duration::from_secs(5);

/// What Triton said of where external jobs come from; a cheap handle.
#[derive(Clone)]
pub(crate) struct KnownOrigins(Arc<Inner>);

struct Inner {
    gateway: Arc<dyn TritonGateway>,
    /// Shared with all other questions to Triton about single jobs.
    limit: Arc<Semaphore>,
    of: Cache<JobId, Origin>,
    /// Not asked again before, since it didn't answer in time.
    silent_until: Mutex<Option<Instant>>,
}

impl KnownOrigins {
    /// Asks `gateway`, as far as `limit` leaves room.
    pub(crate) fn new(gateway: Arc<dyn TritonGateway>, limit: Arc<Semaphore>) -> Self {
        Self(Arc::new(Inner {
            gateway,
            limit,
            of: Cache::new(MAX_ORIGINS),
            silent_until: Mutex::new(None),
        }))
    }

    /// Remembers where a job of a Triton that isn't ours comes from.
    pub(crate) fn remember(&self, told: &Job) {
        if let Some(origin) = of_external(told) {
            self.0.of.insert(told.id.clone(), origin);
        }
    }

    /// Where an external job comes from, if that was heard of lately.
    pub(crate) fn known(&self, job_id: &JobId) -> Option<Origin> {
        self.0.of.get(job_id)
    }

    /// Where an external job comes from, as Triton knows it. Never waits for long, and asks nothing while
    /// Triton doesn't answer in time: what comes of the job must not be held up by this.
    pub(crate) async fn ask(&self, job_id: &JobId) -> Option<Origin> {
        if let Some(known) = self.known(job_id) {
            return Some(known);
        }
        let silent = *self.0.silent_until.lock();
        if silent.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let _permit = self.0.limit.try_acquire().ok()?;
        let asked = tokio::time::timeout(PATIENCE, self.0.gateway.job(job_id)).await;
        let told = match asked {
            // It may know of the job by the time of its end.
            Ok(Ok(told)) => told?,
            // It answers, and one job's record is no reason not to ask for others.
            Ok(Err(error)) if !error.is_retryable() => return None,
            Ok(Err(_)) | Err(_) => {
                *self.0.silent_until.lock() = Some(Instant::now() + PAUSE);
                return None;
            }
        };
        self.remember(&told);
        self.known(job_id)
    }
}

/// Where the job comes from, unless it is our own Triton's.
pub(crate) fn of_external(told: &Job) -> Option<Origin> {
    (!told.own).then(|| Origin::of(told))
}
