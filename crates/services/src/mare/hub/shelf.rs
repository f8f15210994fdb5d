//! Frames that no watcher is about to read are shelved: dropped, and read from the log again once a watcher
//! needs one of them. What else is known of the job stays.
//!
//! Never in here: a loss of history. A watcher that needs a frame waits until it is read again, or the log is gone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use conch_domain::Position;
use conch_ports::Log;

use super::calls::Reason;
use super::state::{Phase, State};
use super::topic::Topic;
use super::watcher::Cursor;

/// Whether the frames are all here that the log keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Shelf {
    /// They are.
    #[default]
    Empty,
    /// Those before the front were dropped.
    Older,
    /// They were, and a watcher needs them.
    Wanted,
}

impl State {
    /// The topic's turn in the position check has come: shelves the frames if the log wasn't read since the
    /// last one.
    pub(super) fn shelve_if_idle(&mut self) {
        if self.reads == self.reads_at_check {
            self.shelve();
        }
        self.reads_at_check = self.reads;
    }

    /// Drops the frames of a job that goes on, unless a watcher waits for them. One that hasn't read them all
    /// asks for them again.
    pub(super) fn shelve(&mut self) {
        if self.phase == Phase::Live && self.shelf != Shelf::Wanted && !self.frames.is_empty() {
            self.shelf = Shelf::Older;
            self.frames = VecDeque::new();
            self.base = None;
            self.mark = None;
        }
    }

    /// Whether the frame of that sequence was shelved, so that a watcher that wants it has to wait.
    pub(super) fn is_shelved(&self, sequence: u64) -> bool {
        self.shelf != Shelf::Empty && sequence < self.front()
    }

    /// Has the next read bring the shelved frames. False: that is so already, or there are none.
    pub(super) fn want_shelved(&mut self) -> bool {
        let is_news = self.shelf == Shelf::Older;
        if is_news {
            self.shelf = Shelf::Wanted;
        }
        is_news
    }

    /// There is no log any more that they could be read from: watchers that want them are given the state that
    /// is known.
    pub(super) fn lose_shelved(&mut self) {
        if self.shelf == Shelf::Wanted {
            self.shelf = Shelf::Empty;
        }
    }

    /// Where a read of the log has to begin: after that sequence.
    pub(super) fn read_from(&self) -> u64 {
        match self.shelf {
            Shelf::Wanted => 0,
            Shelf::Empty | Shelf::Older => self.head().map_or(0, |head| head.sequence),
        }
    }

    /// Whether a log that was read from its beginning goes on from what is here, and was read for the frames
    /// that were shelved.
    pub(super) fn is_unshelved_by(&self, log: &Log) -> bool {
        let found = log.job.position;
        let goes_on = |head: Position| head.epoch == found.epoch && head.sequence <= found.sequence;
        self.shelf == Shelf::Wanted && self.head().is_some_and(goes_on)
    }
}

impl Topic {
    /// Whether there is one interest, and no read of the log is under way that others are to be told of.
    pub(super) fn has_one_watcher(&self) -> bool {
        self.interest.load(Ordering::Acquire) == 1 && self.reading.try_lock().is_ok()
    }

    /// Has the frames read again that were shelved. For a watcher that needs one of them, and
    /// waits for the state to change.
    pub(super) fn unshelve(self: &Arc<Self>) {
        let is_news = self.state().want_shelved();
        if is_news {
            self.call(Reason::Stale);
        }
    }
}

impl Cursor {
    /// Whether the next frame that it wants was shelved.
    pub(super) fn is_shelved(&self, state: &State) -> bool {
        let wanted = match self {
            Self::Beginning => Some(1),
            Self::After(position) => {
                let is_of_log = state
                    .head()
                    .is_some_and(|head| head.epoch == position.epoch);
                is_of_log.then_some(position.sequence + 1)
            }
            Self::At {
                generation,
                position,
            } => (*generation == state.generation).then_some(position.sequence + 1),
            Self::Ended | Self::Unusable(_) => None,
        };
        wanted.is_some_and(|sequence| state.is_shelved(sequence))
    }
}
