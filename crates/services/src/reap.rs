//! Jobs whose worker fell silent: given another attempt, or ended with what there is.
//!
//! Never in here: a judgement about who is alive. The store's clock says which leases have run out,
//! and the fence of each append says it again.

use std::time::Duration;

use conch_domain::{EventKind, Job, RetryReason};
use conch_ports::{Fence, Lease, QueueEffect, Result};

use crate::append::{Append, Outcome};
use crate::entropy;
use crate::running::{Context, completed, failed};

/// Leases that are dealt with in one round.
const BATCH: usize = 100;
/// How long the store is waited for per job; the next round comes soon.
const PATIENCE: Duration = Duration::from_secs(1);

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
    let (kind, effect) = verdict(context, lease, &job).await?;
    let event_type = kind.event_type().to_owned();
    let append = Append {
        kind,
        attempt: Some(lease.attempt.max(job.least_attempt)),
        fence: Fence::Expired(lease.token.clone()),
        effect,
    };
    let outcome = context
        .appender
        .append(&mut job, append, Some(PATIENCE))
        .await?;
    match outcome {
        Outcome::Appended | Outcome::Already => {
            metrics::counter!("conch_leases_expired_total").increment(1);
            tracing::warn!(
                job.id = %job.id, attempt = lease.attempt, event.kind = event_type,
                "a worker fell silent: its job was taken back"
            );
        }
        // Another worker was faster. An ended job needs nothing: every terminal event takes its job
        // out of the queue in the same step.
        Outcome::Ended | Outcome::Fenced | Outcome::NoLog => {}
        Outcome::Illegal(illegal) => {
            tracing::warn!(job.id = %job.id, reason = %illegal, "a silent worker's job can't be taken back");
        }
    }
    Ok(())
}

/// What becomes of a job whose attempt ended in silence.
async fn verdict(context: &Context, lease: &Lease, job: &Job) -> Result<(EventKind, QueueEffect)> {
    let now = context.now(job);
    let settings = &context.settings;
    if !job.cancel_requested && lease.attempt < settings.max_attempts && job.client_id.is_some() {
        let reason = RetryReason::LeaseExpired;
        return Ok(settings.retry(reason, None, lease.attempt, now));
    }
    let templates = context.deps.catalogue.templates_of(&lease.job_id).await?;
    let template_ids: Vec<_> = templates.into_iter().map(|t| t.id).collect();
    let kind = if job.cancel_requested {
        EventKind::Cancelled {
            template_ids,
            completed_at: now,
        }
    } else if template_ids.is_empty() {
        let attempts = lease.attempt;
        let message = format!("its worker fell silent in each of {attempts} attempts");
        failed(message, now)
    } else {
        completed(template_ids, now)
    };
    Ok((kind, QueueEffect::Remove))
}
