//! What a connection's service, socket and driver tell each other that hyper doesn't.
//!
//! Never in here: reading or writing. It is state, and each part takes its own steps by it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::Request;
use bytes::Bytes;

use super::takeover::Frames;
use super::unfinished::{Heads, Unfinished};

/// A response that leaves hyper.
pub(super) struct Taken {
    pub(super) frames: Box<dyn Frames>,
    pub(super) head: Bytes,
    pub(super) chunked: bool,
}

// State of a hand-off; 0 is that nothing was taken.
const TAKEN: u8 = 1;
const CLEARED: u8 = 2;

/// Where a connection's service, socket and driver tell each other what hyper doesn't.
pub(super) struct HandOff {
    taken: Mutex<Option<Taken>>,
    /// 0; `TAKEN` from when `taken` is filled; `CLEARED` from when hyper's buffer is empty after that.
    state: AtomicU8,
    /// Lines with a `Content-Length` that were read.
    lengths_read: AtomicU32,
    /// Those that belong to requests which were dispatched and showed it.
    lengths_shown: AtomicU32,
    /// Whether a request was dispatched.
    used: AtomicBool,
    /// Whether a request is being answered. Then what is read is its body.
    answers: AtomicBool,
    /// Bytes read of a head that isn't whole.
    pub(super) unfinished: Unfinished,
}

impl HandOff {
    pub(super) fn new(heads: &Arc<Heads>) -> Self {
        Self {
            taken: Mutex::default(),
            state: AtomicU8::default(),
            lengths_read: AtomicU32::default(),
            lengths_shown: AtomicU32::default(),
            used: AtomicBool::default(),
            answers: AtomicBool::default(),
            unfinished: Unfinished::new(heads),
        }
    }

    /// Lines with a length were read.
    pub(super) fn count_lengths(&self, found: u32) {
        if found > 0 {
            self.lengths_read.fetch_add(found, Ordering::Relaxed);
        }
    }

    /// Whether what is read now belongs to a head.
    pub(super) fn reads_head(&self) -> bool {
        !self.answers.load(Ordering::Relaxed)
    }

    pub(super) fn begin<B>(&self, request: &Request<B>) {
        self.used.store(true, Ordering::Relaxed);
        self.answers.store(true, Ordering::Relaxed);
        self.unfinished.begin(request);
    }

    pub(super) fn answered(&self) {
        self.answers.store(false, Ordering::Relaxed);
    }

    pub(super) fn put(&self, taken: Taken) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
        self.state.store(TAKEN, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> Option<Taken> {
        self.taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// hyper flushes its socket exactly when it has written all that it had.
    pub(super) fn flushed(&self) {
        if self.state.load(Ordering::Relaxed) == TAKEN {
            self.state.store(CLEARED, Ordering::Relaxed);
        }
    }

    pub(super) fn is_cleared(&self) -> bool {
        self.state.load(Ordering::Relaxed) == CLEARED
    }

    pub(super) fn is_unused(&self) -> bool {
        !self.used.load(Ordering::Relaxed)
    }

    /// Whether more lengths were read than shown so far. If the present request hides one, this is
    /// true. It is also true when a pipelined request or a line within a body has one, but JSON
    /// has no such line: no honest request is refused.
    pub(super) fn hides_length(&self, shown: usize) -> bool {
        let shown = u32::try_from(shown).unwrap_or(u32::MAX);
        let before = self.lengths_shown.fetch_add(shown, Ordering::Relaxed);
        self.lengths_read.load(Ordering::Relaxed) > before.saturating_add(shown)
    }
}
