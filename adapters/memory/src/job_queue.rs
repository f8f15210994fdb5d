//! [`JobQueue`]: each operation as one step of the store. Never in here: how the queue orders its jobs.

use std::time::Duration;

use async_trait::async_trait;
use conch_domain::{Job, JobId, LeaseToken, Timestamp};
use conch_ports::{
    Appended, Claimed, Commit, Error, ErrorKind, Fence, Idempotency, JobQueue, Lease, QueueEffect,
    QueuePlace, Quota, Result, Submission, Submitted, Sweep, Swept,
};
use conch_wire::record;
use tokio::time::Instant;

use crate::Memory;
use crate::errors::corrupt;
use crate::queue::Lost;
use crate::store::{self, Store};
use crate::waiting::Claimant;

impl Store {
    fn find_lost(&mut self, sweep: &Sweep, now: Instant) -> Result<Swept> {
        const OPERATION: &str = "job_queue.sweep";
        let time = self.clock.tell(now);
        let data = &mut self.data;
        let end = sweep.from.saturating_add(sweep.limit);
        let next = (end < data.unfinished.len()).then_some(end);
        let mut found = Vec::new();
        for (job_id, runs) in data.unfinished.iter().skip(sweep.from).take(sweep.limit) {
            if data.queue.is_in_place(job_id) {
                continue;
            }
            let Some(record) = data.jobs.bytes(job_id, now) else {
                continue;
            };
            let job = record::decode_job(record).map_err(corrupt(OPERATION))?;
            let lost = Lost {
                job_id,
                runs: *runs,
                claimant: Claimant::of(&job),
                wait: wait_of(&job, time),
            };
            data.queue.put_back(&lost, sweep.grace, now);
            found.push(job_id.clone());
        }
        Ok(Swept { next, found })
    }

    fn submit(&mut self, submission: Submission, now: Instant) -> Result<Submitted> {
        const OPERATION: &str = "job_queue.submit";
        let Submission {
            commit,
            idempotency,
        } = submission;
        let refused = |message: &str| Err(Error::new(ErrorKind::Refused, OPERATION, message));
        if !begins_a_job(&commit) {
            return refused(
                "a submission is the first event of an own job, open, keeping the queue",
            );
        }
        self.sweep(now);
        let job_id = commit.job.id.clone();
        let claimant = Claimant::of(&commit.job);
        let due = now + wait_of(&commit.job, self.clock.tell(now));
        let known = idempotency
            .as_ref()
            .and_then(|asked| self.recall(asked, now));
        if let Some(known) = known {
            let again = known == Submitted::Existing(job_id);
            return Ok(if again { Submitted::New } else { known });
        }
        if let Some(log) = self.data.logs.get(&job_id, now)
            && log.known(commit.events(OPERATION)?, OPERATION)?.is_some()
        {
            return Ok(Submitted::New);
        }
        if self.data.jobs.contains(&job_id, now) || self.data.logs.get(&job_id, now).is_some() {
            return refused("a job with this id exists");
        }
        let quotas = self.settings.quotas;
        if self.data.queue.len() >= quotas.queued_jobs {
            return Err(quotas.refusal(Quota::QueuedJobs, OPERATION));
        }
        if self.data.jobs.len() >= quotas.jobs {
            return Err(quotas.refusal(Quota::Jobs, OPERATION));
        }
        match self.commit(&commit, OPERATION, now)? {
            Appended::Appended => {}
            other => return refused(&format!("the log answers {other:?}")),
        }
        let queue = &mut self.data.queue;
        queue.enqueue(job_id.clone(), 0, claimant, due, now);
        if let Some(asked) = idempotency {
            let submissions = &mut self.data.submissions;
            let digest = asked.digest;
            let kept = store::Submitted { digest, job_id };
            submissions.insert(asked.key, kept, now + asked.lifetime);
            if submissions.len() > self.settings.max_idempotency_keys {
                submissions.remove_soonest();
            }
        }
        Ok(Submitted::New)
    }

    fn recall(&self, asked: &Idempotency, now: Instant) -> Option<Submitted> {
        let known = self.data.submissions.get(&asked.key, now)?;
        Some(if known.digest == asked.digest {
            Submitted::Existing(known.job_id.clone())
        } else {
            Submitted::KeyReused
        })
    }

    fn claimed(&self, lease: Lease, now: Instant) -> Claimed {
        let log = self.data.logs.get(&lease.job_id, now);
        let own = log.filter(|log| log.own);
        let job = own.and_then(|log| record::decode_job(&log.state).ok());
        Claimed { lease, job }
    }

    fn restore(&mut self, lease: &Lease, job: &Job, duration: Duration, now: Instant) -> bool {
        self.sweep(now);
        let id = &lease.job_id;
        let data = &mut self.data;
        let log = data.logs.get(id, now);
        // An external publisher has no say about a job of ours.
        let forged = job.own && log.is_some_and(|log| !log.own);
        let held = forged && data.queue.lease(id, &lease.token, now).is_some();
        if (log.is_some() && !forged)
            || (data.queue.contains(id) && !held)
            || data.jobs.contains(id, now)
        {
            return false;
        }
        if forged {
            data.forget_foreign(id);
        }
        let counted = lease.attempt.saturating_sub(1);
        let (token, end) = (lease.token.clone(), now + duration);
        let claimant = Claimant::of(job);
        data.queue.hold(id.clone(), counted, claimant, token, end);
        self.put_job_record(job, now);
        true
    }
}

/// How long until the job may run, when the store's clock says `time`.
fn wait_of(job: &Job, time: Timestamp) -> Duration {
    let run_at = job.schedule.run_at.map(Timestamp::as_micros);
    let wait = run_at.map_or(0, |run_at| run_at - time.as_micros());
    Duration::from_micros(wait.try_into().unwrap_or(0))
}

fn begins_a_job(commit: &Commit) -> bool {
    commit.job.own
        && commit.job.position.sequence == 1
        && commit.fence == Fence::Open
        && commit.effect == QueueEffect::Keep
        && commit.replaces.is_none()
}

#[async_trait]
impl JobQueue for Memory {
    async fn submit(&self, submission: Submission) -> Result<Submitted> {
        self.step(|store, now| store.submit(submission, now))
    }

    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        self.step(|store, now| Ok(store.recall(idempotency, now)))
    }

    async fn claim(
        &self,
        _worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Claimed>> {
        self.step(|store, now| {
            store.sweep(now);
            let lease = store.data.queue.claim(token, duration, now);
            Ok(lease.map(|lease| store.claimed(lease, now)))
        })
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        self.step(|store, now| store.find_lost(sweep, now))
    }

    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        self.step(|store, now| Ok(store.data.queue.renew(lease, duration, now)))
    }

    async fn expired(&self, limit: usize) -> Result<Vec<Lease>> {
        self.step(|store, now| Ok(store.data.queue.expired(limit, now)))
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        self.step(|store, now| Ok(store.data.queue.next_due(now)))
    }

    async fn places(&self, job_ids: &[JobId]) -> Result<Vec<Option<QueuePlace>>> {
        self.step(|store, now| Ok(store.data.queue.places(job_ids, now)))
    }

    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        self.step(|store, now| Ok(store.restore(lease, job, duration, now)))
    }
}
