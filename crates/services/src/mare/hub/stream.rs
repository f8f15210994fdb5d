//! What the hub hands out: the answer to a request to watch, and one watcher's stream.
//!
//! Never in here: what a stream says.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::callers::Place;
use super::expiry::Due;
use super::follow::Paced;
use super::many::ManyWatcher;
use super::watcher::JobWatcher;

/// What a watcher's stream does after the frames that it just gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// More may follow.
    More,
    /// The stream is over.
    End,
}

/// The answer to a request to watch.
pub enum Attached {
    /// Here is the stream.
    Stream(Watcher),
    /// The cursor is at the end of everything: there is nothing to wait for.
    Ended,
    /// There is no such job.
    Unknown,
    /// Too many watch already: this stream says when to come back, and ends.
    Full(Watcher),
}

/// A stream of SSE text for one watcher. Dropping it takes the watcher off the list.
pub struct Watcher {
    kind: Kind,
    _counted: Option<Arc<()>>,
    /// None where callers have no names and streams last for ever.
    _guards: Option<Box<Guards>>,
}

/// What a watcher gives back when it is gone.
pub(super) struct Guards {
    _due: Option<Due>,
    _place: Option<Place>,
}

impl Guards {
    /// None if there is nothing to give back.
    pub(super) fn new(due: Option<Due>, place: Option<Place>) -> Option<Box<Self>> {
        let is_needed = due.is_some() || place.is_some();
        is_needed.then(|| {
            Box::new(Self {
                _due: due,
                _place: place,
            })
        })
    }
}

pub(super) enum Kind {
    Job(Paced<JobWatcher>),
    Many(Box<Paced<ManyWatcher>>),
    TurnedAway(Option<Bytes>),
}

impl Watcher {
    /// One that counts as a watcher for as long as it lives.
    pub(super) fn new(kind: Kind, counted: Arc<()>, guards: Option<Box<Guards>>) -> Self {
        Self {
            kind,
            _counted: Some(counted),
            _guards: guards,
        }
    }

    /// One that is told this and nothing else.
    pub(super) fn turned_away(line: Bytes) -> Self {
        Self {
            kind: Kind::TurnedAway(Some(line)),
            _counted: None,
            _guards: None,
        }
    }

    /// Whether this is the stream of one job, which has ended.
    pub fn is_of_ended_job(&self) -> bool {
        match &self.kind {
            Kind::Job(watcher) => watcher.follower().has_ended(),
            Kind::Many(_) | Kind::TurnedAway(_) => false,
        }
    }

    /// Pushes the frames that are due, each a whole number of SSE lines, and says whether more can
    /// follow. When pending nothing was pushed, and the waker is called once there may be something.
    /// To be polled by one task at a time.
    pub fn poll_frames(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) -> Poll<Next> {
        match &mut self.kind {
            Kind::Job(watcher) => watcher.poll_frames(cx, out),
            Kind::Many(watcher) => watcher.poll_frames(cx, out),
            Kind::TurnedAway(line) => {
                out.extend(line.take());
                Poll::Ready(Next::End)
            }
        }
    }
}
