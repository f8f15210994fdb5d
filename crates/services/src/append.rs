//! Appending events of ours: fold, check, stamp, encode, publish; lost races are folded again and
//! time-outs asked again, under the same event ids, so that a time-out that hid a success is no
//! duplicate.
//!
//! Never in here: a decision about what happens to a job. For foreign and derived events see `offer`.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use conch_domain::{
    Applied, Event, EventCap, EventId, EventKind, Illegal, Job, JobRecord, Position, Template,
};
use conch_ports::{
    Appended, Commit, Error, ErrorKind, Fence, JobLog, NewEvent, QueueEffect, Result,
};

use crate::{Clock, entropy, limits};

/// Lost races after which an append or an offer gives up; each loss means that another event was appended.
pub(crate) const RACES: usize = 64;

/// The error after that many.
pub(crate) fn lost_races() -> Error {
    Error::new(
        ErrorKind::Internal,
        "job_log.append",
        format!("lost {RACES} races for one log"),
    )
}

/// How retryable port errors are answered: jittered, from 50 ms to 2 s, until the waits add up to
/// `total`; without one, for ever.
pub(crate) fn patience(total: Option<Duration>) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_total_delay(total)
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(entropy::seed())
}

/// The line that operators look for (contract §8), once per event that this process appended and
/// announced.
pub(crate) fn log_published(event: &Event, at: Position) {
    let job_id = &event.job_id;
    let event_type = event.kind.event_type();
    tracing::info!(
        job.id = %job_id,
        job.sequence = at.sequence,
        "Published event '{event_type}' for job {job_id}",
    );
}

/// Events of ours on their way, which are appended in one step.
#[derive(Debug, Clone)]
pub(crate) struct Append {
    /// What happened, in order; at most [`MAX_COMMIT_EVENTS`](conch_ports::MAX_COMMIT_EVENTS).
    pub(crate) happened: Vec<Happened>,
    /// The attempt that it belongs to.
    pub(crate) attempt: Option<u32>,
    /// Who may say so. The holder of the lease knows the job better than a store that lost events.
    pub(crate) fence: Fence,
    /// What becomes of the job's queue entry.
    pub(crate) effect: QueueEffect,
}

/// One event of an [`Append`].
#[derive(Debug, Clone)]
pub(crate) struct Happened {
    /// What happened.
    pub(crate) kind: EventKind,
    /// The template that the attempt makes next.
    pub(crate) making: Option<u32>,
    /// The template that the event names, where it is to be kept with it.
    pub(crate) template: Option<Arc<Template>>,
}

impl From<EventKind> for Happened {
    fn from(kind: EventKind) -> Self {
        Self {
            kind,
            making: None,
            template: None,
        }
    }
}

/// What became of an [`Append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the log.
    Appended,
    /// It was in the log already: an earlier try had succeeded, its answer was lost.
    Already,
    /// The job has ended. Nothing changed.
    Ended,
    /// The fence refuses. Nothing changed.
    Fenced,
    /// None of it can follow what the job has been through, or its attempt is over. Nothing changed.
    Illegal(Illegal),
    /// Another template has this place of the plan. Nothing changed.
    PlaceTaken(u32),
    /// There is no log, and this is nothing to begin one with. Nothing changed.
    NoLog,
}

/// Appends events of ours; a cheap handle.
#[derive(Clone)]
pub(crate) struct Appender {
    log: Arc<dyn JobLog>,
    clock: Clock,
    cap: EventCap,
}

impl Appender {
    /// Appends to `log`, to each job as many events as `cap` says, stamps by `clock`.
    pub(crate) fn new(log: Arc<dyn JobLog>, clock: Clock, cap: EventCap) -> Self {
        Self { log, clock, cap }
    }

