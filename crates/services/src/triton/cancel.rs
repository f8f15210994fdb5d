//! Asking for a job's end: at once where nobody is at it, by a request to its worker where somebody
//! is. The first terminal event that is appended wins.
//!
//! Never in here: stopping a generator; the worker does that when it learns of the request.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, Retryable};
use conch_domain::{EventCap, EventKind, Illegal, Job, JobId, JobStatus};
use conch_ports::{Cancelled, Catalogue, Error, ErrorKind, Fence, JobLog, QueueEffect, Result};

use crate::Clock;
use crate::append::{Append, Appender, Outcome, patience};

/// How long the store is waited for before the caller is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Cancels jobs of our own; a cheap handle.
#[derive(Clone)]
pub struct Cancel {
    log: Arc<dyn JobLog>,
    catalogue: Arc<dyn Catalogue>,
    appender: Appender,
    clock: Clock,
}

impl Cancel {
    /// Appends to `log` for jobs that it or `catalogue` knows.
    pub fn new(log: Arc<dyn JobLog>, catalogue: Arc<dyn Catalogue>, clock: Clock) -> Self {
        Self {
            // A request and an end are always taken.
            appender: Appender::new(Arc::clone(&log), Arc::clone(&clock), EventCap::NONE),
            log,
            catalogue,
            clock,
        }
    }

    /// Asks for the job's end; `reason` is for people. Asking again is safe.
    ///
    /// # Errors
    /// When the store is out of reach; nothing is known of the request then.
    pub async fn cancel(&self, job_id: &JobId, reason: Option<String>) -> Result<Cancelled> {
        let mut waits = patience(Some(PATIENCE)).build();
        loop {
            if let Some(answer) = self.ask(job_id, reason.clone()).await? {
                return Ok(answer);
            }
            match waits.next() {
                Some(wait) => tokio::time::sleep(wait).await,
                None => {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        "job_log.append",
                        format!(
                            "the store lost the log of job {job_id}, and its worker hasn't put it back yet: ask again"
                        ),
                    ));
                }
            }
        }
    }

    /// None: the job is known and has no log.
    async fn ask(&self, job_id: &JobId, reason: Option<String>) -> Result<Option<Cancelled>> {
        let known = (|| self.known(job_id))
            .retry(patience(Some(PATIENCE)))
            .when(Error::is_retryable)
            .await?;
        let Some(mut job) = known else {
            return Ok(Some(Cancelled::NotFound));
        };
        if let Some(answer) = self.end_unclaimed(&mut job).await? {
            return Ok(Some(answer));
        }
        let answer = self.request(&mut job, reason).await?;
        if answer == Some(Cancelled::Requested) {
            // Its worker may have given the job back in between, without seeing the request.
            self.end_unclaimed(&mut job).await?;
        }
        Ok(answer)
    }

    async fn known(&self, job_id: &JobId) -> Result<Option<Job>> {
        let job = match self.log.read(job_id, 0, 0).await? {
            Some(log) => Some(log.job),
            None => self.catalogue.job(job_id).await?,
        };
        // An external publisher's job is not ours to end.
        Ok(job.filter(|job| job.own))
    }

    /// Ends a job that waits. None: somebody is at it.
    async fn end_unclaimed(&self, job: &mut Job) -> Result<Option<Cancelled>> {
        match job.status {
            JobStatus::Pending => {}
            JobStatus::Running => return Ok(None),
            _ => return Ok(Some(Cancelled::AlreadyEnded)),
        }
        let append = Append {
            happened: vec![
                EventKind::Cancelled {
                    template_ids: job.template_ids.clone(),
                    completed_at: job.not_before((self.clock)()),
                }
                .into(),
            ],
            attempt: None,
            fence: Fence::Unclaimed,
            effect: QueueEffect::Remove,
        };
        Ok(
            match self.appender.append(job, append, Some(PATIENCE)).await? {
                Outcome::Appended | Outcome::Already => Some(Cancelled::Requested),
                Outcome::Ended => Some(Cancelled::AlreadyEnded),
                Outcome::Fenced | Outcome::Illegal(_) | Outcome::NoLog | Outcome::PlaceTaken(_) => {
                    None
                }
            },
        )
    }

    /// None: there is no log to put the request into.
    async fn request(&self, job: &mut Job, reason: Option<String>) -> Result<Option<Cancelled>> {
        let append = Append {
            happened: vec![EventKind::CancelRequested { reason }.into()],
            attempt: None,
            fence: Fence::Open,
            effect: QueueEffect::Keep,
        };
        match self.appender.append(job, append, Some(PATIENCE)).await? {
            Outcome::Appended
            | Outcome::Already
            | Outcome::Illegal(Illegal::AlreadyCancelRequested) => Ok(Some(Cancelled::Requested)),
            Outcome::Ended => Ok(Some(Cancelled::AlreadyEnded)),
            Outcome::NoLog => Ok(None),
            refused @ (Outcome::Fenced | Outcome::Illegal(_) | Outcome::PlaceTaken(_)) => {
                Err(Error::new(
                    ErrorKind::Internal,
                    "job_log.append",
                    format!(
                        "a request to cancel, which anybody may append, was refused: {refused:?}"
                    ),
                ))
            }
        }
    }
}
