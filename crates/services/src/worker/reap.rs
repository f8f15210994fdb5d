//! Jobs whose worker fell silent: given another attempt, or ended with what there is.
//!
//! Never in here: a judgement about who is alive. The store's clock says which leases have run out,
//! and the fence of each append says it again.

use std::time::Duration;

use conch_domain::{EventKind, Job, JobStatus, RetryReason};
use conch_ports::{Fence, Lease, QueueEffect, Result};

use crate::append::{Append, Outcome};
use crate::entropy;
use crate::worker::job_in_hand::{Context, completed, failed, untold};
use crate::worker::{Ended, Settings};

/// Leases that are dealt with in one round.
const BATCH: usize = 100;
/// How long the store is waited for per job; the next round comes soon.
const PATIENCE: Duration = Duration::from_secs(1);
/// Claims in a row that may end in silence before their attempt begins.
const MAX_IDLE_CLAIMS: u32 = 10;

/// Takes silent workers' jobs back until it is dropped, or until the worker shuts down.
pub(crate) async fn run(context: Context) {
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            () = tokio::time::sleep(entropy::shortened(context.settings.lease / 2)) => {}
        }
        match round(&context).await {
            Ok(()) => failing = false,
            Err(error) if failing => tracing::debug!(%error, "leases can't be looked at yet"),
            Err(error) => {
                failing = true;
                tracing::warn!(%error, "leases can't be looked at; tried again until they can");
            }
        }
    }
}

/// Deals with the leases that have run out. One job that can't be dealt with keeps no other waiting.
///
/// # Errors
/// When the store is out of reach.
pub(crate) async fn round(context: &Context) -> Result<()> {
    for lease in context.deps.queue.expired(BATCH).await? {
        if let Err(error) = take_back(context, &lease).await {
            tracing::warn!(job.id = %lease.job_id, %error, "a silent worker's job is taken back later");
        }
    }
    Ok(())
}

async fn take_back(context: &Context, lease: &Lease) -> Result<()> {
    let mut job = context.fold(lease).await?;
    let attempt = lease.attempt.max(job.least_attempt);
    let begun = has_begun(&job);
    let (kinds, effect) = match verdict(&context.settings, attempt, &job) {
        Verdict::Retry { ended, why } => {
            let (kind, effect) = context.settings.retry(ended, why, context.now(&job));
            (vec![kind], effect)
        }
        Verdict::End(why) => (end(context, lease, &job, why).await?, QueueEffect::Remove),
    };
    let last = kinds.len() - 1;
    for (at, kind) in kinds.into_iter().enumerate() {
        let event_type = kind.event_type().to_owned();
        let append = Append {
            happened: vec![kind.into()],
            // Before its last event an end must not look like an attempt that began: another reaper may
            // have to go on with it.
            attempt: (begun || at == last).then_some(attempt),
            fence: Fence::Expired(lease.token.clone()),
            effect: if at == last {
                effect
            } else {
                QueueEffect::Keep
            },
        };
        let outcome = context
            .appender
            .append(&mut job, append, Some(PATIENCE))
            .await?;
        match outcome {
            Outcome::Appended | Outcome::Already if at < last => {}
            Outcome::Appended | Outcome::Already => {
                metrics::counter!("conch_leases_expired_total").increment(1);
                tracing::warn!(
                    job.id = %job.id, attempt, event.kind = event_type,
                    "a worker fell silent: its job was taken back"
                );
            }
            // Another worker was faster. An ended job needs nothing: every terminal event takes its job
            // out of the queue in the same step.
            Outcome::Ended | Outcome::Fenced | Outcome::NoLog | Outcome::PlaceTaken(_) => {
                return Ok(());
            }
            Outcome::Illegal(illegal) => {
                tracing::warn!(job.id = %job.id, reason = %illegal, "an event of a silent worker's job was left out");
            }
        }
    }
    Ok(())
}

/// What becomes of a job whose attempt ended in silence.
#[derive(Debug)]
enum Verdict {
    /// Another attempt.
    Retry { ended: Ended, why: Option<String> },
    /// Its end, and why there is no other attempt.
    End(String),
}

/// Whether the attempt said anything. An event of an attempt makes its job running and forgets the claims
/// that ended before theirs began; the attempt's end makes it pending.
fn has_begun(job: &Job) -> bool {
    job.status == JobStatus::Running && job.attempts.idle_claims == 0
}

