//! One answer to what a job is now: the cached result, checked; else the log, brought up to what Triton
//! knows; else Triton's word. An end that is found is cached.
//!
//! Never in here: who may see the answer, or an upstream without an answer taken for one that knows no
//! such job.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conch_domain::{Job, JobId, JobRecord, JobStatus, Origin};
use conch_ports::{Error, JobLog, ResultCache, TritonGateway};
use conch_wire::{document, job};

use super::local::{Gaps, LocalResults};
use super::{Dependencies, Settings};
use crate::entropy;
use crate::mare::reconcile::{Asked, Reconcile};
use crate::mare::results::{RESULT_WAITS, Results};

/// How long a lookup that has an answer waits for Triton's better one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which upstreams have answered when a job was looked for. The others weren't asked, or gave no answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answered {
    pub(super) cache: bool,
    pub(super) log: bool,
    pub(super) triton: bool,
}

impl Answered {
    pub(super) const ALL: Self = Self {
        cache: true,
        log: true,
        triton: true,
    };
}

/// What is asked for jobs, in this order.
pub(super) struct Sources {
    pub(super) local: LocalResults,
    pub(super) cache: Arc<dyn ResultCache>,
    /// What of it can be believed.
    results: Results,
    pub(super) log: Arc<dyn JobLog>,
    pub(super) gateway: Arc<dyn TritonGateway>,
    pub(super) reconcile: Reconcile,
    ask_again_after: Duration,
}

impl Sources {
    pub(super) fn new(settings: &Settings, dependencies: Dependencies) -> Self {
        let Dependencies {
            cache,
            log,
            gateway,
            reconcile,
        } = dependencies;
        Self {
            local: LocalResults::new(settings.local_bytes),
            results: Results::new(Arc::clone(&cache)),
            cache,
            log,
            gateway,
            reconcile,
            ask_again_after: settings.ask_again_after,
        }
    }

    /// Asks the upstreams that haven't answered about a job that doesn't exist: whatever is down shows as it
    /// does for an absent job.
    pub(super) async fn ask_others_in_vain(&self, answered: Answered) -> Result<(), Error> {
        let absent = entropy::absent_job();
        let mut unread = None;
        if !answered.cache {
            unread = self.results.get(&absent).await.err();
        }
        if !answered.log {
            unread = self.log.read(&absent, 0, 0).await.err().or(unread);
        }
        if !answered.triton {
            self.gateway.job(&absent).await?;
        }
        unread.map_or(Ok(()), Err)
    }

