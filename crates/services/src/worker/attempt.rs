//! What an attempt at a job consists of: its plan, step by step, and what ends it.
//!
//! Never in here: how a step is written down; that is `commits`'.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::{
    Client, EventKind, PLAN, Template, TemplateId, ValueProposition, WrittenDraft, clip,
};
use conch_ports::{Brief, Claimed, Error, ErrorKind, Result};
use conch_wire::record::{self, Heading};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::entropy;
use crate::measured;
use crate::worker::job_in_hand::{
    Context, End, RunningJob, Stop, TOTAL, template_completed, template_failed,
};
use crate::worker::steps::Step;

/// Runs the attempt to its end. `since` is the moment before the claim, `look` wakes it when
/// the job's end may have been requested.
///
/// Dropping it stops the generator and the renewal; the lease then runs out by itself.
pub(crate) async fn run(context: Context, claimed: Claimed, since: Instant, look: Arc<Notify>) {
    let id = claimed.job_id.clone();
    let attempt = claimed.attempt;
    tracing::info!(job.id = %id, attempt, "job claimed");
    let stopped = match RunningJob::take(context, claimed, since, look).await {
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
        let id = self.job.id.clone();
        if self.may_have_templates() {
            let catalogue = Arc::clone(&self.context.deps.catalogue);
            let templates = self.ask(|| catalogue.templates_of(&id)).await?;
            let done = templates.into_iter().map(|t| (t.index, Arc::new(t)));
            self.done = done.collect();
            let names = self.done.iter().map(|(place, t)| (*place, t.name.clone()));
            self.names = names.collect();
        }
        if let Some(why) = self.interrupted() {
            return self.interruption(why).await;
        }
        let (client, value_proposition) = match self.source().await? {
            Ok(source) => source,
            Err(missing) => return Ok(End::Failed(missing)),
        };
        let mut brief = self.brief(client, value_proposition);
        self.making = self.next_after(0);
        self.begin().await?;
        while let Some(place) = self.making {
            self.keep_pace().await?;
            if let Some(why) = self.interrupted() {
                return self.interruption(why).await;
            }
            brief.item = PLAN[place as usize - 1];
            brief.index = place;
            brief.try_number = 1;
            brief.last_failure = None;
            brief.names = self.names.values().cloned().collect();
            match self.make(&mut brief).await? {
                Made::Template(template) => {
                    self.making = self.next_after(place);
                    self.names.insert(place, template.name.clone());
                    self.step(Step::Template(template)).await?;
                }
                Made::Nothing(reason) => {
                    self.making = self.next_after(place);
                    let event = template_failed(place, reason.clone());
                    self.step(Step::Event(event)).await?;
                    self.last_error = Some(reason);
                }
                Made::Interrupted(why) => return self.interruption(why).await,
            }
        }
        self.flush().await?;
        Ok(self.outcome())
    }

    /// How an attempt ends that something ended between two of its steps.
    async fn interruption(&mut self, why: Interruption) -> Result<End, Stop> {
        self.flush().await?;
        Ok(match why {
            Interruption::Cancel => End::Cancelled,
            Interruption::Shutdown => End::Shutdown,
            Interruption::Deadline => self.overdue(),
        })
    }

    /// Whether an earlier attempt, or this one of an earlier worker, may have made any. One of which nothing is known
    /// keeps its place all the same: the commit of its rival answers so.
    fn may_have_templates(&self) -> bool {
        let has_begun = self.job.started_at.is_some() || self.hold.lease().attempt > 1;
        has_begun || !self.job.template_ids.is_empty()
    }

    /// The end of an attempt in which every template had its turn. A shutdown no longer matters: the
    /// work is done.
    fn outcome(&mut self) -> End {
        if self.job.cancel_requested {
            return End::Cancelled;
        }
        if !self.done.is_empty() {
            return End::Completed {
                why_untold: "it was not made",
            };
        }
        let told = self.job.attempts.failed.values().next_back().cloned();
        let error = self.last_error.take().or(told).unwrap_or_default();
        let max_attempts = self.context.settings.max_attempts;
        let attempts = &self.job.attempts;
        let others = (1..=TOTAL).any(|place| attempts.lost_at(place) < max_attempts);
        if others && attempts.lost_at(0) + 1 < max_attempts {
            End::Retry(error)
        } else {
            End::Failed(format!("no template could be made: {error}"))
        }
    }

    /// The next template of the plan that is still to be made.
    fn next_after(&self, place: u32) -> Option<u32> {
        let attempts = &self.job.attempts;
        (place + 1..=TOTAL).find(|place| {
            !self.done.contains_key(place)
                && !attempts.failed.contains_key(place)
                && attempts.lost_at(*place) < self.context.settings.max_attempts
        })
    }

    /// What is the same for each template, and the rest as for the first one.
    fn brief(&self, client: Client, value_proposition: ValueProposition) -> Brief {
        Brief {
            job_id: self.job.id.clone(),
            client,
            value_proposition,
            item: PLAN[0],
            index: 1,
            total: TOTAL,
            attempt: self.hold.lease().attempt,
            try_number: 1,
            last_failure: None,
            names: Vec::new(),
        }
    }

    /// One template, in as many tries as the settings allow. Between two of them whatever ends an attempt
    /// ends it.
    async fn make(&mut self, brief: &mut Brief) -> Result<Made, Stop> {
        loop {
            let begun = Instant::now();
            let generated = self.generate(brief).await?;
            measured::tried_template(begun.elapsed());
            let error = match generated {
                Generated::Draft(draft) => {
                    let template = self.template(brief, &draft);
                    return Ok(Made::Template(Arc::new(template)));
                }
                Generated::Nothing(error) => error,
                Generated::Interrupted(why) => return Ok(Made::Interrupted(why)),
            };
            // As much as the event tells of it: a generator may say much.
            let mut told = error.message().to_owned();
            clip(&mut told);
            let cause = error.source().map(ToString::to_string);
            let tries = self.context.settings.template_tries;
            tracing::warn!(
                job.id = %self.job.id, template.index = brief.index, try_number = brief.try_number, tries,
                %error, cause, "template failed"
            );
            if !may_do_better(&error) || brief.try_number >= tries {
                return Ok(Made::Nothing(told));
            }
            if let Some(why) = self.interrupted() {
                return Ok(Made::Interrupted(why));
            }
            metrics::counter!("conch_template_tries_repeated_total").increment(1);
            brief.try_number += 1;
            brief.last_failure = Some(told);
        }
    }

    /// Whether the run should stop between two steps.
    fn interrupted(&self) -> Option<Interruption> {
        if self.job.cancel_requested {
            Some(Interruption::Cancel)
        } else if self.context.shutdown.is_cancelled() {
            Some(Interruption::Shutdown)
        } else if Instant::now() >= self.deadline {
            Some(Interruption::Deadline)
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
            End::Completed {
                why_untold: "the job's deadline passed before it was made",
            }
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
        let client = self.ask(|| catalogue.client(client_id));
        let value_proposition = self.ask(|| catalogue.value_proposition(value_proposition_id));
        let (client, value_proposition) = futures::try_join!(client, value_proposition)?;
        let Some(client) = client else {
            return Ok(Err(format!("client {client_id} no longer exists")));
        };
        let Some(value_proposition) = value_proposition else {
            let missing = format!("value proposition {value_proposition_id} no longer exists");
            return Ok(Err(missing));
        };
        Ok(Ok((client, value_proposition)))
    }

    /// Says that the job, or this attempt of it, begins, what is there already, and which templates get
    /// no further attempt.
    async fn begin(&mut self) -> Result<(), Stop> {
        if self.job.started_at.is_none() {
            let started_at = self.context.now(&self.job);
            if let Some(at) = self.job.created_at {
                let waited = started_at.millis_since(at);
                let due = self.job.schedule.wait_after(at);
                measured::waited_in_queue(Duration::from_millis(waited.saturating_sub(due)));
            }
            let started = EventKind::Started { started_at };
            self.step(Step::Event(started)).await?;
        } else {
            self.step(Step::Progress).await?;
        }
        // A worker may have died between storing a template and saying so.
        let unsaid: Vec<_> = self
            .done
            .values()
            .filter(|template| !self.job.template_ids.contains(&template.id))
            .map(|template| template_completed(template))
            .collect();
        let max_attempts = self.context.settings.max_attempts;
        let given_up: Vec<_> = (1..=TOTAL)
            .filter(|place| {
                self.job.attempts.lost_at(*place) >= max_attempts
                    && !self.done.contains_key(place)
                    && !self.job.attempts.failed.contains_key(place)
            })
            .map(|place| template_failed(place, silent_in_each(self.job.attempts.lost_at(place))))
            .collect();
        for event in unsaid.into_iter().chain(given_up) {
            self.step(Step::Event(event)).await?;
        }
        Ok(())
    }

    /// Waits for the generator, and for whatever makes it pointless. Meanwhile the steps before go on their way.
    async fn generate(&mut self, brief: &Brief) -> Result<Generated, Stop> {
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
                    self.step(Step::Progress).await?;
                }
                answer = self.steps.answered() => {
                    self.settle(answer).await?;
                    if self.job.cancel_requested {
                        return Ok(Generated::Interrupted(Interruption::Cancel));
                    }
                }
                () = hold.look.notified() => {
                    if self.is_cancel_requested().await {
                        return Ok(Generated::Interrupted(Interruption::Cancel));
                    }
                }
                () = shutdown.cancelled() => return Ok(Generated::Interrupted(Interruption::Shutdown)),
                () = &mut deadline => return Ok(Generated::Interrupted(Interruption::Deadline)),
                made = &mut generation => return Ok(match made {
                    Ok(draft) => Generated::Draft(draft),
                    Err(error) => Generated::Nothing(error),
                }),
            }
        }
    }

    async fn is_cancel_requested(&self) -> bool {
        match self.context.deps.log.read(&self.job.id, 0, 0).await {
            // What a foreign log says was not asked of us.
            Ok(log) => log.is_some_and(|log| log.job.own && log.job.cancel_requested),
            // The next renewal asks again.
            Err(_) => false,
        }
    }

    /// What was made, with what it is known by.
    fn template(&self, brief: &Brief, draft: &WrittenDraft) -> Template {
        let now = self.context.now(&self.job);
        let heading = Heading {
            id: TemplateId::from_uuid(entropy::uuid(now)),
            job_id: brief.job_id.clone(),
            client_id: brief.client.id.clone(),
            index: brief.index,
            created_at: now,
        };
        record::template(heading, draft)
    }
}

/// What ends an attempt before its time.
#[derive(Debug, Clone, Copy)]
enum Interruption {
    /// The job's end was requested.
    Cancel,
    /// The worker stops.
    Shutdown,
    /// The job's deadline has passed.
    Deadline,
}

/// What one try of a generator brought.
enum Generated {
    Draft(WrittenDraft),
    Nothing(Error),
    Interrupted(Interruption),
}

/// What became of a template.
enum Made {
    Template(Arc<Template>),
    /// Nothing, and why, for whoever watches the job.
    Nothing(String),
    Interrupted(Interruption),
}

/// Whether another try may bring a template: after an answer that is none, and where the generator was
/// out of reach. What it refuses it will refuse again.
fn may_do_better(error: &Error) -> bool {
    error.kind() == ErrorKind::BadResponse || error.is_retryable()
}

/// Why a template or a job gets no further attempt.
pub(crate) fn silent_in_each(attempts: u32) -> String {
    match attempts {
        1 => "its worker fell silent in its only attempt".to_owned(),
        many => format!("its worker fell silent in each of {many} attempts"),
    }
}
