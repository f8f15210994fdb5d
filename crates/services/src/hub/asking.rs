//! What a pump asks: the log to its end, and of a job's end beyond the log Triton and the cached result.
//!
//! Never in here: what becomes of the answers.

use std::time::Duration;

use conch_domain::{Job, JobId};
use conch_ports::{Error, ErrorKind, Log};

use super::Shared;
use super::topic::Topic;
use crate::reconcile::Asked;

/// Events read at a time.
const PAGE: usize = 500;
/// How long a cached result is kept back for Triton's answer.
const RESULT_WAITS: Duration = Duration::from_millis(500);

/// What was learned of a job's end beyond its log.
pub(super) enum Learned {
    /// What asking Triton brought.
    Asked(Asked),
    /// Its cached result, of which Triton knows no more.
    Ended(Box<Job>),
}

/// Asks whatever a lookup asks: Triton, and where there is no log the cached result. Cancel-safe.
pub(super) async fn ask(shared: &Shared, topic: &Topic, is_absent: bool) -> Result<Learned, Error> {
    // Ids can be made up by whoever asks: what is asked about them is theirs to wait for.
    if is_absent && let Some(questions) = &topic.questions {
        questions.turn().await;
    }
    let asked = shared.reconcile.ask(&topic.job_id);
    let result = if is_absent {
        shared.results.job(&topic.job_id).await
    } else {
        None
    };
    let Some(result) = result else {
        return asked.await.map(Learned::Asked);
    };
    // Triton's word is worth more: with it there is a log again. But the end is known without.
    Ok(match tokio::time::timeout(RESULT_WAITS, asked).await {
        Err(_) | Ok(Err(_) | Ok(Asked::Unknown)) => Learned::Ended(Box::new(result)),
        Ok(Ok(asked)) => Learned::Asked(asked),
    })
}

/// Times that a log may be replaced or trimmed under a reader before it gives up.
const MOVES: usize = 16;

/// All events after `after`, page by page. The answer's entries reach up to its job's position.
pub(super) async fn read_to_end(
    shared: &Shared,
    job_id: &JobId,
    after: u64,
) -> Result<Option<Log>, Error> {
    let Some(mut log) = shared.bus.read(job_id, after, PAGE).await? else {
        return Ok(None);
    };
    let mut from = after;
    let mut moves = 0;
    while let Some(last) = log.entries.last().map(|entry| entry.sequence)
        && last < log.job.position.sequence
    {
        let Some(page) = shared.bus.read(job_id, last, PAGE).await? else {
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
                return Err(Error::new(ErrorKind::Unavailable, "event_bus.read", words));
            }
            from = page
                .job
                .position
                .sequence
                .saturating_sub(PAGE as u64)
                .max(from);
            let Some(again) = shared.bus.read(job_id, from, PAGE).await? else {
                return Ok(None);
            };
            log = again;
        }
    }
    Ok(Some(log))
}
