//! The position check: whether logs have moved on without an announcement, one question for hundreds of
//! them. What has moved is then read by its own topic; a job that says nothing costs no question, no task
//! and no timer of its own.
//!
//! Logs fall into [buckets](Bucket). Where a bucket's latest commit is the one of the last check, none of its
//! logs has moved, and no more is asked: a check of silent jobs costs the same however many they are. Only
//! each sixth check asks about every log, for what no commit did: a key that was deleted, evicted or
//! overwritten.
//!
//! Never in here: Triton. An announcement that was lost is made up for in time, however slow it is.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use conch_domain::Position;
use conch_ports::{Bucket, MAX_POSITIONS, Stamp};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Shared;
use super::asking::{latest_in_the_end, positions_in_the_end};
use super::calls::Reason;
use super::topic::Topic;
use crate::measured::{self, Backstop};

/// Parts into which the buckets are divided. Those of one part are looked for together, at the latest when a
/// period has gone since they were last, whichever topics come and go.
const PARTS: usize = 32;
/// Buckets of a part.
const EACH: usize = Bucket::COUNT / PARTS;
/// One in so many checks of a part asks about every log.
const WHOLE: usize = 6;
/// No timer is finer.
const FINEST: Duration = Duration::from_millis(1);

/// Among the topics of a part may be such.
#[derive(Debug, Clone, Copy)]
pub(super) enum Among {
    /// A job that, as far as is known, doesn't exist yet.
    ToCome = 1,
    /// A job of which Triton may know more than its log.
    Beyond = 1 << 1,
}

/// The topics in their buckets, in their parts.
#[derive(Default)]
pub(super) struct Checks {
    parts: [Mutex<Part>; PARTS],
}

/// Those of one part.
#[derive(Default)]
struct Part {
    buckets: [Vec<Weak<Topic>>; EACH],
    /// What is [among](Among) them: what the last turn found, and what was noted since.
    among: u8,
}

/// A bucket whose turn has come, with topics in it.
struct Due {
    bucket: Bucket,
    /// Each with whether the last check found its log where the topic is.
    topics: Vec<(Arc<Topic>, bool)>,
    /// Every log is asked about.
    is_whole: bool,
}

impl Checks {
    /// Has the topic looked for once per period, for as long as it is there.
    pub(super) fn add(&self, topic: &Arc<Topic>) {
        let bucket = Bucket::of(&topic.job_id).number();
        let mut part = self.parts[bucket % PARTS].lock();
        part.among |= Among::ToCome as u8 | Among::Beyond as u8;
        let bucket = &mut part.buckets[bucket / PARTS];
        // Before it grows: those that are gone leave no memory behind, however many come and go.
        if bucket.len() == bucket.capacity() {
            bucket.retain(|topic| topic.strong_count() > 0);
        }
        bucket.push(Arc::downgrade(topic));
    }

    /// The topic's job doesn't exist yet, as far as is known.
    pub(super) fn is_to_come(&self, topic: &Topic) {
        let part = Bucket::of(&topic.job_id).number() % PARTS;
        self.parts[part].lock().among |= Among::ToCome as u8;
    }

    /// Whether there may be such a topic; so that those who look for them don't look in vain.
    pub(super) fn may_have(&self, among: Among) -> bool {
        let is_there = |part: &Mutex<Part>| part.lock().among & among as u8 != 0;
        self.parts.iter().any(is_there)
    }

    /// At most so many topics are in that part.
    fn len(&self, part: usize) -> usize {
        self.parts[part].lock().buckets.iter().map(Vec::len).sum()
    }

