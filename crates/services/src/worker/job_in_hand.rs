//! A job in the hands of its worker: everything that an attempt may write, each write fenced by the
//! lease and given up with it.
//!
//! Never in here: a write without the lease's token, or after the lease was lost; a decision about
//! what the job does next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backon::Retryable;
use conch_domain::{Attempts, EventKind, Job, PLAN, RetryReason, Template, TemplateId, Timestamp};
use conch_ports::{Claimed, Error, Lease, PutTemplate, QueueEffect, Result};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::append::{Appender, patience};
use crate::entropy;
use crate::measured;
use crate::worker::lease_keeper::Hold;
use crate::worker::steps::{Step, Steps};
use crate::worker::{Dependencies, Ended, Settings};

/// Templates of a job.
pub(crate) const TOTAL: u32 = PLAN.len() as u32;

/// What a run needs of its worker.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) settings: Arc<Settings>,
    pub(crate) deps: Dependencies,
    pub(crate) appender: Appender,
    pub(crate) shutdown: CancellationToken,
}

impl Context {
    /// The present moment, but never before what the job has been through.
    pub(crate) fn now(&self, job: &Job) -> Timestamp {
        job.not_before((self.deps.clock)())
    }

    /// The job's fold; from its record where the log is gone, or where a foreign program's stands in
    /// its place: what is in the queue is ours.
    pub(crate) async fn fold(&self, lease: &Lease) -> Result<Job> {
        let log = self.deps.log.read(&lease.job_id, 0, 0).await?;
        if let Some(log) = log.filter(|log| log.job.own) {
            return Ok(log.job);
        }
        tracing::warn!(job.id = %lease.job_id, "the job is in the queue and has no log");
        let record = self.deps.catalogue.job(&lease.job_id).await?;
        // Without a record either, all that is left to do for it is to say that it failed.
        Ok(record.unwrap_or_else(|| {
            Job::initial(lease.job_id.clone(), entropy::epoch(), true)
                .with_secret(entropy::log_secret())
        }))
    }
}

/// Why a run stops without writing anything more.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The lease is gone.
    Lost,
    /// The job has ended otherwise.
    Ended,
    /// A port refuses for good.
    Port(Error),
}

/// How a run ends its attempt.
#[derive(Debug)]
pub(crate) enum End {
    /// With at least one template.
    Completed {
        /// Why those are missing of which nothing was told.
        why_untold: &'static str,
    },
    /// With none, and the attempt was the last or another one can't help.
    Failed(String),
    /// With none: another attempt may help.
    Retry(String),
    /// It was requested.
    Cancelled,
    /// The worker shuts down.
    Shutdown,
}

/// A job that this worker holds. Only [`RunningJob::finish`] ends its attempt, and consumes it.
pub(crate) struct RunningJob {
    pub(crate) context: Context,
    pub(crate) hold: Arc<Hold>,
    /// Ends with the run.
    _keeper: AbortOnDropHandle<()>,
    /// The fold of the log, as far as this worker knows it.
    pub(crate) job: Job,
    /// By place in the plan.
    pub(crate) done: BTreeMap<u32, Arc<Template>>,
    /// The names of these, and of those on their way into the log.
    pub(crate) names: BTreeMap<u32, String>,
    /// What is on its way into the log.
    pub(crate) steps: Steps,
    /// Each step is in the log before the next template is begun, so that an attempt that ends in silence is charged
    /// to the right one.
    pub(crate) is_careful: bool,
    /// Why the latest template failed.
    pub(crate) last_error: Option<String>,
    /// The template that is made next: rides on every event, so that whoever finds the attempt ended in
    /// silence knows what it was at.
    pub(crate) making: Option<u32>,
    /// When the job is ended with what there is.
    pub(crate) deadline: Instant,
}

impl RunningJob {
    /// Takes a claimed job in hand: its fold is read where the claim didn't bring it, its lease is kept from here on.
    pub(crate) async fn take(
        context: Context,
        claimed: Claimed,
        since: Instant,
        look: Arc<Notify>,
    ) -> Result<Self, Stop> {
        let duration = context.settings.lease;
        let Claimed { mut lease, job } = claimed;
        // No renewal runs yet: what isn't read within the first lease isn't ours to run.
        let fold = async {
            if let Some(job) = job {
                return Ok(job);
            }
            let read = (|| context.fold(&lease)).retry(patience(None));
            read.when(Error::is_retryable).await
        };
        let job = match tokio::time::timeout_at(since + duration, fold).await {
            Ok(Ok(job)) => job,
            Ok(Err(error)) => return Err(Stop::Port(error)),
            Err(_) => return Err(Stop::Lost),
        };
        // An entry that was lost and put back doesn't know how many there were.
        lease.attempt = lease.attempt.max(job.least_attempt);
        // Of one that was to wait, from when it might run.
        let since_when = job.created_at.max(job.schedule.run_at);
        let age = since_when.map_or(0, |at| context.now(&job).millis_since(at));
        let left = context.settings.deadline;
        let left = left.saturating_sub(Duration::from_millis(age));
        let is_careful = lease.attempt > 1
            || job.attempts != Attempts::default()
            || context.settings.max_attempts == 1;
        let (hold, keeper) = Hold::keep(&context.deps, lease, duration, since, job.clone(), look);
        Ok(Self {
            context,
            hold,
            _keeper: keeper,
            job,
            done: BTreeMap::new(),
            names: BTreeMap::new(),
            steps: Steps::default(),
            is_careful,
            last_error: None,
            making: None,
            deadline: Instant::now() + left,
        })
    }

