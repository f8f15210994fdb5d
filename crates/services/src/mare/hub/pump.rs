//! A topic's own task: reads the log when there is a reason to, and only then. It lasts while something is to
//! be waited for: Triton's answer, a store that is out of reach, a log that isn't there, the time after
//! which a topic without watchers goes. Between its tasks a topic rests, and costs memory alone.
//!
//! Never in here: what notices that a job is silent (`batched_check`, `unfinished`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use conch_domain::Job;
use conch_ports::Error;

use super::asking::{Learned, ask};
use super::calls::Reason;
use super::hearing::{Heard, left, listen, rest, spread_out};
use super::reading::{Round, catch_up, look_again};
use super::state::Phase;
use super::topic::Topic;
use super::{Shared, owner};
use crate::mare::reconcile::Asked;
use crate::measured::{self, Backstop};

/// First wait after a failed read; doubles up to the position check.
const BACKOFF: Duration = Duration::from_millis(100);

/// Starts the pump of a topic that was called and whose pump rests.
pub(super) fn start(shared: &Arc<Shared>, topic: &Arc<Topic>) {
    let pump = run(Arc::clone(shared), Arc::clone(topic));
    shared.tasks.spawn_on(pump, &shared.runtime);
}

async fn run(shared: Arc<Shared>, topic: Arc<Topic>) {
    let mut pump = Pump {
        shared,
        topic,
        is_at_rest: false,
    };
    tokio::select! {
        biased;
        () = pump.shared.shutdown.cancelled() => {}
        end = keep_up(&pump.shared, &pump.topic) => pump.is_at_rest = end == End::AtRest,
    }
}

/// Takes the topic off the map however its task ends, unless the topic is at rest. If by a panic, its
/// watchers are told to come back: heartbeats for ever would hide from them that nothing follows their job
/// any more.
struct Pump {
    shared: Arc<Shared>,
    topic: Arc<Topic>,
    is_at_rest: bool,
}

impl Drop for Pump {
    fn drop(&mut self) {
        if self.is_at_rest {
            return;
        }
        let Self { shared, topic, .. } = self;
        let mut topics = shared.topics.lock();
        if topics
            .get(&topic.job_id)
            .is_some_and(|t| Arc::ptr_eq(t, topic))
        {
            topics.remove(&topic.job_id);
        }
        drop(topics);
        if std::thread::panicking() {
            metrics::counter!("conch_topics_broken_off_total").increment(1);
            tracing::error!(
                job.id = %topic.job_id,
                "what follows this job panicked: its watchers are told to come back"
            );
            topic.break_off();
            shared.feed.break_off(topic);
        }
    }
}

/// Why a pump ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The last interest is gone, and the topic is off the map.
    Gone,
    /// There is nothing to do until the topic is called.
    AtRest,
}

/// What a pump does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Looks at the log.
    Look,
    /// Looks at the log when it is called, and rests till then.
    Rest,
    /// The same, or when it has waited for so long.
    Wait(Duration),
}