fn verdict(settings: &Settings, attempt: u32, job: &Job) -> Verdict {
    if job.cancel_requested {
        return Verdict::End("the job was cancelled".to_owned());
    }
    if job.client_id.is_none() {
        return Verdict::End("the job's records were lost".to_owned());
    }
    let attempts = &job.attempts;
    let ended = Ended {
        reason: RetryReason::LeaseExpired,
        counts: true,
        attempt,
        before: attempts.lost_at(attempts.making.unwrap_or(0)),
    };
    if !has_begun(job) {
        let before = attempts.idle_claims;
        return if before + 1 < MAX_IDLE_CLAIMS {
            Verdict::Retry {
                ended: Ended {
                    counts: false,
                    before,
                    ..ended
                },
                why: Some("its worker fell silent before the attempt began".to_owned()),
            }
        } else {
            Verdict::End(format!(
                "{MAX_IDLE_CLAIMS} workers in a row took the job and fell silent before they began"
            ))
        };
    }
    // One that gets no further attempt is given up by the next, which makes the others.
    if attempts.making.is_none() && ended.before + 1 >= settings.max_attempts {
        return Verdict::End(silent_in_the_last(ended.before + 1));
    }
    let why = attempts
        .making
        .map(|place| format!("its worker fell silent while it made template {place}"));
    Verdict::Retry { ended, why }
}

/// Why a job gets no further attempt. What ended those before the last one, silence or an error, is told
/// where each of them ended.
fn silent_in_the_last(attempts: u32) -> String {
    match attempts {
        1 => "its worker fell silent in its only attempt".to_owned(),
        many => format!("its worker fell silent in the last of {many} attempts"),
    }
}

/// The events that end a job with what there is.
async fn end(context: &Context, lease: &Lease, job: &Job, why: String) -> Result<Vec<EventKind>> {
    let now = context.now(job);
    let templates = context.deps.catalogue.templates_of(&lease.job_id).await?;
    let places: Vec<_> = templates.iter().map(|t| t.index).collect();
    let template_ids: Vec<_> = templates.into_iter().map(|t| t.id).collect();
    if job.cancel_requested {
        return Ok(vec![EventKind::Cancelled {
            template_ids,
            completed_at: now,
        }]);
    }
    if template_ids.is_empty() {
        return Ok(vec![failed(why, now)]);
    }
    // The last event tells what its predecessors make of the job.
    let mut kinds = untold(job, &places, &why);
    let mut after = job.attempts.clone();
    for kind in &kinds {
        if let EventKind::TemplateFailed { template_index, .. } = kind {
            after.failed.insert(*template_index, why.clone());
        }
    }
    kinds.push(completed(template_ids, &after, now));
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use conch_conformance::build::Script;

    use super::*;
    use crate::worker::job_in_hand::template_failed;

    fn ends_with(job: &Job) -> Option<String> {
        match verdict(&Settings::default(), 3, job) {
            Verdict::End(why) => Some(why),
            Verdict::Retry { .. } => None,
        }
    }

    fn retrying(script: &mut Script, reason: RetryReason) {
        script.retrying(reason, Duration::ZERO);
    }

    #[test]
    fn a_job_whose_attempts_ended_by_errors_and_by_silence_is_told_of_the_last() {
        let mut script = Script::own();
        script.queued();
        for reason in [RetryReason::Error, RetryReason::LeaseExpired] {
            script.progress(0);
            assert_eq!(ends_with(script.job()), None);
            retrying(&mut script, reason);
        }
        script.progress(0);
        let why = "its worker fell silent in the last of 3 attempts";
        assert_eq!(ends_with(script.job()).as_deref(), Some(why));
    }

    #[test]
    fn another_reaper_goes_on_with_the_end_of_claims_that_began_nothing() {
        let mut script = Script::own();
        script.queued();
        for _ in 1..MAX_IDLE_CLAIMS {
            assert_eq!(ends_with(script.job()), None);
            retrying(&mut script, RetryReason::LeaseExpired);
        }
        let why = "10 workers in a row took the job and fell silent before they began";
        assert_eq!(ends_with(script.job()).as_deref(), Some(why));
        // As this one appends it, which then dies.
        assert!(!has_begun(script.job()));
        script.then(template_failed(3, why.to_owned()));
        assert_eq!(script.job().status, JobStatus::Running);
        assert_eq!(ends_with(script.job()).as_deref(), Some(why));
    }
}