    /// As [`Appender::append_all`], where only the outcome matters.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn append(
        &self,
        job: &mut Job,
        append: Append,
        total: Option<Duration>,
    ) -> Result<Outcome> {
        let (outcome, _) = self.append_all(job, &append, total).await?;
        Ok(outcome)
    }

    /// Appends the events after what `job`, a fold of its log, has been through, and folds them in; all of them in one
    /// step, but for those that can't follow what is before them, whose numbers are in the answer.
    ///
    /// Where the log is not what `job` is the fold of:
    /// - it went on: `job` becomes its fold, and the events are tried after that;
    /// - it is gone: a new epoch begins over `job`'s state, unless the fence is open: the job would then
    ///   have a log again, and no worker that ends it;
    /// - it is shorter or of another epoch, and the caller holds the lease: the store lost events
    ///   that this caller saw acknowledged, so a new epoch over `job`'s state replaces the log, and
    ///   takes nothing of it over if it is a foreign one;
    /// - the store says that it may have lost events: a new epoch over the log's state replaces it.
    ///
    /// Cancel-safe: dropped, the events were appended or not; `job` is then as it was or an older fold.
    ///
    /// # Errors
    /// When the store was out of reach for `total` (none: tried for ever) or refuses.
    pub(crate) async fn append_all(
        &self,
        job: &mut Job,
        append: &Append,
        total: Option<Duration>,
    ) -> Result<(Outcome, Vec<usize>)> {
        let new_id = |_: &Happened| EventId::from_uuid(entropy::uuid((self.clock)()));
        let ids: Vec<EventId> = append.happened.iter().map(new_id).collect();
        let holds = matches!(append.fence, Fence::Held(_));
        let mut log = Place::here(job);
        for _ in 0..RACES {
            let Folded {
                commit,
                told,
                left_out,
            } = match self.fold(append, &ids, log) {
                Ok(folded) => folded,
                Err((outcome, left_out)) => return Ok((outcome, left_out)),
            };
            // The very same commit again: the log answers `Duplicate` before all else, so what comes
            // back is certain even when an earlier try did its work and only its answer was lost.
            let appended = (|| self.log.append(commit.clone()))
                .retry(patience(total))
                .when(Error::is_retryable)
                .await?;
            let outcome = match appended {
                Appended::Appended => {
                    told.log(commit.first());
                    *job = commit.job;
                    Outcome::Appended
                }
                Appended::Duplicate(place) => {
                    // The ids are this call's own: it was this call that appended them.
                    told.log(place);
                    if place == commit.first() {
                        *job = commit.job;
                    } else if let Some(log) = self.read(job, total).await? {
                        *job = log;
                    }
                    Outcome::Already
                }
                Appended::Ended => Outcome::Ended,
                Appended::Fenced => Outcome::Fenced,
                Appended::PlaceTaken(place) => Outcome::PlaceTaken(place),
                Appended::Conflict(_) | Appended::Doubtful(_) => {
                    let found = self.read(job, total).await?;
                    if found.is_none() && append.fence == Fence::Open {
                        Outcome::NoLog
                    } else {
                        let doubtful = matches!(appended, Appended::Doubtful(_));
                        log = refold(job, found, holds, doubtful);
                        continue;
                    }
                }
            };
            return Ok((outcome, left_out));
        }
        Err(lost_races())
    }

    /// The commit of these events at that place, each checked after the one before it; or what becomes of them, where
    /// there is nothing to commit.
    fn fold(
        &self,
        append: &Append,
        ids: &[EventId],
        place: Place,
    ) -> std::result::Result<Folded, (Outcome, Vec<usize>)> {
        let Place {
            mut next,
            replaces,
            base,
        } = place;
        let (mut events, mut templates) = (Vec::new(), Vec::new());
        let (mut told, mut left_out, mut refusal) = (Told(Vec::new()), Vec::new(), None);
        for (number, (happened, event_id)) in append.happened.iter().zip(ids).enumerate() {
            let event = Event {
                job_id: next.id.clone(),
                client_id: next.client_id.clone(),
                timestamp: next.not_before((self.clock)()),
                attempt: append.attempt,
                event_id: event_id.clone(),
                making: happened.making,
                derived: false,
                // Whatever a generator said: an event of ours can be read by everybody.
                kind: happened.kind.clone().clipped(),
            };
            if let Err(illegal) = next.check(&event, self.cap) {
                let outcome = refused(illegal);
                left_out.push(number);
                let is_over = matches!(illegal, Illegal::Ended(_) | Illegal::StaleAttempt { .. });
                if is_over {
                    return Err((outcome, left_out));
                }
                refusal = Some(outcome);
                continue;
            }
            let applied = next.apply(next.position.next(), &event);
            debug_assert_eq!(applied, Ok(Applied::Applied), "checked right before");
            events.push(NewEvent {
                line: conch_wire::event::encode(&event, &next),
                event_id: event_id.clone(),
            });
            templates.extend(happened.template.clone());
            told.0.push(event);
        }
        if let (true, Some(outcome)) = (events.is_empty(), refusal) {
            return Err((outcome, left_out));
        }
        let commit = Commit {
            events,
            job: next,
            templates,
            fence: append.fence.clone(),
            effect: append.effect,
            announce: true,
            replaces,
            base,
        };
        Ok(Folded {
            commit,
            told,
            left_out,
        })
    }

    async fn read(&self, job: &Job, total: Option<Duration>) -> Result<Option<Job>> {
        let log = (|| self.log.read(&job.id, 0, 0))
            .retry(patience(total))
            .when(Error::is_retryable)
            .await?;
        Ok(log.map(|log| log.job))
    }
}