    /// Stores a template; some: its place was taken by this one.
    pub(crate) async fn put(&self, template: &Template) -> Result<Option<Template>, Stop> {
        let catalogue = &self.context.deps.catalogue;
        loop {
            let put = self.ask(|| catalogue.put_template(template, self.hold.lease()));
            match put.await? {
                PutTemplate::Stored => return Ok(None),
                PutTemplate::Taken(first) => return Ok(Some(*first)),
                PutTemplate::Fenced => self.recover().await?,
            }
        }
    }

    /// Stores again what a store that forgot everything has forgotten of this job's templates.
    pub(crate) async fn put_back(&self) -> Result<(), Stop> {
        for template in self.done.values() {
            self.put(template).await?;
        }
        Ok(())
    }

    /// After the store refused the lease: goes on only if it had merely forgotten it.
    pub(crate) async fn recover(&self) -> Result<(), Stop> {
        if self.ask(|| self.hold.recover()).await? {
            Ok(())
        } else {
            Err(Stop::Lost)
        }
    }

    /// Whether the log under the job's id is none of ours.
    pub(crate) async fn is_foreign(&self) -> Result<bool, Stop> {
        let log = &self.context.deps.log;
        let log = self.ask(|| log.read(&self.job.id, 0, 0)).await?;
        Ok(log.is_some_and(|log| !log.job.own))
    }

    /// Asks a port until it answers or the lease is lost.
    pub(crate) async fn ask<T, F>(&self, call: impl FnMut() -> F) -> Result<T, Stop>
    where
        F: Future<Output = Result<T>>,
    {
        let answer = call.retry(patience(None)).when(Error::is_retryable);
        tokio::select! {
            biased;
            () = self.hold.lost.cancelled() => Err(Stop::Lost),
            answer = answer => answer.map_err(Stop::Port),
        }
    }

    /// Ends the attempt. Nothing of it can be written afterwards: the handle is gone.
    pub(crate) async fn finish(mut self, end: End) -> Result<(), Stop> {
        self.making = None;
        self.flush().await?;
        if let End::Completed { why_untold } = &end {
            let settled: Vec<_> = self.done.keys().copied().collect();
            for kind in untold(&self.job, &settled, why_untold) {
                self.step(Step::Event(kind)).await?;
            }
            self.flush().await?;
        }
        let now = self.context.now(&self.job);
        let template_ids: Vec<_> = self.done.values().map(|t| t.id.clone()).collect();
        let settings = &self.context.settings;
        let attempt = self.hold.lease().attempt;
        let (kind, effect) = match end {
            End::Completed { .. } => (
                completed(template_ids, &self.job.attempts, now),
                QueueEffect::Remove,
            ),
            End::Cancelled => (
                EventKind::Cancelled {
                    template_ids,
                    completed_at: now,
                },
                QueueEffect::Remove,
            ),
            End::Failed(error_message) => (failed(error_message, now), QueueEffect::Remove),
            End::Retry(error) => {
                let ended = Ended {
                    reason: RetryReason::Error,
                    counts: true,
                    attempt,
                    before: self.job.attempts.lost_at(0),
                };
                settings.retry(ended, Some(error), now)
            }
            End::Shutdown => {
                let ended = Ended {
                    reason: RetryReason::Shutdown,
                    counts: false,
                    attempt,
                    before: 0,
                };
                settings.retry(ended, None, now)
            }
        };
        tracing::info!(
            job.id = %self.job.id,
            attempt,
            event.kind = kind.event_type(),
            "attempt ended"
        );
        if let Some(started_at) = self.job.started_at
            && effect == QueueEffect::Remove
        {
            measured::ran_job(Duration::from_millis(now.millis_since(started_at)));
        }
        metrics::counter!("conch_attempts_ended_total", "event" => kind.event_type().to_owned())
            .increment(1);
        self.last_step(kind, effect).await
    }
}

/// The end of a job with templates.
pub(crate) fn completed(
    template_ids: Vec<TemplateId>,
    attempts: &Attempts,
    now: Timestamp,
) -> EventKind {
    EventKind::Completed {
        template_count: template_ids.len() as u64,
        template_ids,
        generation_duration_ms: None,
        completed_at: now,
        failed_templates: attempts.failed.keys().copied().collect(),
        error_message: attempts.missing(TOTAL),
    }
}

/// What watchers have yet to be told of the templates that are missing at the end: all that are neither
/// `made` nor told to have failed.
pub(crate) fn untold(job: &Job, made: &[u32], why: &str) -> Vec<EventKind> {
    (1..=TOTAL)
        .filter(|place| !made.contains(place) && !job.attempts.failed.contains_key(place))
        .map(|place| template_failed(place, why.to_owned()))
        .collect()
}

/// A template that is made.
pub(crate) fn template_completed(template: &Template) -> EventKind {
    EventKind::TemplateCompleted {
        template_id: template.id.clone(),
        template_index: template.index,
        total_templates: TOTAL,
        name: template.name.clone(),
        category: template.category.as_str().to_owned(),
        target_audience: template.target_audience.as_str().to_owned(),
    }
}

/// A template that isn't made.
pub(crate) fn template_failed(place: u32, error_message: String) -> EventKind {
    EventKind::TemplateFailed {
        template_index: place,
        total_templates: TOTAL,
        error_message,
    }
}

/// The end of a job without any.
pub(crate) fn failed(error_message: String, now: Timestamp) -> EventKind {
    EventKind::Failed {
        error_message,
        generation_duration_ms: None,
        completed_at: now,
    }
}
