//! One watcher of one job: a cursor into the topic's frames.
//!
//! Holds no event of its own. Whether the job is one that it may know of is looked at when the job
//! becomes known, and whenever its log begins anew; if not, it is moved to a decoy. A watcher that falls
//! behind the kept frames is given a snapshot; nothing is dropped in silence, but that a progress event
//! may be left out when a later one is already there.

use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use conch_domain::{Clients, Job, JobRecord, JobStatus, Position, Timestamp};
use conch_wire::{snapshot, sse};

use super::follow::Follow;
use super::state::{Frame, Phase, State};
use super::topic::Topic;
use super::wake::{Registration, Slot};
use super::{Interest, Shared};

/// Frames handed over at a time, so that a long history doesn't hold a thread or much memory.
const BATCH: usize = 64;

/// A watcher this many frames behind the head is lagging: it is spared superseded progress.
const LAG: u64 = 32;

/// The id of the snapshot that says that the record is gone.
pub(super) const LOST_ID: &str = "lost-0";

/// The id of the snapshot that tells of an end that no log has.
pub(super) const ENDED_ID: &str = "ended-0";

/// Where a watcher stands.
#[derive(Debug)]
pub(super) enum Cursor {
    /// Wants the whole kept history.
    Beginning,
    /// Wants what comes after this.
    After(Position),
    /// Was told of an end that no log had then.
    Ended,
    /// Asked for something that no log has.
    Unusable(Box<str>),
    /// Has been given everything up to and including `position` of this incarnation.
    At { generation: u64, position: Position },
}

pub(super) struct JobWatcher {
    registration: Registration<Interest>,
    shared: Arc<Shared>,
    cursor: Cursor,
    /// Whose jobs it may know of.
    clients: Clients,
    /// The topic's generation in which the job was seen to be one of theirs.
    cleared: u64,
    /// The topic's version that was looked at last.
    seen: u64,
    /// Frames up to here were there when the watcher came: its history, never thinned out.
    history_end: u64,
    ended: bool,
}

impl Follow for JobWatcher {
    fn slot(&self) -> &Arc<Slot> {
        self.registration.slot()
    }

    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn follow(&mut self, _: &mut Context<'_>, out: &mut Vec<Bytes>) -> bool {
        loop {
            let version = self.topic().version();
            if version == self.seen {
                break;
            }
            match self.advance(out) {
                Advance::Whole => self.seen = version,
                // `seen` stays old, so that the rest is fetched next.
                Advance::Part => {}
                Advance::Hidden if self.move_to_decoy() => continue,
                Advance::Hidden => self.ended = true,
            }
            break;
        }
        if !self.ended && self.topic().is_broken_off() {
            // What is not given here comes after the reconnect: the cursor is the client's.
            out.push(self.shared.farewell());
            self.ended = true;
        }
        self.ended
    }
}

/// What came of looking at the topic.
enum Advance {
    /// All that it has was given.
    Whole,
    /// There is more to give.
    Part,
    /// The job is none that this watcher may know of: nothing was given.
    Hidden,
}