/// Events as one commit.
struct Folded {
    commit: Commit,
    told: Told,
    /// The numbers of those that aren't in it.
    left_out: Vec<usize>,
}

/// The events of a commit.
struct Told(Vec<Event>);

impl Told {
    /// Tells the operator, now that they are in the log from this place on.
    fn log(&self, first: Position) {
        let mut place = first;
        for event in &self.0 {
            log_published(event, place);
            place = place.next();
        }
    }
}

fn refused(illegal: Illegal) -> Outcome {
    match illegal {
        Illegal::Ended(_) => return Outcome::Ended,
        Illegal::TooManyEvents { .. } => limits::hit(limits::EVENTS_PER_JOB),
        _ => {}
    }
    Outcome::Illegal(illegal)
}

/// Where an append goes.
struct Place {
    /// The fold before it.
    next: Job,
    /// The log that the append replaces.
    replaces: Option<Position>,
    /// What a log that the append begins goes on from.
    base: Option<Job>,
}

impl Place {
    /// Right after what `job` has been through.
    fn here(job: &Job) -> Self {
        Self {
            next: job.clone(),
            replaces: None,
            base: None,
        }
    }

    /// At the beginning of another epoch, over `job`'s state.
    fn anew(job: &Job, replaces: Option<Position>) -> Self {
        let renewed = job
            .with_epoch(entropy::epoch())
            .with_secret(entropy::log_secret());
        Self {
            // A job that has been through nothing begins like any other.
            base: job.updated_at.is_some().then(|| renewed.clone()),
            next: renewed,
            replaces,
        }
    }
}

/// What to append to, now that the log is known to be `log`. `doubtful` says that the store may have
/// lost events of it.
fn refold(job: &mut Job, log: Option<Job>, holds: bool, doubtful: bool) -> Place {
    let Some(log) = log else {
        return Place::anew(job, None);
    };
    let behind =
        log.position.epoch != job.position.epoch || log.position.sequence < job.position.sequence;
    if holds && behind {
        tracing::warn!(
            job.id = %job.id, seen = %job.position, log = %log.position,
            "the store lost events of this job: a new epoch begins"
        );
        let known = Job::restore(JobRecord {
            // The end may have been requested of the job as the store has it.
            cancel_requested: job.cancel_requested || (log.own && log.cancel_requested),
            ..(**job).clone()
        });
        return Place::anew(&known, Some(log.position));
    }
    *job = log;
    if doubtful {
        tracing::warn!(
            job.id = %job.id, log = %job.position,
            "the store may have lost events of this job: a new epoch begins"
        );
        return Place::anew(job, Some(job.position));
    }
    Place::here(job)
}