    /// The encoded job object, and which upstreams have answered by then; none if there is no such job.
    pub(super) async fn find(&self, job_id: &JobId) -> Result<Option<(Bytes, Answered)>, Error> {
        let gaps = self.local.gaps();
        let cached = self.results.get(job_id).await;
        let mut answered = Answered {
            cache: cached.is_ok(),
            ..Answered::default()
        };
        let unread_cache = match cached {
            Ok(Some(result)) => {
                tracing::info!(job.id = %job_id, "Cache hit for job {job_id}");
                let result = self.checked(job_id, result, &mut answered, gaps).await;
                return Ok(Some((result, answered)));
            }
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(job.id = %job_id, %error, "cache out of reach, asking on");
                Some(error)
            }
        };
        tracing::info!(job.id = %job_id, "Cache miss for job {job_id}");
        let log = self.log.read(job_id, 0, 0).await;
        answered.log = log.is_ok();
        let unread = match log {
            Ok(Some(log)) => {
                let job = self.up_to_date(log.job, PATIENCE, &mut answered).await;
                return Ok(Some((self.keep(&job, gaps).await, answered)));
            }
            Ok(None) => unread_cache,
            // Triton may still know; if it doesn't answer either, its error is the answer.
            Err(error) => {
                tracing::debug!(job.id = %job_id, %error, "log out of reach, asking Triton");
                Some(error)
            }
        };
        let told = self.gateway.job(job_id).await?;
        answered.triton = true;
        match told {
            Some(job) => Ok(Some((self.keep(&job, gaps).await, answered))),
            // That there is no such job is known only if the log and the cache say so, too.
            None => unread.map_or(Ok(None), Err),
        }
    }

    /// The cached result, or what the log or Triton knows better.
    async fn checked(
        &self,
        job_id: &JobId,
        result: Bytes,
        answered: &mut Answered,
        gaps: Gaps,
    ) -> Bytes {
        let status = job::status_if_whole(&result, job_id);
        let cached = result.clone();
        // Another program's may lack what the log knows.
        let is_whole = document::look(&result).created_at.is_some();
        if status != Some(JobStatus::Failed) && is_whole {
            self.local.keep(job_id, result.clone(), gaps);
            return result;
        }
        // An external job may have gone on, and another program may have cached its failure since.
        let log = self.log.read(job_id, 0, 0).await;
        answered.log = log.is_ok();
        let Ok(Some(log)) = log else {
            return result;
        };
        if Some(log.job.status) == status && is_whole {
            if log.job.own {
                self.local.keep(job_id, result.clone(), gaps);
            }
            return result;
        }
        let job = self.up_to_date(log.job, RESULT_WAITS, answered).await;
        // Nothing but a failure is gone on from: the log has missed this end.
        let has_missed_it =
            status != Some(JobStatus::Failed) && !job.own && !job.status.is_terminal();
        if has_missed_it && let Ok(ended) = job::decode(&result, job_id) {
            // Its owner and origin are in the log, not in the result's own fields.
            let own = false;
            let mut ended = Job::restore(JobRecord {
                own,
                ..(*ended).clone()
            });
            ended.learn(&Origin::of(&job));
            return self.keep_unless(&cached, &ended, gaps).await;
        }
        self.keep_unless(&cached, &job, gaps).await
    }

    /// The job as its log tells it once the log has what Triton knows. Where Triton doesn't answer in
    /// time the log is believed as it is: the next lookup asks again.
    async fn up_to_date(&self, job: Job, patience: Duration, answered: &mut Answered) -> Job {
        // Of our own jobs the log knows everything.
        if job.own || job.status.is_terminal() {
            return job;
        }
        if !self.reconcile.is_due(&job.id, self.ask_again_after) {
            return job;
        }
        let asked = tokio::time::timeout(patience, self.reconcile.ask(&job.id)).await;
        answered.triton = matches!(asked, Ok(Ok(_)));
        match asked {
            Ok(Ok(Asked::Appended)) => {
                if let Ok(Some(log)) = self.log.read(&job.id, 0, 0).await {
                    return log.job;
                }
            }
            // Its log can't take the end, and that it has ended is true all the same.
            Ok(Ok(Asked::NoRoom(told))) => return *told,
            Ok(Ok(Asked::Nothing | Asked::Unknown)) => {}
            Ok(Err(error)) => {
                tracing::debug!(job.id = %job.id, %error, "Triton could not be asked for the job's end");
            }
            Err(_) => {
                tracing::debug!(job.id = %job.id, "Triton took too long to tell of the job's end");
            }
        }
        job
    }

    /// Encodes the job, and caches it if it has ended. It was asked for after so many `gaps`.
    pub(super) async fn keep(&self, job: &Job, gaps: Gaps) -> Bytes {
        self.keep_unless(&[], job, gaps).await
    }

    /// The same, unless this is what is cached: to put it again would prolong its life.
    async fn keep_unless(&self, cached: &[u8], job: &Job, gaps: Gaps) -> Bytes {
        let mut told = job.clone();
        if let Some(origin) = self.reconcile.origins().known(&job.id) {
            told.learn(&origin);
        }
        let bytes = job::encode(&told);
        if job.status.is_terminal() {
            // An external job may go on after its failure, and the hint that says so may come before this.
            if job.own || job.status != JobStatus::Failed {
                self.local.keep(&job.id, bytes.clone(), gaps);
            }
            if bytes != cached
                && let Err(error) = self.put(job, bytes.clone()).await
            {
                tracing::debug!(job.id = %job.id, %error, "result not cached");
            }
        }
        bytes
    }

    /// Caches the result of a job that has ended. If its log has gone on by then, that is what counts.
    async fn put(&self, job: &Job, result: Bytes) -> Result<(), Error> {
        self.cache.put(&job.id, result).await?;
        let mut cached = job.clone();
        while !cached.own && cached.status == JobStatus::Failed {
            let Some(log) = self.log.read(&job.id, 0, 0).await? else {
                break;
            };
            if log.job.position == cached.position {
                break;
            }
            if !log.job.status.is_terminal() {
                return self.cache.remove(&job.id).await;
            }
            self.cache.put(&job.id, job::encode(&log.job)).await?;
            cached = log.job;
        }
        Ok(())
    }
}
