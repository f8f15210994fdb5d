//! Whose budgets the questions about one job are charged to: those of the callers whose streams name it.
//!
//! Never in here: how much a caller may ask.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::questions::Questions;

/// Callers that share the questions about one job, at most.
const MOST_PAYERS: usize = 8;

/// The callers that are interested in a job: a question about it is charged to the first of them that has a
/// turn. Each stays as long as its interest.
#[derive(Default)]
pub(super) struct Payers {
    paying: Mutex<Paying>,
    changed: Notify,
}

#[derive(Default)]
struct Paying {
    /// Interests whose questions are not counted: while there is one, no budget is charged.
    uncounted: usize,
    /// All other interests, whether or not their callers are in the list.
    counted: usize,
    /// The callers that pay, and how many interests of each are known; never empty while there are
    /// counted interests.
    payers: Vec<(Arc<Questions>, usize)>,
}

impl Payers {
    /// Adds an interest; `None` is one whose questions are not counted.
    pub(super) fn add(&self, payer: Option<&Arc<Questions>>) {
        let has_changed = self.paying.lock().add(payer);
        if has_changed {
            self.changed.notify_one();
        }
    }

    /// Removes an interest that was added.
    pub(super) fn remove(&self, payer: Option<&Arc<Questions>>) {
        let has_changed = self.paying.lock().remove(payer);
        if has_changed {
            self.changed.notify_one();
        }
    }

