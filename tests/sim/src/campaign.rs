//! Many runs, on as many threads as there are processors, each seed on one of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::chance::Chance;
use crate::check::{self, Counts};
use crate::explore::{Bounds, Explored, explore, scenarios};
use crate::plan::Plan;
use crate::planted::Planted;
use crate::run::{Outcome, run};

/// What many seeds brought.
#[derive(Debug, Default)]
pub struct Campaign {
    /// Seeds that were run.
    pub seeds: u64,
    /// Virtual time of all of them.
    pub virtual_time: Duration,
    /// Decisions that were made.
    pub decisions: u64,
    pub(crate) counts: Counts,
    /// Of each run that had to heal, how long it took from the last fault to the last watcher's end, and
    /// how long it may take, in virtual milliseconds.
    pub recoveries: Vec<(u64, u64)>,
    /// Of each run that had to heal, how long the last watcher waited for an end that stood in the log.
    pub tellings: Vec<u64>,
    /// What went wrong, by seed.
    pub failures: BTreeMap<u64, Vec<String>>,
}

/// A planted bug that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// How many seeds it took.
    pub seeds: u64,
    /// The invariant that it broke, and how that showed.
    pub violation: String,
}

fn one(seed: u64, planted: Option<Planted>, tell: bool) -> (Plan, Outcome) {
    let plan = Plan::from_seed(seed);
    let outcome = run(
        plan.clone(),
        planted,
        |plan| Box::new(Chance::new(plan)),
        tell,
    );
    (plan, outcome)
}

fn words(outcome: &Outcome) -> Vec<String> {
    let violations = outcome.verdict.violations.iter();
    violations
        .map(|v| format!("{} at {} ms: {}", v.invariant, v.at, v.what))
        .collect()
}

/// Calls `each` for every number from `first` on, `count` of them, on all processors, until it says
/// that this is enough.
fn on_all_processors(first: u64, count: u64, each: impl Fn(u64) -> bool + Sync) {
    let (next, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count || each(first + n) {
                        enough.store(n < count, Ordering::Relaxed);
                        break;
                    }
                }
            });
        }
    });
}

/// Runs `count` seeds from `first` on.
pub fn run_seeds(first: u64, count: u64) -> Campaign {
    let campaign = Mutex::new(Campaign::default());
    on_all_processors(first, count, |seed| {
        let (plan, outcome) = one(seed, None, false);
        let mut campaign = campaign.lock();
        campaign.seeds += 1;
        campaign.virtual_time += outcome.lasted;
        campaign.decisions += outcome.steps;
        campaign.counts.add(&outcome.verdict.counts);
        if !plan.chaos.is_zero() {
            let bound = check::patience(&plan).as_millis() as u64;
            campaign
                .recoveries
                .push((outcome.verdict.counts.recovery, bound));
            campaign.tellings.push(outcome.verdict.counts.telling);
        }
        if !outcome.verdict.violations.is_empty() {
            campaign.failures.insert(seed, words(&outcome));
        }
        false
    });
    let mut campaign = campaign.into_inner();
    campaign.recoveries.sort_unstable();
    campaign.tellings.sort_unstable();
    campaign
}

/// Runs seeds from `first` on with the bug until one shows it, at most `most`.
pub fn find(planted: Planted, first: u64, most: u64) -> Option<Found> {
    let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
    on_all_processors(first, most, |seed| {
        let (_, outcome) = one(seed, Some(planted), false);
        let Some(violation) = words(&outcome).into_iter().next() else {
            return false;
        };
        let mut found = found.lock();
        if found.as_ref().is_none_or(|(known, _)| seed < *known) {
            *found = Some((seed, violation));
        }
        true
    });
    found.into_inner().map(|(seed, violation)| Found {
        seeds: seed - first + 1,
        violation,
    })
}

/// Explores every small system up to so many states each, each for at most `limit`.
pub fn explore_all(states: u64, limit: Duration) -> Vec<Explored> {
    let scenarios = scenarios();
    let explored: Mutex<BTreeMap<u64, Explored>> = Mutex::default();
    on_all_processors(0, scenarios.len() as u64, |n| {
        let bounds = Bounds {
            states,
            until: Instant::now() + limit,
        };
        let one = explore(&scenarios[n as usize], None, bounds);
        explored.lock().insert(n, one);
        false
    });
    explored.into_inner().into_values().collect()
}

/// Explores the small systems with the bug in them, each for at most `limit`, until one shows it.
pub fn find_by_exploring(planted: Planted, states: u64, limit: Duration) -> Option<Explored> {
    let mut runs = 0;
    for scenario in scenarios() {
        let until = Instant::now() + limit;
        let mut explored = explore(&scenario, Some(planted), Bounds { states, until });
        runs += explored.runs;
        if !explored.violations.is_empty() {
            explored.runs = runs;
            return Some(explored);
        }
    }
    None
}

/// One run in full.
#[derive(Debug, PartialEq, Eq)]
pub struct Replay {
    /// What the seed stands for.
    pub plan: String,
    /// Every decision and all that came of it, in order.
    pub lines: Vec<String>,
    /// What went wrong.
    pub violations: Vec<String>,
}

/// Runs a seed and tells all of it.
pub fn replay(seed: u64, planted: Option<Planted>) -> Replay {
    let (plan, outcome) = one(seed, planted, true);
    let violations = words(&outcome);
    let decisions = outcome.schedule.into_iter();
    let happened = outcome.records.iter();
    let happened = happened.map(|r| (r.at, 1, format!("{:>7}         {:?}", r.at, r.what)));
    let mut lines: Vec<(u64, u8, String)> = decisions.map(|(at, line)| (at, 0, line)).collect();
    lines.extend(happened);
    lines.sort_by_key(|(at, kind, _)| (*at, *kind));
    Replay {
        plan: format!("{plan:?}"),
        lines: lines.into_iter().map(|(_, _, line)| line).collect(),
        violations,
    }
}
