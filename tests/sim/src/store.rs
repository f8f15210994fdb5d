//! The real store in memory, and an observer beside it: after each change the job's log, record and
//! cached result are read and compared with what they were, and the difference is written down.
//!
//! Never in here: a judgement, or a call that the gate hasn't let through.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conch_domain::{EventKind, Job, JobId, Position, Template, Timestamp};
use conch_memory::{Backup, Faults, Memory};
use conch_ports::{
    Catalogue, Commit, EventBus, Fence, JobQueue, Lease, Log, Published, PutTemplate, QueueEffect,
    Result, ResultCache, Signal, Signals, Submission, Submitted,
};
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;

use crate::channel::Channel;
use crate::fold::Fold;
use crate::history::{Change, Fault, History, Millis, What, Write};
use crate::process::Process;
use crate::shown::Shown;

/// The store's clock at the beginning of a run: 2026-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// What a log looked like when it was last looked at.
struct Seen {
    epoch: String,
    oldest: u64,
    lines: BTreeMap<u64, Bytes>,
    end: u64,
    state: Fold,
}

#[derive(Default)]
struct Notes {
    logs: BTreeMap<JobId, Seen>,
    cached: BTreeMap<JobId, Option<Bytes>>,
    records: BTreeMap<JobId, Option<Fold>>,
    backup: Option<(Millis, Backup)>,
}

pub(crate) struct Store {
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) catalogue: Arc<dyn Catalogue>,
    pub(crate) cache: Arc<dyn ResultCache>,
    pub(crate) history: Arc<History>,
    pub(crate) channel: Arc<Channel>,
    /// How far each log has come.
    pub(crate) ends: Shown<BTreeMap<JobId, u64>>,
    faults: Faults,
    announced: Mutex<Signals>,
    notes: Mutex<Notes>,
}

/// The answer of a store that never keeps anybody waiting.
pub(crate) fn at_once<T>(answer: impl Future<Output = T>) -> T {
    answer
        .now_or_never()
        .expect("the store in memory answers at once")
}

impl Store {
    pub(crate) fn new(memory: &Memory, history: Arc<History>, channel: Arc<Channel>) -> Self {
        let bus = memory.bus();
        let mut announced = bus.subscribe();
        drop(at_once(announced.next()));
        Self {
            announced: Mutex::new(announced),
            bus,
            queue: memory.queue(),
            catalogue: memory.catalogue(),
            cache: memory.cache(),
            faults: memory.faults(),
            history,
            channel,
            ends: Shown::default(),
            notes: Mutex::default(),
        }
    }

