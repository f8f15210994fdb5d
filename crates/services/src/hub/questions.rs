//! How much one caller may have Triton and the cache asked about jobs that have no log: so many
//! questions at once, then so many a second. Further ones wait for their turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::JobId;
use futures::future::select_all;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;
use uuid::Uuid;

use crate::entropy;

/// Questions that may be asked at once after a while of quiet.
const BURST: u32 = 100;
/// From then on one in each such time.
const EVERY: Duration = Duration::from_millis(50);

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

    /// Whether nothing that was spent is still to be earned.
    pub(super) fn are_unspent(&self) -> bool {
        self.earned_at
            .try_lock()
            .is_ok_and(|at| *at <= Instant::now())
    }
}

/// Callers that share the questions about one job, at most; of more the newest.
const MOST_PAYERS: usize = 8;

/// Those who name a job: what is asked about it is paid by whoever of them has a turn first. None: it
/// costs nobody anything.
pub(super) struct Payers {
    budgets: parking_lot::Mutex<VecDeque<Arc<Questions>>>,
    changed: Notify,
}

impl Payers {
    pub(super) fn new(first: Option<Arc<Questions>>) -> Self {
        Self {
            budgets: parking_lot::Mutex::new(first.into_iter().collect()),
            changed: Notify::new(),
        }
    }

    /// One more names the job; none: one whose questions are not counted.
    pub(super) fn add(&self, payer: Option<&Arc<Questions>>) {
        let mut budgets = self.budgets.lock();
        let Some(payer) = payer else {
            budgets.clear();
            self.changed.notify_one();
            return;
        };
        if budgets.is_empty() || budgets.iter().any(|known| Arc::ptr_eq(known, payer)) {
            return;
        }
        if budgets.len() == MOST_PAYERS {
            budgets.pop_front();
        }
        budgets.push_back(Arc::clone(payer));
        self.changed.notify_one();
    }

    /// Waits until one of them may have a question asked. Cancel-safe.
    pub(super) async fn turn(&self) {
        loop {
            let budgets: Vec<_> = self.budgets.lock().iter().cloned().collect();
            if budgets.is_empty() {
                return;
            }
            // Of those that wait none is charged but the first.
            let turns = budgets.iter().map(|budget| Box::pin(budget.turn()));
            tokio::select! {
                biased;
                _ = select_all(turns) => return,
                () = self.changed.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn spend_all(questions: &Questions) {
        for _ in 0..BURST {
            questions.turn().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_a_turn_pays_and_nobody_else() {
        let (first, second) = (Arc::new(Questions::new()), Arc::new(Questions::new()));
        tokio::time::sleep(Duration::from_hours(1)).await;
        spend_all(&first).await;
        let payers = Arc::new(Payers::new(Some(Arc::clone(&first))));
        let begun = Instant::now();
        // The first one has others to ask about before this.
        let queue: Vec<_> = (0..20)
            .map(|_| {
                let first = Arc::clone(&first);
                tokio::spawn(async move { first.turn().await })
            })
            .collect();
        tokio::task::yield_now().await;
        let turn = tokio::spawn({
            let payers = Arc::clone(&payers);
            async move { payers.turn().await }
        });
        tokio::task::yield_now().await;
        assert!(!turn.is_finished());
        payers.add(Some(&second));
        turn.await.expect("a turn");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(!second.are_unspent(), "it has paid");
        for waits in queue {
            waits.await.expect("a turn");
        }
        assert!(begun.elapsed() <= EVERY * 20, "the first one has not");
        // One whose questions are not counted.
        let before = Instant::now();
        spend_all(&second).await;
        payers.add(None);
        payers.turn().await;
        assert!(before.elapsed() <= EVERY);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_share_a_job_and_no_more() {
        let payers = Payers::new(Some(Arc::new(Questions::new())));
        for _ in 0..3 * MOST_PAYERS {
            let payer = Arc::new(Questions::new());
            payers.add(Some(&payer));
            payers.add(Some(&payer));
            let newest = payers.budgets.lock().back().cloned();
            assert!(newest.is_some_and(|newest| Arc::ptr_eq(&newest, &payer)));
        }
        assert_eq!(payers.budgets.lock().len(), MOST_PAYERS);
    }

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
