//! What was counted in a history; adds up over several.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::book::Book;
use super::event::end_of;
use super::history::{History, Item};

/// Counts of one history or of several.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Faults by kind, process and what its jobs were doing.
    pub faults: BTreeMap<String, u64>,
    /// Of these, kills.
    pub kills: u64,
    /// Submissions that were acknowledged.
    pub jobs: u64,
    /// Events that an external program published.
    pub external: u64,
    /// Watchers whose job was to end, each of which has to learn of it.
    pub expected: u64,
    /// Watchers that learned of it.
    pub seen: u64,
    /// Watchers that didn't.
    pub missed: u64,
    /// Watchers that were told twice.
    pub doubled: u64,
    /// Watchers that learned of it by a snapshot, because its event was lost.
    pub ended_by_snapshot: u64,
    /// Snapshots with `reset: true`.
    pub resets: u64,
    /// Events that reached watchers.
    pub events: u64,
    /// Connections of watchers.
    pub connections: u64,
    /// Lookups that were answered.
    pub lookups: u64,
    /// Bounds that were measured.
    pub bounds: u64,
    /// Keys of the store whose lifetime was looked at.
    pub lifetimes: u64,
    /// From the moment that it was due to the moment that a watcher learned of the end.
    pub recovery_ms: Vec<f64>,
    /// The bound of that, the smallest of several runs.
    pub t_ms: f64,
}

impl Figures {
    /// Adds another history's.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.faults {
            *self.faults.entry(name.clone()).or_default() += count;
        }
        self.kills += other.kills;
        self.jobs += other.jobs;
        self.external += other.external;
        self.expected += other.expected;
        self.seen += other.seen;
        self.missed += other.missed;
        self.doubled += other.doubled;
        self.ended_by_snapshot += other.ended_by_snapshot;
        self.resets += other.resets;
        self.events += other.events;
        self.connections += other.connections;
        self.lookups += other.lookups;
        self.bounds += other.bounds;
        self.lifetimes += other.lifetimes;
        self.recovery_ms.extend(&other.recovery_ms);
        self.t_ms = if self.t_ms > 0.0 {
            self.t_ms.min(other.t_ms)
        } else {
            other.t_ms
        };
    }

    /// The recovery that a share of the watchers didn't exceed; 0 without any.
    pub fn recovery(&self, share: f64) -> f64 {
        let mut sorted = self.recovery_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let place = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
        sorted.get(place).copied().unwrap_or(0.0)
    }

    /// For a summary that other programs read.
    pub fn json(&self) -> Value {
        json!({
            "faults": self.faults,
            "kills": self.kills,
            "jobs": self.jobs,
            "foreign_events": self.external,
            "terminal": {
                "expected": self.expected,
                "seen": self.seen,
                "missed": self.missed,
                "doubled": self.doubled,
                "by_snapshot": self.ended_by_snapshot,
            },
            "resets": self.resets,
            "events": self.events,
            "connections": self.connections,
            "lookups": self.lookups,
            "bounds": self.bounds,
            "lifetimes": self.lifetimes,
            "recovery_ms": {
                "count": self.recovery_ms.len(),
                "p50": self.recovery(0.5).round() as u64,
                "p99": self.recovery(0.99).round() as u64,
                "max": self.recovery(1.0).round() as u64,
                "t": self.t_ms.round() as u64,
            },
        })
    }
}

/// Counts what the other rules haven't counted on their way.
pub(super) fn count(history: &History<'_>, _: &Book<'_>, judgement: &mut super::Judgement) {
    let figures = &mut judgement.figures;
    figures.t_ms = history.terms.t_ms;
    for fault in &history.faults {
        let process = fault.target.split('-').next().unwrap_or("");
        let phase = if fault.phase.is_empty() {
            "idle"
        } else {
            fault.phase.as_str()
        };
        let name = format!("{} {process} after {phase}", fault.what);
        *figures.faults.entry(name).or_default() += 1;
        if fault.what == "kill" {
            figures.kills += 1;
        }
    }
    for watcher in &history.many {
        figures.connections += watcher.visits.len() as u64;
        let items = watcher.visits.iter().flat_map(|v| &v.items);
        let events = items.filter(|(_, item)| matches!(item, Item::Event { .. }));
        figures.events += events.count() as u64;
    }
    for watcher in &history.watchers {
        figures.connections += watcher.visits.len() as u64;
        let mut ends = 0;
        let items = watcher.visits.iter().flat_map(|v| &v.items);
        for (_, item) in items {
            let Item::Event { data, .. } = item else {
                continue;
            };
            figures.events += 1;
            let Ok(event) = serde_json::from_str::<Value>(data) else {
                continue;
            };
            if event["reset"] == true {
                // What was told before a loss doesn't count against what is told after.
                ends = 0;
            }
            if end_of(&event).is_some() {
                ends += 1;
            }
        }
        if ends > 1 {
            figures.doubled += 1;
        }
    }
}
