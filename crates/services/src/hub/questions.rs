//! How much one caller may have Triton and the cache asked about jobs that have no log: so many
//! questions at once, then so many a second. Further ones wait for their turn.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Questions that may be asked at once after a while of quiet.
const BURST: u32 = 100;
/// From then on one in each such time.
const EVERY: Duration = Duration::from_millis(50);

/// One caller's budget. Those who wait come in turn.
pub(super) struct Questions(Mutex<Instant>);

impl Questions {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Waits until the caller may have one more question asked. Cancel-safe.
    pub(super) async fn turn(&self) {
        // The moment up to which all that was spent is earned again.
        let mut earned_at = self.0.lock().await;
        // None: the machine has not been up for as long.
        if let Some(from) = earned_at.checked_sub(EVERY * (BURST - 1)) {
            tokio::time::sleep_until(from).await;
        }
        *earned_at = (*earned_at).max(Instant::now()) + EVERY;
    }

    /// Whether nothing that was spent is still to be earned.
    pub(super) fn are_unspent(&self) -> bool {
        self.0.try_lock().is_ok_and(|at| *at <= Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_one_after_the_other() {
        let questions = Questions::new();
        tokio::time::sleep(Duration::from_hours(1)).await;
        for round in 0..2 {
            let begun = Instant::now();
            for _ in 0..BURST {
                questions.turn().await;
            }
            assert_eq!(begun.elapsed(), Duration::ZERO, "{round}");
            assert!(!questions.are_unspent());
            for n in 1..=10 {
                questions.turn().await;
                let waited = begun.elapsed();
                assert!(
                    (EVERY * n..EVERY * n + EVERY / 2).contains(&waited),
                    "{waited:?}"
                );
            }
            tokio::time::sleep(EVERY * BURST).await;
            assert!(questions.are_unspent());
        }
    }
}
