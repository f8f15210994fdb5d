//! The small systems that are explored.

use std::time::Duration;

use crate::plan::{Loss, Odds, Plan};

/// A small system, and what may go wrong in it.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) plan: Plan,
    /// Unusual decisions per run, at most.
    pub(crate) depth: usize,
    /// Calls may fail, or their answers be lost.
    pub(crate) fails: bool,
    /// Calls may be held up until a lease has run out.
    pub(crate) holds: bool,
    /// Programs may die.
    pub(crate) crashes: bool,
    /// Announcements may be lost.
    pub(crate) loses: bool,
}

fn small(workers: usize, apis: usize) -> Plan {
    Plan {
        seed: 1,
        workers,
        apis,
        jobs: 1,
        spread: Duration::ZERO,
        pace: Duration::from_millis(5),
        templates_fail: 0,
        watchers_per_job: 1,
        named_watchers: 0,
        open_watchers: 0,
        pollers: 0,
        cancellers: 0,
        foreign_jobs: 0,
        foreign_known: true,
        forger: false,
        silent_loss: false,
        announces_beside: false,
        loss: Loss::Nothing,
        losses: 0,
        kills: 1,
        history_limit: 100,
        skew_minutes: 0,
        odds: Odds::QUIET,
        chaos: Duration::from_secs(2),
        hurry: true,
    }
}

/// The small systems that are explored.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let usual = Scenario {
        name: "a job, two workers, an edge: calls fail, programs die",
        plan: small(2, 1),
        depth: 2,
        fails: true,
        holds: false,
        crashes: true,
        loses: false,
    };
    let many = |scenario: Scenario, change: fn(&mut Plan)| {
        let mut scenario = scenario;
        change(&mut scenario.plan);
        scenario
    };
    vec![
        usual.clone(),
        many(
            Scenario {
                name: "a job that is announced beside the log: calls fail, programs die",
                ..usual.clone()
            },
            |plan| plan.announces_beside = true,
        ),
        many(
            Scenario {
                name: "two edges, two watchers each: announcements lost, late, out of turn",
                plan: small(2, 2),
                fails: false,
                crashes: false,
                loses: true,
                ..usual.clone()
            },
            |plan| plan.watchers_per_job = 2,
        ),
        Scenario {
            name: "writes that come when the lease has run out",
            plan: small(2, 1),
            fails: false,
            holds: true,
            ..usual.clone()
        },
        many(
            Scenario {
                name: "somebody cancels",
                ..usual.clone()
            },
            |plan| plan.cancellers = 1,
        ),
        many(
            Scenario {
                name: "an external job on two edges",
                plan: small(1, 2),
                loses: true,
                ..usual.clone()
            },
            |plan| {
                plan.jobs = 0;
                plan.foreign_jobs = 1;
            },
        ),
        many(
            Scenario {
                name: "the store forgets everything once",
                fails: false,
                ..usual.clone()
            },
            |plan| {
                plan.loss = Loss::All;
                plan.losses = 1;
            },
        ),
        many(
            Scenario {
                name: "the store loses the end of a log once",
                fails: false,
                ..usual.clone()
            },
            |plan| {
                plan.loss = Loss::Tail;
                plan.losses = 1;
            },
        ),
        many(
            Scenario {
                name: "several jobs on one stream",
                crashes: false,
                loses: true,
                ..usual
            },
            |plan| {
                plan.named_watchers = 1;
                plan.open_watchers = 1;
            },
        ),
    ]
}
