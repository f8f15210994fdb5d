//! The faults of the queue.

use std::time::Duration;

use async_trait::async_trait;
use conch_conformance::build;
use conch_domain::{Job, LeaseToken};
use conch_ports::{
    ErrorKind, Idempotency, JobQueue, Lease, Result, Submission, Submitted, Sweep, Swept,
};

use super::Broken;
use crate::Fault;

#[async_trait]
impl JobQueue for Broken {
    async fn submit(&self, mut submission: Submission) -> Result<Submitted> {
        match self.fault {
            Fault::ForgetKeys => submission.idempotency = None,
            Fault::WriteBeforeTheQuota => {
                let commit = submission.commit.clone();
                let answer = self.queue.submit(submission).await;
                if let Err(error) = &answer
                    && error.kind() == ErrorKind::QuotaExceeded
                {
                    self.bus.publish(commit).await?;
                }
                return answer;
            }
            Fault::RefuseResubmission => {
                let job_id = submission.commit.job.id.clone();
                if self.bus.read(&job_id, 0, 0).await?.is_some() {
                    return Ok(Submitted::KeyReused);
                }
            }
            _ => {}
        }
        self.queue.submit(submission).await
    }

    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        let known = self.queue.recall(idempotency).await?;
        Ok(known.filter(|_| !self.is(Fault::RecallNothing)))
    }

    async fn claim(
        &self,
        worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Lease>> {
        if self.is(Fault::BrokenEntryStopsClaims) && self.seen().broken {
            return Ok(None);
        }
        let fresh = build::token();
        let token = match self.fault {
            Fault::ClaimAnotherWhenAskedAgain => &fresh,
            _ => token,
        };
        if self.is(Fault::ClaimForTwo) {
            let twice = self.seen().claims.pop();
            if twice.is_some() {
                return Ok(twice);
            }
        }
        if self.is(Fault::ClaimNewestFirst) {
            let mut all = std::mem::take(&mut self.seen().claims);
            while let Some(lease) = self.queue.claim(worker, &build::token(), duration).await? {
                all.push(lease);
            }
            let newest = all.pop();
            self.seen().claims = all;
            return Ok(newest);
        }
        let duration = match self.fault {
            Fault::LeaseNeverExpires => Duration::from_hours(24),
            _ => duration,
        };
        let lease = self.queue.claim(worker, token, duration).await?;
        if self.is(Fault::ClaimForTwo) {
            self.seen().claims.extend(lease.clone());
        }
        if self.is(Fault::ForgetWhoHasNoLog)
            && let Some(lease) = &lease
            && self.bus.read(&lease.job_id, 0, 0).await?.is_none()
        {
            return Ok(None);
        }
        Ok(lease)
    }

    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        if self.is(Fault::RenewOnlyWhatIsListed) && self.seen().lost.contains(&lease.job_id) {
            return Ok(false);
        }
        let renewed = self.queue.renew(lease, duration).await?;
        Ok(renewed || self.is(Fault::RenewAnything))
    }

    async fn expired(&self, limit: usize) -> Result<Vec<Lease>> {
        self.queue.expired(limit).await
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        if self.is(Fault::FindNothing) {
            return Ok(Swept {
                next: None,
                found: Vec::new(),
            });
        }
        self.seen().lost.clear();
        self.queue.sweep(sweep).await
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        self.queue.next_due().await
    }

    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        if self.is(Fault::RestoreRespectsExternalLogs)
            && self.bus.read(&job.id, 0, 0).await?.is_some()
        {
            return Ok(false);
        }
        let restored = self.queue.restore(lease, job, duration).await?;
        Ok(restored || self.is(Fault::RestoreAlways))
    }
}
