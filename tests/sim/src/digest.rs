//! A number that stands for the state of the whole system: what the store holds, who holds which job,
//! what is under way, what every client has seen. Two runs that come to the same number are taken to be in
//! the same state.
//!
//! It can't see into the tasks: where each is shows in what it waits for. Times are left out, ids and
//! epochs are the run's own names.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::board::Call;
use crate::channel::Line;
use crate::history::{Change, History, Job, Record, Said, StreamEvent, What, Write};
use crate::process::Role;
use crate::sse::Item;

/// What of the past still matters, kept up as the history grows.
#[derive(Default)]
pub(crate) struct Digest {
    read: usize,
    logs: BTreeMap<Job, Vec<(u64, u64)>>,
    held: BTreeMap<Job, (String, u32)>,
    templates: BTreeMap<Job, u32>,
    cached: BTreeMap<Job, bool>,
    /// What each stream has seen, and each client was told.
    seen: BTreeMap<usize, u64>,
    told: BTreeMap<usize, u64>,
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Digest {
    /// The state now.
    pub(crate) fn of(
        &mut self,
        history: &History,
        calls: &[Call],
        lines: &[Line],
        up: &[Role],
    ) -> u64 {
        for record in history.records_since(self.read) {
            self.read += 1;
            self.take(history, &record);
        }
        let waits = |call: &Call| {
            let held = call.held_until.is_some();
            let what = (call.operation, &call.about, call.stage);
            hash((call.from.role, what, call.awaited, held))
        };
        let mut waiting: Vec<u64> = calls.iter().map(waits).collect();
        waiting.sort_unstable();
        let heard = |line: &Line| hash((line.role, &line.marks, line.lapsed));
        let mut lines: Vec<u64> = lines.iter().map(heard).collect();
        lines.sort_unstable();
        let past = (&self.logs, &self.held, &self.templates, &self.cached);
        hash((past, &self.seen, &self.told, waiting, lines, up))
    }

    fn take(&mut self, history: &History, record: &Record) {
        match &record.what {
            What::Log { job, change } => {
                let log = self.logs.entry(job.clone()).or_default();
                match change {
                    Change::Began { epoch, .. } => {
                        *log = vec![(0, u64::from(history.epoch(job, epoch)))];
                    }
                    Change::Grew { sequence, line } => {
                        let event: Value = serde_json::from_slice(line).unwrap_or_default();
                        let said = (event["event_type"].as_str(), event["attempt"].as_u64());
                        log.push((*sequence, hash(said)));
                    }
                    Change::Shrank { to } => log.retain(|(sequence, _)| sequence <= to),
                    Change::Gone => log.clear(),
                    _ => {}
                }
            }
            What::Cached { job, result } => {
                self.cached.insert(job.clone(), result.is_some());
            }
            What::Wrote { job, by, write } => match write {
                Write::Claimed { attempt, .. } | Write::Restored { attempt, .. } => {
                    self.held.insert(job.clone(), (by.clone(), *attempt));
                }
                Write::Event { releases: true, .. } => drop(self.held.remove(job)),
                Write::Template { .. } => *self.templates.entry(job.clone()).or_default() += 1,
                _ => {}
            },
            What::Stream { stream, event } => {
                let seen = match event {
                    StreamEvent::Heard(Item::Event { id, .. }) => hash(place(history, id)),
                    StreamEvent::Heard(_) => return,
                    other => hash(std::mem::discriminant(other)),
                };
                let before = self.seen.entry(*stream).or_default();
                *before = hash((*before, seen));
            }
            What::Client { client, said } if !matches!(said, Said::Failed { .. }) => {
                let before = self.told.entry(*client).or_default();
                *before = hash((*before, std::mem::discriminant(said)));
            }
            _ => {}
        }
    }
}

/// An id without what differs between runs that are alike.
fn place(history: &History, id: &str) -> (u32, String) {
    match id.split_once('-') {
        Some((epoch, sequence)) => (history.epoch_of_any(epoch), sequence.to_owned()),
        None => (0, id.to_owned()),
    }
}
