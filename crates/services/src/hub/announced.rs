//! Announcements of jobs that no topic follows, for the streams that name no jobs.
//!
//! Whoever may publish can make job ids up, so an announcement costs a place in a bounded queue and
//! nothing more. One task asks the store, for many jobs in one question and only so often, which of
//! them have a log and where it ends. Only a log that says more than was told is worth a topic.
//!
//! Never in here: a question to Triton. A job that only Triton knows is found in its list.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use conch_domain::{JobId, Position};
use conch_ports::{Error, MAX_POSITIONS};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Shared;

/// Jobs that wait to be asked about; the announcement of one more is dropped. Triton's list makes up
/// for it, as for any that is lost.
const MOST: usize = 10_000;
/// Between two questions: so many a second at most, however much is announced.
const PAUSE: Duration = Duration::from_millis(10);
/// First wait after a failed question; doubles up to the position check.
const BACKOFF: Duration = Duration::from_millis(100);

/// Announced jobs that wait.
#[derive(Default)]
pub(super) struct Announcements {
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    order: VecDeque<JobId>,
    /// The number that was announced last, if any was.
    numbers: HashMap<JobId, Option<u64>>,
}

impl Announcements {
    /// Takes an announcement in; false when there is no room for it.
    pub(super) fn push(&self, job_id: &JobId, number: Option<u64>) -> bool {
        let mut queue = self.queue.lock();
        if let Some(known) = queue.numbers.get_mut(job_id) {
            *known = number.or(*known);
            return true;
        }
        if queue.order.len() >= MOST {
            return false;
        }
        queue.order.push_back(job_id.clone());
        queue.numbers.insert(job_id.clone(), number);
        drop(queue);
        self.arrived.notify_one();
        true
    }

    /// Those that have waited longest, as many as one question takes.
    fn take(&self) -> (Vec<JobId>, Vec<Option<u64>>) {
        let mut queue = self.queue.lock();
        let count = queue.order.len().min(MAX_POSITIONS);
        let job_ids: Vec<JobId> = queue.order.drain(..count).collect();
        let numbers = job_ids
            .iter()
            .map(|id| queue.numbers.remove(id).flatten())
            .collect();
        // A flood that is over leaves no memory behind.
        if queue.order.is_empty() {
            *queue = Queue::default();
        }
        (job_ids, numbers)
    }
}

/// Makes topics of announced jobs that have something to tell, until the shutdown.
pub(super) async fn follow_up(shared: Arc<Shared>) {
    tokio::select! {
        biased;
        () = shared.shutdown.cancelled() => {}
        () = keep_following_up(&shared) => {}
    }
}

async fn keep_following_up(shared: &Arc<Shared>) {
    loop {
        shared.announcements.arrived.notified().await;
        loop {
            let (job_ids, numbers) = shared.announcements.take();
            if job_ids.is_empty() {
                break;
            }
            // Who named no jobs may have gone meanwhile.
            if shared.feed.is_open_ended() {
                let positions = ask(shared, &job_ids).await;
                for ((job_id, number), position) in job_ids.iter().zip(numbers).zip(positions) {
                    introduce(shared, job_id, number, position);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Asks until the store answers.
async fn ask(shared: &Shared, job_ids: &[JobId]) -> Vec<Option<Position>> {
    let mut backoff = BACKOFF;
    loop {
        match positions(shared, job_ids).await {
            Ok(positions) => return positions,
            Err(error) => {
                tracing::debug!(%error, "announced jobs wait for the store");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(shared.settings.position_check);
            }
        }
    }
}

/// One question for the ends of several logs, in its turn among the reads.
pub(super) async fn positions(
    shared: &Shared,
    job_ids: &[JobId],
) -> Result<Vec<Option<Position>>, Error> {
    let permit = shared.reads.acquire().await;
    let _permit = permit.expect("nobody closes it");
    shared.bus.positions(job_ids).await
}

fn introduce(
    shared: &Arc<Shared>,
    job_id: &JobId,
    number: Option<u64>,
    position: Option<Position>,
) {
    let Some(position) = position else {
        metrics::counter!("conch_feed_jobs_skipped_total").increment(1);
        return;
    };
    let told = shared.feed.told(job_id).map(|told| told.position);
    if told != Some(position) {
        shared.make_known(job_id, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> JobId {
        JobId::parse(&format!("j{n}")).expect("an id")
    }

    #[test]
    fn each_job_waits_once_with_the_newest_number_in_its_turn() {
        let announcements = Announcements::default();
        for (n, number) in [
            (1, Some(4)),
            (2, None),
            (1, Some(5)),
            (2, Some(1)),
            (1, None),
        ] {
            assert!(announcements.push(&id(n), number));
        }
        let taken = announcements.take();
        assert_eq!(taken, (vec![id(1), id(2)], vec![Some(5), Some(1)]));
        assert!(announcements.take().0.is_empty());
    }

    #[test]
    fn a_flood_takes_so_many_places_and_no_more() {
        let announcements = Announcements::default();
        for n in 0..MOST {
            assert!(announcements.push(&id(n), None));
        }
        assert!(!announcements.push(&id(MOST), None));
        assert!(announcements.push(&id(0), Some(1)), "it waits already");
        let mut taken = 0;
        loop {
            let batch = announcements.take().0.len();
            if batch == 0 {
                break;
            }
            assert!(batch <= MAX_POSITIONS);
            taken += batch;
        }
        assert_eq!(taken, MOST);
        assert_eq!(announcements.queue.lock().numbers.capacity(), 0);
    }
}