    /// Waits until one of them may have a question asked. Cancel-safe.
    pub(super) async fn turn(&self) {
        // A caller that already waits keeps its turn when another one is added.
        let mut turns: Vec<(Arc<Questions>, BoxFuture<'static, ()>)> = Vec::new();
        loop {
            {
                let paying = self.paying.lock();
                if paying.uncounted > 0 {
                    return;
                }
                turns.retain(|(budget, _)| paying.place_of(budget).is_some());
                for (budget, _) in &paying.payers {
                    if !turns.iter().any(|(known, _)| Arc::ptr_eq(known, budget)) {
                        let turn = Arc::clone(budget);
                        let turn = async move { turn.turn().await }.boxed();
                        turns.push((Arc::clone(budget), turn));
                    }
                }
            }
            // Only the first one that gets its turn is charged.
            let first = poll_fn(|cx| {
                let mut turns = turns.iter_mut();
                if turns.any(|(_, turn)| turn.poll_unpin(cx).is_ready()) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            tokio::select! {
                biased;
                () = first => return,
                () = self.changed.notified() => {}
            }
        }
    }
}

impl Paying {
    fn place_of(&self, payer: &Arc<Questions>) -> Option<usize> {
        let is_it = |(known, _): &(Arc<Questions>, usize)| Arc::ptr_eq(known, payer);
        self.payers.iter().position(is_it)
    }

    /// Whether others pay now than before.
    fn add(&mut self, payer: Option<&Arc<Questions>>) -> bool {
        let Some(payer) = payer else {
            self.uncounted += 1;
            return self.uncounted == 1;
        };
        self.counted += 1;
        if let Some(place) = self.place_of(payer) {
            self.payers[place].1 += 1;
            return false;
        }
        // A caller that was kept without an interest is no longer needed.
        self.payers.retain(|(_, interests)| *interests > 0);
        if self.payers.len() == MOST_PAYERS {
            // The one with the longest wait makes room.
            let places = 0..self.payers.len();
            if let Some(place) = places.max_by_key(|place| self.payers[*place].0.wait()) {
                self.payers.remove(place);
            }
        }
        // Most jobs have one caller.
        if self.payers.capacity() == 0 {
            self.payers.reserve_exact(1);
        }
        self.payers.push((Arc::clone(payer), 1));
        true
    }

    /// Whether others pay now than before.
    fn remove(&mut self, payer: Option<&Arc<Questions>>) -> bool {
        let Some(payer) = payer else {
            self.uncounted -= 1;
            return false;
        };
        self.counted -= 1;
        if self.counted == 0 {
            self.payers.clear();
            return true;
        }
        let Some(place) = self.place_of(payer) else {
            return false;
        };
        let interests = &mut self.payers[place].1;
        *interests = interests.saturating_sub(1);
        // The last one stays for callers that found no room in the list: else they would wait for ever.
        let is_needed = *interests > 0 || self.payers.len() == 1;
        if !is_needed {
            self.payers.remove(place);
        }
        !is_needed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::questions::{BURST, EVERY};
    use super::*;

    async fn spent() -> Arc<Questions> {
        let questions = Arc::new(Questions::new());
        for _ in 0..BURST {
            questions.turn().await;
        }
        questions
    }

    /// Whether one of them has a turn now, and takes it.
    fn has_turn(payers: &Payers) -> bool {
        let turn = tokio::task::unconstrained(payers.turn());
        turn.now_or_never().is_some()
    }

    /// A turn of the payers that is waited for elsewhere.
    async fn waiting(payers: &Arc<Payers>) -> tokio::task::JoinHandle<()> {
        let payers = Arc::clone(payers);
        let turn = tokio::spawn(async move { payers.turn().await });
        tokio::task::yield_now().await;
        turn
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_caller_that_has_a_turn_pays() {
        tokio::time::sleep(Duration::from_hours(1)).await;
        let (first, second) = (spent().await, Arc::new(Questions::new()));
        let payers = Arc::new(Payers::default());
        payers.add(Some(&first));
        let begun = Instant::now();
        // The first one has others to ask about before this.
        let queue: Vec<_> = (0..20)
            .map(|_| {
                let first = Arc::clone(&first);
                tokio::spawn(async move { first.turn().await })
            })
            .collect();
        tokio::task::yield_now().await;
        let turn = waiting(&payers).await;
        assert!(!turn.is_finished());
        payers.add(Some(&second));
        turn.await.expect("a turn");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(!second.are_unspent(), "it has paid");
        for waits in queue {
            waits.await.expect("a turn");
        }
        assert!(begun.elapsed() <= EVERY * 20, "the first one has not");
    }

    #[tokio::test(start_paused = true)]
    async fn an_uncounted_interest_lets_every_question_through_while_it_lasts() {
        tokio::time::sleep(Duration::from_hours(1)).await;
        let payers = Arc::new(Payers::default());
        payers.add(Some(&spent().await));
        let turn = waiting(&payers).await;
        assert!(!turn.is_finished());
        payers.add(None);
        tokio::task::yield_now().await;
        assert!(turn.is_finished());
        payers.remove(None);
        assert!(!has_turn(&payers));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_has_a_turn_is_not_displaced_by_callers_that_have_none() {
        tokio::time::sleep(Duration::from_hours(1)).await;
        let payers = Payers::default();
        let rich = Arc::new(Questions::new());
        payers.add(Some(&rich));
        for _ in 0..3 * MOST_PAYERS {
            payers.add(Some(&spent().await));
        }
        assert_eq!(payers.paying.lock().payers.len(), MOST_PAYERS);
        assert!(has_turn(&payers));
        assert!(!rich.are_unspent(), "it has paid");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_is_gone_pays_no_more() {
        tokio::time::sleep(Duration::from_hours(1)).await;
        let (gone, stays) = (Arc::new(Questions::new()), spent().await);
        let payers = Payers::default();
        for payer in [&gone, &stays, &gone] {
            payers.add(Some(payer));
        }
        payers.remove(Some(&gone));
        assert!(has_turn(&payers), "it is there still");
        payers.remove(Some(&gone));
        assert!(!has_turn(&payers));
        // No interest is left to ask for.
        payers.remove(Some(&stays));
        assert!(!has_turn(&payers));
        assert!(payers.paying.lock().payers.is_empty());
    }

    /// So many callers came, and those that are in the list have gone; and the others.
    fn after_the_listed_have_gone(callers: usize) -> (Payers, Vec<Arc<Questions>>) {
        let payers = Payers::default();
        let mut unlisted: Vec<_> = (0..callers).map(|_| Arc::new(Questions::new())).collect();
        for payer in &unlisted {
            payers.add(Some(payer));
        }
        let listed = payers.paying.lock().payers.clone();
        for (payer, _) in &listed {
            payers.remove(Some(payer));
        }
        unlisted.retain(|payer| !listed.iter().any(|(listed, _)| Arc::ptr_eq(listed, payer)));
        (payers, unlisted)
    }

    #[tokio::test(start_paused = true)]
    async fn callers_without_a_place_in_the_list_do_not_wait_for_ever() {
        tokio::time::sleep(Duration::from_hours(1)).await;
        let (payers, unlisted) = after_the_listed_have_gone(3 * MOST_PAYERS);
        assert!(has_turn(&payers));
        for payer in &unlisted {
            payers.remove(Some(payer));
        }
        // The one that paid for them goes with the next that comes.
        payers.add(Some(&spent().await));
        assert!(!has_turn(&payers));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_was_kept_without_an_interest_is_removed_by_the_next() {
        tokio::time::sleep(Duration::from_hours(1)).await;
        let (payers, _unlisted) = after_the_listed_have_gone(MOST_PAYERS + 1);
        // The caller that found no room in the list is there still.
        assert!(has_turn(&payers));
        payers.add(Some(&spent().await));
        assert!(!has_turn(&payers));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_has_gone_does_not_pay_for_a_turn_that_is_waited_for() {
        tokio::time::sleep(Duration::from_hours(1)).await;
        let (gone, stays) = (spent().await, spent().await);
        let payers = Arc::new(Payers::default());
        payers.add(Some(&gone));
        payers.add(Some(&stays));
        // The caller that stays has others to ask about before this.
        let queue: Vec<_> = (0..20)
            .map(|_| {
                let stays = Arc::clone(&stays);
                tokio::spawn(async move { stays.turn().await })
            })
            .collect();
        tokio::task::yield_now().await;
        let begun = Instant::now();
        let turn = waiting(&payers).await;
        payers.remove(Some(&gone));
        turn.await.expect("a turn");
        assert!(begun.elapsed() > EVERY * 19, "{:?}", begun.elapsed());
        for waits in queue {
            waits.await.expect("a turn");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_waits_keeps_its_turn_when_others_come() {
        tokio::time::sleep(Duration::from_hours(1)).await;
        let first = spent().await;
        let payers = Arc::new(Payers::default());
        payers.add(Some(&first));
        let begun = Instant::now();
        let turn = waiting(&payers).await;
        let behind = Arc::clone(&first);
        let behind = tokio::spawn(async move { behind.turn().await });
        tokio::task::yield_now().await;
        payers.add(Some(&spent().await));
        turn.await.expect("a turn");
        assert!(begun.elapsed() <= EVERY);
        assert!(!behind.is_finished(), "it came later");
        behind.await.expect("a turn");
    }
}