    /// The buckets of that part that have topics.
    fn turn(&self, part: usize, is_whole: bool) -> Vec<Due> {
        let mut part = self.parts[part].lock();
        let mut found = 0;
        let mut due = Vec::new();
        for topics in &mut part.buckets {
            let mut there = Vec::with_capacity(topics.len());
            topics.retain(|topic| {
                let topic = topic.upgrade();
                let is_there = topic.is_some();
                if let Some(topic) = topic {
                    let is_confirmed = topic.begin_turn(&mut found);
                    there.push((topic, is_confirmed));
                }
                is_there
            });
            if let Some((first, _)) = there.first() {
                due.push(Due {
                    bucket: Bucket::of(&first.job_id),
                    topics: there,
                    is_whole,
                });
            }
        }
        part.among = found;
        due
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
    // The parts, when their turns come, and how many they have had, from another number on each.
    let mut due: VecDeque<_> = (0..PARTS).map(|part| (part, begun, part)).collect();
    let mut known = vec![None; Bucket::COUNT];
    while let Some((_, at, _)) = due.front() {
        tokio::time::sleep_until(*at).await;
        let sizes: Vec<_> = due
            .iter()
            .map(|(part, ..)| shared.checks.len(*part))
            .collect();
        let (first, questions) = in_questions(&sizes);
        let parts: Vec<_> = due.drain(..first).collect();
        // Spread over the period, but none later than a whole one after its last turn.
        let now = Instant::now();
        let last = due.back().map_or(now, |(_, at, _)| now.max(*at));
        let next = (last + period / questions).min(now + period);
        let mut buckets = Vec::new();
        for (part, _, turns) in parts {
            buckets.extend(shared.checks.turn(part, turns % WHOLE == 0));
            due.push_back((part, next, turns + 1));
        }
        check(shared, &buckets, &mut known).await;
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

/// Looks for the logs of those of the topics whose silence says nothing, where the buckets' latest commits
/// aren't the `known` ones of the last check.
async fn check(shared: &Shared, due: &[Due], known: &mut [Option<Stamp>]) {
    if due.is_empty() {
        return;
    }
    let buckets: Vec<_> = due.iter().map(|due| due.bucket).collect();
    // Before the positions: a commit in between is asked about now, and changes the stamp for the next check.
    let latest = latest_in_the_end(shared, &buckets).await;
    let mut looked = Vec::new();
    for (due, latest) in due.iter().zip(latest) {
        let known = &mut known[due.bucket.number()];
        let has_moved = latest.is_none() || *known != latest;
        *known = latest;
        for (topic, is_confirmed) in &due.topics {
            if *is_confirmed && !has_moved && !due.is_whole {
                continue;
            }
            if let Some(reads) = topic.begin_check() {
                looked.push(Looked { topic, reads });
            }
        }
    }
    for looked in looked.chunks(MAX_POSITIONS) {
        let job_ids: Vec<_> = looked.iter().map(|l| l.topic.job_id.clone()).collect();
        let positions = positions_in_the_end(shared, &job_ids).await;
        for (looked, position) in looked.iter().zip(positions) {
            if looked.topic.end_check(position, looked.reads) {
                if position.is_some() {
                    measured::delivered_by(Backstop::PositionCheck);
                }
                looked.topic.call(Reason::Hint);
            }
        }
    }
}

impl Topic {
    /// Its turn in the position check has come: whether it is where the last check found its log. Adds to
    /// `among` what it is.
    fn begin_turn(&self, among: &mut u8) -> bool {
        let is_claimed = self.claimed.load(Ordering::Acquire);
        let mut state = self.state();
        state.shelve_if_idle();
        if state.is_to_come(is_claimed) {
            *among |= Among::ToCome as u8;
        }
        if state.may_know_less_than_triton() {
            *among |= Among::Beyond as u8;
        }
        state.is_followed() && state.confirmed == Some(self.version())
    }

    /// How many reads of its log have begun, if it is to be looked for. Otherwise its pump does so, or nothing
    /// more can come.
    fn begin_check(&self) -> Option<u64> {
        let is_claimed = self.claimed.load(Ordering::Acquire);
        let mut state = self.state();
        // Until an answer says so again: there may be none that counts.
        state.confirmed = None;
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
        if state.is_followed() && position.is_some() && position == state.head() {
            state.confirmed = Some(self.version());
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
    use super::super::state::Phase;
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
            let turns = (0..PARTS).flat_map(|part| checks.turn(part, false));
            let mut all = Vec::new();
            for due in turns {
                for (topic, _) in due.topics {
                    assert_eq!(Bucket::of(&topic.job_id), due.bucket);
                    all.push(topic.job_id.clone());
                }
            }
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
        let capacity = |part: &Mutex<Part>| {
            let part = part.lock();
            part.buckets.iter().map(Vec::capacity).sum::<usize>()
        };
        let held: usize = checks.parts.iter().map(capacity).sum();
        assert!(held <= 4 * Bucket::COUNT, "{held}");
        let turns = (0..PARTS).flat_map(|part| checks.turn(part, false));
        assert_eq!(turns.map(|due| due.topics.len()).sum::<usize>(), 1);
    }

    /// Its log moved, and the answer that says so doesn't count: the stamp of the next check is the same.
    #[test]
    fn a_topic_is_passed_over_only_after_an_answer_that_found_it_where_it_is() {
        let topic = topic(0);
        let mut job = conch_domain::Job::initial(
            topic.job_id.clone(),
            "0000abcd".parse().expect("an epoch"),
            true,
        );
        let at = job.position.next();
        job = conch_domain::Job::restore(conch_domain::JobRecord {
            position: at,
            ..(*job).clone()
        });
        {
            let mut state = topic.state();
            state.phase = Phase::Live;
            state.job = Some(job);
        }
        let is_passed_over = || topic.begin_turn(&mut 0);
        assert!(!is_passed_over(), "it was never asked about");
        let reads = topic.begin_check().expect("it is followed");
        assert!(!topic.end_check(Some(at), reads));
        assert!(is_passed_over());
        let reads = topic.begin_check().expect("it is followed");
        // One that is given up on before it brings anything.
        topic.begin_read();
        assert!(!topic.end_check(Some(at.next()), reads));
        assert!(!is_passed_over());
    }
}
