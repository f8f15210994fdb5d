//! [`JobQueue`]: what waits, what is held, and until when.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use conch_domain::{Job, JobId, LeaseToken};
use conch_ports::{
    Commit, Error, ErrorKind, Fence, Idempotency, JobQueue, Lease, Published, QueueEffect, Quota,
    Result, Submission, Submitted, Sweep, Swept,
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::Memory;
use crate::store::{self, Store};

/// Every unfinished own job, either claimable from some moment on or held until some moment. None runs
/// out: a job goes when it ends, and a quota bounds how many there are.
#[derive(Default, Clone)]
pub(crate) struct Queue {
    entries: HashMap<JobId, Entry>,
    /// By token, the job that was last held under it.
    claimed: HashMap<LeaseToken, JobId>,
    /// By the moment since which each is claimable, then by arrival.
    waiting: BTreeSet<(Instant, u64, JobId)>,
    /// By the end of each lease.
    leased: BTreeSet<(Instant, JobId)>,
    arrivals: u64,
}

#[derive(Clone)]
struct Entry {
    /// Attempts that ended and counted.
    counted: u32,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Waiting { due: Instant, arrival: u64 },
    Leased { token: LeaseToken, end: Instant },
}

/// How a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Runs,
    /// It has run out, and the job hasn't been taken back.
    Expired,
}

impl Queue {
    fn entry(&self, job_id: &JobId) -> Option<&Entry> {
        self.entries.get(job_id)
    }

    /// How the job's lease stands, if it is the one with this token. One whose end was lost still runs: had
    /// another worker taken the job over, the entry would have another token.
    pub(crate) fn lease(
        &self,
        job_id: &JobId,
        token: &LeaseToken,
        now: Instant,
    ) -> Option<Standing> {
        match &self.entry(job_id)?.place {
            Place::Leased { token: held, end } if held == token => {
                let has_expired = *end <= now && self.leased.contains(&(*end, job_id.clone()));
                Some(if has_expired {
                    Standing::Expired
                } else {
                    Standing::Runs
                })
            }
            _ => None,
        }
    }

    pub(crate) fn holds(&self, job_id: &JobId, token: &LeaseToken, now: Instant) -> bool {
        self.lease(job_id, token, now) == Some(Standing::Runs)
    }

    /// Whether a worker holds the job, a lease that ran out and wasn't dealt with included.
    pub(crate) fn is_leased(&self, job_id: &JobId) -> bool {
        matches!(
            self.entry(job_id),
            Some(Entry {
                place: Place::Leased { .. },
                ..
            })
        )
    }

    fn enqueue(&mut self, job_id: JobId, counted: u32, due: Instant) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        self.waiting.insert((due, arrival, job_id.clone()));
        let place = Place::Waiting { due, arrival };
        self.entries.insert(job_id, Entry { counted, place });
    }

    fn hold(&mut self, job_id: JobId, counted: u32, token: LeaseToken, end: Instant) {
        self.leased.insert((end, job_id.clone()));
        self.claimed.insert(token.clone(), job_id.clone());
        let place = Place::Leased { token, end };
        self.entries.insert(job_id, Entry { counted, place });
    }

    /// Makes a job that is in the queue claimable from `due` on.
    pub(crate) fn requeue(&mut self, job_id: &JobId, due: Instant, counts: bool) {
        if let Some(entry) = self.take(job_id) {
            let ended = counts && matches!(entry.place, Place::Leased { .. });
            self.enqueue(job_id.clone(), entry.counted + u32::from(ended), due);
        }
    }

    pub(crate) fn remove(&mut self, job_id: &JobId) {
        drop(self.take(job_id));
    }

    /// The job that is held under the token, by a lease that runs: one whose end was lost included.
    fn held_under(&self, token: &LeaseToken, now: Instant) -> Option<JobId> {
        let claimed = self.claimed.get(token)?;
        self.holds(claimed, token, now).then(|| claimed.clone())
    }

    /// Loses a part of a job's place; for tests.
    pub(crate) fn lose(&mut self, job_id: &JobId, loss: Loss) {
        match loss {
            Loss::Entry => drop(self.take_entry(job_id)),
            Loss::Place => {
                self.waiting.retain(|(_, _, id)| id != job_id);
                self.leased.retain(|(_, id)| id != job_id);
            }
        }
    }

    /// Whether the job is where its entry says.
    fn is_in_place(&self, job_id: &JobId) -> bool {
        self.entry(job_id).is_some_and(|entry| match &entry.place {
            Place::Waiting { due, arrival } => {
                self.waiting.contains(&(*due, *arrival, job_id.clone()))
            }
            Place::Leased { end, .. } => self.leased.contains(&(*end, job_id.clone())),
        })
    }

    /// Puts back what is lost of an unfinished job's place.
    fn put_back(&mut self, job_id: &JobId, runs: bool, grace: Duration, now: Instant) {
        let entry = self.take_entry(job_id);
        let waits = self.waiting.iter().find(|(_, _, id)| id == job_id);
        let due = waits.map_or(now, |(due, ..)| *due);
        self.lose(job_id, Loss::Place);
        match entry {
            Some(Entry {
                counted,
                place: Place::Leased { token, .. },
            }) => self.hold(job_id.clone(), counted, token, now + grace),
            // No lease is known: it gets one that has run out, to be taken back.
            None if runs => {
                let token = LeaseToken::from_uuid(Uuid::now_v7());
                self.hold(job_id.clone(), 0, token, now);
            }
            entry => {
                let counted = entry.map_or(0, |entry| entry.counted);
                self.enqueue(job_id.clone(), counted, due);
            }
        }
    }

    /// Takes a job's entry out, and leaves its place as it is.
    fn take_entry(&mut self, job_id: &JobId) -> Option<Entry> {
        let entry = self.entries.remove(job_id)?;
        if let Place::Leased { token, .. } = &entry.place
            && self.claimed.get(token) == Some(job_id)
        {
            self.claimed.remove(token);
        }
        Some(entry)
    }

    fn take(&mut self, job_id: &JobId) -> Option<Entry> {
        let Some(entry) = self.take_entry(job_id) else {
            self.lose(job_id, Loss::Place);
            return None;
        };
        match entry.place {
            Place::Waiting { due, arrival } => {
                self.waiting.remove(&(due, arrival, job_id.clone()));
            }
            Place::Leased { end, .. } => {
                self.leased.remove(&(end, job_id.clone()));
            }
        }
        Some(entry)
    }
}

