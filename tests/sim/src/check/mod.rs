//! The checker: reads the history of a run and judges the invariants by their names. It has its own
//! reader of streams and its own fold, and shares no line of code with what it judges.
//!
//! Never in here: anything that is asked of the system while it runs, but whether all is over.

mod announced;
mod cursor;
mod leases;
mod ledger;
mod logs;
mod many;
mod one;
mod prompt;
mod results;
mod settled;
mod submissions;

use std::time::Duration;

use crate::history::{Millis, Record};
use crate::plan::{self, Loss, Plan};
use crate::store::at_once;
use crate::world::World;
use ledger::Ledger;

/// Something that must never happen, and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The invariant's name.
    pub(crate) invariant: &'static str,
    pub(crate) at: Millis,
    pub(crate) what: String,
}

/// What is to be said of a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    pub(crate) counts: Counts,
}

/// What happened, in numbers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) crashes: u64,
    pub(crate) drains: u64,
    pub(crate) disturbances: u64,
    pub(crate) losses: u64,
    pub(crate) jobs: u64,
    pub(crate) streams: u64,
    pub(crate) ends_seen: u64,
    pub(crate) resets: u64,
    /// Streams that were told that their job went on after a failure.
    pub(crate) reopened: u64,
    pub(crate) records_lost: u64,
    /// From the healing to the last watcher's end.
    pub(crate) recovery: Millis,
    /// From the healing, or from a job's end if that came later, to the end of the last of its watchers.
    pub(crate) telling: Millis,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.drains += other.drains;
        self.disturbances += other.disturbances;
        self.losses += other.losses;
        self.jobs += other.jobs;
        self.streams += other.streams;
        self.ends_seen += other.ends_seen;
        self.resets += other.resets;
        self.reopened += other.reopened;
        self.records_lost += other.records_lost;
        self.recovery = self.recovery.max(other.recovery);
        self.telling = self.telling.max(other.telling);
    }
}

/// What judges.
pub(crate) struct Court<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) records: &'a [Record],
    pub(crate) ledger: Ledger,
    pub(crate) found: Vec<Violation>,
}

impl Court<'_> {
    pub(crate) fn blame(&mut self, invariant: &'static str, at: Millis, what: impl Into<String>) {
        self.found.push(Violation {
            invariant,
            at,
            what: what.into(),
        });
    }
}

/// T: what the promise names.
pub(crate) const PROMISED: Duration = Duration::from_secs(
    plan::LEASE.as_secs() + plan::POSITION_CHECK.as_secs() + plan::BACKOFF_CAP.as_secs(),
);

/// The bound of I8: T, and what has still to be done.
pub(crate) fn patience(plan: &Plan) -> Duration {
    // The reaper's look, the queue's, the gap between two connections.
    let looks = plan::LEASE / 2 + plan::POLL + 3 * plan::RETRY;
    let attempts = if plan.templates_fail > 0 {
        plan::MAX_ATTEMPTS * plan::TEMPLATE_TRIES
    } else {
        1
    };
    let work =
        attempts * (7 * plan.pace + plan::BACKOFF_CAP) + Duration::from_secs(2 * plan.jobs as u64);
    let lost = if plan.loss == Loss::Nothing {
        Duration::ZERO
    } else {
        plan::RECORD_LOST
    };
    PROMISED + looks + work + lost
}

/// Whether every job that anybody was told of has ended, as far as the store knows.
pub(crate) fn all_ended(world: &World, known: &[conch_domain::JobId]) -> bool {
    known.iter().all(|id| {
        let log = at_once(world.store.log.read(id, 0, 0)).ok().flatten();
        log.is_none_or(|log| log.job.status.is_terminal())
    })
}

/// What the run's history shows. `endless` says that the run was stopped before it was over.
pub(crate) fn judge(plan: &Plan, records: &[Record], endless: bool) -> Verdict {
    let (ledger, found) = Ledger::read(records);
    let mut court = Court {
        plan,
        records,
        ledger,
        found,
    };
    if endless {
        let at = records.last().map_or(0, |record| record.at);
        court.blame("I8", at, "the run goes round in circles");
    }
    logs::judge(&mut court);
    one::judge(&mut court);
    many::judge(&mut court);
    results::judge(&mut court);
    leases::judge(&mut court);
    submissions::judge(&mut court);
    prompt::judge(&mut court);
    announced::judge(&mut court);
    let counts = settled::judge(&mut court);
    court.found.sort_by_key(|violation| violation.at);
    Verdict {
        violations: court.found,
        counts,
    }
}
