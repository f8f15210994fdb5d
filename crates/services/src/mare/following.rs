//! Events that are known to stand in a log, folded in without reading it.
//!
//! Never in here: a proof that they stand there. The caller has it.

use bytes::Bytes;
use conch_domain::{Applied, Job, Position, Timestamp};
use conch_ports::{Entry, Log};
use conch_wire::event;

/// Stands in for the time that an event doesn't state: the reader of its log can't know it.
const UNSTATED: Timestamp = Timestamp::from_micros(i64::MIN);

/// What a read of the log after `job` would find if these events, the last of which is at `last`, were all that
/// follows; none where they don't follow it.
pub(crate) fn follow(mut job: Job, last: Position, lines: &[Bytes]) -> Option<Log> {
    // Whose such a job is may be learned from Triton in the step that ends it.
    let lacks_origin = !job.own && (job.client_id.is_none() || job.created_at.is_none());
    let first = job.position.next();
    let is_next = last.epoch == first.epoch
        && last.sequence.checked_sub(lines.len() as u64) == Some(job.position.sequence);
    if !is_next {
        return None;
    }
    let mut entries = Vec::with_capacity(lines.len());
    for line in lines {
        let position = job.position.next();
        let incoming = event::decode(line, UNSTATED).ok()?;
        let is_at = (incoming.sequence, incoming.epoch);
        let event = incoming.event;
        let is_of_it = event.job_id == job.id && event.timestamp != UNSTATED;
        if !is_of_it || is_at != (Some(position.sequence), Some(position.epoch)) {
            return None;
        }
        if job.apply(position, &event) != Ok(Applied::Applied) {
            return None;
        }
        entries.push(Entry {
            sequence: position.sequence,
            line: line.clone(),
        });
    }
    if lacks_origin && job.status.is_terminal() {
        return None;
    }
    Some(Log {
        job,
        oldest: first.sequence,
        base: None,
        entries,
    })
}
