//! How often each caller may submit: so many at once, and as many again over each minute. Where nobody
//! has to say who they are, all of them together are one.
//!
//! Counted by this process alone, before any other service is asked. A caller who has submitted nothing for
//! two minutes is as good as a new one, and is forgotten.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::{Caller, Identity};
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits;

/// Callers that are remembered at once. While there are so many, and none of them can be forgotten, no
/// submission is let in.
const MAX_CALLERS: usize = 100_000;
/// Time between two looks for callers who can be forgotten.
const SWEEP: Duration = Duration::from_mins(1);
/// The same where there is no room.
const SWEEP_WHEN_FULL: Duration = Duration::from_secs(1);

/// How often callers may submit; a cheap handle.
#[derive(Clone)]
pub struct SubmissionRate(Option<Arc<Limited>>);

struct Limited {
    /// Callers who say who they are by that; all others together are one.
    limiter: RateLimiter<Key, HashMapStateStore<Key>, Elapsed, NoOpMiddleware<Duration>>,
    room: usize,
    clock: Elapsed,
    swept_at: Mutex<Instant>,
}

type Key = Option<Arc<Identity>>;

/// Time by tokio's clock, which tests can hold.
#[derive(Debug, Clone, Copy)]
struct Elapsed(Instant);

impl Clock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl SubmissionRate {
    /// As often as they like.
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// `most` at once, and as many over each minute.
    pub fn per_minute(most: NonZeroU32) -> Self {
        Self(Some(Arc::new(Limited::new(most, MAX_CALLERS))))
    }

    /// Counts one more submission of the caller.
    ///
    /// # Errors
    /// When it is one too many: after that time there is room for one.
    pub(crate) fn take(&self, caller: &Caller) -> Result<(), Duration> {
        let taken = match &self.0 {
            Some(limited) => limited.take(caller),
            None => Ok(()),
        };
        if taken.is_err() {
            limits::hit("submissions_per_minute");
        }
        taken
    }
}

impl Limited {
    fn new(most: NonZeroU32, room: usize) -> Self {
        let clock = Elapsed(Instant::now());
        Self {
            limiter: RateLimiter::hashmap_with_clock(Quota::per_minute(most), clock),
            room,
            clock,
            swept_at: Mutex::new(clock.0),
        }
    }

    fn take(&self, caller: &Caller) -> Result<(), Duration> {
        if !self.has_room() {
            return Err(SWEEP_WHEN_FULL);
        }
        let checked = self.limiter.check_key(&caller.identity().cloned());
        checked.map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Whether one more caller can be remembered. Forgets those who are as good as new.
    fn has_room(&self) -> bool {
        let mut swept_at = self.swept_at.lock();
        let is_full = self.limiter.len() >= self.room;
        let pause = if is_full { SWEEP_WHEN_FULL } else { SWEEP };
        if swept_at.elapsed() < pause {
            return !is_full;
        }
        *swept_at = Instant::now();
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
        self.limiter.len() < self.room
    }
}

#[cfg(test)]
mod tests {
    use conch_domain::{Clients, Scopes, Timestamp};

    use super::*;

    fn caller(subject: &str) -> Caller {
        let identity = Identity {
            issuer: "i".to_owned(),
            subject: subject.to_owned(),
        };
        Caller::new(
            identity,
            Clients::ALL,
            Scopes::all(),
            Timestamp::from_micros(0),
        )
    }

    fn limited(most: u32, room: usize) -> Limited {
        Limited::new(NonZeroU32::new(most).expect("not 0"), room)
    }

    #[tokio::test(start_paused = true)]
    async fn each_caller_has_so_many_at_once_and_as_many_over_a_minute() {
        let limited = limited(3, 10);
        for who in [caller("a"), caller("b"), Caller::unrestricted()] {
            for _ in 0..3 {
                assert_eq!(limited.take(&who), Ok(()));
            }
            assert_eq!(limited.take(&who), Err(Duration::from_secs(20)));
        }
        tokio::time::advance(Duration::from_secs(15)).await;
        // To be refused costs nothing.
        assert_eq!(limited.take(&caller("a")), Err(Duration::from_secs(5)));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(limited.take(&caller("a")), Ok(()));
        assert_eq!(limited.take(&caller("a")), Err(Duration::from_secs(20)));
        tokio::time::advance(Duration::from_mins(1)).await;
        for _ in 0..3 {
            assert_eq!(limited.take(&caller("a")), Ok(()));
        }
        assert!(
            limited.take(&caller("a")).is_err(),
            "no more than that pile up"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn callers_who_are_as_good_as_new_are_forgotten_and_no_more_are_kept_than_there_is_room_for()
     {
        let limited = limited(2, 3);
        for name in ["a", "b", "c"] {
            assert_eq!(limited.take(&caller(name)), Ok(()));
        }
        assert_eq!(limited.take(&caller("d")), Err(SWEEP_WHEN_FULL));
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(limited.take(&caller("d")), Err(SWEEP_WHEN_FULL));
        assert_eq!(limited.limiter.len(), 3);
        tokio::time::advance(Duration::from_secs(32)).await;
        assert_eq!(
            limited.take(&caller("d")),
            Ok(()),
            "the others are forgotten"
        );
        assert_eq!(limited.limiter.len(), 1);
        // Not for being full alone: time does it.
        tokio::time::advance(SWEEP).await;
        assert_eq!(limited.take(&caller("a")), Ok(()));
        assert_eq!(limited.limiter.len(), 1);
    }
}
