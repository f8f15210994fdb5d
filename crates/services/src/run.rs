//! One job's one attempt: from the claim to its end, its next try, or the way back into the queue.
//!
//! Never in here: a write without the lease's token, or after the lease was lost. Finished templates
//! are kept whatever happens; a template is stored before the event that names it.

use std::collections::BTreeMap;
use std::sync::Arc;

use backon::Retryable;
use conch_domain::{
    Client, EventKind, Illegal, Job, PLAN, RetryReason, Template, TemplateDraft, TemplateId,
    Timestamp, ValueProposition,
};
use conch_ports::{Brief, Error, Fence, Lease, PutTemplate, QueueEffect, Result};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::append::{Append, Appender, Outcome, patience};
use crate::lease::Hold;
use crate::offer::new_epoch;
use crate::worker::{Dependencies, Settings};

const TOTAL: u32 = PLAN.len() as u32;

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
        let now = (self.deps.clock)();
        job.updated_at.map_or(now, |latest| latest.max(now))
    }

    /// The job's fold; from its record where the log is gone.
    pub(crate) async fn fold(&self, lease: &Lease) -> Result<Job> {
        if let Some(log) = self.deps.bus.read(&lease.job_id, 0, 0).await? {
            return Ok(log.job);
        }
        tracing::warn!(job.id = %lease.job_id, "the job is in the queue and has no log");
        let record = self.deps.catalogue.job(&lease.job_id).await?;
        // Without a record either, all that is left to do for it is to say that it failed.
        Ok(record.unwrap_or_else(|| Job::unborn(lease.job_id.clone(), new_epoch(), true)))
    }
}

/// Why a run stops without writing anything more.
#[derive(Debug)]
enum Stop {
    /// The lease is gone.
    Lost,
    /// The job has ended otherwise.
    Ended,
    /// A port refuses for good.
    Port(Error),
}

/// How a run ends its attempt.
#[derive(Debug)]
enum End {
    /// With at least one template.
    Completed,
    /// With none, and the attempt was the last or another one can't help.
    Failed(String),
    /// With none: another attempt may help.
    Retry(String),
    /// Somebody asked.
    Cancelled,
    /// The worker shuts down.
    Shutdown,
}

/// Runs the attempt to its end. `since` is the moment before the claim, `look` wakes it when
/// somebody may have asked for the job's end.
///
/// Dropping it stops the generator and the renewal; the lease then runs out by itself.
pub(crate) async fn run(context: Context, lease: Lease, since: Instant, look: Arc<Notify>) {
    let id = lease.job_id.clone();
    let attempt = lease.attempt;
    tracing::info!(job.id = %id, attempt, "job claimed");
    let stopped = match RunningJob::take(context, lease, since, look).await {
        Ok(mut job) => match job.work().await {
            Ok(end) => job.finish(end).await,
            Err(stop) => Err(stop),
        },
        Err(stop) => Err(stop),
    };
    match stopped {
        Ok(()) => {}
        Err(Stop::Lost) => {
            tracing::warn!(job.id = %id, attempt, "another worker goes on with this job");
        }
        Err(Stop::Ended) => tracing::info!(job.id = %id, attempt, "the job had ended"),
        Err(Stop::Port(error)) => {
            tracing::error!(job.id = %id, attempt, %error, "the attempt was given up; its lease runs out");
        }
    }
}

/// A job that this worker holds. Only [`RunningJob::finish`] ends its attempt, and consumes it.
struct RunningJob {
    context: Context,
    hold: Arc<Hold>,
    /// Ends with the run.
    _keeper: AbortOnDropHandle<()>,
    job: Job,
    /// By place in the plan.
    done: BTreeMap<u32, Template>,
}

impl RunningJob {
    async fn take(
        context: Context,
        lease: Lease,
        since: Instant,
        look: Arc<Notify>,
    ) -> Result<Self, Stop> {
        let duration = context.settings.lease;
        // No renewal runs yet: what isn't read within the first lease isn't ours to run.
        let fold = (|| context.fold(&lease))
            .retry(patience(None))
            .when(Error::is_retryable);
        let job = match tokio::time::timeout_at(since + duration, fold).await {
            Ok(Ok(job)) => job,
            Ok(Err(error)) => return Err(Stop::Port(error)),
            Err(_) => return Err(Stop::Lost),
        };
        let (hold, keeper) = Hold::keep(&context.deps, lease, duration, since, job.clone(), look);
        Ok(Self {
            context,
            hold,
            _keeper: keeper,
            job,
            done: BTreeMap::new(),
        })
    }

