//! Taking in a job: which value proposition, which job, once per idempotency key.
//!
//! Never in here: running it. What was acknowledged here is in the log and in the queue (I11).

use std::sync::Arc;
use std::time::Duration;

use backon::Retryable;
use conch_domain::{
    Event, EventId, EventKind, Job, JobId, Schedule, Timestamp, ValueProposition,
    ValuePropositionId,
};
use conch_ports::{
    Catalogue, Commit, Error, ErrorKind, Fence, Idempotency, JobQueue, NewEvent, NewJob,
    QueueEffect, Requested, Result, Submission, Submitted,
};
use sha2::{Digest, Sha256};

use crate::append::{log_published, patience};
use crate::{Clock, entropy};

/// How long an idempotency key is remembered (contract §4).
const KEY_LIFETIME: Duration = Duration::from_hours(24);
/// How long the store is waited for before the caller is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes in jobs; a cheap handle.
#[derive(Clone)]
pub struct Submit {
    queue: Arc<dyn JobQueue>,
    catalogue: Arc<dyn Catalogue>,
    clock: Clock,
}

impl Submit {
    /// Puts jobs into `queue`, for clients that `catalogue` knows.
    pub fn new(queue: Arc<dyn JobQueue>, catalogue: Arc<dyn Catalogue>, clock: Clock) -> Self {
        Self {
            queue,
            catalogue,
            clock,
        }
    }

    /// Accepts a job. `caller` separates the idempotency keys of different callers. The answer's epoch
    /// may be another one than the log's, if it took more than one try.
    ///
    /// # Errors
    /// When the store is out of reach or has no room, or a quota is used up. The job may have been
    /// accepted nevertheless: only an idempotency key makes asking again safe.
    pub async fn submit(&self, new: NewJob, caller: &str) -> Result<Requested> {
        let farthest = (self.clock)().plus_millis(Schedule::FARTHEST_MS);
        if new.schedule.run_at.is_some_and(|run_at| run_at > farthest) {
            return Ok(Requested::Invalid {
                path: "run_at".to_owned(),
                detail: "must be at most 7 days ahead".to_owned(),
            });
        }
        let idempotency = new.idempotency_key.as_ref().map(|key| Idempotency {
            key: format!("{caller}:{key}"),
            digest: digest(&new),
            lifetime: KEY_LIFETIME,
        });
        // Before anything that may have changed since: the same key and body answers the same job,
        // whatever became of what it was made from.
        if let Some(idempotency) = &idempotency {
            let known = (|| self.queue.recall(idempotency))
                .retry(patience(Some(PATIENCE)))
                .when(Error::is_retryable)
                .await?;
            match known {
                Some(Submitted::Existing(job_id)) => return self.existing(&job_id).await,
                Some(Submitted::KeyReused) => return Ok(Requested::KeyReused),
                Some(Submitted::New) | None => {}
            }
        }
        let found = (|| self.value_proposition(&new))
            .retry(patience(Some(PATIENCE)))
            .when(Error::is_retryable)
            .await?;
        let value_proposition = match found {
            Ok(value_proposition) => value_proposition,
            Err(missing) => return Ok(Requested::NotFound(missing)),
        };
        let event = self.queued(&new, value_proposition.id);
        // The same ids each time: a try that succeeded without our hearing of it is answered `New`. But
        // each in an epoch of its own: should the store forget the first try, and all that followed
        // it, the next must not give out its numbers again.
        let (submitted, job) = (|| async {
            let (job, commit) = born(&event);
            let idempotency = idempotency.clone();
            let submission = Submission {
                commit,
                idempotency,
            };
            self.queue.submit(submission).await.map(|it| (it, job))
        })
        .retry(patience(Some(PATIENCE)))
        .when(Error::is_retryable)
        .await?;
        match submitted {
            Submitted::New => {
                log_published(&event, job.position);
                tracing::info!(job.id = %job.id, client.id = %new.client_id, "job queued");
                Ok(Requested::Accepted(Box::new(job)))
            }
            Submitted::Existing(job_id) => self.existing(&job_id).await,
            Submitted::KeyReused => Ok(Requested::KeyReused),
        }
    }

    /// What the job is generated from, or in words why there is nothing.
    async fn value_proposition(&self, new: &NewJob) -> Result<Result<ValueProposition, String>> {
        let client_id = &new.client_id;
        let no_client = || Ok(Err(format!("There is no client {client_id}.")));
        if let Some(id) = &new.value_proposition_id {
            let named = self.catalogue.value_proposition(id).await?;
            if let Some(named) = named.filter(|v| v.client_id == *client_id) {
                return Ok(Ok(named));
            }
            return match self.catalogue.client(client_id).await? {
                Some(_) => Ok(Err(format!(
                    "Client {client_id} has no value proposition {id}."
                ))),
                None => no_client(),
            };
        }
        // All of the client's: a quota bounds them.
        let Some(all) = self.catalogue.value_propositions(client_id).await? else {
            return no_client();
        };
        Ok(all.into_iter().find(|v| v.is_active).ok_or_else(|| {
            format!(
                "Client {client_id} has no active value proposition: add one or activate one first."
            )
        }))
    }

    /// The first event of a job.
    fn queued(&self, new: &NewJob, from: ValuePropositionId) -> Event {
        let now = (self.clock)();
        Event {
            job_id: JobId::from_uuid(entropy::uuid(now)),
            client_id: Some(new.client_id.clone()),
            timestamp: now,
            attempt: None,
            event_id: EventId::from_uuid(entropy::uuid(now)),
            making: None,
            derived: false,
            kind: EventKind::Queued {
                queued_at: now,
                value_proposition_id: Some(from),
                schedule: new.schedule,
            },
        }
    }

    async fn existing(&self, job_id: &JobId) -> Result<Requested> {
        match self.catalogue.job(job_id).await? {
            Some(job) => Ok(Requested::Repeated(Box::new(job))),
            None => Err(Error::new(
                ErrorKind::Internal,
                "catalogue.job",
                format!(
                    "the record of job {job_id}, which this idempotency key stands for, is gone"
                ),
            )),
        }
    }
}

/// The job after its first event, and what begins its log.
fn born(event: &Event) -> (Job, Commit) {
    let mut job = Job::initial(event.job_id.clone(), entropy::epoch(), true)
        .with_secret(entropy::log_secret());
    job.apply(job.position.next(), event)
        .expect("a job that is not born yet may be queued");
    let commit = Commit {
        events: vec![NewEvent {
            line: conch_wire::event::encode(event, &job),
            event_id: event.event_id.clone(),
        }],
        job: job.clone(),
        templates: Vec::new(),
        fence: Fence::Open,
        effect: QueueEffect::Keep,
        announce: true,
        replaces: None,
        base: None,
    };
    (job, commit)
}

/// What was asked for, not what was chosen for it: the latest value proposition may change between
/// two tries of one caller.
fn digest(new: &NewJob) -> String {
    let mut hash = Sha256::new();
    hash.update(new.client_id.as_str());
    hash.update("\n");
    if let Some(id) = &new.value_proposition_id {
        hash.update(id.as_str());
    }
    // As before where none is asked for: keys outlive an update of the program.
    if new.schedule != Schedule::default() {
        let Schedule { priority, run_at } = new.schedule;
        let run_at = run_at.map(Timestamp::as_micros);
        hash.update(format!("\n{priority} {run_at:?}"));
    }
    format!("{:x}", hash.finalize())
}
