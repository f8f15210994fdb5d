//! A running job's lease: kept by a task of its own, so that no generator can hold its renewal up.
//!
//! Never in here: an append. Once [`Hold::lost`] has happened the run must not write anything more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conch_domain::Job;
use conch_ports::{JobLog, JobQueue, Lease, Result};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::entropy;
use crate::worker::Dependencies;

/// Least time between two renewals when the store answers with errors.
const RETRY: Duration = Duration::from_millis(200);

/// What a run knows of its lease.
pub(crate) struct Hold {
    lease: Lease,
    duration: Duration,
    log: Arc<dyn JobLog>,
    queue: Arc<dyn JobQueue>,
    /// The run's newest fold: what a store that forgot the job is told.
    job: Mutex<Job>,
    /// The store knew nothing of the job when it was last asked, and hasn't been seen to hold it since.
    forgotten: AtomicBool,
    /// Wakes the run after each renewal, so that a lost announcement delays nothing for long.
    pub(crate) look: Arc<Notify>,
    /// The lease is gone, or must have run out by our own clock: stop at once.
    pub(crate) lost: CancellationToken,
    /// The store had forgotten the job and holds it again: it needs a new epoch.
    pub(crate) restored: Notify,
}

impl Hold {
    /// Keeps the lease until the handle is dropped. `since` is the moment before it was asked for.
    pub(crate) fn keep(
        deps: &Dependencies,
        lease: Lease,
        duration: Duration,
        since: Instant,
        job: Job,
        look: Arc<Notify>,
    ) -> (Arc<Self>, AbortOnDropHandle<()>) {
        let hold = Arc::new(Self {
            lease,
            duration,
            log: Arc::clone(&deps.log),
            queue: Arc::clone(&deps.queue),
            job: Mutex::new(job),
            forgotten: AtomicBool::new(false),
            look,
            lost: CancellationToken::new(),
            restored: Notify::new(),
        });
        let keeper = Arc::clone(&hold);
        let task = tokio::spawn(async move { keeper.renew_until_lost(since).await });
        (hold, AbortOnDropHandle::new(task))
    }

    /// Which lease.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Remembers the newest fold.
    pub(crate) fn remember(&self, job: &Job) {
        self.job.lock().clone_from(job);
    }

    async fn renew_until_lost(&self, since: Instant) {
        let mut until = since + self.duration;
        let mut next = since + self.duration / 3;
        loop {
            sleep_until(next.min(until)).await;
            let asked = Instant::now();
            match timeout_at(until, self.renew()).await {
                Ok(Ok(true)) => {
                    until = asked + self.duration;
                    next = asked + self.duration / 3;
                    self.look.notify_one();
                }
                Ok(Err(error)) if asked < until => {
                    tracing::debug!(job.id = %self.lease.job_id, %error, "the lease could not be renewed yet");
                    next = Instant::now() + entropy::shortened(RETRY.min(self.duration / 10));
                }
                Ok(Ok(false) | Err(_)) | Err(_) => break,
            }
        }
        tracing::warn!(job.id = %self.lease.job_id, attempt = self.lease.attempt, "the lease is lost");
        self.lost.cancel();
    }

    async fn renew(&self) -> Result<bool> {
        if self.queue.renew(&self.lease, self.duration).await? {
            self.held_again();
            return Ok(true);
        }
        self.recover().await
    }

    /// After the store refused the lease: if it has forgotten the whole job, puts it back. True: the
    /// lease is held. Cancel-safe: asking again goes on where this left off.
    ///
    /// A log that isn't ours stands only where the job was forgotten, and somebody spoke of it before
    /// us: whatever it says, an end included, is no word about our job.
    pub(crate) async fn recover(&self) -> Result<bool> {
        let log = self.log.read(&self.lease.job_id, 0, 0).await?;
        if log.is_some_and(|log| log.job.own) {
            return Ok(false);
        }
        self.forgotten.store(true, Ordering::Relaxed);
        let job = self.job.lock().clone();
        // Not restored: perhaps an earlier try was, and only its answer was lost.
        let held = self.queue.restore(&self.lease, &job, self.duration).await?
            || self.queue.renew(&self.lease, self.duration).await?;
        if held {
            self.held_again();
        }
        Ok(held)
    }

    /// Tells the run that its job was put back, if it was: also when the answer to that was lost and
    /// only a later renewal shows it.
    fn held_again(&self) {
        if self.forgotten.swap(false, Ordering::Relaxed) {
            tracing::warn!(job.id = %self.lease.job_id, "the store had forgotten this job: it was put back");
            self.restored.notify_one();
        }
    }
}
