//! What Triton knows and a log doesn't: the missing events are appended, marked as derived.
//!
//! Asked once per silent job, however many watch it. Never invents an end that nobody told.

use std::sync::Arc;
use std::time::Duration;

use conch_domain::{Event, EventId, EventKind, Job, JobId, JobStatus, Origin, Timestamp};
use conch_ports::{Error, ErrorKind, JobLog, TritonGateway};
use conch_wire::event;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::Clock;
use crate::mare::offer::{Offered, Origins, Source, offer};
use crate::mare::origins;
use crate::mare::origins::KnownOrigins;

/// Questions to Triton under way at once.
const CONCURRENCY: usize = 16;
/// How long a question waits for its turn; then whoever asks does so again later.
const PATIENCE: Duration = Duration::from_secs(2);

/// Jobs of which is remembered when Triton was asked. Of one that is forgotten it is asked again.
const MAX_ASKED: usize = 10_000;

/// What asking Triton brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// Triton knows of no such job.
    Unknown,
    /// Triton knows no more than the log.
    Nothing,
    /// The log has new events.
    Appended,
    /// The job has ended, and there is no room for a log that says so. This is the job.
    NoRoom(Box<Job>),
}

/// Brings logs up to what Triton knows; a cheap handle.
#[derive(Clone)]
pub struct Reconcile {
    log: Arc<dyn JobLog>,
    gateway: Arc<dyn TritonGateway>,
    clock: Clock,
    limit: Arc<Semaphore>,
    /// When Triton was asked last.
    asked: Arc<Cache<JobId, Instant>>,
    origins: KnownOrigins,
}

impl Reconcile {
    /// Asks `gateway`, appends to `log`.
    pub fn new(log: Arc<dyn JobLog>, gateway: Arc<dyn TritonGateway>, clock: Clock) -> Self {
        let limit = Arc::new(Semaphore::new(CONCURRENCY));
        Self {
            log,
            origins: KnownOrigins::new(Arc::clone(&gateway), Arc::clone(&limit)),
            gateway,
            clock,
            limit,
            asked: Arc::new(Cache::new(MAX_ASKED)),
        }
    }

    /// Whether Triton's last answer about the job is older than this, or there was none: lookups and
    /// streams then ask again for what a log doesn't show.
    pub(crate) fn is_due(&self, job_id: &JobId, after: Duration) -> bool {
        let last = self.asked.get(job_id);
        last.is_none_or(|last| last.elapsed() >= after)
    }

    /// Asks Triton for the job and appends what its log lacks. Cancel-safe: asking again goes on
    /// where this left off.
    ///
    /// # Errors
    /// When Triton or the store is out of reach, or when too many others are being asked about: ask
    /// again later.
    pub async fn ask(&self, job_id: &JobId) -> Result<Asked, Error> {
        Ok(self.ask_with_origin(job_id).await?.0)
    }

    /// As [`Reconcile::ask`]; also where an external job comes from, if Triton says so.
    pub(crate) async fn ask_with_origin(
        &self,
        job_id: &JobId,
    ) -> Result<(Asked, Option<Origin>), Error> {
        let turn = tokio::time::timeout(PATIENCE, self.limit.acquire()).await;
        let Ok(_permit) = turn else {
            let message = "too many questions to Triton are under way: ask again later";
            return Err(Error::new(ErrorKind::Timeout, "reconcile.ask", message));
        };
        let asked_at = Instant::now();
        let told = self.gateway.job(job_id).await?;
        if let Some(job) = &told {
            self.origins.remember(job);
        }
        let asked = match &told {
            Some(job) => self.derive(job).await?,
            None => Asked::Unknown,
        };
        self.asked.insert(job_id.clone(), asked_at);
        Ok((asked, told.as_ref().and_then(origins::of_external)))
    }

    /// Where external jobs come from.
    pub(crate) fn origins(&self) -> &KnownOrigins {
        &self.origins
    }

