//! What every watcher's stream has around its events: the greeting, heartbeats, the farewell of a
//! shutdown or of a stream that has lasted long enough, the word that its credentials have run out, the
//! end. Knows nothing of jobs.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use conch_wire::sse;

use super::wake::{Over, Slot};
use super::{Next, Shared};
use crate::limits;

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

    pub(super) fn follower(&self) -> &F {
        &self.follower
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
        let greets = !self.greeted;
        if greets {
            self.greeted = true;
            out.push(self.follower.shared().greeting());
        }
        let over = self.follower.slot().over();
        // Before anything is given: whose credentials count no more is given nothing more.
        if over == Some(Over::Credentials) {
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
            if greets && out.len() == due + 1 {
                out.push(sse::KEEP_ALIVE);
            }
            return Poll::Ready(Next::End);
        }
        // After what is there: so each connection gets on, and an end that is there is told here.
        if over == Some(Over::Lifetime) {
            self.ended = true;
            limits::hit("stream_lifetime_seconds");
            out.push(self.follower.shared().farewell());
            return Poll::Ready(Next::End);
        }
        let beat = self.follower.slot().take_beat();
        // The greeting is the first line of an event's block; where there is none yet, a comment follows it.
        let nothing_to_tell = out.len() == due + usize::from(greets);
        if nothing_to_tell && (greets || beat) {
            out.push(sse::KEEP_ALIVE);
        }
        if out.len() > due {
            Poll::Ready(Next::More)
        } else {
            Poll::Pending
        }
    }
}
