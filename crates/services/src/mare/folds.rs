//! The latest folds of external jobs, so that a further event is offered without reading its job's log first.
//!
//! Never in here: a last word. A fold that is behind can't be appended to; that an event is illegal, or that its
//! log has ended, is only said after a read.

use std::sync::Arc;

use conch_domain::{Job, JobId};
use conch_wire::envelope::Sealed;
use quick_cache::{Weighter, sync::Cache};

use crate::mare::following::follow;

/// Jobs whose folds are kept.
const JOBS: usize = 10_000;
/// Bytes of them.
const BYTES: u64 = 16 * 1024 * 1024;
/// What a fold costs beside its texts.
const OVERHEAD: usize = 1024;
/// What an id in a list costs.
const PER_ID: usize = 64;

/// Folds at the end of their logs, as far as is known.
pub(crate) struct Folds(Cache<JobId, Arc<Job>, Weigh>);

impl Default for Folds {
    fn default() -> Self {
        Self(Cache::with_weighter(JOBS, BYTES, Weigh))
    }
}

impl Folds {
    pub(crate) fn get(&self, job_id: &JobId) -> Option<Job> {
        self.0.get(job_id).map(|job| (*job).clone())
    }

    /// Keeps the fold of an external job that goes on; forgets one that has ended, so that what comes after its
    /// end begins with a read.
    pub(crate) fn keep(&self, job: Job) {
        if job.own || job.status.is_terminal() {
            self.0.remove(&job.id);
        } else {
            self.0.insert(job.id.clone(), Arc::new(job));
        }
    }

    /// Brings a fold that is kept up to events that another process says it has appended, sealed; forgets it where
    /// they stand beyond a gap.
    pub(crate) fn hear(&self, sealed: &Sealed) {
        let Some(kept) = self.0.get(&sealed.job_id) else {
            return;
        };
        let head = kept.position;
        let is_behind = head.epoch != sealed.last.epoch || head.sequence < sealed.last.sequence;
        let is_genuine = || {
            kept.secret
                .is_some_and(|secret| sealed.is_made_with(&secret))
        };
        if !is_behind || !is_genuine() {
            return;
        }
        match follow((*kept).clone(), sealed.last, &sealed.lines) {
            Some(log) => self.keep(log.job),
            None => self.forget(&sealed.job_id),
        }
    }

    /// The job's log was read just now.
    pub(crate) fn see(&self, job_id: &JobId, found: Option<&Job>) {
        match found {
            Some(job) => self.keep(job.clone()),
            None => self.forget(job_id),
        }
    }

    fn forget(&self, job_id: &JobId) {
        self.0.remove(job_id);
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<JobId, Arc<Job>> for Weigh {
    fn weight(&self, _: &JobId, job: &Arc<Job>) -> u64 {
        let texts = job.attempts.failed.values().chain(&job.error_message);
        let texts: usize = texts.map(String::len).sum();
        let places = job.attempts.lost.len() + job.attempts.failed.len();
        let ids = job.template_ids.len() + job.past.len() + places;
        // An entry at least, so that both bounds hold.
        (OVERHEAD + texts + ids * PER_ID).max(BYTES as usize / JOBS) as u64
    }
}

#[cfg(test)]
mod tests {
    use conch_domain::{Attempts, JobRecord, JobStatus};

    use super::*;

    fn job(n: usize, status: JobStatus, ids: usize) -> Job {
        let epoch = "5f3a9c1e".parse().expect("an epoch");
        let id: JobId = format!("j{n}").parse().expect("an id");
        Job::restore(JobRecord {
            status,
            template_ids: (0..ids)
                .map(|n| format!("t{n}").parse().expect("an id"))
                .collect(),
            ..(*Job::initial(id, epoch, false)).clone()
        })
    }

    #[test]
    fn one_that_has_ended_is_forgotten() {
        let folds = Folds::default();
        let running = job(1, JobStatus::Running, 0);
        folds.keep(running.clone());
        assert_eq!(folds.get(&running.id), Some(running.clone()));
        folds.keep(job(1, JobStatus::Failed, 0));
        assert_eq!(folds.get(&running.id), None);
    }

    /// Why each of many templates failed is most of such a fold.
    #[test]
    fn reasons_count_as_bytes() {
        const REASON: usize = 300;
        let folds = Folds::default();
        let failed = (1..=64).map(|place| (place, "r".repeat(REASON))).collect();
        let attempts = Attempts {
            failed,
            ..Attempts::default()
        };
        for n in 0..2000 {
            folds.keep(Job::restore(JobRecord {
                attempts: attempts.clone(),
                ..(*job(n, JobStatus::Running, 0)).clone()
            }));
        }
        let all = folds.0.len();
        assert!(all > 0 && all * 64 * REASON <= BYTES as usize, "{all}");
    }

    #[test]
    fn there_are_so_many_and_so_many_bytes() {
        for (ids, count, fewest) in [(0, 2 * JOBS, JOBS / 2), (1000, 600, 100)] {
            let folds = Folds::default();
            for n in 0..count {
                folds.keep(job(n, JobStatus::Running, ids));
            }
            let all = folds.0.len();
            assert!(all <= JOBS && folds.0.weight() <= BYTES, "{all}");
            assert!(all >= fewest && all < count, "{all} of {count}");
        }
    }
}