    /// Appends what the log lacks of what `told` says.
    ///
    /// # Errors
    /// When the store is out of reach.
    pub async fn derive(&self, told: &Job) -> Result<Asked, Error> {
        let known = self.log.read(&told.id, 0, 0).await?.map(|log| log.job);
        // Of our own jobs nobody knows more than their logs, and the edge never writes to one. Nor does
        // it begin one for a job that goes on, or lend its word to what a forger began: its worker puts
        // the log back, or whoever takes the job over, and neither could tell a log of the edge's from
        // one that the store has kept.
        let goes_on = told.own && !told.status.is_terminal();
        if goes_on || known.as_ref().is_some_and(|job| job.own) {
            return Ok(Asked::Nothing);
        }
        let of_earlier_epoch = known
            .as_ref()
            .is_some_and(|job| job.may_have_gone_on_from_failure(told.completed_at));
        if told.status == JobStatus::Failed && of_earlier_epoch {
            return Ok(Asked::Nothing);
        }
        let past_epochs = known.as_ref().map_or(0, |job| job.past.len());
        let source = Source::Triton { past_epochs };
        let origin = Origin::of(told);
        let mut asked = Asked::Nothing;
        for event in self.missing(told, known.as_ref()) {
            let encode = |job: &Job| event::encode(&event, job);
            let offered = offer(
                &self.log,
                &event,
                source,
                Origins::Told(&origin),
                None,
                encode,
            )
            .await;
            let offered = match offered {
                Err(error)
                    if told.status.is_terminal()
                        && matches!(
                            error.kind(),
                            ErrorKind::QuotaExceeded | ErrorKind::OutOfSpace
                        ) =>
                {
                    tracing::debug!(job.id = %told.id, %error, "no room for what Triton knows");
                    return Ok(Asked::NoRoom(Box::new(told.clone())));
                }
                offered => offered?,
            };
            if matches!(offered, Offered::Appended(_) | Offered::Duplicate(_)) {
                asked = Asked::Appended;
                tracing::info!(
                    job.id = %told.id,
                    event.kind = event.kind.event_type(),
                    "the log lacked what Triton knows: appended"
                );
            }
        }
        Ok(asked)
    }

    /// The events between what the log knows and what Triton told.
    fn missing(&self, told: &Job, known: Option<&Job>) -> Vec<Event> {
        let now = (self.clock)();
        let mut kinds: Vec<(Timestamp, EventKind)> = Vec::new();
        if known.is_none() {
            let queued_at = told.created_at.or(told.started_at).unwrap_or(now);
            kinds.push((
                queued_at,
                EventKind::Queued {
                    queued_at,
                    value_proposition_id: told.value_proposition_id.clone(),
                    schedule: told.schedule,
                },
            ));
        }
        let began = told.started_at.is_some() || told.status == JobStatus::Running;
        if began && known.is_none_or(|job| job.started_at.is_none() && !job.status.is_terminal()) {
            let started_at = told.started_at.unwrap_or(now);
            kinds.push((started_at, EventKind::Started { started_at }));
        }
        if known.is_none_or(|job| !job.status.is_terminal()) {
            kinds.extend(end(told, now));
        }
        let floor = known.and_then(|job| job.updated_at);
        let mut latest = floor.unwrap_or(Timestamp::from_micros(i64::MIN));
        kinds
            .into_iter()
            .map(|(at, kind)| {
                latest = latest.max(at);
                Self::event(told, known.map_or(0, |job| job.past.len()), latest, kind)
            })
            .collect()
    }

    fn event(told: &Job, past_epochs: usize, timestamp: Timestamp, kind: EventKind) -> Event {
        // The same whoever derives it, so that two instances append it once; another in each epoch that
        // a job goes on in.
        let epoch = match past_epochs {
            0 => String::new(),
            number => format!("{}-", number + 1),
        };
        let name = format!("derived-{epoch}{}", kind.event_type().replace(':', "-"));
        Event {
            job_id: told.id.clone(),
            client_id: told.client_id.clone(),
            timestamp,
            attempt: None,
            event_id: EventId::parse(&name).expect("made of letters and dashes"),
            making: None,
            derived: true,
            // A job service may say much.
            kind: kind.clipped(),
        }
    }
}

/// The terminal event that a job's state tells of.
fn end(told: &Job, now: Timestamp) -> Option<(Timestamp, EventKind)> {
    let completed_at = told.completed_at.or(told.updated_at).unwrap_or(now);
    let kind = match told.status {
        JobStatus::Pending | JobStatus::Running => return None,
        JobStatus::Completed => EventKind::Completed {
            template_ids: told.template_ids.clone(),
            template_count: told.template_count,
            generation_duration_ms: told.generation_duration_ms,
            completed_at,
            failed_templates: told.attempts.failed.keys().copied().collect(),
            error_message: told.error_message.clone(),
        },
        JobStatus::Failed => EventKind::Failed {
            error_message: told
                .error_message
                .clone()
                .unwrap_or_else(|| "Triton gave no reason".to_owned()),
            generation_duration_ms: told.generation_duration_ms,
            completed_at,
        },
        JobStatus::Cancelled => EventKind::Cancelled {
            template_ids: told.template_ids.clone(),
            completed_at,
        },
    };
    Some((completed_at, kind))
}
