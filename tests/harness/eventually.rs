//! Waiting for a fact that can only be asked for, with a bound and without a bare sleep in any test.

use std::time::{Duration, Instant};

/// Upper bound of a wait for anything that normally takes less than a second. Only a failing test
/// waits this long.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// Between two looks.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// Looks until `look` finds something.
///
/// # Panics
/// After [`PATIENCE`], naming `what` was waited for.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain: {what}"
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// As [`eventually`], for what is asked with blocking calls.
///
/// # Panics
/// After [`PATIENCE`], naming `what` was waited for.
pub fn eventually_blocking<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain: {what}"
        );
        std::thread::sleep(LOOK_AGAIN);
    }
}
