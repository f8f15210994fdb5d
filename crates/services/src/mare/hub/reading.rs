//! Reading a topic's log from where it stands, and telling streams over many jobs what that brought.
//!
//! Never in here: when to read.

use std::sync::Arc;

use conch_domain::Position;
use conch_ports::{Error, Log};

use super::asking::read_to_end;
use super::calls::Reason;
use super::state::{Frame, History, State};
use super::topic::{Absorbed, Topic};
use super::{Shared, owner};

/// What a look at a log, or at all who may know of its end, brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    News,
    Nothing,
    Absent,
    /// No one is interested any more, and the topic is off the map.
    Gone,
}

/// Reads the log from where the topic stands to its end.
pub(super) async fn catch_up(shared: &Shared, topic: &Arc<Topic>) -> Result<Round, Error> {
    let _in_order = topic.reading.lock().await;
    let Ok(_permit) = shared.reads.acquire().await else {
        return Ok(Round::Nothing);
    };
    let number = topic.begin_read();
    let round = read_and_absorb(shared, topic).await?;
    topic.end_read(number);
    Ok(round)
}

async fn read_and_absorb(shared: &Shared, topic: &Arc<Topic>) -> Result<Round, Error> {
    let (before, mut after) = {
        let state = topic.state();
        (state.head(), state.read_from())
    };
    loop {
        let Some(mut log) = read_to_end(shared, &topic.job_id, after).await? else {
            topic.has_no_log();
            topic.was_looked_for();
            return Ok(Round::Absent);
        };
        // As a lookup tells it. Of our own jobs the log says so itself.
        let origin = (!log.job.own)
            .then(|| shared.reconcile.origins().known(&topic.job_id))
            .flatten();
        if let Some(origin) = &origin {
            log.job.learn(origin);
        }
        match take_in(shared, topic, log, before, after) {
            Absorbed::Nothing => {
                owner::learn(shared, topic, origin.as_ref());
                introduce(shared, topic);
                return Ok(Round::Nothing);
            }
            Absorbed::News => return Ok(Round::News),
            Absorbed::Elsewhere => after = 0,
        }
    }
}

/// Takes in what follows sequence `after` of a log whose topic stands at `before`, and tells of news. To be
/// called while the topic's `reading` is held.
pub(super) fn take_in(
    shared: &Shared,
    topic: &Arc<Topic>,
    log: Log,
    before: Option<Position>,
    after: u64,
) -> Absorbed {
    let check = shared.settings.position_check;
    let is_triton_due = after == 0 && shared.reconcile.is_due(&topic.job_id, check);
    let first = if topic.state().is_unshelved_by(&log) {
        before.map(|before| before.sequence + 1)
    } else {
        log.entries.first().map(|entry| entry.sequence)
    };
    let keep = History {
        events: shared.settings.history_limit,
        bytes: shared.settings.external_history_bytes,
    };
    let absorbed = topic.absorb(log, after, keep, is_triton_due);
    if absorbed == Absorbed::News {
        topic.inquire_owner_after(check);
        // Asked only now: who came before this may have seen the state before it.
        if shared.feed.is_watched() {
            tell_feed(shared, topic, before, first);
        }
        introduce(shared, topic);
    }
    absorbed
}

/// Tells the watchers of many jobs what is new of one whose topic stood at `before` and has taken in what
/// was read since, of which the event `first` is the first one. What a topic reads first is no news: who begins with the job
/// is given its state.
fn tell_feed(shared: &Shared, topic: &Topic, before: Option<Position>, first: Option<u64>) {
    let Some(before) = before else {
        return;
    };
    // With its owner, if the topic knows it.
    let Some(job) = topic.state().job.clone() else {
        return;
    };
    let now = (shared.clock)();
    let next = before.sequence + 1;
    let follows = before.epoch == job.position.epoch && first == Some(next);
    let frames = |state: &State| Some(state.frames_from(next)?.map(Frame::data).collect());
    let events: Option<Vec<_>> = frames(&topic.state()).filter(|_| follows);
    match events {
        Some(events) => shared.feed.offer(&job, next, events, now),
        None => shared.feed.offer_reset(&job, before, now),
    }
}

/// Sees to it that streams that name no jobs know of one that was announced, up to where its topic
/// stands. To be called while the topic's `reading` is held, so that it is told in order.
fn introduce(shared: &Shared, topic: &Arc<Topic>) {
    let Some(announced) = topic.take_announced() else {
        return;
    };
    let told = shared.feed.told(&topic.job_id).map(|told| told.position);
    let untold = {
        let state = topic.state();
        let job = state.job.as_ref().filter(|job| told != Some(job.position));
        job.map(|job| (job.clone(), state.newest().map(Frame::data)))
    };
    if let Some((job, newest)) = untold {
        let now = (shared.clock)();
        shared.feed.introduce(&job, told, newest, announced, now);
    }
    if !topic.is_over() {
        shared.feed.hold(topic);
    }
}

/// Reads the log of a job that seems to be over.
pub(super) async fn look_again(shared: &Shared, topic: &Arc<Topic>) {
    if let Err(error) = catch_up(shared, topic).await {
        tracing::debug!(job.id = %topic.job_id, %error, "log of an ended job out of reach");
    }
}

/// For one who attaches with a cursor that the topic can't honour: it may be the topic that is
/// behind, because another process streamed the event first. False: it couldn't be read.
pub(super) async fn refresh(shared: &Shared, topic: &Arc<Topic>) -> bool {
    match catch_up(shared, topic).await {
        Ok(_) => {
            topic.call(Reason::Revived);
            true
        }
        Err(error) => {
            tracing::debug!(job.id = %topic.job_id, %error, "log out of reach while attaching");
            false
        }
    }
}
