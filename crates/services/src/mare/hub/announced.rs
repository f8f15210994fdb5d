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
use conch_ports::MAX_POSITIONS;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Shared;
use super::asking::positions_in_the_end;

/// Jobs that wait to be asked about, of those that streams were told of and of the others; the announcement
/// of one more is dropped. Triton's list makes up for it, as for any that is lost.
const MOST: usize = 10_000;
/// Between two questions: so many a second at most, however much is announced.
const PAUSE: Duration = Duration::from_millis(10);

/// Announced jobs that wait.
#[derive(Default)]
pub(super) struct Announcements {
    queues: Mutex<Queues>,
    arrived: Notify,
}

#[derive(Default)]
struct Queues {
    /// Jobs that streams were told of, so that there are logs of them: however many are made up, these
    /// have room and their turn.
    told: Queue,
    /// Jobs that may be made up.
    others: Queue,
}

#[derive(Default)]
struct Queue {
    order: VecDeque<JobId>,
    /// The number that was announced last, if any was.
    numbers: HashMap<JobId, Option<u64>>,
}

impl Queue {
    /// Whether the job waits here; it does so with the newest number.
    fn renew(&mut self, job_id: &JobId, number: Option<u64>) -> bool {
        let known = self.numbers.get_mut(job_id);
        known.is_some_and(|known| {
            *known = number.or(*known);
            true
        })
    }

    fn push(&mut self, job_id: &JobId, number: Option<u64>) -> bool {
        let has_room = self.order.len() < MOST;
        if has_room {
            self.order.push_back(job_id.clone());
            self.numbers.insert(job_id.clone(), number);
        }
        has_room
    }

    fn take(&mut self, count: usize) -> Vec<(JobId, Option<u64>)> {
        let count = count.min(self.order.len());
        let job_ids = self.order.drain(..count);
        let taken = job_ids.map(|id| {
            let number = self.numbers.remove(&id).flatten();
            (id, number)
        });
        let taken = taken.collect();
        // A flood that is over leaves no memory behind.
        if self.order.is_empty() {
            *self = Self::default();
        }
        taken
    }
}

impl Announcements {
    /// Takes an announcement in; false when there is no room for it.
    pub(super) fn push(&self, job_id: &JobId, number: Option<u64>, was_told: bool) -> bool {
        let mut queues = self.queues.lock();
        let Queues { told, others } = &mut *queues;
        if told.renew(job_id, number) || others.renew(job_id, number) {
            return true;
        }
        let queue = if was_told { told } else { others };
        let is_taken = queue.push(job_id, number);
        drop(queues);
        if is_taken {
            self.arrived.notify_one();
        }
        is_taken
    }

    /// Those that have waited longest, as many as one question takes: half of them of each kind, or more
    /// where there are fewer of the other.
    fn take(&self) -> Vec<(JobId, Option<u64>)> {
        let mut queues = self.queues.lock();
        let others = queues.others.order.len().min(MAX_POSITIONS / 2);
        let mut taken = queues.told.take(MAX_POSITIONS - others);
        let rest = MAX_POSITIONS - taken.len();
        taken.extend(queues.others.take(rest));
        taken
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
            let taken = shared.announcements.take();
            if taken.is_empty() {
                break;
            }
            let (job_ids, numbers): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
            // Who named no jobs may have gone meanwhile.
            if shared.feed.is_open_ended() {
                let positions = positions_in_the_end(shared, &job_ids).await;
                for ((job_id, number), position) in job_ids.iter().zip(numbers).zip(positions) {
                    introduce(shared, job_id, number, position);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
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
        for (n, number, was_told) in [
            (1, Some(4), false),
            (2, None, false),
            (1, Some(5), false),
            (2, Some(1), true),
            (1, None, false),
        ] {
            assert!(announcements.push(&id(n), number, was_told));
        }
        let taken = announcements.take();
        assert_eq!(taken, [(id(1), Some(5)), (id(2), Some(1))]);
        assert!(announcements.take().is_empty());
    }

    #[test]
    fn a_flood_takes_so_many_places_and_no_more() {
        let announcements = Announcements::default();
        for n in 0..MOST {
            assert!(announcements.push(&id(n), None, false));
        }
        assert!(!announcements.push(&id(MOST), None, false));
        assert!(
            announcements.push(&id(0), Some(1), false),
            "it waits already"
        );
        let mut taken = 0;
        loop {
            let batch = announcements.take().len();
            if batch == 0 {
                break;
            }
            assert!(batch <= MAX_POSITIONS);
            taken += batch;
        }
        assert_eq!(taken, MOST);
        let queues = announcements.queues.lock();
        assert_eq!(queues.others.numbers.capacity(), 0);
    }

    #[test]
    fn neither_kind_takes_the_room_or_the_turn_of_the_other() {
        for (flood, real) in [(false, true), (true, false)] {
            let announcements = Announcements::default();
            for n in 0..MOST {
                assert!(announcements.push(&id(n), None, flood));
            }
            assert!(announcements.push(&id(MOST), Some(9), real));
            let taken = announcements.take();
            assert!(taken.contains(&(id(MOST), Some(9))), "{real}");
            assert_eq!(taken.len(), MAX_POSITIONS);
        }
    }
}
