//! How the steps of an attempt get into its job's log. At most one commit is under way: a step that comes while none
//! is, is committed at once, and those that come meanwhile go into the next one together.
//!
//! Never in here: a delay of what could be committed now, or a step that outlives the lease.

use std::error::Error as _;
use std::sync::Arc;

use conch_domain::{EventKind, Illegal};
use conch_ports::{Error, ErrorKind, Fence, QueueEffect};
use futures::FutureExt;

use crate::append::{Append, Happened, Outcome};
use crate::worker::job_in_hand::{RunningJob, Stop, TOTAL, template_completed, template_failed};
use crate::worker::steps::{Answer, Pending, Step};

impl RunningJob {
    /// Takes a step: into a commit of its own if none is under way, else into the next one. Where attempts have been
    /// lost, waits until it is in the log: what the attempt is at next must be known if it ends in silence there.
    pub(crate) async fn step(&mut self, step: Step) -> Result<(), Stop> {
        self.take_step(step, QueueEffect::Keep);
        if self.is_careful {
            self.flush().await
        } else {
            self.commit().await
        }
    }

    /// Takes the last step of the attempt, and waits until it is in the log.
    pub(crate) async fn last_step(
        &mut self,
        kind: EventKind,
        effect: QueueEffect,
    ) -> Result<(), Stop> {
        self.flush().await?;
        self.take_step(Step::Event(kind), effect);
        self.flush().await
    }

    fn take_step(&mut self, step: Step, effect: QueueEffect) {
        let making = self.making;
        self.steps.pending.push_back(Pending {
            step,
            making,
            effect,
        });
    }

    /// Waits until each step that was taken is in the log.
    pub(crate) async fn flush(&mut self) -> Result<(), Stop> {
        while !self.steps.is_empty() {
            self.answer().await?;
        }
        Ok(())
    }

    /// Waits until the log is near enough for another template to be begun.
    pub(crate) async fn keep_pace(&mut self) -> Result<(), Stop> {
        while self.steps.is_behind() {
            self.answer().await?;
        }
        Ok(())
    }

    async fn answer(&mut self) -> Result<(), Stop> {
        self.commit().await?;
        let hold = Arc::clone(&self.hold);
        let answer = tokio::select! {
            biased;
            () = hold.lost.cancelled() => return Err(Stop::Lost),
            answer = self.steps.answered() => answer,
        };
        self.settle(answer).await
    }

    /// Begins the next commit, unless one is under way or there is nothing to commit.
    pub(crate) async fn commit(&mut self) -> Result<(), Stop> {
        if self.steps.is_committing() || self.steps.pending.is_empty() {
            return Ok(());
        }
        if self.hold.restored.notified().now_or_never().is_some() {
            self.put_back().await?;
        }
        let group = self.steps.group();
        let append = Append {
            happened: self.happened(&group),
            attempt: Some(self.hold.lease().attempt),
            fence: Fence::Held(self.hold.lease().token.clone()),
            effect: group.last().map_or(QueueEffect::Keep, |last| last.effect),
        };
        let appender = self.context.appender.clone();
        let mut job = self.job.clone();
        self.steps.begin(Box::pin(async move {
            let outcome = appender.append_all(&mut job, &append, None).await;
            Answer {
                job,
                group,
                outcome,
            }
        }));
        Ok(())
    }

    /// The events of these steps, in order.
    fn happened(&self, group: &[Pending]) -> Vec<Happened> {
        let mut completed = self.done.len() as u32;
        let mut all = Vec::new();
        for Pending { step, making, .. } in group {
            let mut say = |kind, template| {
                all.push(Happened {
                    kind,
                    making: *making,
                    template,
                });
            };
            match step {
                Step::Event(kind) => say(kind.clone(), None),
                Step::Progress => say(progress(completed), None),
                Step::Template(template) | Step::Kept(template) => {
                    completed += 1;
                    let kept = matches!(step, Step::Template(_)).then(|| Arc::clone(template));
                    say(template_completed(template), kept);
                    say(progress(completed), None);
                }
            }
        }
        all
    }

