//! What waits, in the order of its jobs' turns, and what it costs.
//!
//! Never in here: waiting for more, or an event of a job of which one is being offered.

use std::collections::{BTreeSet, HashMap, VecDeque};

use conch_domain::JobId;

use super::weight::{OVERHEAD, Waiting};
use super::{Bounds, Due};

/// How many events a push cost: of the same job or of others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// A later one says all that they said.
    pub(crate) superseded: usize,
    /// There was no room for them.
    pub(crate) overflow: usize,
}

/// What waits of one job.
#[derive(Default)]
pub(super) struct Job {
    pub(super) events: VecDeque<Waiting>,
    pub(super) bytes: usize,
    owed: bool,
}

/// All that waits.
#[derive(Default)]
pub(super) struct State {
    pub(super) jobs: HashMap<JobId, Job>,
    /// Jobs with something due of which nothing is being offered, in the order of their turns.
    turns: VecDeque<JobId>,
    /// Jobs that have events waiting which may be dropped, by the bytes of all that waits.
    heaviest: BTreeSet<(usize, JobId)>,
    /// Of all events and jobs.
    pub(super) bytes: usize,
    pub(super) closed: bool,
}

impl State {
    /// Lets an event wait, if there is or can be made room for it.
    pub(super) fn push(&mut self, bounds: Bounds, job_id: &JobId, waiting: Waiting) -> Dropped {
        let mut dropped = Dropped::default();
        if waiting.is_progress() {
            dropped.superseded = self.drop_from(job_id, |earlier| waiting.supersedes(earlier));
        }
        let is_vital = waiting.is_vital();
        let mut cost = waiting.cost();
        if !self.jobs.contains_key(job_id) {
            cost += OVERHEAD;
        }
        let of_job = |state: &Self| state.jobs.get(job_id).map_or(0, |job| job.bytes);
        if is_vital && of_job(self) + cost > bounds.bytes_per_job {
            dropped.overflow += self.drop_from(job_id, |waiting| !waiting.is_vital());
        }
        // The job that uses most makes room: for a vital event always, else for a job that uses less.
        while self.bytes + cost > bounds.bytes {
            let heaviest = self.heaviest.last().cloned();
            let Some((bytes, heaviest)) =
                heaviest.filter(|(bytes, _)| is_vital || *bytes > of_job(self) + cost)
            else {
                break;
            };
            let before = self.bytes;
            dropped.overflow += self.drop_one(&heaviest);
            debug_assert!(
                self.bytes < before,
                "some of {bytes} bytes of {heaviest} could go"
            );
        }
        let fits = of_job(self) + cost <= bounds.bytes_per_job && self.bytes + cost <= bounds.bytes;
        if fits {
            self.job(job_id).events.push_back(waiting);
            self.add(job_id, cost);
        } else {
            dropped.overflow += 1;
            // The mark is small. Where not even that has room, Triton is asked as if it hadn't answered.
            let is_known = self.jobs.contains_key(job_id);
            if is_vital && (is_known || self.bytes + OVERHEAD <= bounds.bytes) {
                self.job(job_id).owed = true;
                if !is_known {
                    self.bytes += OVERHEAD;
                }
            }
        }
        dropped
    }

    /// The job, which gets a turn if it is new here.
    fn job(&mut self, job_id: &JobId) -> &mut Job {
        let turns = &mut self.turns;
        self.jobs.entry(job_id.clone()).or_insert_with(|| {
            turns.push_back(job_id.clone());
            Job::default()
        })
    }

    /// An event was added that costs so much, its job's own place included if that is new.
    fn add(&mut self, job_id: &JobId, cost: usize) {
        self.bytes += cost;
        self.change(job_id, |job| {
            job.bytes += job.events.back().map_or(0, Waiting::cost);
        });
    }

    /// Changes what waits of a job, and lists it anew.
    fn change<T>(&mut self, job_id: &JobId, change: impl FnOnce(&mut Job) -> T) -> Option<T> {
        let job = self.jobs.get_mut(job_id)?;
        let before = (job.bytes, job_id.clone());
        let answer = change(job);
        let can_drop = job.events.iter().any(|waiting| !waiting.is_vital());
        let after = (job.bytes, job_id.clone());
        self.heaviest.remove(&before);
        if can_drop {
            self.heaviest.insert(after);
        }
        Some(answer)
    }

    /// Takes the events that `is_chosen` picks out of a job's. How many they were.
    fn drop_from(&mut self, job_id: &JobId, is_chosen: impl Fn(&Waiting) -> bool) -> usize {
        let freed = self.change(job_id, |job| {
            let (count, bytes) = (job.events.len(), job.bytes);
            job.events.retain(|waiting| !is_chosen(waiting));
            job.bytes = job.events.iter().map(Waiting::cost).sum();
            (count - job.events.len(), bytes - job.bytes)
        });
        let (count, bytes) = freed.unwrap_or_default();
        self.bytes -= bytes;
        count
    }

    /// Takes the oldest of a job's events out that may be dropped.
    fn drop_one(&mut self, job_id: &JobId) -> usize {
        let freed = self.change(job_id, |job| {
            let at = job.events.iter().position(|waiting| !waiting.is_vital());
            let gone = at.and_then(|at| job.events.remove(at));
            let bytes = gone.map_or(0, |waiting| waiting.cost());
            job.bytes -= bytes;
            bytes
        });
        self.bytes -= freed.unwrap_or_default();
        usize::from(freed.is_some_and(|bytes| bytes > 0))
    }

    /// What is due next.
    pub(super) fn take(&mut self) -> Option<(JobId, Due)> {
        loop {
            let job_id = self.turns.pop_front()?;
            let taken = self.change(&job_id, |job| {
                let event = job.events.pop_front();
                job.bytes -= event.as_ref().map_or(0, Waiting::cost);
                // Asked once all that waits has been told.
                let owed = event.is_none() && std::mem::take(&mut job.owed);
                (event, owed)
            });
            match taken {
                Some((Some(event), _)) => {
                    self.bytes -= event.cost();
                    return Some((job_id, Due::Event(event.heard)));
                }
                Some((None, true)) => return Some((job_id, Due::Owed)),
                // All that waited of it was dropped meanwhile.
                Some((None, false)) => {
                    self.jobs.remove(&job_id);
                    self.bytes -= OVERHEAD;
                }
                None => {}
            }
        }
    }

    /// What was due of the job is done. Whether more of it is due.
    pub(super) fn done(&mut self, job_id: &JobId) -> bool {
        let Some(job) = self.jobs.get(job_id) else {
            return false;
        };
        let is_more_due = !job.events.is_empty() || job.owed;
        if is_more_due {
            self.turns.push_back(job_id.clone());
        } else {
            self.jobs.remove(job_id);
            self.bytes -= OVERHEAD;
        }
        is_more_due
    }

    /// Whether a job has its turn.
    pub(super) fn is_any_due(&self) -> bool {
        !self.turns.is_empty()
    }
}