/// Reads, waits for a reason to read again, and so on, until there is nothing to do or the last interest is
/// gone.
async fn keep_up(shared: &Arc<Shared>, topic: &Arc<Topic>) -> End {
    let mut failures = 0_u32;
    // Whether even a topic that has ended has to be read again.
    let mut is_stale = false;
    let mut next = if topic.calls.take(Reason::Beginning) {
        Next::Look
    } else {
        Next::Rest
    };
    loop {
        if topic.is_over() && !is_stale {
            shared.feed.release(&topic.job_id);
            // Nothing more can come; serve those who still attach. One of them may find that the
            // store lost the end, and that the job goes on.
            match rest(shared, topic).await {
                Heard::Gone => return End::Gone,
                Heard::AtRest => return End::AtRest,
                Heard::Called(Reason::Stale) => {
                    is_stale = true;
                    next = Next::Look;
                }
                Heard::Called(Reason::Revived) => next = Next::Look,
                // Streams that name no jobs may not have heard how this one ended; and an end that isn't
                // of our own Triton may have been forged, while the store had forgotten whose job it was.
                Heard::Called(Reason::Hint) => {
                    if topic.is_announced() || topic.may_go_on() {
                        look_again(shared, topic).await;
                    }
                }
                Heard::Called(_) | Heard::Returned | Heard::Waited => {}
            }
            continue;
        }
        let heard = match next {
            Next::Look => None,
            Next::Rest => Some(rest(shared, topic).await),
            Next::Wait(most) => Some(listen(shared, topic, most).await),
        };
        let (mut silent, mut follows_gap) = (false, false);
        match heard {
            None | Some(Heard::Returned) => {}
            Some(Heard::Gone) => return End::Gone,
            Some(Heard::AtRest) => return End::AtRest,
            Some(Heard::Called(Reason::Stale)) => is_stale = true,
            Some(Heard::Called(Reason::Silence) | Heard::Waited) => silent = failures == 0,
            Some(Heard::Called(_)) => follows_gap = spread_out(topic).await,
        }
        let Some(mut is_known_absent) = look_together(shared, topic).await else {
            return End::Gone;
        };
        // No log has been heard of: all such jobs are looked for with one question.
        is_known_absent |= silent && topic.is_to_come();
        // What was announced up to here is in what is read now.
        if topic.calls.take(Reason::Hint) {
            follows_gap |= topic.lapsed.swap(false, Ordering::AcqRel);
            // The log may have begun since it was looked for.
            is_known_absent = false;
        }
        next = match round(shared, topic, silent, is_known_absent).await {
            Ok(round) => {
                if failures > 0 {
                    tracing::debug!(job.id = %topic.job_id, "log reachable again");
                }
                failures = 0;
                is_stale = false;
                if round == Round::News {
                    if follows_gap {
                        measured::delivered_by(Backstop::Gap);
                    } else if silent {
                        measured::delivered_by(Backstop::Reconcile);
                    }
                }
                match round {
                    Round::Gone => return End::Gone,
                    Round::News | Round::Nothing if topic.is_at_rest() => Next::Rest,
                    Round::News | Round::Nothing => Next::Wait(shared.settings.position_check),
                    Round::Absent => Next::Wait(recheck(shared)),
                }
            }
            Err(error) => {
                if failures == 0 {
                    tracing::debug!(job.id = %topic.job_id, %error, "log out of reach, trying again");
                }
                failures += 1;
                let backoff = BACKOFF * 2_u32.pow(failures.min(8));
                Next::Wait(backoff.min(shared.settings.position_check))
            }
        };
        topic.was_looked_at(shared.settings.position_check);
    }
}

/// Waits for the answer where the job is looked for together with others: whether there is no log. A
/// hint that comes meanwhile is a reason to read it. None: the last interest is gone, and the topic
/// is off the map.
async fn look_together(shared: &Shared, topic: &Arc<Topic>) -> Option<bool> {
    let Some(mut look) = topic.take_look() else {
        return Some(false);
    };
    loop {
        tokio::select! {
            biased;
            heard = left(shared, topic) => if heard == Heard::Gone { return None },
            _ = topic.calls.next(&[Reason::Hint]) => return Some(false),
            absent = &mut look => {
                let is_absent = absent.unwrap_or(false);
                if is_absent {
                    topic.was_looked_for();
                }
                return Some(is_absent);
            }
        }
    }
}

/// How soon a job whose log is absent is looked for again.
fn recheck(shared: &Shared) -> Duration {
    shared
        .settings
        .position_check
        .min(shared.settings.record_lost_after / 4)
        .max(Duration::from_millis(10))
}

