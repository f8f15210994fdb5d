//! How often each caller may submit: so many at once, and as many again over each minute. Where nobody
//! has to say who they are, all of them together are one.
//!
//! Counted by this process alone, and before anything is asked of anybody. A caller who has submitted
//! nothing for a minute is as good as a new one, and is forgotten.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::{Caller, Identity};
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits;

/// Callers that are remembered at once; one more is let in when another can be forgotten.
const MAX_CALLERS: usize = 100_000;
/// After this nothing that a caller did counts any more.
const MINUTE: Duration = Duration::from_mins(1);
/// Least time between two looks for whom to forget, where there is no room.
const PAUSE: Duration = Duration::from_secs(1);

/// How often callers may submit; a cheap handle.
#[derive(Clone)]
pub struct SubmissionRate(Option<Arc<Limited>>);

struct Limited {
    quota: Quota,
    room: usize,
    began: Elapsed,
    callers: Mutex<Callers>,
}

struct Callers {
    /// Under none is everybody, where nobody says who they are.
    buckets: HashMap<Option<Arc<Identity>>, Bucket>,
    /// When it was last looked for whom to forget.
    swept_at: Instant,
}

struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, Elapsed, NoOpMiddleware<Duration>>,
    /// When the caller was last let in.
    used_at: Instant,
}

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
        let now = Instant::now();
        Self {
            quota: Quota::per_minute(most),
            room,
            began: Elapsed(now),
            callers: Mutex::new(Callers {
                buckets: HashMap::new(),
                swept_at: now,
            }),
        }
    }

    fn take(&self, caller: &Caller) -> Result<(), Duration> {
        let key = caller.identity().cloned();
        let mut callers = self.callers.lock();
        let is_full = callers.buckets.len() >= self.room;
        callers.forget(if is_full { PAUSE } else { MINUTE });
        if callers.buckets.len() >= self.room && !callers.buckets.contains_key(&key) {
            return Err(MINUTE);
        }
        let bucket = callers.buckets.entry(key).or_insert_with(|| Bucket {
            limiter: RateLimiter::direct_with_clock(self.quota, self.began),
            used_at: Instant::now(),
        });
        match bucket.limiter.check() {
            Ok(()) => {
                bucket.used_at = Instant::now();
                Ok(())
            }
            Err(not_until) => Err(not_until.wait_time_from(self.began.now())),
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.callers.lock().buckets.len()
    }
}

impl Callers {
    /// Forgets those who have submitted nothing for a minute, unless it was done `pause` ago.
    fn forget(&mut self, pause: Duration) {
        if self.swept_at.elapsed() < pause {
            return;
        }
        self.swept_at = Instant::now();
        self.buckets
            .retain(|_, bucket| bucket.used_at.elapsed() < MINUTE);
        self.buckets.shrink_to_fit();
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
        tokio::time::advance(MINUTE).await;
        for _ in 0..3 {
            assert_eq!(limited.take(&caller("a")), Ok(()));
        }
        assert!(
            limited.take(&caller("a")).is_err(),
            "no more than that pile up"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn idle_callers_are_forgotten_and_no_more_are_kept_than_there_is_room_for() {
        let limited = limited(2, 3);
        for name in ["a", "b", "c"] {
            assert_eq!(limited.take(&caller(name)), Ok(()));
        }
        assert_eq!(limited.take(&caller("d")), Err(MINUTE));
        assert_eq!(limited.take(&caller("a")), Ok(()), "who is in goes on");
        assert_eq!(limited.len(), 3);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(limited.take(&caller("a")), Ok(()));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(limited.take(&caller("d")), Ok(()), "b and c are forgotten");
        assert_eq!(limited.len(), 2);
        // Not for being full alone: time does it.
        tokio::time::advance(MINUTE).await;
        assert_eq!(limited.take(&caller("a")), Ok(()));
        assert_eq!(limited.len(), 1);
    }
}
