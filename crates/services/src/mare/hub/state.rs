//! What a topic knows of its job: the fold of its log, the frames of its newest events, and what is doubted.
//!
//! Never in here: locks, signals, and who is told.

use std::collections::VecDeque;

use bytes::Bytes;
use conch_domain::{Clients, Job, JobStatus, Origin, Position};
use conch_ports::{Entry, Log};
use conch_wire::{event, sse};
use tokio::time::Instant;

use super::shelf::Shelf;

/// An event as every watcher of its job gets it.
#[derive(Clone)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    /// Worthless once a later one of its type is there.
    pub(super) superseded_by_later: bool,
}

impl Frame {
    /// What follows its id; shares its bytes.
    pub(super) fn data(&self) -> Bytes {
        sse::data_of(&self.bytes)
    }
}

/// How much is known of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its log has not been read yet, or has not been found.
    Loading,
    /// Its log is here up to the head.
    Live,
    /// Its terminal event is here.
    Ended(JobStatus),
    /// It has ended, and no log says so: only its result is known.
    EndedWithoutLog(JobStatus),
    /// Its log is gone, and no other source knows of the job.
    Lost,
}

impl Phase {
    /// That of a job whose log is here.
    pub(super) fn of(status: JobStatus) -> Self {
        if status.is_terminal() {
            Self::Ended(status)
        } else {
            Self::Live
        }
    }
}

/// How much of a log a topic keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct History {
    /// At least so many events, and less than twice as many.
    pub(super) events: usize,
    /// Of an external job fewer, where half of these bytes are in them; less than twice as many bytes.
    pub(super) bytes: usize,
}