/// One look at the log, and at who else may know of the job's end: where the log is absent, has been
/// silent, or shows no end to one who just came.
async fn round(
    shared: &Shared,
    topic: &Arc<Topic>,
    silent: bool,
    is_known_absent: bool,
) -> Result<Round, Error> {
    let caught_up = if is_known_absent {
        topic.has_no_log();
        Round::Absent
    } else {
        catch_up(shared, topic).await?
    };
    let inquiry = topic.take_inquiry();
    let is_absent = match caught_up {
        Round::Gone => return Ok(Round::Gone),
        Round::Absent => true,
        Round::Nothing if silent || inquiry => false,
        Round::News if inquiry => false,
        done => return Ok(done),
    };
    // Of our own jobs no source knows more than their logs.
    if topic.is_over() || !(is_absent || topic.may_know_less_than_triton()) {
        return Ok(caught_up);
    }
    // Boxed: it is large, and most rounds have no question.
    let mut answer = Box::pin(ask(shared, topic, is_absent, |result| {
        let was_told_of = topic.state().job.is_some();
        if topic.end_without_owner(result) && was_told_of {
            let now = (shared.clock)();
            shared.feed.offer_end_without_log(result, now);
        }
    }));
    let answer = loop {
        let check = if topic.state().absent.is_some() {
            recheck(shared)
        } else {
            shared.settings.position_check
        };
        // However long Triton takes, nothing that is heard without it is held up.
        let heard = tokio::select! {
            biased;
            answer = &mut answer => break answer,
            heard = listen(shared, topic, check) => heard,
        };
        match heard {
            Heard::Gone => return Ok(Round::Gone),
            // All such jobs are looked for with one question.
            Heard::Waited if topic.is_to_come() => continue,
            Heard::Called(Reason::Hint) => {
                spread_out(topic).await;
            }
            Heard::Returned | Heard::Called(_) | Heard::Waited | Heard::AtRest => {}
        }
        let round = catch_up(shared, topic).await;
        if heard == Heard::Called(Reason::Stale) && round.is_err() {
            // It waits still.
            topic.call(Reason::Stale);
        }
        let round = round?;
        // What was heard may be the first of what is being derived: the answer is dropped only where
        // there is no more to learn from it. Whoever attaches reads, too.
        let is_absent = topic.state().absent.is_some();
        if topic.is_over() || !(is_absent || topic.may_know_less_than_triton()) {
            return Ok(round);
        }
    };
    owner::heard(shared, topic, &answer);
    if let Ok(Learned::Asked(asked, _)) = &answer {
        let is_unknown = *asked == Asked::Unknown;
        topic.was_asked_about(is_unknown, shared.settings.position_check);
    }
    match answer {
        // A log that is there speaks for itself: the job may have gone on since that result.
        Ok(Learned::Ended(_)) if topic.state().absent.is_none() => Ok(Round::Nothing),
        Ok(Learned::Ended(result)) => {
            end_without_log(shared, topic, &result);
            Ok(Round::News)
        }
        Ok(Learned::Asked(Asked::Appended, _)) => catch_up(shared, topic).await,
        Ok(Learned::Asked(Asked::NoRoom(told), _)) => {
            end_without_log(shared, topic, &told);
            Ok(Round::News)
        }
        // Another process may have begun the log at the same time.
        Ok(Learned::Asked(Asked::Nothing, _)) if topic.state().absent.is_some() => {
            catch_up(shared, topic).await
        }
        Ok(Learned::Asked(Asked::Nothing, _)) => Ok(Round::Nothing),
        Ok(Learned::Asked(Asked::Unknown, _)) => {
            // A log that is there speaks for itself, whatever Triton knows.
            if topic.state().absent.is_none() {
                return Ok(Round::Nothing);
            }
            // Nor is it given up while its log may have begun unheard, as when Triton took long.
            if !topic.was_looked_for_within(shared.settings.position_check) {
                let round = catch_up(shared, topic).await?;
                if topic.state().absent.is_none() {
                    return Ok(round);
                }
            }
            give_up_or_wait(shared, topic);
            Ok(Round::Absent)
        }
        Err(error) => {
            tracing::debug!(job.id = %topic.job_id, %error, "what is known of the job beyond its log can't be asked now");
            Ok(if topic.state().absent.is_some() {
                Round::Absent
            } else {
                Round::Nothing
            })
        }
    }
}

/// The job has ended, and no log says so: its watchers are told all the same.
fn end_without_log(shared: &Shared, topic: &Topic, result: &Job) {
    let (was_known, was_told) = {
        let state = topic.state();
        (state.job.is_some(), state.has_result_without_owner())
    };
    topic.end_without_log(result.clone());
    if was_known && !was_told {
        shared.feed.offer_end_without_log(result, (shared.clock)());
    } else if was_known {
        owner::tell_end(shared, result);
    }
}

/// Neither log nor Triton knows the job.
fn give_up_or_wait(shared: &Shared, topic: &Topic) {
    topic.update(|state| {
        let Some(absent) = &mut state.absent else {
            return;
        };
        absent.unknown_to_triton = true;
        let existed = state.job.is_some() || topic.claimed.load(Ordering::Acquire);
        if !existed || absent.since.elapsed() >= shared.settings.record_lost_after {
            // Of a decoy there was never a record.
            if existed && topic.instead_of.is_none() {
                metrics::counter!("conch_records_lost_total").increment(1);
                tracing::warn!(
                    job.id = %topic.job_id,
                    "the job's record is gone from the log and from Triton; its watchers are told"
                );
            }
            state.phase = Phase::Lost;
        }
    });
    shared.checks.is_to_come(topic);
    let lost = {
        let state = topic.state();
        (state.phase == Phase::Lost)
            .then(|| state.job.clone())
            .flatten()
    };
    if let Some(job) = lost {
        shared.feed.offer_lost(&job, (shared.clock)());
    }
}
