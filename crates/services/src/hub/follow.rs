//! What every watcher's stream has around its events: the greeting, heartbeats, the farewell of a
//! shutdown, the word that its credentials have run out, the end. Knows nothing of jobs.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use conch_wire::sse;

use super::wake::Slot;
use super::{Next, Shared};

/// Where a watcher's events come from.
pub(super) trait Follow {
    /// Where it is found by those who have something for it.
    fn slot(&self) -> &Arc<Slot>;

    /// The hub that it watches.
    fn shared(&self) -> &Shared;

    /// Pushes what is new, and says whether the stream is over. Called after the slot knows the
    /// waker. If nothing was pushed there must be nothing to push, or the context's waker was used.
    fn follow(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) -> bool;
}

/// A watcher's whole stream.
pub(super) struct Paced<F> {
    follower: F,
    greeted: bool,
    ended: bool,
}

impl<F: Follow> Paced<F> {
    pub(super) fn new(follower: F) -> Self {
        Self {
            follower,
            greeted: false,
            ended: false,
        }
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        self.follower.slot()
    }

    pub(super) fn poll_frames(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) -> Poll<Next> {
        if self.ended {
            return Poll::Ready(Next::End);
        }
        // Before anything is looked at: what happens from here on calls the waker.
        self.follower.slot().register(cx.waker());
        let due = out.len();
        if !self.greeted {
            self.greeted = true;
            out.push(self.follower.shared().greeting.clone());
        }
        // Before anything is given: whose time is over is given nothing more.
        if self.follower.slot().is_over() {
            self.ended = true;
            out.push(sse::AUTH_EXPIRED);
            return Poll::Ready(Next::End);
        }
        if self.follower.shared().shutdown.is_cancelled() {
            self.ended = true;
            out.push(self.follower.shared().farewell());
            return Poll::Ready(Next::End);
        }
        if self.follower.follow(cx, out) {
            self.ended = true;
            return Poll::Ready(Next::End);
        }
        let beat = self.follower.slot().take_beat();
        if out.len() > due {
            return Poll::Ready(Next::More);
        }
        if beat {
            out.push(sse::KEEP_ALIVE);
            return Poll::Ready(Next::More);
        }
        Poll::Pending
    }
}
