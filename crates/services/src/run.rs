//! What an attempt at a job consists of: its plan, step by step, and what ends it.
//!
//! Never in here: how a step is written down; that is `running`'s.

use std::error::Error as _;
use std::sync::Arc;

use conch_domain::{
    Client, EventKind, PLAN, Template, TemplateDraft, TemplateId, ValueProposition, clip,
};
use conch_ports::{Brief, Error, Lease, QueueEffect, Result};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::entropy;
use crate::running::{Context, End, RunningJob, Stop};

const TOTAL: u32 = PLAN.len() as u32;

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

impl RunningJob {
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
                try_number: 1,
                last_failure: None,
                names: self.done.values().map(|t| t.draft.name.clone()).collect(),
            };
            let made = match self.generate(&brief).await? {
                Made::Draft(draft) => {
                    let stored = self.store(&brief, *draft).await?;
                    // What is wrong with the store is nothing for the job's watchers.
                    stored.map_err(|error| ("the template could not be stored".to_owned(), error))
                }
                Made::Nothing(error) => Err((error.message().to_owned(), error)),
                Made::Interrupted(end) => return Ok(end),
            };
            match made {
                Ok(template) => {
                    let event = template_completed(&template);
                    self.done.insert(index, template);
                    self.append(event, QueueEffect::Keep).await?;
                    self.say_progress().await?;
                }
                Err((told, error)) => {
                    let cause = error.source().map(ToString::to_string);
                    tracing::warn!(job.id = %self.job.id, template.index = index, %error, cause, "template failed");
                    last_error = told;
                    // As much as the event tells of it: a generator may say much.
                    clip(&mut last_error);
                    let event = EventKind::TemplateFailed {
                        template_index: index,
                        total_templates: TOTAL,
                        error_message: last_error.clone(),
                    };
                    self.append(event, QueueEffect::Keep).await?;
                }
            }
        }
        // A shutdown no longer matters: the work of this attempt is done.
        Ok(if self.job.cancel_requested {
            End::Cancelled
        } else if !self.done.is_empty() {
            End::Completed
        } else if self.hold.lease().attempt < self.context.settings.max_attempts {
            End::Retry(last_error)
        } else {
            End::Failed(format!("no template could be made: {last_error}"))
        })
    }

    /// Whether the run should stop between two steps.
    fn interrupted(&self) -> Option<End> {
        if self.job.cancel_requested {
            Some(End::Cancelled)
        } else if self.context.shutdown.is_cancelled() {
            Some(End::Shutdown)
        } else if Instant::now() >= self.deadline {
            Some(self.overdue())
        } else {
            None
        }
    }

    /// The end of a job whose time is up.
    fn overdue(&self) -> End {
        tracing::warn!(job.id = %self.job.id, templates = self.done.len(), "the job's deadline has passed");
        metrics::counter!("conch_jobs_overdue_total").increment(1);
        if self.done.is_empty() {
            End::Failed("the job's deadline passed before any template was made".to_owned())
        } else {
            End::Completed
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
        let deadline = tokio::time::sleep_until(self.deadline);
        tokio::pin!(deadline);
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
                () = &mut deadline => return Ok(Made::Interrupted(self.overdue())),
                made = &mut generation => return Ok(match made {
                    Ok(draft) => Made::Draft(Box::new(draft)),
                    Err(error) => Made::Nothing(error),
                }),
            }
        }
    }

    async fn is_cancel_requested(&self) -> bool {
        match self.context.deps.bus.read(&self.job.id, 0, 0).await {
            // What a foreign log says was not asked of us.
            Ok(log) => log.is_some_and(|log| log.job.own && log.job.cancel_requested),
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
            id: TemplateId::from_uuid(entropy::uuid(now)),
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
}

/// What a generator's time brought.
enum Made {
    Draft(Box<TemplateDraft>),
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
