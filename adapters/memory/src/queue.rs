//! What waits, what is held, and until when. Never in here: a log, a record, a key of a caller.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use conch_domain::{JobId, LeaseToken};
use conch_ports::{Lease, QueuePlace};
use tokio::time::Instant;
use uuid::Uuid;

use crate::waiting::{Claimant, Waiting};

/// Every unfinished own job, either claimable from some moment on or held until some moment. None runs
/// out: a job goes when it ends, and a quota bounds how many there are.
#[derive(Default, Clone)]
pub(crate) struct Queue {
    entries: HashMap<JobId, Entry>,
    /// By token, the job that was last held under it.
    claimed: HashMap<LeaseToken, JobId>,
    waiting: Waiting,
    /// By the end of each lease.
    leased: BTreeSet<(Instant, JobId)>,
}

#[derive(Clone)]
pub(crate) struct Entry {
    /// Attempts that ended and counted.
    counted: u32,
    claimant: Claimant,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Waiting,
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
    /// How many jobs wait or are held.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, job_id: &JobId) -> bool {
        self.entries.contains_key(job_id)
    }

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

    /// Adds a job that waits.
    pub(crate) fn enqueue(
        &mut self,
        job_id: JobId,
        counted: u32,
        claimant: Claimant,
        due: Instant,
        now: Instant,
    ) {
        self.waiting.add(job_id.clone(), claimant.clone(), due, now);
        let entry = Entry {
            counted,
            claimant,
            place: Place::Waiting,
        };
        self.entries.insert(job_id, entry);
    }

    /// Adds a job that is held.
    pub(crate) fn hold(
        &mut self,
        job_id: JobId,
        counted: u32,
        claimant: Claimant,
        token: LeaseToken,
        end: Instant,
    ) {
        self.leased.insert((end, job_id.clone()));
        self.claimed.insert(token.clone(), job_id.clone());
        let entry = Entry {
            counted,
            claimant,
            place: Place::Leased { token, end },
        };
        self.entries.insert(job_id, entry);
    }

    /// Takes the next job under the token, or answers again what was claimed under it.
    pub(crate) fn claim(
        &mut self,
        token: &LeaseToken,
        duration: Duration,
        now: Instant,
    ) -> Option<Lease> {
        let (job_id, claimant) = match self.held_under(token, now) {
            Some(held) => held,
            None => self.waiting.take_next(now)?,
        };
        // A place may stand in the order without its entry: then nothing is known of its attempts.
        let counted = self.take(&job_id).map_or(0, |entry| entry.counted);
        let end = now + duration;
        self.hold(job_id.clone(), counted, claimant, token.clone(), end);
        Some(Lease {
            job_id,
            attempt: counted + 1,
            token: token.clone(),
        })
    }

    pub(crate) fn renew(&mut self, lease: &Lease, duration: Duration, now: Instant) -> bool {
        if !self.holds(&lease.job_id, &lease.token, now) {
            return false;
        }
        let Some(entry) = self.take(&lease.job_id) else {
            return false;
        };
        let (id, token) = (lease.job_id.clone(), lease.token.clone());
        self.hold(id, entry.counted, entry.claimant, token, now + duration);
        true
    }

    /// The leases that have run out, oldest first.
    pub(crate) fn expired(&self, limit: usize, now: Instant) -> Vec<Lease> {
        let ended = self.leased.iter().take_while(|(end, _)| *end <= now);
        let lease = |(_, job_id): &(Instant, JobId)| match self.entry(job_id)? {
            Entry {
                counted,
                place: Place::Leased { token, .. },
                ..
            } => Some(Lease {
                job_id: job_id.clone(),
                attempt: counted + 1,
                token: token.clone(),
            }),
            _ => None,
        };
        ended.filter_map(lease).take(limit).collect()
    }

    /// How long until the next job is claimable; none if none waits.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Duration> {
        self.waiting.next_due(now)
    }

    /// The place of each job that is due.
    pub(crate) fn places(&mut self, job_ids: &[JobId], now: Instant) -> Vec<Option<QueuePlace>> {
        self.waiting.places(job_ids, now)
    }

    /// Makes a job that is in the queue claimable after a while.
    pub(crate) fn requeue(&mut self, job_id: &JobId, after: Duration, counts: bool, now: Instant) {
        if let Some(entry) = self.take(job_id) {
            let ended = counts && matches!(entry.place, Place::Leased { .. });
            let counted = entry.counted + u32::from(ended);
            self.enqueue(job_id.clone(), counted, entry.claimant, now + after, now);
        }
    }

    pub(crate) fn remove(&mut self, job_id: &JobId) {
        drop(self.take(job_id));
    }

    /// The job that is held under the token, by a lease that runs: one whose end was lost included.
    fn held_under(&self, token: &LeaseToken, now: Instant) -> Option<(JobId, Claimant)> {
        let claimed = self.claimed.get(token)?;
        let entry = self.entry(claimed)?;
        self.holds(claimed, token, now)
            .then(|| (claimed.clone(), entry.claimant.clone()))
    }

    /// Whether the job is where its entry says.
    pub(crate) fn is_in_place(&self, job_id: &JobId) -> bool {
        self.entry(job_id).is_some_and(|entry| match &entry.place {
            Place::Waiting => self.waiting.contains(job_id),
            Place::Leased { end, .. } => self.leased.contains(&(*end, job_id.clone())),
        })
    }

    /// Puts back what is lost of the place of an unfinished job, which may run after a `wait` by its record.
    pub(crate) fn put_back(&mut self, lost: &Lost<'_>, grace: Duration, now: Instant) {
        let job_id = lost.job_id;
        let entry = self.take_entry(job_id);
        let due = self.waiting.due(job_id).unwrap_or(now + lost.wait);
        self.take_place(job_id);
        let claimant = lost.claimant.clone();
        match entry {
            Some(Entry {
                counted,
                place: Place::Leased { token, .. },
                ..
            }) => self.hold(job_id.clone(), counted, claimant, token, now + grace),
            // No lease is known: it gets one that has run out, to be taken back.
            None if lost.runs => {
                let token = LeaseToken::from_uuid(Uuid::now_v7());
                self.hold(job_id.clone(), 0, claimant, token, now);
            }
            entry => {
                let counted = entry.map_or(0, |entry| entry.counted);
                self.enqueue(job_id.clone(), counted, claimant, due, now);
            }
        }
    }

    /// Takes a job out of those that wait or are held, and leaves its entry as it is.
    pub(crate) fn take_place(&mut self, job_id: &JobId) {
        self.waiting.remove(job_id);
        self.leased.retain(|(_, id)| id != job_id);
    }

    /// Takes a job's entry out, and leaves its place as it is.
    pub(crate) fn take_entry(&mut self, job_id: &JobId) -> Option<Entry> {
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
            self.take_place(job_id);
            return None;
        };
        match entry.place {
            Place::Waiting => self.waiting.remove(job_id),
            Place::Leased { end, .. } => {
                self.leased.remove(&(end, job_id.clone()));
            }
        }
        Some(entry)
    }
}

/// An unfinished job that isn't where it belongs, by its record.
pub(crate) struct Lost<'a> {
    pub(crate) job_id: &'a JobId,
    /// Whether a worker runs it.
    pub(crate) runs: bool,
    pub(crate) claimant: Claimant,
    /// How long until it may run.
    pub(crate) wait: Duration,
}
