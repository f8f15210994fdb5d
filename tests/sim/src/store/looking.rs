//! The observer: after each change the job's log, record and cached result are read and compared with what
//! they were, and the difference is written down.

use std::collections::BTreeMap;

use bytes::Bytes;
use conch_domain::{JobId, Position};
use conch_ports::{Log, Signal};
use futures::{FutureExt, StreamExt};

use super::{Notes, Store, at_once};
use crate::fold::Fold;
use crate::history::{Change, What};

/// What a log looked like when it was last looked at.
pub(super) struct Seen {
    epoch: String,
    oldest: u64,
    lines: BTreeMap<u64, Bytes>,
    end: u64,
    state: Fold,
}

impl Store {
    pub(super) fn look_at_all(&self) {
        let ids: Vec<JobId> = self.notes.lock().logs.keys().cloned().collect();
        for id in ids {
            self.look_at(&id);
        }
        self.pass_on();
    }

    pub(super) fn look_at(&self, id: &JobId) {
        let log = at_once(self.log.read(id, 0, 2000)).ok().flatten();
        let cached = at_once(self.cache.get(id)).ok().flatten();
        let record = at_once(self.catalogue.job(id)).ok().flatten();
        let record = record.map(|job| Fold::of_record(&job));
        let job = self.history.job(id);
        let mut notes = self.notes.lock();
        let changes = self.compare(&mut notes, id, log);
        for change in changes {
            let job = job.clone();
            self.history.note(What::Log { job, change });
        }
        if notes.cached.get(id).unwrap_or(&None) != &cached {
            notes.cached.insert(id.clone(), cached.clone());
            let job = job.clone();
            self.history.note(What::Cached {
                job,
                result: cached,
            });
        }
        if notes.records.get(id).unwrap_or(&None) != &record {
            notes.records.insert(id.clone(), record.clone());
            self.history.note(What::Recorded { job, record });
        }
        drop(notes);
        self.pass_on();
    }

    fn compare(&self, notes: &mut Notes, id: &JobId, log: Option<Log>) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(log) = log else {
            if notes.logs.remove(id).is_some() {
                changes.push(Change::Gone);
            }
            return changes;
        };
        let Position { epoch, sequence } = log.job.position;
        let epoch = epoch.to_string();
        if notes.logs.get(id).is_none_or(|seen| seen.epoch != epoch) {
            self.history.epoch(&self.history.job(id), &epoch);
            let base = log.base.as_ref().map(Fold::of_record);
            let seen = Seen {
                epoch: epoch.clone(),
                oldest: log.oldest,
                lines: BTreeMap::new(),
                end: 0,
                state: base.clone().unwrap_or_else(Fold::initial),
            };
            notes.logs.insert(id.clone(), seen);
            changes.push(Change::Began { epoch, base });
        }
        let Some(seen) = notes.logs.get_mut(id) else {
            return changes;
        };
        if sequence < seen.end {
            seen.lines.retain(|at, _| *at <= sequence);
            changes.push(Change::Shrank { to: sequence });
        }
        seen.end = sequence;
        self.ends.change(|ends| {
            ends.insert(id.clone(), sequence);
        });
        if log.oldest != seen.oldest {
            seen.oldest = log.oldest;
            changes.push(Change::Trimmed { oldest: log.oldest });
        }
        for entry in &log.entries {
            let (sequence, line) = (entry.sequence, entry.line.clone());
            match seen.lines.get(&sequence) {
                Some(known) if *known == line => {}
                Some(_) => changes.push(Change::Rewritten { sequence }),
                None => changes.push(Change::Grew { sequence, line }),
            }
            seen.lines.insert(sequence, entry.line.clone());
        }
        let state = Fold::of_record(&log.job);
        if seen.state != state {
            seen.state = state.clone();
            changes.push(Change::State { state });
        }
        changes
    }

    /// What the store announces goes onto the channel.
    pub(super) fn pass_on(&self) {
        let mut announced = self.announced.lock();
        while let Some(Some(signal)) = announced.next().now_or_never() {
            match signal {
                Signal::Message(message) => self.channel.publish(&message),
                Signal::Gap => self.channel.interrupt_all(),
            }
        }
    }
}
