//! Why a topic's pump is to look at its job, as a set of reasons, and whether the pump runs at all. A topic
//! whose pump isn't called has neither a task nor a timer.
//!
//! Never in here: what is done for which reason.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// Why a pump is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The topic is new.
    Beginning = 1,
    /// The log is worth reading again.
    Hint = 1 << 1,
    /// The topic is stale, even if it has ended: another source knows more, or shelved frames are wanted.
    Stale = 1 << 2,
    /// The log of a topic that had ended was read by another task.
    Revived = 1 << 3,
    /// Others than the log are to be asked, because the job is silent.
    Silence = 1 << 4,
    /// The last interest is gone.
    Idle = 1 << 5,
}

/// Beside the reasons: a pump runs.
const RUNNING: u8 = 1 << 7;

/// What a pump was called for and hasn't heard yet. Each reason is kept once, until it is taken.
pub(super) struct Calls {
    bits: AtomicU8,
    called: Notify,
}

impl Calls {
    /// Of a topic whose pump has yet to be started.
    pub(super) fn new() -> Self {
        Self {
            bits: AtomicU8::new(0),
            called: Notify::new(),
        }
    }

    /// Adds a reason. True: no pump runs, and the caller has to start one.
    #[must_use = "a pump may have to be started"]
    pub(super) fn call(&self, reason: Reason) -> bool {
        let before = self.bits.fetch_or(reason as u8 | RUNNING, Ordering::AcqRel);
        let runs = before & RUNNING != 0;
        if runs {
            self.called.notify_waiters();
        }
        !runs
    }

    /// Whether the pump was called for that; asks once.
    pub(super) fn take(&self, reason: Reason) -> bool {
        let bit = reason as u8;
        let is_there = self.bits.load(Ordering::Acquire) & bit != 0;
        is_there && self.bits.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Takes the first of the reasons that is there, and leaves the others.
    pub(super) fn take_first(&self, reasons: &[Reason]) -> Option<Reason> {
        reasons.iter().copied().find(|reason| self.take(*reason))
    }

    /// As [`Calls::take_first`]; waits until one of them is there. No call between a look and the wait is
    /// missed. Cancel-safe.
    pub(super) async fn next(&self, reasons: &[Reason]) -> Reason {
        loop {
            let called = self.called.notified();
            tokio::pin!(called);
            called.as_mut().enable();
            if let Some(reason) = self.take_first(reasons) {
                return reason;
            }
            called.await;
        }
    }

    /// The pump ends, because there is nothing to do; false if there is. The next call starts another one.
    pub(super) fn rest(&self) -> bool {
        let rests = self
            .bits
            .compare_exchange(RUNNING, 0, Ordering::AcqRel, Ordering::Acquire);
        rests.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_first_call_starts_a_pump_and_no_other_does_until_it_rests() {
        let calls = Calls::new();
        assert!(calls.call(Reason::Beginning));
        assert!(!calls.call(Reason::Hint));
        assert!(!calls.call(Reason::Hint));
        assert!(calls.take(Reason::Beginning));
        assert!(!calls.rest(), "it was hinted at");
        assert!(calls.take(Reason::Hint));
        assert!(!calls.take(Reason::Hint), "once");
        assert!(calls.rest());
        assert!(calls.call(Reason::Idle), "another pump is needed");
    }

    #[tokio::test]
    async fn each_reason_is_kept_until_it_is_taken() {
        let calls = Calls::new();
        assert!(calls.call(Reason::Stale));
        let order = [Reason::Hint, Reason::Idle];
        let next = calls.next(&order);
        tokio::pin!(next);
        assert!(next.as_mut().now_or_never().is_none());
        for reason in [Reason::Idle, Reason::Hint] {
            assert!(!calls.call(reason));
        }
        assert_eq!(next.await, Reason::Hint, "in that order");
        assert_eq!(calls.next(&order).await, Reason::Idle);
        assert!(calls.take(Reason::Stale));
    }
}
