//! The worker: claims jobs as soon as it has room and one is due, runs each in a task of its own,
//! and gives them all back when it is told to stop.
//!
//! Never in here: what a job consists of (`attempt`), whose lease has run out (`reap`). Nothing is
//! claimed once the shutdown has begun, and no task outlives [`Worker::run`], nor does that outlive one
//! that it can't do without.

mod attempt;
mod claims;
mod commits;
mod job_in_hand;
mod lease_keeper;
mod listener;
mod reap;
mod steps;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use conch_domain::{EventCap, EventKind, RetryReason, Timestamp};
use conch_ports::{Catalogue, JobLog, JobQueue, QueueEffect, Signals, TemplateGenerator};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::append::Appender;
use crate::{Clock, entropy};
use claims::{Answered, Claims};
use job_in_hand::Context;
use listener::{Ears, Listed};

/// How a worker works. All times are settings, so that a test needn't wait for the usual ones.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For people who look who holds what.
    pub name: String,
    /// Jobs at once, at least 1.
    pub concurrency: usize,
    /// How long a job stays claimed without a renewal.
    pub lease: Duration,
    /// Attempts that a template gets whose making ends its worker, and a job that ends with an error; at
    /// least 1.
    pub max_attempts: u32,
    /// How often a template is tried within an attempt while the generator's answers are none, at least 1.
    pub template_tries: u32,
    /// Wait before the second attempt; doubles with each further one.
    pub backoff: Duration,
    /// Longest wait between two attempts.
    pub backoff_cap: Duration,
    /// How long after its submission a job is ended with what there is.
    pub deadline: Duration,
    /// How many events a job takes.
    pub cap: EventCap,
    /// Time between two pages of the search for jobs that the queue has lost.
    pub sweep: Duration,
    /// Longest time between two looks into the queue, whatever was announced.
    pub poll: Duration,
    /// How long a shutdown waits for the jobs to be given back.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "worker".to_owned(),
            concurrency: 2,
            lease: Duration::from_secs(30),
            max_attempts: 3,
            template_tries: 3,
            backoff: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(30),
            deadline: Duration::from_hours(24),
            cap: EventCap::default(),
            sweep: Duration::from_secs(10),
            poll: Duration::from_secs(2),
            drain: Duration::from_secs(10),
        }
    }
}

/// What a worker works with.
#[derive(Clone)]
pub struct Dependencies {
    /// The logs and announcements.
    pub log: Arc<dyn JobLog>,
    /// Where the jobs come from.
    pub queue: Arc<dyn JobQueue>,
    /// What they are made from, and where the templates go.
    pub catalogue: Arc<dyn Catalogue>,
    /// What makes the templates.
    pub generator: Arc<dyn TemplateGenerator>,
    /// The time.
    pub clock: Clock,
}

impl Settings {
    /// A worker that doesn't work yet.
    pub fn build(self, dependencies: Dependencies) -> Worker {
        Worker {
            settings: Arc::new(self),
            deps: dependencies,
        }
    }

    /// The end of an attempt that isn't the job's, and when the next may begin.
    pub(crate) fn retry(
        &self,
        ended: Ended,
        error_message: Option<String>,
        now: Timestamp,
    ) -> (EventKind, QueueEffect) {
        let Ended { reason, counts, .. } = ended;
        let after = if reason == RetryReason::Shutdown {
            Duration::ZERO
        } else {
            let backoff = self.backoff.saturating_mul(1 << ended.before.min(30));
            entropy::shortened(backoff.min(self.backoff_cap))
        };
        // Attempts are charged to what they were at, so a job may get more than one template does.
        let more = if counts {
            self.max_attempts.saturating_sub(ended.before + 1).max(1)
        } else {
            0
        };
        let kind = EventKind::Retrying {
            max_attempts: self.max_attempts.max(ended.attempt.saturating_add(more)),
            retry_at: now.plus_millis(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)),
            reason,
            error_message,
        };
        (kind, QueueEffect::Requeue { after, counts })
    }
}

/// An attempt that ended, and not its job with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) reason: RetryReason,
    /// Whether its number is used up.
    pub(crate) counts: bool,
    pub(crate) attempt: u32,
    /// How many were lost before it on what it was at.
    pub(crate) before: u32,
}

/// Runs jobs.
pub struct Worker {
    settings: Arc<Settings>,
    deps: Dependencies,
}

impl Worker {
    /// Works until `shutdown`, hears of the bus through `signals`, then gives back what runs and returns, within [`Settings::drain`].
    ///
    /// Returns before that, its jobs given back, when `signals` end: a worker that hears of nothing
    /// is not left to look as if it worked. Dropped, it stops at once and writes nothing more; its
    /// leases run out by themselves.
    ///
    /// # Panics
    /// When a task of its own did. The jobs that it ran were given back.
    pub async fn run(self, signals: Signals, shutdown: CancellationToken) {
        // This worker's own, so that it can give its jobs back though the process goes on.
        let stop = shutdown.child_token();
        let context = Context {
            appender: Appender::new(
                Arc::clone(&self.deps.log),
                Arc::clone(&self.deps.clock),
                self.settings.cap,
            ),
            settings: self.settings,
            deps: self.deps,
            shutdown: stop.clone(),
        };
        let ears = Arc::new(Ears::default());
        let mut standing = JoinSet::new();
        {
            let (ears, clock) = (Arc::clone(&ears), Arc::clone(&context.deps.clock));
            standing.spawn(async move { ears.listen(signals, clock).await });
        }
        standing.spawn(reap::run(context.clone()));
        standing.spawn(sweep::run(context.clone()));

        let mut jobs = JoinSet::new();
        let mut claims = Claims::new(context.clone());
        let start = |jobs: &mut JoinSet<()>, (claimed, since): Answered| {
            let listed = Listed::new(&ears, claimed.job_id.clone());
            let context = context.clone();
            jobs.spawn(async move {
                attempt::run(context, claimed, since, Arc::clone(&listed.look)).await;
            });
        };
        let mut gone = None;
        while !stop.is_cancelled() {
            let free = context.settings.concurrency.saturating_sub(jobs.len());
            claims.start(free);
            let rested = claims.rested();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Some(ended) = standing.join_next() => {
                    gone = ended.err();
                    stop.cancel();
                }
                Some(ended) = jobs.join_next() => note(ended),
                Some(claimed) = claims.answered() => {
                    if let Some(claimed) = claimed {
                        start(&mut jobs, claimed);
                    }
                }
                () = rested, if free > 0 => {}
                () = ears.queue.notified(), if free > 0 && claims.can_be_woken() => claims.wake(),
            }
        }
        let drained = tokio::time::timeout(context.settings.drain, async {
            // A claim whose answer is dropped blocks its job.
            while let Some(claimed) = claims.answered().await {
                if let Some(claimed) = claimed {
                    start(&mut jobs, claimed);
                }
            }
            while let Some(ended) = jobs.join_next().await {
                note(ended);
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                jobs = jobs.len(),
                "not all jobs could be given back in time: their leases run out"
            );
        }
        jobs.shutdown().await;
        standing.shutdown().await;
        if let Some(panic) = gone.and_then(|error| error.try_into_panic().ok()) {
            std::panic::resume_unwind(panic);
        }
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a run panicked: its lease runs out and the job is tried again");
    }
}