pub(super) struct State {
    pub(super) phase: Phase,
    /// Counts the log's incarnations as this process saw them: a watcher of an earlier one must be
    /// told that what it holds was lost.
    pub(super) generation: u64,
    /// The fold of the log at the newest frame.
    pub(super) job: Option<Job>,
    /// The job as its result tells it, where no log does.
    pub(super) result: Option<Box<Job>>,
    /// Neither that result nor the log says whose the job is, and Triton may still do so.
    pub(super) is_owner_open: bool,
    /// The newest events, without gaps; the last one is at the job's position.
    pub(super) frames: VecDeque<Frame>,
    /// The fold right before the first frame, where that isn't the job's first event and none was shelved.
    pub(super) base: Option<Box<Job>>,
    /// The fold at which the frames may be cut off next.
    pub(super) mark: Option<Box<Job>>,
    pub(super) shelf: Shelf,
    /// Since when the log is absent, and whether Triton has said that it knows of no such job.
    pub(super) absent: Option<Absence>,
    /// Reads of the log that were begun.
    pub(super) reads: u64,
    /// How many there were at the last position check.
    pub(super) reads_at_check: u64,
    /// The topic's version when the position check found its log where this state is.
    pub(super) confirmed: Option<u64>,
    /// Another source knows more than this state: only a read after that many may be believed.
    doubted: Option<u64>,
    /// From when on the job counts as silent, and Triton is asked what it knows beyond the log.
    pub(super) silent_from: Instant,
    /// Triton's last answer was that it knows of no such job.
    pub(super) is_unknown_to_triton: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Absence {
    pub(super) since: Instant,
    /// When it was looked for last.
    pub(super) looked_at: Instant,
    pub(super) unknown_to_triton: bool,
}

impl State {
    /// Of a job of which nothing is known yet.
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Loading,
            generation: 0,
            job: None,
            result: None,
            is_owner_open: false,
            frames: VecDeque::new(),
            base: None,
            mark: None,
            shelf: Shelf::default(),
            absent: None,
            reads: 0,
            reads_at_check: 0,
            confirmed: None,
            doubted: None,
            silent_from: Instant::now(),
            is_unknown_to_triton: false,
        }
    }

    /// A read of the log begins; the answer is its number.
    pub(super) fn begin_read(&mut self) -> u64 {
        self.reads += 1;
        self.reads
    }

    /// Another source knows more than this state: only a read that begins after now may be believed.
    pub(super) fn doubt(&mut self) {
        self.doubted = Some(self.reads);
    }

    /// Whether the answer to the read of that number is one to believe, and this was doubted before.
    pub(super) fn is_doubt_settled_by(&self, number: u64) -> bool {
        self.doubted.is_some_and(|reads| reads < number)
    }

    /// See [`State::doubt`].
    pub(super) fn believe(&mut self) {
        self.doubted = None;
    }

    /// Whether the job, as far as is known, doesn't exist yet. `is_claimed`: a watcher holds a cursor of it.
    pub(super) fn is_to_come(&self, is_claimed: bool) -> bool {
        match self.phase {
            Phase::Lost => true,
            Phase::Loading => self.absent.is_some() && self.job.is_none() && !is_claimed,
            Phase::Live | Phase::Ended(_) | Phase::EndedWithoutLog(_) => false,
        }
    }

    /// Whether it failed, and isn't our own Triton's: its publisher may have gone on with it, and a topic
    /// that has ended doesn't look at its log any more.
    pub(super) fn may_have_gone_on(&self) -> bool {
        let can = self.job.as_ref().is_some_and(Job::may_go_on);
        can && self.phase == Phase::Ended(JobStatus::Failed)
    }

    /// Whether Triton may know more than the log.
    pub(super) fn may_know_less_than_triton(&self) -> bool {
        match self.phase {
            Phase::Loading => true,
            Phase::Live => self.job.as_ref().is_none_or(|job| !job.own),
            Phase::Ended(_) => self.lacks_owner(),
            Phase::EndedWithoutLog(_) | Phase::Lost => false,
        }
    }

    /// Whether its log is here and goes on, as far as is known.
    pub(super) fn is_followed(&self) -> bool {
        self.phase == Phase::Live && self.absent.is_none()
    }

    /// Takes in what was read after sequence `after`, which follows what is here or begins anew. Keeps the
    /// newest events as `keep` says, beside those that were just read. `is_triton_due`: the log begins, and if
    /// it names no owner, Triton may do so.
    pub(super) fn take_in(&mut self, mut log: Log, after: u64, keep: History, is_triton_due: bool) {
        let first = log
            .entries
            .first()
            .map_or(log.job.position.sequence, |e| e.sequence);
        let is_whole = after == 0;
        let goes_on = !is_whole || self.is_unshelved_by(&log);
        if !goes_on && self.job.is_some() {
            self.generation += 1;
        }
        if goes_on && let Some(known) = &self.job {
            log.job.learn(&Origin::of(known));
        }
        // A gap means that the log was trimmed past us: a watcher behind it gets a snapshot.
        let follows =
            !log.entries.is_empty() && self.head().is_some_and(|head| head.sequence + 1 == first);
        if is_whole || !follows {
            self.frames.clear();
            self.mark = None;
            self.base = log.base.map(Box::new);
            self.shelf = Shelf::default();
        }
        let epoch = log.job.position.epoch;
        for Entry { sequence, line } in &log.entries {
            let id = Position {
                epoch,
                sequence: *sequence,
            }
            .to_string();
            self.frames.push_back(Frame {
                bytes: sse::event(&id, line),
                superseded_by_later: event::glance(line).superseded_by_later,
            });
        }
        self.phase = Phase::of(log.job.status);
        self.absent = None;
        self.is_owner_open |= is_triton_due && !goes_on;
        self.job = Some(log.job);
        self.drop_result();
        self.trim(keep);
    }

    /// Removes the frames that no watcher needs any more, by the same rule as the log itself; the fold
    /// right before the first remaining one becomes the base. Called after each read.
    fn trim(&mut self, keep: History) {
        let Some(job) = &self.job else {
            return;
        };
        let head = job.position.sequence;
        let mark = self.mark.as_ref().map(|mark| mark.position.sequence);
        let front = self.front();
        let since = mark.unwrap_or(front - 1);
        let latest = self.frames.iter().skip((since + 1 - front) as usize);
        let is_long = head - since >= keep.events as u64;
        let bytes = || latest.map(|frame| frame.bytes.len()).sum::<usize>();
        let is_heavy = || !job.own && bytes() >= keep.bytes / 2;
        if !is_long && !is_heavy() {
            return;
        }
        let before = self.mark.replace(Box::new(job.clone()));
        if let Some(at) = mark {
            self.frames.drain(..(at + 1 - front) as usize);
            self.base = before;
        }
    }

    /// Whether a watcher with this cursor can be given what follows it.
    pub(super) fn honours(&self, cursor: Position) -> bool {
        self.head().is_some_and(|head| {
            head.epoch == cursor.epoch
                && cursor.sequence <= head.sequence
                && cursor.sequence + 1 >= self.front()
        })
    }

    /// Whether another source knows more than this state, and the log couldn't be read since.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.is_some()
    }

    /// Sequence of the first frame; one past the head when there is none.
    pub(super) fn front(&self) -> u64 {
        self.head().map_or(1, |p| p.sequence + 1) - self.frames.len() as u64
    }

    /// Whether a result says how the job ended and it is open whose the job is.
    pub(super) fn has_result_without_owner(&self) -> bool {
        self.is_owner_open && self.result.is_some()
    }

    /// There is a log, which says more.
    pub(super) fn drop_result(&mut self) {
        self.result = None;
        self.is_owner_open &= self.lacks_owner();
    }

    /// Whether there is an external job's log, and it doesn't say whose the job is.
    pub(super) fn lacks_owner(&self) -> bool {
        let job = self.job.as_ref();
        job.is_some_and(|job| !job.own && job.client_id.is_none())
    }

    /// Triton has said where the job comes from, or that it doesn't know.
    pub(super) fn settle_owner(&mut self, told: Option<&Origin>) {
        if let (Some(job), Some(told)) = (&mut self.job, told) {
            job.learn(told);
        }
        // Of a result it is settled with the result.
        self.is_owner_open &= self.result.is_some();
    }

    /// The phase for a caller who sees these clients: while the job's owner is open, a caller who sees only
    /// some clients is told nothing, neither that the job exists nor that it doesn't.
    pub(super) fn phase_for(&self, clients: &Clients) -> Phase {
        if self.is_owner_open && !clients.are_all() {
            Phase::Loading
        } else {
            self.phase
        }
    }

    /// The job as far as it is known, by its log or else by its result.
    pub(super) fn known(&self) -> Option<&Job> {
        self.result.as_deref().or(self.job.as_ref())
    }

    /// Whether the job is hidden from a caller who sees these clients.
    pub(super) fn is_hidden_from(&self, clients: &Clients) -> bool {
        let hidden = |job: &Job| !clients.see(job.client_id.as_ref());
        !clients.are_all() && !self.is_owner_open && self.known().is_some_and(hidden)
    }

    pub(super) fn head(&self) -> Option<Position> {
        self.job.as_ref().map(|job| job.position)
    }

    /// The newest event, where it is kept.
    pub(super) fn newest(&self) -> Option<&Frame> {
        self.frames.back()
    }

    /// The frames from `sequence` on; none when it is before the front.
    pub(super) fn frames_from(&self, sequence: u64) -> Option<impl Iterator<Item = &Frame>> {
        let skip = sequence.checked_sub(self.front())?;
        Some(self.frames.iter().skip(skip as usize))
    }
}

