//! All decisions of small systems, one after the other. A run is a path of decisions: the usual one at
//! each point, but for a few. From each state that wasn't seen before every other decision is tried.
//!
//! The state of a run lives in its tasks and can't be copied, so a path is run anew from its beginning.

mod scenarios;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conch_ports::ErrorKind;
use parking_lot::Mutex;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::board::Stage;
use crate::check::Violation;
use crate::moves::{Chooser, Lost, Move, View};
use crate::plan::{LEASE, Loss, Plan};
use crate::planted::Planted;
use crate::process::Role;
use crate::run::run;
pub(crate) use scenarios::{Scenario, scenarios};

/// What came of a scenario.
#[derive(Debug, Clone)]
pub struct Explored {
    /// Its name.
    pub name: &'static str,
    /// Paths that were run.
    pub runs: u64,
    /// Distinct states.
    pub states: u64,
    /// Decisions, those of the paths' beginnings included.
    pub decisions: u64,
    /// Whether nothing is left to try up to the scenario's depth.
    pub exhausted: bool,
    /// What went wrong, with the path that leads there.
    pub violations: Vec<String>,
}

/// Which decision at which point; at all other points the first.
type Path = Vec<(usize, usize)>;

/// What one run saw.
#[derive(Default)]
struct Seen {
    /// At each point: the state, and how many decisions there were.
    points: Vec<(u64, usize)>,
}

struct Systematic {
    scenario: Scenario,
    path: Path,
    seen: Arc<Mutex<Seen>>,
    kills: u32,
    losses: u32,
}

impl Chooser for Systematic {
    fn choose(&mut self, view: &View) -> Move {
        let mut moves = self.moves(view);
        let point = {
            let mut seen = self.seen.lock();
            seen.points.push((view.state, moves.len()));
            seen.points.len() - 1
        };
        let choice = self.path.iter().find(|(at, _)| *at == point);
        let choice = choice.map_or(0, |(_, choice)| *choice);
        let decided = moves.swap_remove(choice.min(moves.len() - 1));
        match decided {
            Move::Crash(_) | Move::CrashLate(_) => self.kills = self.kills.saturating_sub(1),
            Move::Lose(_) => self.losses = self.losses.saturating_sub(1),
            _ => {}
        }
        decided
    }

    fn wants_state(&self) -> bool {
        true
    }
}

impl Systematic {
    /// What can be decided; the usual thing first: whatever has waited longest goes on.
    fn moves(&self, view: &View) -> Vec<Move> {
        let mut usual = Vec::new();
        let mut faults = Vec::new();
        for call in &view.calls {
            usual.push(match call.stage {
                Stage::Asked => Move::CarryOut(call.id),
                Stage::Answered => Move::Deliver(call.id),
            });
            if view.healed {
                continue;
            }
            if !call.awaited {
                faults.push(Move::Discard(call.id));
            }
            if self.scenario.fails && call.awaited {
                faults.push(Move::Fail(call.id, ErrorKind::Unavailable));
            }
            if self.scenario.holds && call.stage == Stage::Asked {
                faults.push(Move::Hold(call.id, LEASE + Duration::from_secs(1)));
                faults.push(Move::GiveUp(call.id));
            }
        }
        for line in &view.lines {
            for index in 0..line.waiting {
                let to = line.id;
                // What has no number keeps its place among its like.
                let first = line.numbered.iter().position(|numbered| !numbered);
                if line.numbered[index] || first == Some(index) {
                    usual.push(Move::Announce {
                        to,
                        index,
                        again: false,
                    });
                }
            }
            if line.lapsed {
                usual.push(Move::Lapse(line.id));
            }
            if !view.healed && self.scenario.loses && line.waiting > 0 {
                faults.push(Move::LoseAnnouncement {
                    to: line.id,
                    index: 0,
                    told_after: Some(Duration::from_millis(500)),
                });
                faults.push(Move::Announce {
                    to: line.id,
                    index: 0,
                    again: true,
                });
            }
        }
        if !view.healed {
            if self.scenario.crashes && self.kills > 0 {
                faults.extend(view.up.iter().map(|role| Move::Crash(*role)));
                let workers = view
                    .up
                    .iter()
                    .filter(|role| matches!(role, Role::Worker(_)));
                if self.scenario.holds {
                    faults.extend(workers.map(|role| Move::CrashLate(*role)));
                }
            }
            if self.losses > 0 {
                match self.scenario.plan.loss {
                    Loss::All => faults.push(Move::Lose(Lost::Everything)),
                    Loss::Tail => faults.extend(
                        view.losable
                            .iter()
                            .map(|(job, most)| Move::Lose(Lost::Tail(job.clone(), *most))),
                    ),
                    Loss::Nothing | Loss::SinceBackup => {}
                }
            }
        }
        usual.append(&mut faults);
        if usual.is_empty() {
            usual.push(Move::Wait(Duration::from_millis(100)));
        }
        usual
    }
}

/// How far an exploration goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Distinct states.
    pub(crate) states: u64,
    /// At which moment it ends in any case.
    pub(crate) until: Instant,
}

/// Goes through a scenario: first every path with one unusual decision, then those with two, each of
/// them in an order that leaves no part of the path for last. With a planted bug it ends when that is
/// found.
pub(crate) fn explore(scenario: &Scenario, planted: Option<Planted>, bounds: Bounds) -> Explored {
    let mut order = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut known: HashSet<u64> = HashSet::new();
    let mut paths = vec![Path::new()];
    let mut longer = Vec::new();
    let mut explored = Explored {
        name: scenario.name,
        runs: 0,
        states: 0,
        decisions: 0,
        exhausted: false,
        violations: Vec::new(),
    };
    loop {
        if paths.is_empty() {
            paths = std::mem::take(&mut longer);
        }
        explored.exhausted = paths.is_empty();
        let found = planted.is_some() && !explored.violations.is_empty();
        let enough = explored.states >= bounds.states || Instant::now() > bounds.until;
        if explored.exhausted || found || enough {
            return explored;
        }
        let path = paths.swap_remove(order.random_range(0..paths.len()));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let systematic = |plan: &Plan| -> Box<dyn Chooser> {
            Box::new(Systematic {
                scenario: scenario.clone(),
                path: path.clone(),
                seen: Arc::clone(&seen),
                kills: plan.kills,
                losses: plan.losses,
            })
        };
        let outcome = run(scenario.plan.clone(), planted, systematic, false);
        explored.runs += 1;
        explored.decisions += outcome.steps;
        let told = |violation: &Violation| {
            let Violation {
                invariant,
                at,
                what,
            } = violation;
            format!("{invariant} at {at} ms: {what} (path {path:?})")
        };
        explored
            .violations
            .extend(outcome.verdict.violations.iter().map(told));
        let points = std::mem::take(&mut seen.lock().points);
        let from = path.last().map_or(0, |(point, _)| point + 1);
        for (point, (state, choices)) in points.iter().enumerate() {
            // Every other decision is tried once in each state.
            if known.insert(*state) && point >= from && path.len() < scenario.depth {
                longer.extend((1..*choices).map(|choice| {
                    let mut longer = path.clone();
                    longer.push((point, choice));
                    longer
                }));
            }
        }
        explored.states = known.len() as u64;
    }
}
