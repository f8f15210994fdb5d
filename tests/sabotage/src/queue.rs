//! Bugs of the queue. Never in here: a bug of another port.

use std::time::Duration;

use async_trait::async_trait;
use conch_domain::{Job, JobId, LeaseToken};
use conch_ports::{
    Claimed, Idempotency, JobQueue, Lease, QueuePlace, Result, Submission, Submitted, Sweep, Swept,
};

use super::{Broken, panics};

#[async_trait]
impl JobQueue for Broken {
    async fn submit(&self, mut submission: Submission) -> Result<Submitted> {
        match self.bug.as_str() {
            "submission-lost" if self.once_in(5) => return Ok(Submitted::New),
            "key-forgotten" => submission.idempotency = None,
            _ => {}
        }
        self.queue.submit(submission).await
    }

    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        match self.bug.as_str() {
            "key-forgotten" => Ok(None),
            _ => self.queue.recall(idempotency).await,
        }
    }

    async fn claim(
        &self,
        worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Claimed>> {
        self.queue.claim(worker, token, duration).await
    }

    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        self.queue.renew(lease, duration).await
    }

    async fn expired(&self, limit: usize) -> Result<Vec<Lease>> {
        match self.bug.as_str() {
            "lease-never-taken-back" => Ok(Vec::new()),
            "panics" => {
                panics::panic_if_asked("worker");
                self.queue.expired(limit).await
            }
            _ => self.queue.expired(limit).await,
        }
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        self.queue.sweep(sweep).await
    }

    async fn places(&self, job_ids: &[JobId]) -> Result<Vec<Option<QueuePlace>>> {
        self.queue.places(job_ids).await
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        self.queue.next_due().await
    }

    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        self.queue.restore(lease, job, duration).await
    }
}