#[cfg(test)]
mod tests {
    use conch_domain::{Epoch, JobRecord};

    use super::*;

    /// The most bytes of frames, and the fewest and most frames, of a job of 300 events of 1,000 bytes once
    /// there were 20.
    fn kept(own: bool) -> (usize, usize, usize) {
        let epoch = Epoch::from_random([1, 2, 3, 4]);
        let initial = Job::initial("j".parse().expect("an id"), epoch, own);
        let keep = History {
            events: 100,
            bytes: 10_000,
        };
        let mut state = State::new();
        let (mut bytes, mut fewest, mut most) = (0, usize::MAX, 0);
        for sequence in 1..=300 {
            let job = Job::restore(JobRecord {
                position: Position { epoch, sequence },
                ..(*initial).clone()
            });
            let entry = Entry {
                sequence,
                line: Bytes::from(vec![b'x'; 1000]),
            };
            let log = Log {
                job,
                oldest: 1,
                base: None,
                entries: vec![entry],
            };
            state.take_in(log, sequence - 1, keep, false);
            let frames = state.frames.iter().map(|frame| frame.bytes.len());
            bytes = bytes.max(frames.sum());
            if sequence > 20 {
                fewest = fewest.min(state.frames.len());
                most = most.max(state.frames.len());
                let base = state.base.as_ref().map_or(0, |job| job.position.sequence);
                assert_eq!(base + 1, state.front(), "base and frames don't join");
            }
        }
        (bytes, fewest, most)
    }

    #[test]
    fn a_topic_keeps_less_of_large_events_of_an_external_job() {
        let (bytes, fewest, most) = kept(false);
        assert!(
            bytes < 20_000 && fewest >= 5 && most < 20,
            "{bytes} {fewest} {most}"
        );
        let (_, fewest, most) = kept(true);
        assert_eq!(
            (fewest, most),
            (21, 199),
            "our own are kept by their number"
        );
    }
}
