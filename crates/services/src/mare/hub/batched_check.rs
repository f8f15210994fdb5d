//! The position check: whether logs have moved on without an announcement, one question for hundreds of
//! them. What has moved is then read by its own topic; a job that says nothing costs no question, no task
//! and no timer of its own.
//!
//! Never in here: Triton. An announcement that was lost is made up for in time, however slow it is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use conch_domain::Position;
use conch_ports::MAX_POSITIONS;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Shared;
use super::asking::positions_in_the_end;
use super::calls::Reason;
use super::topic::Topic;

/// Parts into which the topics are divided. Those of one part are looked for together, at the latest when a
/// period has gone since they were last, whichever topics come and go.
const PARTS: usize = 32;
/// No timer is finer.
const FINEST: Duration = Duration::from_millis(1);

/// The topics in their parts.
pub(super) struct Checks {
    parts: [Mutex<Vec<Weak<Topic>>>; PARTS],
    next: AtomicUsize,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::default()),
            next: AtomicUsize::new(0),
        }
    }
}

impl Checks {
    /// Has the topic looked for once per period, for as long as it is there.
    pub(super) fn add(&self, topic: &Arc<Topic>) {
        let part = self.next.fetch_add(1, Ordering::Relaxed) % PARTS;
        let mut part = self.parts[part].lock();
        // Before it grows: those that are gone leave no memory behind, however many come and go.
        if part.len() == part.capacity() {
            part.retain(|topic| topic.strong_count() > 0);
        }
        part.push(Arc::downgrade(topic));
    }

    /// At most so many topics are in that part.
    fn len(&self, part: usize) -> usize {
        self.parts[part].lock().len()
    }

    /// The topics of that part.
    fn turn(&self, part: usize) -> Vec<Arc<Topic>> {
        let mut part = self.parts[part].lock();
        let mut topics = Vec::with_capacity(part.len());
        part.retain(|topic| {
            let topic = topic.upgrade();
            let is_there = topic.is_some();
            topics.extend(topic);
            is_there
        });
        topics
    }
}

/// One part of the check after the other, until the shutdown.
pub(super) async fn keep_checking(shared: Arc<Shared>) {
    tokio::select! {
        biased;
        () = shared.shutdown.cancelled() => {}
        () = check_in_turn(&shared) => {}
    }
}

async fn check_in_turn(shared: &Shared) {
    let period = shared.settings.position_check.max(FINEST);
    let begun = Instant::now();
    let mut due: VecDeque<_> = (0..PARTS).map(|part| (part, begun)).collect();
    while let Some((_, at)) = due.front() {
        tokio::time::sleep_until(*at).await;
        let sizes: Vec<_> = due
            .iter()
            .map(|(part, _)| shared.checks.len(*part))
            .collect();
        let (first, questions) = in_questions(&sizes);
        let parts: Vec<_> = due.drain(..first).collect();
        // Spread over the period, but none later than a whole one after its last turn.
        let now = Instant::now();
        let last = due.back().map_or(now, |(_, at)| now.max(*at));
        let next = (last + period / questions).min(now + period);
        let mut topics = Vec::new();
        for (part, _) in parts {
            topics.extend(shared.checks.turn(part));
            due.push_back((part, next));
        }
        check(shared, &topics).await;
    }
}

/// For parts of those sizes, in the order of their turns: how many of them are the first question's, and how
/// many questions there are for all of them, one at least.
fn in_questions(sizes: &[usize]) -> (usize, u32) {
    let (mut first, mut questions, mut room) = (sizes.len(), 0, 0);
    for (part, size) in sizes.iter().enumerate() {
        if questions == 0 || *size > room {
            if questions == 1 {
                first = part;
            }
            questions += 1;
            room = MAX_POSITIONS;
        }
        room = room.saturating_sub(*size);
    }
    (first, questions)
}