/// What a test takes from a job's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// What is known of its attempts and its lease.
    Entry,
    /// Its place among those that wait or are held.
    Place,
}

impl Store {
    fn find_lost(&mut self, sweep: &Sweep, now: Instant) -> Swept {
        let data = &mut self.data;
        let end = sweep.from.saturating_add(sweep.limit);
        let next = (end < data.unfinished.len()).then_some(end);
        let mut found = Vec::new();
        for (job_id, runs) in data.unfinished.iter().skip(sweep.from).take(sweep.limit) {
            if !data.queue.is_in_place(job_id) {
                data.queue.put_back(job_id, *runs, sweep.grace, now);
                found.push(job_id.clone());
            }
        }
        Swept { next, found }
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
        let known = idempotency
            .as_ref()
            .and_then(|asked| self.recall(asked, now));
        if let Some(known) = known {
            let again = known == Submitted::Existing(job_id);
            return Ok(if again { Submitted::New } else { known });
        }
        if let Some(log) = self.data.logs.get(&job_id, now)
            && log.place_of(&commit).is_some()
        {
            return Ok(Submitted::New);
        }
        if self.data.jobs.contains(&job_id, now) || self.data.logs.get(&job_id, now).is_some() {
            return refused("a job with this id exists");
        }
        let quotas = self.settings.quotas;
        if self.data.queue.entries.len() >= quotas.queued_jobs {
            return Err(quotas.refusal(Quota::QueuedJobs, OPERATION));
        }
        if self.data.jobs.len() >= quotas.jobs {
            return Err(quotas.refusal(Quota::Jobs, OPERATION));
        }
        match self.commit(commit, now)? {
            Published::Appended => {}
            other => return refused(&format!("the log answers {other:?}")),
        }
        self.data.queue.enqueue(job_id.clone(), 0, now);
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

    fn claim(&mut self, token: &LeaseToken, duration: Duration, now: Instant) -> Option<Lease> {
        self.sweep(now);
        let token = token.clone();
        let queue = &mut self.data.queue;
        let held = queue.held_under(&token, now);
        let job_id = if let Some(job_id) = held {
            job_id
        } else {
            let (due, _, job_id) = queue.waiting.first()?.clone();
            if due > now {
                return None;
            }
            job_id
        };
        // A place may stand in the order without its entry: then nothing is known of its attempts.
        let counted = queue.take(&job_id).map_or(0, |entry| entry.counted);
        queue.hold(job_id.clone(), counted, token.clone(), now + duration);
        Some(Lease {
            job_id,
            attempt: counted + 1,
            token,
        })
    }

    fn renew(&mut self, lease: &Lease, duration: Duration, now: Instant) -> bool {
        let queue = &mut self.data.queue;
        if !queue.holds(&lease.job_id, &lease.token, now) {
            return false;
        }
        let Some(entry) = queue.take(&lease.job_id) else {
            return false;
        };
        let (id, token) = (lease.job_id.clone(), lease.token.clone());
        queue.hold(id, entry.counted, token, now + duration);
        true
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
            || (data.queue.entry(id).is_some() && !held)
            || data.jobs.contains(id, now)
        {
            return false;
        }
        if forged {
            data.forget_foreign(id);
        }
        let counted = lease.attempt.saturating_sub(1);
        data.queue
            .hold(id.clone(), counted, lease.token.clone(), now + duration);
        self.put_job_record(job, now);
        true
    }
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
        self.step("job_queue.submit", |store, now| {
            store.submit(submission, now)
        })
    }

    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        self.step("job_queue.recall", |store, now| {
            Ok(store.recall(idempotency, now))
        })
    }

    async fn claim(
        &self,
        _worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Lease>> {
        self.step("job_queue.claim", |store, now| {
            Ok(store.claim(token, duration, now))
        })
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        self.step("job_queue.sweep", |store, now| {
            Ok(store.find_lost(sweep, now))
        })
    }

    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        self.step("job_queue.renew", |store, now| {
            Ok(store.renew(lease, duration, now))
        })
    }

    async fn expired(&self, limit: usize) -> Result<Vec<Lease>> {
        self.step("job_queue.expired", |store, now| {
            let queue = &store.data.queue;
            let ended = queue.leased.iter().take_while(|(end, _)| *end <= now);
            let lease = |(_, job_id): &(Instant, JobId)| match queue.entry(job_id)? {
                Entry {
                    counted,
                    place: Place::Leased { token, .. },
                } => Some(Lease {
                    job_id: job_id.clone(),
                    attempt: counted + 1,
                    token: token.clone(),
                }),
                _ => None,
            };
            Ok(ended.filter_map(lease).take(limit).collect())
        })
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        self.step("job_queue.next_due", |store, now| {
            let first = store.data.queue.waiting.first();
            Ok(first.map(|(due, _, _)| due.saturating_duration_since(now)))
        })
    }

    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        self.step("job_queue.restore", |store, now| {
            Ok(store.restore(lease, job, duration, now))
        })
    }
}