    /// Everything up to the end. Whatever is written here is fenced.
    async fn work(&mut self) -> Result<End, Stop> {
        let catalogue = Arc::clone(&self.context.deps.catalogue);
        let id = self.job.id.clone();
        let templates = self.ask(|| catalogue.templates_of(&id)).await?;
        self.done = templates.into_iter().map(|t| (t.index, t)).collect();
        if let Some(end) = self.interrupted() {
            return Ok(end);
        }
        let (client, value_proposition) = match self.source().await? {
            Ok(source) => source,
            Err(missing) => return Ok(End::Failed(missing)),
        };
        self.begin().await?;
        let mut last_error = String::new();
        for (item, index) in PLAN.into_iter().zip(1..) {
            if self.done.contains_key(&index) {
                continue;
            }
            if let Some(end) = self.interrupted() {
                return Ok(end);
            }
            let brief = Brief {
                job_id: self.job.id.clone(),
                client: client.clone(),
                value_proposition: value_proposition.clone(),
                item,
                index,
                total: TOTAL,
                attempt: self.hold.lease().attempt,
            };
            let made = match self.generate(&brief).await? {
                Made::Draft(draft) => self.store(&brief, draft).await?,
                Made::Nothing(error) => Err(error),
                Made::Interrupted(end) => return Ok(end),
            };
            match made {
                Ok(template) => {
                    let event = template_completed(&template);
                    self.done.insert(index, template);
                    self.append(event, QueueEffect::Keep).await?;
                    self.say_progress().await?;
                }
                Err(error) => {
                    tracing::warn!(job.id = %self.job.id, template.index = index, %error, "template failed");
                    last_error = error.to_string();
                    let event = EventKind::TemplateFailed {
                        template_index: index,
                        total_templates: TOTAL,
                        error_message: last_error.clone(),
                    };
                    self.append(event, QueueEffect::Keep).await?;
                }
            }
        }
        Ok(match self.interrupted() {
            // All the work is done: ending it is better than doing the last steps again.
            Some(End::Cancelled) => End::Cancelled,
            _ if !self.done.is_empty() => End::Completed,
            _ if self.hold.lease().attempt < self.context.settings.max_attempts => {
                End::Retry(last_error)
            }
            _ => End::Failed(format!("no template could be made: {last_error}")),
        })
    }

    /// Whether the run should stop between two steps.
    fn interrupted(&self) -> Option<End> {
        if self.job.cancel_requested {
            Some(End::Cancelled)
        } else if self.context.shutdown.is_cancelled() {
            Some(End::Shutdown)
        } else {
            None
        }
    }

    /// What the templates are made from, or in words what is missing.
    async fn source(&self) -> Result<Result<(Client, ValueProposition), String>, Stop> {
        let (Some(client_id), Some(value_proposition_id)) =
            (&self.job.client_id, &self.job.value_proposition_id)
        else {
            return Ok(Err("the job's records were lost".to_owned()));
        };
        let catalogue = &self.context.deps.catalogue;
        let Some(client) = self.ask(|| catalogue.client(client_id)).await? else {
            return Ok(Err(format!("client {client_id} no longer exists")));
        };
        let read = || catalogue.value_proposition(value_proposition_id);
        let Some(value_proposition) = self.ask(read).await? else {
            let missing = format!("value proposition {value_proposition_id} no longer exists");
            return Ok(Err(missing));
        };
        Ok(Ok((client, value_proposition)))
    }

    /// Says that the job, or this attempt of it, begins, and what is there already.
    async fn begin(&mut self) -> Result<(), Stop> {
        if self.job.started_at.is_none() {
            let started_at = self.context.now(&self.job);
            self.append(EventKind::Started { started_at }, QueueEffect::Keep)
                .await?;
        } else {
            self.say_progress().await?;
        }
        // A worker may have died between storing a template and saying so.
        let unsaid: Vec<_> = self
            .done
            .values()
            .filter(|template| !self.job.template_ids.contains(&template.id))
            .map(template_completed)
            .collect();
        for event in unsaid {
            self.append(event, QueueEffect::Keep).await?;
        }
        Ok(())
    }

    async fn say_progress(&mut self) -> Result<(), Stop> {
        let completed = self.done.len() as u32;
        let event = EventKind::Progress {
            progress: (completed * 100 / TOTAL) as u8,
            completed_templates: completed,
            total_templates: TOTAL,
            message: None,
        };
        self.append(event, QueueEffect::Keep).await
    }

    /// Waits for the generator, and for whatever makes it pointless.
    async fn generate(&mut self, brief: &Brief) -> Result<Made, Stop> {
        let generator = Arc::clone(&self.context.deps.generator);
        let shutdown = self.context.shutdown.clone();
        let hold = Arc::clone(&self.hold);
        let mut generation = generator.generate(brief);
        loop {
            tokio::select! {
                biased;
                () = hold.lost.cancelled() => return Err(Stop::Lost),
                () = hold.restored.notified() => {
                    self.put_back().await?;
                    self.say_progress().await?;
                }
                () = hold.look.notified() => {
                    if self.is_cancel_requested().await {
                        return Ok(Made::Interrupted(End::Cancelled));
                    }
                }
                () = shutdown.cancelled() => return Ok(Made::Interrupted(End::Shutdown)),
                made = &mut generation => return Ok(match made {
                    Ok(draft) => Made::Draft(draft),
                    Err(error) => Made::Nothing(error),
                }),
            }
        }
    }