impl JobWatcher {
    pub(super) fn new(
        shared: Arc<Shared>,
        interest: Interest,
        cursor: Cursor,
        clients: Clients,
    ) -> Self {
        let beats = Arc::clone(&shared.beats);
        Self {
            registration: Registration::new(interest, beats),
            shared,
            cursor,
            clients,
            cleared: u64::MAX,
            seen: u64::MAX,
            history_end: 0,
            ended: false,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        let phase = self.topic().state().phase_for(&self.clients);
        matches!(phase, Phase::Ended(_) | Phase::EndedWithoutLog(_))
    }

    fn topic(&self) -> &Topic {
        self.registration.home().topic()
    }

    /// Whether the job, as far as it is known, is one that this watcher may know of. A log that began
    /// anew may be another client's.
    fn may_know(&mut self, state: &State) -> bool {
        let is_open = state.is_owner_open;
        if self.cleared != state.generation && state.known().is_some() && !is_open {
            if state.is_hidden_from(&self.clients) {
                return false;
            }
            self.cleared = state.generation;
        }
        true
    }

    /// Goes on where nothing is ever found; false when there is no room for that.
    fn move_to_decoy(&mut self) -> bool {
        let claimed = self.position().is_some();
        let asked_for = self.topic().asked_for().clone();
        let payer = self.registration.home().payer();
        let Some(decoy) = self.shared.decoy(&asked_for, claimed, payer, None) else {
            return false;
        };
        self.registration.move_to(decoy);
        self.seen = u64::MAX;
        self.cleared = u64::MAX;
        true
    }

    /// Pushes what the topic has for this watcher.
    fn advance(&mut self, out: &mut Vec<Bytes>) -> Advance {
        let topic = Arc::clone(self.registration.home().topic());
        let mut state = topic.state();
        if !self.may_know(&state) {
            return Advance::Hidden;
        }
        let phase = state.phase_for(&self.clients);
        if let Phase::EndedWithoutLog(status) = phase {
            self.ended_without_log(&state, status, out);
            return Advance::Whole;
        }
        // The watcher saw what this process hasn't: that is no loss of history.
        if let Cursor::After(position) = self.cursor
            && state.is_doubted()
            && !state.honours(position)
        {
            return Advance::Whole;
        }
        match phase {
            Phase::Loading => return Advance::Whole,
            Phase::Lost => {
                self.lost(&state, out);
                return Advance::Whole;
            }
            Phase::Live | Phase::Ended(_) | Phase::EndedWithoutLog(_) => {}
        }
        let (Some(job), Some(head)) = (&state.job, state.head()) else {
            return Advance::Whole;
        };
        if self.cursor.is_shelved(&state) {
            drop(state);
            topic.unshelve();
            return Advance::Whole;
        }
        let start = self.settle_cursor(&state, job, head, out);
        let Some(frames) = state.frames_from(start) else {
            // It lagged behind what is kept.
            let requested = self.position().map(|p| p.to_string()).unwrap_or_default();
            self.push_snapshot(&state, job, snapshot::Reason::Reset(&requested), out);
            self.close_at_end(&state, head.sequence, out);
            return Advance::Whole;
        };
        let live_from = self.history_end.max(start - 1) + 1;
        let lagging = head.sequence >= live_from + LAG;
        let last_progress = if lagging {
            state
                .frames
                .iter()
                .rposition(|f| f.superseded_by_later)
                .map_or(0, |i| state.front() + i as u64)
        } else {
            0
        };
        let mut last = start - 1;
        let full = out.len() + BATCH;
        // Frames that are spared don't count: a batch that is cut short is never empty.
        for frame in frames {
            last += 1;
            if !is_spared(frame, last, live_from, last_progress) {
                out.push(frame.bytes.clone());
            }
            if out.len() == full {
                break;
            }
        }
        self.cursor = Cursor::At {
            generation: state.generation,
            position: Position {
                epoch: head.epoch,
                sequence: last,
            },
        };
        if last < head.sequence {
            return Advance::Part;
        }
        self.close_at_end(&state, last, out);
        // No other watcher has a use for what it was given.
        if !self.shared.feed.is_watched() && topic.has_one_watcher() {
            state.shelve();
        }
        Advance::Whole
    }

    /// The sequence to go on from. Pushes a snapshot first where the cursor can't be honoured.
    fn settle_cursor(
        &mut self,
        state: &State,
        job: &Job,
        head: Position,
        out: &mut Vec<Bytes>,
    ) -> u64 {
        let front = state.front();
        let reset = match &self.cursor {
            Cursor::At {
                generation,
                position,
            } => {
                if *generation == state.generation {
                    return position.sequence + 1;
                }
                Some(position.to_string())
            }
            Cursor::Beginning if state.base.is_none() && front <= 1 => None,
            Cursor::Beginning => {
                // The head's own state where the base was trimmed away while the log was read.
                let from = state.base.as_deref().unwrap_or(job);
                self.push_snapshot(state, from, snapshot::Reason::Beginning, out);
                self.history_end = head.sequence;
                return from.position.sequence + 1;
            }
            Cursor::After(p) if state.honours(*p) => {
                self.history_end = head.sequence;
                return p.sequence + 1;
            }
            Cursor::After(p) => {
                let requested = p.to_string();
                // It was trimmed away: what is kept is still worth having.
                if let Some(base) = &state.base
                    && p.epoch == head.epoch
                    && p.sequence < base.position.sequence
                {
                    let reset = snapshot::Reason::Reset(&requested);
                    self.push_snapshot(state, base, reset, out);
                    self.history_end = head.sequence;
                    return front;
                }
                Some(requested)
            }
            Cursor::Ended => Some(ENDED_ID.to_owned()),
            Cursor::Unusable(text) => Some(text.to_string()),
        };
        let Some(requested) = reset else {
            self.history_end = head.sequence;
            return 1;
        };
        self.push_snapshot(state, job, snapshot::Reason::Reset(&requested), out);
        head.sequence + 1
    }

    fn position(&self) -> Option<Position> {
        match self.cursor {
            Cursor::At { position, .. } | Cursor::After(position) => Some(position),
            Cursor::Beginning | Cursor::Ended | Cursor::Unusable(_) => None,
        }
    }

    /// What the watcher asked for or has, as it would say it; none: it came for the beginning.
    fn requested(&self) -> Option<String> {
        match &self.cursor {
            Cursor::Beginning => None,
            Cursor::Ended => Some(ENDED_ID.to_owned()),
            Cursor::Unusable(text) => Some(text.to_string()),
            Cursor::At { position, .. } | Cursor::After(position) => Some(position.to_string()),
        }
    }

    fn push_snapshot(
        &mut self,
        state: &State,
        job: &Job,
        reason: snapshot::Reason<'_>,
        out: &mut Vec<Bytes>,
    ) {
        let line = snapshot::encode(job, reason, (self.shared.clock)());
        out.push(sse::event(&job.position.to_string(), &line));
        self.history_end = job.position.sequence;
        self.cursor = Cursor::At {
            generation: state.generation,
            position: job.position,
        };
    }

    /// Pushes the closing comment if the event at `last` was the job's end.
    fn close_at_end(&mut self, state: &State, last: u64, out: &mut Vec<Bytes>) {
        if let Phase::Ended(status) = state.phase
            && state.head().is_some_and(|head| head.sequence == last)
        {
            out.push(sse::closing(status));
            self.ended = true;
        }
    }

    /// The job has ended, and there are no events to tell it by.
    fn ended_without_log(&mut self, state: &State, status: JobStatus, out: &mut Vec<Bytes>) {
        self.ended = true;
        if let Some(result) = &state.result {
            let requested = self.requested();
            let reason = snapshot::Reason::NoLog(requested.as_deref());
            let line = snapshot::encode(result, reason, (self.shared.clock)());
            out.push(sse::event(ENDED_ID, &line));
        }
        out.push(sse::closing(status));
    }

    /// The record is gone: whoever had a cursor is told so, the others just see the end, and their
    /// reconnect is answered 404.
    fn lost(&mut self, state: &State, out: &mut Vec<Bytes>) {
        self.ended = true;
        let Some(position) = self.position() else {
            return;
        };
        let initial = Job::initial(self.topic().asked_for().clone(), position.epoch, false);
        let last_known = state.job.as_ref().unwrap_or(&initial);
        let line = lost_line(last_known, &position.to_string(), (self.shared.clock)());
        out.push(sse::event(LOST_ID, &line));
        out.push(sse::closing(JobStatus::Failed));
    }
}

/// The snapshot that says that a job's record is gone.
pub(super) fn lost_line(last_known: &JobRecord, requested: &str, now: Timestamp) -> Bytes {
    let job = Job::restore(JobRecord {
        status: JobStatus::Failed,
        error_message: Some(
            "the record of this job was lost, and with it how the job ended".to_owned(),
        ),
        ..last_known.clone()
    });
    snapshot::encode(&job, snapshot::Reason::RecordLost(requested), now)
}

/// Whether a lagging watcher is spared the frame, because a later one says more.
fn is_spared(frame: &Frame, sequence: u64, live_from: u64, last_progress: u64) -> bool {
    frame.superseded_by_later && sequence >= live_from && sequence < last_progress
}