/// A topic that is looked for, and how many reads of its log had begun by then.
struct Looked<'a> {
    topic: &'a Arc<Topic>,
    reads: u64,
}

/// Looks for the logs of those of the topics whose silence says nothing.
async fn check(shared: &Shared, topics: &[Arc<Topic>]) {
    let looked: Vec<_> = topics
        .iter()
        .filter_map(|topic| {
            let reads = topic.begin_check()?;
            Some(Looked { topic, reads })
        })
        .collect();
    for looked in looked.chunks(MAX_POSITIONS) {
        let job_ids: Vec<_> = looked.iter().map(|l| l.topic.job_id.clone()).collect();
        let positions = positions_in_the_end(shared, &job_ids).await;
        for (looked, position) in looked.iter().zip(positions) {
            if looked.topic.end_check(position, looked.reads) {
                looked.topic.call(Reason::Hint);
            }
        }
    }
}

impl Topic {
    /// Its turn in the position check has come: how many reads of its log have begun, if it is to be looked
    /// for. Otherwise its pump does so, or nothing more can come.
    fn begin_check(&self) -> Option<u64> {
        let is_claimed = self.claimed.load(Ordering::Acquire);
        let mut state = self.state();
        state.shelve_if_idle();
        let is_looked_for =
            state.is_followed() || state.is_to_come(is_claimed) || state.may_have_gone_on();
        is_looked_for.then(|| state.reads)
    }

    /// The position check has found its log at `position` after so many reads had begun. True: the log is to
    /// be read.
    fn end_check(&self, position: Option<Position>, reads: u64) -> bool {
        let is_claimed = self.claimed.load(Ordering::Acquire);
        let mut state = self.state();
        if position.is_none()
            && let Some(absence) = &mut state.absent
        {
            absence.looked_at = Instant::now();
        }
        // A read that began after the question says more than its answer.
        if state.reads > reads {
            return false;
        }
        match position {
            // Of an ended job whose log is gone there is nothing to read.
            None => state.is_followed(),
            Some(_) => state.is_to_come(is_claimed) || state.head() != position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(n: usize) -> Arc<Topic> {
        Arc::new(Topic::new(format!("j{n}").parse().expect("an id")))
    }

    #[test]
    fn each_topic_is_in_one_part() {
        let checks = Checks::default();
        let topics: Vec<_> = (0..=5 * PARTS).map(topic).collect();
        for topic in &topics {
            checks.add(topic);
        }
        for _ in 0..2 {
            let turns: Vec<_> = (0..PARTS).map(|part| checks.turn(part)).collect();
            assert!(turns.iter().all(|turn| (5..=6).contains(&turn.len())));
            let mut all: Vec<_> = turns.iter().flatten().map(|t| t.job_id.clone()).collect();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), topics.len());
        }
    }

    #[test]
    fn parts_share_a_question_as_long_as_there_is_room() {
        for (sizes, expected) in [
            (vec![0; PARTS], (PARTS, 1)),
            (vec![250, 250, 0], (3, 1)),
            (vec![250, 251, 0], (1, 2)),
            (vec![1, 499, 1, 499, 1], (2, 3)),
            (vec![0, 0, 501, 0], (2, 2)),
            (vec![900, 1, 900], (1, 3)),
        ] {
            assert_eq!(in_questions(&sizes), expected, "{sizes:?}");
        }
    }

    #[test]
    fn those_that_have_gone_leave_no_memory_behind() {
        let checks = Checks::default();
        let stays = topic(0);
        checks.add(&stays);
        for n in 1..10_000 {
            checks.add(&topic(n));
        }
        let held = || checks.parts.iter().map(|part| part.lock().capacity());
        assert!(
            held().sum::<usize>() <= 8 * PARTS,
            "{}",
            held().sum::<usize>()
        );
        let turns = (0..PARTS).flat_map(|part| checks.turn(part));
        assert_eq!(turns.count(), 1);
    }
}