    async fn is_cancel_requested(&self) -> bool {
        match self.context.deps.bus.read(&self.job.id, 0, 0).await {
            Ok(log) => log.is_some_and(|log| log.job.cancel_requested),
            // The next renewal asks again.
            Err(_) => false,
        }
    }

    /// Keeps what was made, or says which fault it has.
    async fn store(
        &mut self,
        brief: &Brief,
        draft: TemplateDraft,
    ) -> Result<Result<Template, Error>, Stop> {
        let now = self.context.now(&self.job);
        let template = Template {
            id: TemplateId::from_uuid(Uuid::now_v7()),
            job_id: brief.job_id.clone(),
            client_id: brief.client.id.clone(),
            index: brief.index,
            draft,
            created_at: now,
            updated_at: now,
        };
        match self.put(&template).await {
            Ok(None) => Ok(Ok(template)),
            Ok(Some(first)) => Ok(Ok(first)),
            Err(Stop::Port(error)) => Ok(Err(error)),
            Err(stop) => Err(stop),
        }
    }

    /// Stores a template; some: its place was taken by this one.
    async fn put(&self, template: &Template) -> Result<Option<Template>, Stop> {
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

    /// What a store that forgot everything has forgotten of this job's templates.
    async fn put_back(&self) -> Result<(), Stop> {
        for template in self.done.values() {
            self.put(template).await?;
        }
        Ok(())
    }

    /// After the store refused the lease: goes on only if it had merely forgotten it.
    async fn recover(&self) -> Result<(), Stop> {
        if self.ask(|| self.hold.recover()).await? {
            Ok(())
        } else {
            Err(Stop::Lost)
        }
    }

    /// Appends an event of this attempt, for as long as the lease may still be ours.
    async fn append(&mut self, kind: EventKind, effect: QueueEffect) -> Result<(), Stop> {
        loop {
            let append = Append {
                kind: kind.clone(),
                attempt: Some(self.hold.lease().attempt),
                fence: Fence::Held(self.hold.lease().token.clone()),
                effect,
            };
            let appended = self.context.appender.append(&mut self.job, append, None);
            let outcome = tokio::select! {
                biased;
                () = self.hold.lost.cancelled() => return Err(Stop::Lost),
                outcome = appended => outcome.map_err(Stop::Port)?,
            };
            match outcome {
                Outcome::Appended | Outcome::Already => {
                    self.hold.remember(&self.job);
                    return Ok(());
                }
                Outcome::Fenced => {
                    self.recover().await?;
                    self.put_back().await?;
                }
                Outcome::Ended => return Err(Stop::Ended),
                Outcome::Illegal(Illegal::StaleAttempt { .. }) => return Err(Stop::Lost),
                Outcome::Illegal(illegal) => {
                    // It is said already, or the job has had its share of progress events.
                    tracing::debug!(job.id = %self.job.id, reason = %illegal, "event left out");
                    return Ok(());
                }
            }
        }
    }

    /// Asks a port until it answers or the lease is lost.
    async fn ask<T, F>(&self, call: impl FnMut() -> F) -> Result<T, Stop>
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
    async fn finish(mut self, end: End) -> Result<(), Stop> {
        let now = self.context.now(&self.job);
        let template_ids: Vec<_> = self.done.values().map(|t| t.id.clone()).collect();
        let settings = &self.context.settings;
        let (kind, effect) = match end {
            End::Completed => (completed(template_ids, now), QueueEffect::Remove),
            End::Cancelled => (
                EventKind::Cancelled {
                    template_ids,
                    completed_at: now,
                },
                QueueEffect::Remove,
            ),
            End::Failed(error_message) => (failed(error_message, now), QueueEffect::Remove),
            End::Retry(error) => settings.retry(
                RetryReason::Error,
                Some(error),
                self.hold.lease().attempt,
                now,
            ),
            End::Shutdown => settings.retry(RetryReason::Shutdown, None, 0, now),
        };
        tracing::info!(
            job.id = %self.job.id,
            attempt = self.hold.lease().attempt,
            event.kind = kind.event_type(),
            "attempt ended"
        );
        metrics::counter!("conch_attempts_ended_total", "event" => kind.event_type().to_owned())
            .increment(1);
        self.append(kind, effect).await
    }
}

/// What a generator's time brought.
enum Made {
    Draft(TemplateDraft),
    Nothing(Error),
    Interrupted(End),
}

fn template_completed(template: &Template) -> EventKind {
    EventKind::TemplateCompleted {
        template_id: template.id.clone(),
        template_index: template.index,
        total_templates: TOTAL,
        name: template.draft.name.clone(),
        category: template.draft.category.as_str().to_owned(),
        target_audience: template.draft.target_audience.as_str().to_owned(),
    }
}

/// The end of a job with templates.
pub(crate) fn completed(template_ids: Vec<TemplateId>, now: Timestamp) -> EventKind {
    EventKind::Completed {
        template_count: template_ids.len() as u64,
        template_ids,
        generation_duration_ms: None,
        completed_at: now,
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
