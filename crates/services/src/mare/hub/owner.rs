//! Whose an external job is, where neither its log nor its result says so: what Triton said of it, and telling
//! the streams that couldn't be told of the job before.
//!
//! Never in here: whether Triton is asked, or who may see what.

use conch_domain::{Job, Origin};
use conch_ports::Error;
use conch_wire::snapshot;

use super::Shared;
use super::asking::Learned;
use super::ring::News;
use super::topic::Topic;

/// A result, with what the job's log said of where the job comes from.
pub(super) fn of_log(mut result: Job, known: Option<&Job>) -> Job {
    if let Some(known) = known {
        result.fill_origin(&Origin::of(known));
    }
    result
}

/// Triton was asked about the job.
pub(super) fn heard(shared: &Shared, topic: &Topic, answer: &Result<Learned, Error>) {
    match answer {
        Ok(Learned::Asked(_, origin)) => settle(shared, topic, origin.as_ref()),
        // A result that Triton knows no more of, or didn't answer about.
        Ok(Learned::Ended(_)) | Err(_) => {}
    }
}

/// Where the job comes from became known otherwise.
pub(super) fn learn(shared: &Shared, topic: &Topic, origin: Option<&Origin>) {
    if origin.is_some_and(|origin| origin.client_id.is_some()) {
        settle(shared, topic, origin);
    }
}

/// Triton has said where the job comes from, or that it doesn't know.
fn settle(shared: &Shared, topic: &Topic, origin: Option<&Origin>) {
    let (is_open, lacked_owner) = {
        let state = topic.state();
        (state.is_owner_open, state.lacks_owner())
    };
    if is_open || lacked_owner && origin.is_some() {
        topic.update(|state| state.settle_owner(origin));
    }
    let job = {
        let state = topic.state();
        if !lacked_owner || state.lacks_owner() {
            return;
        }
        // Without its log it is told of by its result, or as lost.
        state.job.clone().filter(|_| state.absent.is_none())
    };
    if let Some(job) = job
        && shared.feed.is_open_ended()
    {
        let now = (shared.clock)();
        let line = snapshot::encode(&job, snapshot::Reason::Beginning, now);
        let ends = job.status.is_terminal();
        let news = News::of_line(job.position.sequence, &line, ends, false);
        shared.feed.offer_to_owner(&job, news, now);
    }
}

/// An end without a log was told of before it was known whose the job is.
pub(super) fn tell_end(shared: &Shared, result: &Job) {
    if result.client_id.is_none() || !shared.feed.is_watched() {
        return;
    }
    let now = (shared.clock)();
    let news = News::of_end_without_log(result, now);
    shared.feed.offer_to_owner(result, news, now);
}
