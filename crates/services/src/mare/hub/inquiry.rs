//! When Triton is to be asked about a topic's job though its log isn't silent.
//!
//! Never in here: what it is asked, or what becomes of its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::calls::Reason;
use super::state::Phase;
use super::topic::Topic;

impl Topic {
    /// A stream names the job.
    pub(super) fn name(&self) {
        self.is_named.store(true, Ordering::Release);
    }

    /// Has Triton asked, if it may know more than the log. What it said earlier of whose the job is counts
    /// no more.
    pub(super) fn inquire(self: &Arc<Self>) {
        *self.inquiry.lock() = Some(Instant::now());
        let mut state = self.state();
        state.is_owner_open |= state.lacks_owner();
        // One that hasn't read its log yet is about to.
        let has_read = match state.phase {
            Phase::Live => true,
            Phase::Ended(_) => state.is_owner_open,
            Phase::Loading | Phase::EndedWithoutLog(_) | Phase::Lost => false,
        };
        drop(state);
        if has_read {
            self.call(Reason::Hint);
        }
    }

    /// Has Triton asked whose the job is, if that is open, after `pause` at the latest: a job that goes on
    /// may never be silent.
    pub(super) fn inquire_owner_after(&self, pause: Duration) {
        let is_open = {
            let state = self.state();
            state.is_owner_open && state.phase == Phase::Live
        };
        if is_open {
            let due = Instant::now() + pause;
            self.inquiry.lock().get_or_insert(due);
        }
    }

    /// Whether Triton is to be asked; asks once.
    pub(super) fn take_inquiry(&self) -> bool {
        let now = Instant::now();
        self.inquiry.lock().take_if(|due| *due <= now).is_some()
    }
}
