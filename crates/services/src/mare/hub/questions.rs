//! How much one caller may have Triton and the cache asked about jobs that have no log: so many
//! questions at once, then so many a second. Further ones wait for their turn.

use std::time::Duration;

use conch_domain::JobId;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::entropy;

/// Questions that may be asked at once after a while of quiet.
pub(super) const BURST: u32 = 100;
/// From then on one in each such time.
pub(super) const EVERY: Duration = Duration::from_millis(50);

/// One caller's budget. Those who wait come in turn.
pub(super) struct Questions {
    /// The moment up to which all that was spent is earned again.
    earned_at: Mutex<Instant>,
    /// From which the ids of this caller's decoys are made: no other caller can guess one.
    secret: Uuid,
}

impl Questions {
    pub(super) fn new() -> Self {
        Self {
            earned_at: Mutex::new(Instant::now()),
            secret: entropy::random_uuid(),
        }
    }

    /// The unused id that is looked for in place of a job that this caller may not know of: the same on
    /// all its streams, so that they share one topic as they would that of an absent job.
    pub(super) fn decoy_of(&self, job_id: &JobId) -> JobId {
        let digest = Sha256::new()
            .chain_update(self.secret)
            .chain_update(job_id.as_str())
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        JobId::from_uuid(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Waits until the caller may have one more question asked. Cancel-safe.
    pub(super) async fn turn(&self) {
        let mut earned_at = self.earned_at.lock().await;
        // None: the machine has not been up for as long.
        if let Some(from) = earned_at.checked_sub(EVERY * (BURST - 1)) {
            tokio::time::sleep_until(from).await;
        }
        *earned_at = (*earned_at).max(Instant::now()) + EVERY;
    }

    /// How long it takes, as far as can be told, until all that was spent is earned again.
    pub(super) fn wait(&self) -> Duration {
        // Somebody waits for a turn: there is none.
        let earned_at = self.earned_at.try_lock();
        earned_at.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        })
    }

    /// Whether nothing that was spent is still to be earned.
    pub(super) fn are_unspent(&self) -> bool {
        self.wait().is_zero()
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
