//! Offering an event to a log that this process doesn't write: foreign events and derived ones.
//!
//! Every instance that heard of the event offers it; the log's compare-and-set and its event ids see
//! to it that one append wins and all others learn its place (law 6).

use std::sync::Arc;

use bytes::Bytes;
use conch_domain::{Applied, Event, Illegal, Job, Position};
use conch_ports::{Commit, Error, ErrorKind, EventBus, Fence, Published, QueueEffect};

use crate::entropy;

/// Lost races after which an offer gives up; each loss means that another event was appended.
const TRIES: usize = 64;

/// What became of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is in the log now, here.
    Appended(Position),
    /// It was there already.
    Duplicate(Position),
    /// It can't follow what the job has been through.
    Illegal(Illegal),
    /// The job is our own Triton's, and only its log may change it.
    OwnJob,
}

/// Appends the event where it fits. `encode` writes it down, given the fold after it.
///
/// # Errors
/// When the store is out of reach; offering again is safe.
pub(crate) async fn offer(
    bus: &Arc<dyn EventBus>,
    event: &Event,
    fence: Fence,
    encode: impl Fn(&Job) -> Bytes,
) -> Result<Offered, Error> {
    let mut doubtful = None;
    for _ in 0..TRIES {
        let mut job = match bus.read(&event.job_id, 0, 0).await? {
            Some(log) => log.job,
            None => Job::unborn(event.job_id.clone(), entropy::epoch(), false),
        };
        let replaces = doubtful.filter(|place| *place == job.position);
        if replaces.is_some() {
            job = job.reincarnate(entropy::epoch());
        }
        let base = replaces.map(|_| job.clone());
        if fence == Fence::Foreign && job.own {
            return Ok(Offered::OwnJob);
        }
        // A repeated end is a duplicate where the log remembers it: let the log say so.
        match job.check(event) {
            Ok(()) | Err(Illegal::Ended(_)) => {}
            Err(illegal) => return Ok(Offered::Illegal(illegal)),
        }
        let ended = job.status;
        let position = job.position.next();
        if !ended.is_terminal() {
            let applied = job.apply(position, event);
            debug_assert_eq!(applied, Ok(Applied::Applied), "checked right before");
        }
        let commit = Commit {
            line: encode(&job),
            event_id: event.event_id.clone(),
            // Of what isn't ours nothing is in the queue.
            effect: QueueEffect::Keep,
            announce: fence != Fence::Foreign,
            fence: fence.clone(),
            replaces,
            base,
            job,
        };
        match bus.publish(commit).await? {
            Published::Appended => return Ok(Offered::Appended(position)),
            Published::Duplicate(place) => return Ok(Offered::Duplicate(place)),
            Published::Ended => return Ok(Offered::Illegal(Illegal::Ended(ended))),
            Published::Fenced => return Ok(Offered::OwnJob),
            Published::Conflict(_) => {}
            Published::Doubtful(place) => doubtful = Some(place),
        }
    }
    Err(Error::new(
        ErrorKind::Internal,
        "event_bus.publish",
        format!("lost {TRIES} races for one log"),
    ))
}
