//! The faults of the queue.

use std::time::Duration;

use async_trait::async_trait;
use conch_conformance::build;
use conch_domain::{ClientId, Job, JobId, JobRecord, LeaseToken, Priority};
use conch_ports::{
    Claimed, ErrorKind, Idempotency, JobQueue, Lease, QueuePlace, Result, Submission, Submitted,
    Sweep, Swept,
};

use super::Broken;
use crate::Fault;

#[async_trait]
impl JobQueue for Broken {
    async fn submit(&self, mut submission: Submission) -> Result<Submitted> {
        match self.fault {
            Fault::ForgetKeys => submission.idempotency = None,
            Fault::OneTurnForAll => {
                let the_only_one = ClientId::parse("the-only-one").expect("an id");
                change(&mut submission, |job| job.client_id = Some(the_only_one));
            }
            Fault::ForgetPriority => {
                change(&mut submission, |job| {
                    job.schedule.priority = Priority::default();
                });
            }
            Fault::DueAtOnce => change(&mut submission, |job| job.schedule.run_at = None),
            Fault::ReturnAtTheHead if self.seen().has_claimed => {
                let job_id = submission.commit.job.id.clone();
                self.seen().first = Some(job_id);
            }
            Fault::PlacesByAge => {
                let job_id = submission.commit.job.id.clone();
                self.seen().submitted.push(job_id);
            }
            Fault::WriteBeforeTheQuota => {
                let commit = submission.commit.clone();
                let answer = self.queue.submit(submission).await;
                if let Err(error) = &answer
                    && error.kind() == ErrorKind::QuotaExceeded
                {
                    self.log.append(commit).await?;
                }
                return answer;
            }
            Fault::RefuseResubmission => {
                let job_id = submission.commit.job.id.clone();
                if self.log.read(&job_id, 0, 0).await?.is_some() {
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
    ) -> Result<Option<Claimed>> {
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
        if matches!(
            self.fault,
            Fault::ClaimNewestFirst | Fault::ReturnAtTheHead | Fault::RequeuedGoLast
        ) {
            return self.claim_in_another_order(worker, duration).await;
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
            && self.log.read(&lease.job_id, 0, 0).await?.is_none()
        {
            return Ok(None);
        }
        if self.is(Fault::ClaimsBringTheFirstFold)
            && let Some(Claimed { lease, job }) = lease
        {
            let mut seen = self.seen();
            let first = seen.folds.entry(lease.job_id.clone()).or_insert(job);
            let job = first.clone();
            return Ok(Some(Claimed { lease, job }));
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

    async fn places(&self, job_ids: &[JobId]) -> Result<Vec<Option<QueuePlace>>> {
        let mut places = self.queue.places(job_ids).await?;
        match self.fault {
            Fault::PlacesByAge => {
                let seen = self.seen();
                let age = |job_id| seen.submitted.iter().position(|id| id == job_id);
                let mut by_age: Vec<usize> = (0..job_ids.len()).collect();
                by_age.retain(|index| places[*index].is_some());
                by_age.sort_by_key(|index| age(&job_ids[*index]));
                for (index, number) in by_age.into_iter().zip(1..) {
                    places[index] = Some(QueuePlace::Exact(number));
                }
            }
            Fault::PlacesForAll => {
                places = places
                    .into_iter()
                    .map(|place| place.or(Some(QueuePlace::Exact(1))))
                    .collect();
            }
            _ => {}
        }
        Ok(places)
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        self.queue.next_due().await
    }

    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        if self.is(Fault::RestoreRespectsExternalLogs)
            && self.log.read(&job.id, 0, 0).await?.is_some()
        {
            return Ok(false);
        }
        let restored = self.queue.restore(lease, job, duration).await?;
        Ok(restored || self.is(Fault::RestoreAlways))
    }
}

impl Broken {
    /// Claims all that is due, and hands it out in the order of the fault.
    async fn claim_in_another_order(
        &self,
        worker: &str,
        duration: Duration,
    ) -> Result<Option<Claimed>> {
        let mut due = std::mem::take(&mut self.seen().claims);
        while let Some(lease) = self.queue.claim(worker, &build::token(), duration).await? {
            due.push(lease);
        }
        let mut seen = self.seen();
        let next = match self.fault {
            Fault::ClaimNewestFirst => due.len().checked_sub(1),
            Fault::ReturnAtTheHead => due
                .iter()
                .position(|lease| Some(&lease.job_id) == seen.first.as_ref()),
            _ => due
                .iter()
                .position(|lease| !seen.requeued.contains(&lease.job_id)),
        };
        let claimed = (!due.is_empty()).then(|| due.remove(next.unwrap_or(0)));
        seen.has_claimed |= claimed.is_some();
        seen.claims = due;
        Ok(claimed)
    }
}

/// Changes what a submission says of its job to the store, and not the line of its event.
fn change(submission: &mut Submission, change: impl FnOnce(&mut JobRecord)) {
    let mut record = (*submission.commit.job).clone();
    change(&mut record);
    submission.commit.job = Job::restore(record);
}
