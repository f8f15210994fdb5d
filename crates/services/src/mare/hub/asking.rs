//! What is asked: where several logs end, one log to its end, and of a job's end beyond the log Triton and the
//! cached result.
//!
//! Never in here: what becomes of the answers.

use std::time::Duration;

use conch_domain::{Job, JobId, Origin, Position};
use conch_ports::{Bucket, Error, ErrorKind, Log, Stamp};

use super::topic::Topic;
use super::{Shared, owner};
use crate::mare::reconcile::Asked;
use crate::mare::results::RESULT_WAITS;

/// Events read at a time.
const PAGE: usize = 500;
/// First wait after a failed question for positions; doubles up to the position check.
const BACKOFF: Duration = Duration::from_millis(100);

/// What was learned of a job's end beyond its log.
pub(super) enum Learned {
    /// What asking Triton brought, and where the job comes from, if Triton says so.
    Asked(Asked, Option<Origin>),
    /// Its cached result, of which Triton knows no more.
    Ended(Box<Job>),
}

/// Asks what a lookup asks: Triton and, if there is no log, the result cache. A result that names no owner
/// goes to `tell_early` while Triton's answer is pending. Cancel-safe.
pub(super) async fn ask(
    shared: &Shared,
    topic: &Topic,
    is_absent: bool,
    tell_early: impl Fn(&Job),
) -> Result<Learned, Error> {
    let asked = shared.reconcile.ask_with_origin(&topic.job_id);
    if !is_absent {
        return asked
            .await
            .map(|(asked, origin)| Learned::Asked(asked, origin));
    }
    // A caller can make ids up, so a question about one waits for a turn of the callers that named it.
    topic.payers.turn().await;
    tokio::pin!(asked);
    let result = match topic.result_without_owner() {
        Some(result) => Ok(Some(result)),
        None => shared.results.job(&topic.job_id).await,
    };
    let result = match result {
        Ok(Some(result)) => Box::new(owner::of_log(result, topic.state().job.as_ref())),
        Ok(None) => {
            let (asked, origin) = asked.await?;
            return Ok(Learned::Asked(asked, origin));
        }
        // The cache may know of what Triton doesn't.
        Err(unread) => {
            return match asked.await? {
                (Asked::Unknown, _) => Err(unread),
                (asked, origin) => Ok(Learned::Asked(asked, origin)),
            };
        }
    };
    // Triton's answer is preferred, because a log can begin with it. But the end is known without it.
    let early = tokio::time::timeout(RESULT_WAITS, &mut asked).await;
    if !matches!(early, Ok(Ok(_))) {
        if result.client_id.is_some() {
            return Ok(Learned::Ended(result));
        }
        tell_early(&result);
    }
    let answer = match early {
        Ok(answer) => answer,
        Err(_) => asked.await,
    };
    Ok(match answer? {
        (Asked::Unknown, _) => Learned::Ended(result),
        (asked, origin) => Learned::Asked(asked, origin),
    })
}

/// One question for the ends of several logs, in its turn among the reads.
pub(super) async fn positions(
    shared: &Shared,
    job_ids: &[JobId],
) -> Result<Vec<Option<Position>>, Error> {
    let permit = shared.reads.acquire().await;
    let _permit = permit.expect("it is never closed");
    shared.log.positions(job_ids).await
}

/// As [`positions`]; asks until the store answers. Cancel-safe.
pub(super) async fn positions_in_the_end(
    shared: &Shared,
    job_ids: &[JobId],
) -> Vec<Option<Position>> {
    in_the_end(shared, || positions(shared, job_ids)).await
}

/// The latest commits of these buckets; asks until the store answers. Cancel-safe.
pub(super) async fn latest_in_the_end(shared: &Shared, buckets: &[Bucket]) -> Vec<Option<Stamp>> {
    in_the_end(shared, || async {
        let permit = shared.reads.acquire().await;
        let _permit = permit.expect("it is never closed");
        shared.log.latest(buckets).await
    })
    .await
}

async fn in_the_end<T, F: Future<Output = Result<T, Error>>>(
    shared: &Shared,
    ask: impl Fn() -> F,
) -> T {
    let mut backoff = BACKOFF;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                tracing::debug!(%error, "the store can't be asked where logs end: trying again");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(shared.settings.position_check);
            }
        }
    }
}

/// Times that a log may be replaced or trimmed under a reader before it gives up.
const MOVES: usize = 16;

/// All events after `after`, page by page. The answer's entries reach up to its job's position.
pub(super) async fn read_to_end(
    shared: &Shared,
    job_id: &JobId,
    after: u64,
) -> Result<Option<Log>, Error> {
    let Some(mut log) = shared.log.read(job_id, after, PAGE).await? else {
        return Ok(None);
    };
    let mut from = after;
    let mut moves = 0;
    while let Some(last) = log.entries.last().map(|entry| entry.sequence)
        && last < log.job.position.sequence
    {
        let Some(page) = shared.log.read(job_id, last, PAGE).await? else {
            return Ok(None);
        };
        let follows = page.entries.first().is_some_and(|e| e.sequence == last + 1);
        if page.job.position.epoch == log.job.position.epoch && follows {
            log.job = page.job;
            log.entries.extend(page.entries);
        } else {
            // Replaced or trimmed meanwhile: what was read before no longer joins on. Skipping to
            // the newest page mostly ends this after one more round, for a log is bounded.
            moves += 1;
            if moves == MOVES {
                let words = "the log changes faster than it can be read";
                return Err(Error::new(ErrorKind::Unavailable, "job_log.read", words));
            }
            from = page
                .job
                .position
                .sequence
                .saturating_sub(PAGE as u64)
                .max(from);
            let Some(again) = shared.log.read(job_id, from, PAGE).await? else {
                return Ok(None);
            };
            log = again;
        }
    }
    Ok(Some(log))
}
