//! The store's clock. Leases and lifetimes are measured by tokio's, which tells no date: this one does.
//!
//! Never in here: a decision about what a time means.

use std::time::{Duration, SystemTime};

use conch_domain::Timestamp;
use tokio::time::Instant;

pub(crate) struct Clock {
    /// What it says at a moment of tokio's clock; none: it is the system's.
    begins: Option<(Timestamp, Instant)>,
}

impl Clock {
    /// One that says `begins` now.
    pub(crate) fn new(begins: Option<Timestamp>) -> Self {
        Self {
            begins: begins.map(|begins| (begins, Instant::now())),
        }
    }

    pub(crate) fn tell(&self, now: Instant) -> Timestamp {
        match self.begins {
            Some((begins, at)) => plus(begins, now.duration_since(at)),
            None => system_time(),
        }
    }
}

/// UTC, from the system: this store and its callers are one process.
fn system_time() -> Timestamp {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    plus(Timestamp::from_micros(0), since_1970)
}

fn plus(time: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(time.as_micros().saturating_add(by))
}
