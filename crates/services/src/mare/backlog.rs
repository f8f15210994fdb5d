//! External events that wait for their turn to be offered to their jobs' logs: bounded in bytes, and
//! fair to each job. A job gets one event in, then the next job has its turn, so one that chatters costs
//! its neighbours nothing.
//!
//! Where an event that matters finds no room, what became of its job is owed: Triton is asked once all that
//! waits of the job was offered. If Triton doesn't answer then, that is forgotten: the position check asks
//! again if the job is watched, else its next lookup or stream does.
//!
//! Never in here: an event that changes a job's life dropped for one that doesn't.

mod state;
#[cfg(test)]
mod tests;
mod weight;

use bytes::Bytes;
use conch_domain::{EventKind, JobId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub(crate) use self::state::Dropped;
use self::state::State;
pub(crate) use self::weight::Bounds;
use self::weight::Waiting;

/// An event as it came.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) line: Bytes,
    pub(crate) received_at: Timestamp,
}

/// What is due for a job.
#[derive(Debug)]
pub(crate) enum Due {
    /// This event is to be offered.
    Event(Heard),
    /// Events that matter found no room: what became of the job is to be asked.
    Owed,
}

/// External events that wait; see the module.
#[derive(Default)]
pub(crate) struct Backlog {
    bounds: Bounds,
    state: Mutex<State>,
    more: Notify,
}

impl Backlog {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Lets an event wait, if there is or can be made room for it.
    pub(crate) fn push(&self, job_id: &JobId, kind: &EventKind, heard: Heard) -> Dropped {
        let waiting = Waiting::new(kind, heard);
        let dropped = self.state.lock().push(self.bounds, job_id, waiting);
        self.more.notify_one();
        dropped
    }

    /// What is due next, of a job of which nothing is being offered; none once it is closed and nothing
    /// waits. To be followed by [`Backlog::done`]. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<(JobId, Due)> {
        loop {
            let more = self.more.notified();
            {
                let mut state = self.state.lock();
                if let Some(due) = state.take() {
                    // Another task may be waiting for the next one.
                    if state.is_any_due() {
                        self.more.notify_one();
                    }
                    return Some(due);
                }
                if state.closed {
                    self.more.notify_one();
                    return None;
                }
            }
            more.await;
        }
    }

    /// What was due of the job is done.
    pub(crate) fn done(&self, job_id: &JobId) {
        let is_more_due = self.state.lock().done(job_id);
        if is_more_due {
            self.more.notify_one();
        }
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        // A permit for a task that comes, and word for those that wait.
        self.more.notify_waiters();
        self.more.notify_one();
    }
}