    /// The store's own clock.
    pub(crate) fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.history.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(BEGINNING.as_micros() + micros)
    }

    pub(crate) fn publish(&self, by: &Process, commit: Commit) -> Result<Published> {
        let id = commit.job.id.clone();
        let (event, effect) = (
            conch_wire::event::decode(&commit.line, self.now()),
            commit.effect,
        );
        let answer = at_once(self.bus.publish(commit));
        if let (Ok(Published::Appended), Ok(incoming)) = (&answer, event) {
            let releases = !matches!(effect, QueueEffect::Keep);
            let write = Write::Event {
                attempt: incoming.event.attempt,
                kind: match &incoming.event.kind {
                    EventKind::Retrying { reason, .. } => format!("retrying {}", reason.as_str()),
                    kind => kind.event_type().trim_start_matches("job:").to_owned(),
                },
                releases,
            };
            self.wrote(&id, by, write);
        }
        self.look_at(&id);
        answer
    }

    pub(crate) fn submit(&self, submission: Submission) -> Result<Submitted> {
        let id = submission.commit.job.id.clone();
        let answer = at_once(self.queue.submit(submission));
        self.look_at(&id);
        answer
    }

    pub(crate) fn claim(&self, by: &Process, duration: Duration) -> Result<Option<Lease>> {
        let answer = at_once(self.queue.claim(&by.name, duration));
        if let Ok(Some(lease)) = &answer {
            let write = Write::Claimed {
                attempt: lease.attempt,
                token: self.history.token(&lease.token),
                until: self.until(duration),
            };
            self.wrote(&lease.job_id, by, write);
        }
        answer
    }

    pub(crate) fn renew(&self, by: &Process, lease: &Lease, duration: Duration) -> Result<bool> {
        let answer = at_once(self.queue.renew(lease, duration));
        if let Ok(true) = answer {
            let write = Write::Renewed {
                token: self.history.token(&lease.token),
                until: self.until(duration),
            };
            self.wrote(&lease.job_id, by, write);
        }
        answer
    }

    pub(crate) fn restore(
        &self,
        by: &Process,
        lease: &Lease,
        job: &Job,
        duration: Duration,
    ) -> Result<bool> {
        let answer = at_once(self.queue.restore(lease, job, duration));
        if let Ok(true) = answer {
            let write = Write::Restored {
                attempt: lease.attempt,
                token: self.history.token(&lease.token),
                until: self.until(duration),
            };
            self.wrote(&lease.job_id, by, write);
            self.look_at(&lease.job_id);
        }
        answer
    }

    pub(crate) fn expired(&self, by: &Process, limit: usize) -> Result<Vec<Lease>> {
        let answer = at_once(self.queue.expired(limit));
        for lease in answer.iter().flatten() {
            self.wrote(&lease.job_id, by, Write::Expired);
        }
        answer
    }

    pub(crate) fn put_template(
        &self,
        by: &Process,
        template: &Template,
        lease: &Lease,
    ) -> Result<PutTemplate> {
        let answer = at_once(self.catalogue.put_template(template, lease));
        if let Ok(PutTemplate::Stored) = answer {
            let write = Write::Template {
                token: self.history.token(&lease.token),
                index: template.index,
            };
            self.wrote(&lease.job_id, by, write);
        }
        answer
    }

    pub(crate) fn put_result(&self, id: &JobId, result: Bytes) -> Result<()> {
        let answer = at_once(self.cache.put(id, result));
        self.look_at(id);
        answer
    }

    /// Does what belongs to a commit without it: only for planted bugs.
    pub(crate) fn acknowledge(&self, by: &Process, id: &JobId, effect: QueueEffect, fence: &Fence) {
        self.faults.acknowledge(id, effect);
        let token = match fence {
            Fence::Held(token) | Fence::Expired(token) => Some(self.history.token(token)),
            _ => None,
        };
        self.wrote(id, by, Write::Acknowledged { token });
    }

    /// Announces what is in no log yet: only for planted bugs.
    pub(crate) fn announce(&self, line: Bytes) {
        self.faults.announce_raw(line);
        self.pass_on();
    }

    /// What a foreign program publishes.
    pub(crate) fn publish_raw(&self, line: Bytes) {
        self.announce(line);
    }

    fn wrote(&self, id: &JobId, by: &Process, write: Write) {
        let job = self.history.job(id);
        let by = by.name.clone();
        self.history.note(What::Wrote { job, by, write });
    }

    fn until(&self, duration: Duration) -> Millis {
        self.history.moment(tokio::time::Instant::now() + duration)
    }

    // Faults.

    pub(crate) fn wipe(&self) {
        self.faults.wipe();
        self.notes.lock().backup = None;
        self.history.note(What::Fault(Fault::Wiped));
        self.look_at_all();
    }

    pub(crate) fn back_up(&self) {
        let backup = self.faults.back_up();
        self.notes.lock().backup = Some((self.history.now(), backup));
        self.history.note(What::Fault(Fault::BackedUp));
    }

    /// False when there is no backup.
    pub(crate) fn go_back(&self) -> bool {
        let to = {
            let notes = self.notes.lock();
            let Some((at, backup)) = &notes.backup else {
                return false;
            };
            self.faults.restart_from(backup);
            *at
        };
        self.history.note(What::Fault(Fault::WentBack { to }));
        self.look_at_all();
        true
    }

    /// Loses the last events of a job that somebody runs, if that is all that is lost with them.
    pub(crate) fn cut(&self, id: &JobId, count: usize) {
        if self.faults.cut_log(id, count) {
            self.faults.doubt_logs();
            let job = self.history.job(id);
            self.history.note(What::Fault(Fault::Cut(job)));
            self.look_at_all();
        }
    }

    pub(crate) fn restart(&self) {
        self.faults.interrupt_subscription();
        self.history.note(What::Fault(Fault::Restarted));
        self.pass_on();
    }

    /// The store's restart lost the end of a log, and nobody notices: only for planted bugs.
    pub(crate) fn cut_unnoticed(&self, id: &JobId, count: usize) {
        if self.faults.cut_log(id, count) {
            let job = self.history.job(id);
            self.history.note(What::Fault(Fault::Cut(job)));
            self.look_at_all();
        }
    }

    /// How many events of an unfinished job's log can be lost alone: those that changed no queue entry.
    pub(crate) fn can_lose(&self, id: &JobId) -> usize {
        let Ok(Some(log)) = at_once(self.bus.read(id, 0, 2000)) else {
            return 0;
        };
        let keeps = |line: &Bytes| {
            let event = serde_json::from_slice::<serde_json::Value>(line).unwrap_or_default();
            matches!(
                event["event_type"].as_str(),
                Some("job:progress" | "job:template_completed" | "job:template_failed")
            )
        };
        if log.job.status.is_terminal() {
            return 0;
        }
        log.entries
            .iter()
            .rev()
            .take_while(|e| keeps(&e.line))
            .count()
    }

    // Looking.

    fn look_at_all(&self) {
        let ids: Vec<JobId> = self.notes.lock().logs.keys().cloned().collect();
        for id in ids {
            self.look_at(&id);
        }
        self.pass_on();
    }

    fn look_at(&self, id: &JobId) {
        let log = at_once(self.bus.read(id, 0, 2000)).ok().flatten();
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
                state: base.clone().unwrap_or_else(Fold::unborn),
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
    fn pass_on(&self) {
        let mut announced = self.announced.lock();
        while let Some(Some(signal)) = announced.next().now_or_never() {
            match signal {
                Signal::Message(line) => self.channel.publish(&line),
                Signal::Lapsed => self.channel.interrupt_all(),
            }
        }
    }
}