    /// Does what the answer to a commit asks for, and begins the next one.
    pub(crate) async fn settle(&mut self, answer: Answer) -> Result<(), Stop> {
        let Answer {
            job,
            group,
            outcome,
        } = answer;
        self.job = job;
        match outcome {
            Ok((Outcome::Appended | Outcome::Already, left_out)) => {
                self.hold.remember(&self.job);
                self.steps.has_recovered = false;
                self.keep(group, &left_out).await?;
            }
            Ok((Outcome::Illegal(Illegal::StaleAttempt { .. }), _)) => return Err(Stop::Lost),
            Ok((Outcome::Illegal(_), left_out)) => self.keep(group, &left_out).await?,
            Ok((Outcome::PlaceTaken(place), _)) => self.give_way(group, place).await?,
            Ok((Outcome::Fenced | Outcome::NoLog, _)) => {
                self.steps.again(group);
                self.recover().await?;
            }
            // Or the store had forgotten the job, and what has ended is a log of an external job under its id.
            Ok((Outcome::Ended, _)) => {
                if !self.is_foreign().await? {
                    return Err(Stop::Ended);
                }
                // Once: what can't be put back is lost.
                if self.steps.has_recovered {
                    return Err(Stop::Lost);
                }
                self.steps.has_recovered = true;
                self.steps.again(group);
                self.recover().await?;
            }
            Err(error) => self.refused(group, error)?,
        }
        self.commit().await
    }

    /// These steps are in the log, but for the events that were left out, by their numbers: a template is kept all the
    /// same.
    async fn keep(&mut self, group: Vec<Pending>, left_out: &[usize]) -> Result<(), Stop> {
        let mut number = 0;
        for Pending { step, .. } in group {
            if let Some(template) = step.template() {
                let mut template = Arc::clone(template);
                if left_out.contains(&number)
                    && matches!(step, Step::Template(_))
                    && let Some(first) = self.put(&template).await?
                {
                    template = Arc::new(first);
                }
                self.names.insert(template.index, template.name.clone());
                self.done.insert(template.index, template);
            }
            number += step.events();
        }
        Ok(())
    }

    /// Another template has this place of the plan: the steps are taken again with that one.
    async fn give_way(&mut self, mut group: Vec<Pending>, place: u32) -> Result<(), Stop> {
        let catalogue = Arc::clone(&self.context.deps.catalogue);
        let id = self.job.id.clone();
        let templates = self.ask(|| catalogue.templates_of(&id)).await?;
        let first = templates.into_iter().find(|other| other.index == place);
        let ours = group
            .iter_mut()
            .find(|pending| pending.step.template().is_some_and(|t| t.index == place));
        if let (Some(ours), Some(first)) = (ours, first) {
            ours.step = Step::Kept(Arc::new(first));
            self.steps.again(group);
            return Ok(());
        }
        let error = Error::new(
            ErrorKind::BadResponse,
            "catalogue.templates_of",
            "a template's place is taken by one that can't be read",
        );
        self.refused(group, error)
    }

    /// The store takes no such commit. Of several steps, each is tried alone, to find the one that it doesn't take.
    fn refused(&mut self, mut group: Vec<Pending>, error: Error) -> Result<(), Stop> {
        if group.len() > 1 {
            self.steps.apart = group.len();
            self.steps.again(group);
            return Ok(());
        }
        let Some(pending) = group.first_mut() else {
            return Err(Stop::Port(error));
        };
        let Some(place) = pending.step.template().map(|template| template.index) else {
            return Err(Stop::Port(error));
        };
        // What is wrong with the store is nothing for the job's watchers, and nothing that another draft could help.
        let told = "the template could not be stored".to_owned();
        let cause = error.source().map(ToString::to_string);
        tracing::warn!(job.id = %self.job.id, template.index = place, %error, cause, "{told}");
        pending.step = Step::Event(template_failed(place, told.clone()));
        self.names.remove(&place);
        self.last_error = Some(told);
        self.steps.again(group);
        Ok(())
    }
}

fn progress(completed: u32) -> EventKind {
    EventKind::Progress {
        progress: (completed * 100 / TOTAL) as u8,
        completed_templates: completed,
        total_templates: TOTAL,
        message: None,
    }
}
