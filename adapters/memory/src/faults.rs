//! Faults on demand: what a network, a publisher or a restart does to a store, when a test says so. Only with
//! the feature `faults`, which no program has.
//!
//! Nothing here happens by itself, and nothing here breaks a law of a port, but what says so:
//! announcements may be lost and repeated, a store without persistence may forget. That calls fail is no
//! fault of a store: `conch-doubles` has a plan for any port.

pub(crate) mod feed;

use bytes::Bytes;
use conch_domain::{Job, JobId, Position, Timestamp};
use conch_ports::{Bucket, QueueEffect, Stamp};
use conch_wire::{event, record};

use crate::Memory;
use crate::store::{Data, JobLog};

/// What a store held at some moment.
pub struct Backup(Data);

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").finish_non_exhaustive()
    }
}

/// What a test takes from a job's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// What is known of its attempts and its lease.
    Entry,
    /// Its place among those that wait or are held.
    Place,
}

/// Makes one [`Memory`] misbehave.
#[derive(Debug, Clone)]
pub struct Faults {
    memory: Memory,
}

impl Faults {
    pub(crate) fn new(memory: Memory) -> Self {
        Self { memory }
    }

    /// Loses the announcement of every event for which `chosen` says so, by job and sequence, until
    /// [`Faults::lose_no_announcements`]. The events are appended as always.
    pub fn lose_announcements(&self, chosen: impl Fn(&JobId, u64) -> bool + Send + 'static) {
        self.memory.lock().feed.loses = Some(Box::new(chosen));
    }

    /// Announces everything again.
    pub fn lose_no_announcements(&self) {
        self.memory.lock().feed.loses = None;
    }

    /// Keeps announcements back, at most as many as a subscriber's queue holds (the oldest go first).
    pub fn hold_announcements(&self) {
        self.memory.lock().feed.hold();
    }

    /// Sends what was kept back, in order, and keeps nothing back any more.
    pub fn release_announcements(&self) {
        self.memory.lock().feed.release();
    }

    /// Sends each later announcement this many times more.
    pub fn repeat_announcements(&self, times: usize) {
        self.memory.lock().feed.repeats = times;
    }

    /// Publishes bytes as an external publisher would: straight to the subscribers, past every log.
    pub fn announce_raw(&self, bytes: impl Into<Bytes>) {
        self.memory.lock().feed.announce_raw(bytes.into());
    }

    /// Cuts all subscribers off: what is announced from now on doesn't reach them.
    pub fn disconnect_subscribers(&self) {
        self.memory.lock().feed.disconnect();
    }

    /// Ends [`Faults::disconnect_subscribers`]; each subscriber is told that it may have missed some.
    pub fn reconnect_subscribers(&self) {
        self.memory.lock().feed.reconnect();
    }

    /// A short cut: off and on again.
    pub fn interrupt_subscription(&self) {
        let mut store = self.memory.lock();
        store.feed.disconnect();
        store.feed.reconnect();
    }

    /// Forgets everything and interrupts the subscribers: a store without persistence that restarted.
    pub fn wipe(&self) {
        let mut store = self.memory.lock();
        store.data = Data::new(&store.settings);
        store.feed.disconnect();
        store.feed.reconnect();
    }

    /// Tells the store that it may have lost events of every log that it holds: it was restarted from
    /// an older copy, and knows that.
    pub fn doubt_logs(&self) {
        let mut store = self.memory.lock();
        for log in store.data.logs.values_mut() {
            log.doubtful = true;
        }
        store.feed.disconnect();
        store.feed.reconnect();
    }

    /// All that the store holds now, for [`Faults::restart_from`].
    pub fn back_up(&self) -> Backup {
        Backup(self.memory.lock().data.clone())
    }

    /// Puts back all that the store held when the backup was made, and tells it so: what was appended,
    /// claimed and ended since is lost, and each log is doubtful.
    pub fn restart_from(&self, backup: &Backup) {
        self.memory.lock().data = backup.0.clone();
        self.doubt_logs();
    }

    /// Carries a queue effect out by itself, without regard to the lease: what a store does that acknowledges
    /// outside the step that appends. It breaks the laws, so that a test can show that this is seen.
    pub fn acknowledge(&self, job_id: &JobId, effect: QueueEffect) {
        let mut store = self.memory.lock();
        store.apply_effect(job_id, effect, tokio::time::Instant::now());
    }

    /// Takes a part of a job's place in the queue away.
    pub fn lose_from_queue(&self, job_id: &JobId, loss: Loss) {
        let queue = &mut self.memory.lock().data.queue;
        match loss {
            Loss::Entry => drop(queue.take_entry(job_id)),
            Loss::Place => queue.take_place(job_id),
        }
    }

    /// Takes the last `count` events off a job's log, and their effect off its state: a store that
    /// failed over to a copy that lagged. If those are all, it goes without a trace, as if an operator had
    /// deleted it. Record, queue and cached result stay. False, and nothing
    /// is changed, when the log isn't whole, or its job has gone on after an end: then the state before
    /// them can't be told.
    pub fn cut_log(&self, job_id: &JobId, count: usize) -> bool {
        let mut store = self.memory.lock();
        let now = tokio::time::Instant::now();
        let until = now + store.settings.unfinished_ttl;
        let data = &mut store.data;
        let logs = &mut data.logs;
        let cut = logs
            .get(job_id, now)
            .and_then(|log| log.without_last(count));
        let Some(log) = cut else {
            return false;
        };
        if log.entries.is_empty() {
            logs.remove(job_id);
            data.unlist_foreign(job_id);
        } else {
            // As the copy has it.
            let stamp = Stamp::of(job_id, log.end);
            data.latest.insert(Bucket::of(job_id), stamp);
            let (own, ended, bytes) = (log.own, log.ended, log.bytes());
            logs.insert(job_id.clone(), log, until);
            if !own {
                data.list_foreign(job_id, ended, bytes, until);
            }
        }
        true
    }
}

impl JobLog {
    /// This log without its last events; none when it was trimmed.
    fn without_last(&self, count: usize) -> Option<Self> {
        if self.entries.front().is_none_or(|first| first.sequence != 1) {
            return None;
        }
        let whole = record::decode_job(&self.state).ok()?;
        if !whole.past.is_empty() {
            return None;
        }
        let left = self.entries.len().saturating_sub(count);
        let mut log = Self {
            state: Bytes::new(),
            own: self.own,
            end: Position {
                sequence: left as u64,
                ..self.end
            },
            ended: false,
            entries: self.entries.iter().take(left).cloned().collect(),
            base: self.base.clone(),
            mark: self.mark.clone().filter(|(at, _)| *at <= left as u64),
            doubtful: self.doubtful,
            event_ids: self.event_ids.iter().take(left).cloned().collect(),
            places: self.places.clone(),
        };
        log.places.retain(|_, place| place.sequence <= left as u64);
        let mut job = match &log.base {
            Some(base) => record::decode_job(base).ok()?,
            None => Job::initial(whole.id.clone(), log.end.epoch, log.own),
        };
        for entry in &log.entries {
            let event = event::decode(&entry.line, Timestamp::from_micros(0))
                .ok()?
                .event;
            let position = Position {
                sequence: entry.sequence,
                ..log.end
            };
            job.apply(position, &event).ok()?;
        }
        log.ended = job.status.is_terminal();
        log.state = record::encode_job(&job);
        Some(log)
    }
}
