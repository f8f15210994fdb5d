//! Leaves an address alone for a while after repeated failures.
//!
//! ```text
//!            N failures in a row                 cool-down over: one call
//!   Closed ─────────────────────► Open ──────────────────────────────────► HalfOpen
//!     ▲                             ▲                                         │ │
//!     │                             └──────────────── it failed ──────────────┘ │
//!     └─────────────────────────────── it succeeded ────────────────────────────┘
//! ```
//!
//! A state machine and nothing else: the caller hands the time in.

use std::time::{Duration, Instant};

/// What the breaker says to a call that wants through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Go; tell what became of it, with this pass.
    Go(Pass),
    /// Not before this much time has gone by.
    Wait(Duration),
}

/// Which of the admitted calls this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// One of many.
    Usual,
    /// The one that decides.
    Probe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

/// One address's breaker.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    limit: u32,
    cool_down: Duration,
}

impl Breaker {
    pub(crate) fn new(limit: u32, cool_down: Duration) -> Self {
        Self {
            state: State::Closed { failures: 0 },
            limit,
            cool_down,
        }
    }

    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Go(Pass::Usual),
            State::Open { until } if now >= until => {
                self.state = State::HalfOpen;
                Admission::Go(Pass::Probe)
            }
            State::Open { until } => Admission::Wait(until - now),
            State::HalfOpen => Admission::Wait(Duration::ZERO),
        }
    }

    pub(crate) fn succeeded(&mut self, pass: Pass) {
        match (self.state, pass) {
            (State::Closed { .. }, _) | (State::HalfOpen, Pass::Probe) => {
                self.state = State::Closed { failures: 0 };
            }
            // A call from before the opening says nothing of now.
            _ => {}
        }
    }

    pub(crate) fn failed(&mut self, pass: Pass, now: Instant) {
        let open = State::Open {
            until: now + self.cool_down,
        };
        match (self.state, pass) {
            (State::Closed { failures }, _) if failures + 1 < self.limit => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
            }
            (State::Closed { .. }, _) | (State::HalfOpen, Pass::Probe) => self.state = open,
            _ => {}
        }
    }

    /// The call was dropped before it was known what becomes of it: the next one may probe.
    pub(crate) fn abandoned(&mut self, pass: Pass, now: Instant) {
        if (self.state, pass) == (State::HalfOpen, Pass::Probe) {
            self.state = State::Open { until: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOL_DOWN: Duration = Duration::from_secs(5);

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(3, COOL_DOWN);
        for _ in 0..3 {
            assert_eq!(breaker.admit(now), Admission::Go(Pass::Usual));
            breaker.failed(Pass::Usual, now);
        }
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now), Admission::Wait(COOL_DOWN));

        let mut breaker = Breaker::new(3, COOL_DOWN);
        for _ in 0..5 {
            breaker.failed(Pass::Usual, now);
            breaker.failed(Pass::Usual, now);
            breaker.succeeded(Pass::Usual);
        }
        assert_eq!(breaker.admit(now), Admission::Go(Pass::Usual));
    }

    #[test]
    fn lets_one_call_through_after_the_cool_down() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let later = start + COOL_DOWN;
        assert_eq!(breaker.admit(later), Admission::Go(Pass::Probe));
        assert_eq!(breaker.admit(later), Admission::Wait(Duration::ZERO));
        breaker.failed(Pass::Probe, later);
        assert_eq!(breaker.admit(later), Admission::Wait(COOL_DOWN));

        let later = later + COOL_DOWN;
        assert_eq!(breaker.admit(later), Admission::Go(Pass::Probe));
        breaker.succeeded(Pass::Probe);
        assert_eq!(breaker.admit(later), Admission::Go(Pass::Usual));
    }

    #[test]
    fn a_call_from_before_changes_nothing() {
        let start = Instant::now();
        let mut breaker = opened(start);
        breaker.succeeded(Pass::Usual);
        assert_eq!(breaker.admit(start), Admission::Wait(COOL_DOWN));
        let later = start + COOL_DOWN;
        assert_eq!(breaker.admit(later), Admission::Go(Pass::Probe));
        breaker.failed(Pass::Usual, later);
        breaker.succeeded(Pass::Usual);
        assert_eq!(breaker.admit(later), Admission::Wait(Duration::ZERO));
    }

    #[test]
    fn a_dropped_probe_makes_way_for_the_next() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let later = start + COOL_DOWN;
        assert_eq!(breaker.admit(later), Admission::Go(Pass::Probe));
        breaker.abandoned(Pass::Probe, later);
        assert_eq!(breaker.admit(later), Admission::Go(Pass::Probe));
    }
}
