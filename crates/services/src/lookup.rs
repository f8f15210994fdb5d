//! What a job is now: this process's own finished jobs, then the cache, then the log, then Triton.
//!
//! The log of an external job may have missed its end: while it shows none, Triton is asked from time to
//! time. A finished job's lookup never reaches Triton. Concurrent lookups of one job share one question.
//! What a cache holds may come from any program, so it is checked before it is served.
//!
//! Who may see some clients' jobs only is answered of another tenant's as of an absent one, after the
//! same questions in the same order: so neither the answer nor an upstream that is down tells the two
//! apart. How long the answers take is not hidden.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use conch_domain::{ClientId, Clients, Job, JobId, JobRecord, JobStatus, Origin};
use conch_ports::{Error, ErrorKind, EventBus, ResultCache, TritonGateway};
use conch_wire::{document, job};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use quick_cache::{Weighter, sync::Cache};

use crate::entropy;
use crate::reconcile::{Asked, Reconcile};
use crate::results::{RESULT_WAITS, Results};

/// Events of one page of a history read.
const PAGE: usize = 500;
/// How long a lookup that has an answer waits for Triton's better one.
const PATIENCE: Duration = Duration::from_secs(2);
/// What an entry of the local cache costs beside its bytes.
const ENTRY_OVERHEAD: u64 = 128;

/// The answer to a question for a job's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Events {
    /// The kept events, oldest first, each one line of JSON.
    Kept(Vec<Bytes>),
    /// The job is known, but its log has expired.
    Expired,
    /// There is no such job.
    Unknown,
}

/// How lookups go about it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds the finished jobs kept in this process; 0 keeps none.
    pub local_bytes: u64,
    /// How long an external job's log that shows no end is believed before Triton is asked again.
    pub ask_again_after: Duration,
}

/// Whom lookups ask.
pub struct Dependencies {
    /// Results.
    pub cache: Arc<dyn ResultCache>,
    /// Logs.
    pub bus: Arc<dyn EventBus>,
    /// Triton.
    pub gateway: Arc<dyn TritonGateway>,
    /// What Triton knows beyond a log.
    pub reconcile: Reconcile,
}

type Answer = Result<Option<Bytes>, Arc<Error>>;

/// Who has answered when a job was looked for. The others weren't asked, or gave no answer.
#[derive(Debug, Clone, Copy, Default)]
struct Answered {
    cache: bool,
    log: bool,
    triton: bool,
}

impl Answered {
    const ALL: Self = Self {
        cache: true,
        log: true,
        triton: true,
    };
}

/// The encoded job object, and who has answered by then.
type Found = Result<Option<(Bytes, Answered)>, Arc<Error>>;

struct Inner {
    cache: Arc<dyn ResultCache>,
    /// What of it can be believed.
    results: Results,
    bus: Arc<dyn EventBus>,
    gateway: Arc<dyn TritonGateway>,
    reconcile: Reconcile,
    ask_again_after: Duration,
    /// Results never change, so this process need not ask for one twice. But an end may have been
    /// forged while the store had forgotten whose job it was, and the job's worker then outdoes it.
    local: Cache<JobId, Kept, Weigh>,
    /// How often announcements may have been lost, that of another end among them.
    lapses: AtomicU64,
    /// Questions under way.
    flights: Mutex<HashMap<JobId, Shared<BoxFuture<'static, Found>>>>,
}

/// A result in this process.
#[derive(Clone)]
struct Kept {
    result: Bytes,
    /// After how many lapses it was asked for.
    lapses: u64,
}

#[derive(Clone)]
struct Weigh;

impl Weighter<JobId, Kept> for Weigh {
    fn weight(&self, job_id: &JobId, kept: &Kept) -> u64 {
        (job_id.as_str().len() + kept.result.len()) as u64 + ENTRY_OVERHEAD
    }
}

/// Answers questions for jobs; a cheap handle.
#[derive(Clone)]
pub struct Lookup(Arc<Inner>);

impl Settings {
    /// Lookups that ask `dependencies`.
    pub fn build(self, dependencies: Dependencies) -> Lookup {
        let Dependencies {
            cache,
            bus,
            gateway,
            reconcile,
        } = dependencies;
        let kept = (self.local_bytes / 1024) as usize;
        Lookup(Arc::new(Inner {
            results: Results::new(Arc::clone(&cache)),
            cache,
            bus,
            gateway,
            reconcile,
            ask_again_after: self.ask_again_after,
            local: Cache::with_weighter(kept, self.local_bytes, Weigh),
            lapses: AtomicU64::new(0),
            flights: Mutex::new(HashMap::new()),
        }))
    }
}

impl Lookup {
    /// The encoded job object, or none when nobody knows the job. Cancel-safe.
    ///
    /// # Errors
    /// When neither cache nor log has it and Triton can't be asked.
    pub async fn job(&self, job_id: &JobId) -> Answer {
        Ok(self.find(job_id).await?.map(|(result, _)| result))
    }

    async fn find(&self, job_id: &JobId) -> Found {
        let doubted = match self.0.local.get(job_id) {
            Some(kept) if kept.lapses == self.0.lapses.load(Ordering::Acquire) => {
                return Ok(Some((kept.result, Answered::default())));
            }
            doubted => doubted,
        };
        let flight = {
            let mut flights = self.0.flights.lock();
            if let Some(flight) = flights.get(job_id) {
                flight.clone()
            } else {
                let inner = Arc::clone(&self.0);
                let id = job_id.clone();
                // A task of its own, so that it ends and leaves the map even if all askers go away;
                // the ports bound how long it takes.
                let flight = tokio::spawn(async move {
                    let under_way = UnderWay { inner, id };
                    let found = under_way.inner.find(&under_way.id).await;
                    found.map_err(Arc::new)
                })
                .map(|joined| joined.unwrap_or_else(|panic| Err(Arc::new(defect(panic)))))
                .boxed()
                .shared();
                flights.insert(job_id.clone(), flight.clone());
                flight
            }
        };
        match (flight.await, doubted) {
            // Falls back to the local copy.
            (Ok(None), Some(kept)) => Ok(Some((kept.result, Answered::ALL))),
            (Err(_), Some(kept)) => Ok(Some((kept.result, Answered::default()))),
            (answer, _) => answer,
        }
    }

    /// Something was appended to the job's log: it hasn't ended, or may have ended otherwise than this
    /// process knows.
    pub fn hint(&self, job_id: &JobId) {
        self.0.local.remove(job_id);
    }

    /// Announcements may have been lost: what this process knows is asked for once more, and believed
    /// where nobody knows better.
    pub fn lapsed(&self) {
        self.0.lapses.fetch_add(1, Ordering::AcqRel);
    }

    /// Puts the job's result where all find it, if its log has an end. What is there may be that of
    /// an end that was outdone; if the job has gone on after an end, that one's result is taken away. A
    /// job without a log is left to those who ask for it.
    ///
    /// # Errors
    /// When the log is out of reach.
    pub async fn cache_result(&self, job_id: &JobId) -> Result<(), Error> {
        let lapses = self.0.lapses.load(Ordering::Acquire);
        match self.0.bus.read(job_id, 0, 0).await? {
            Some(log) if log.job.status.is_terminal() => drop(self.0.keep(&log.job, lapses).await),
            Some(log) if !log.job.past.is_empty() => self.0.cache.remove(job_id).await?,
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Where an external job comes from.
    pub(crate) async fn origin(&self, job_id: &JobId) -> Option<Origin> {
        self.0.reconcile.origin(job_id).await
    }

    /// Events of an external job were lost, perhaps its end: its log is brought up to what Triton knows.
    ///
    /// # Errors
    /// When the log or Triton is out of reach. The position check asks again.
    pub(crate) async fn make_up_for(&self, job_id: &JobId) -> Result<(), Error> {
        let log = self.0.bus.read(job_id, 0, 0).await?;
        let job = log.map(|log| log.job);
        if job
            .as_ref()
            .is_some_and(|job| job.own || job.status.is_terminal())
        {
            return Ok(());
        }
        self.0.reconcile.ask(job_id).await.map(drop)
    }

    /// As [`Lookup::job`], for who may see these clients' jobs. Cancel-safe.
    ///
    /// # Errors
    /// As [`Lookup::job`].
    pub async fn job_seen_by(&self, clients: &Clients, job_id: &JobId) -> Answer {
        let found = self.find(job_id).await?;
        let Some((result, answered)) = found else {
            return Ok(None);
        };
        if clients.are_all() {
            return Ok(Some(result));
        }
        let (owner, answered) = match document::look(&result).client_id {
            // Another program's cached result may not say whose it is.
            None => self.owner(job_id, answered).await?,
            owner => (owner, answered),
        };
        if clients.see(owner.as_ref()) {
            return Ok(Some(result));
        }
        self.0.ask_others_in_vain(answered).await?;
        Ok(None)
    }

    /// Whose the job is, by its log or else by Triton.
    async fn owner(
        &self,
        job_id: &JobId,
        mut answered: Answered,
    ) -> Result<(Option<ClientId>, Answered), Error> {
        let log = self.0.bus.read(job_id, 0, 0).await;
        answered.log = log.is_ok();
        if let Ok(Some(log)) = log {
            return Ok((log.job.client_id.clone(), answered));
        }
        let job = self.0.gateway.job(job_id).await?;
        answered.triton = true;
        Ok((job.and_then(|job| job.client_id.clone()), answered))
    }

    /// The kept events after sequence `after`, for who may see these clients' jobs.
    ///
    /// # Errors
    /// When the store, or for a job without a log Triton, is out of reach.
    pub async fn events_seen_by(
        &self,
        clients: &Clients,
        job_id: &JobId,
        after: u64,
    ) -> Result<Events, Arc<Error>> {
        if !clients.are_all() {
            // Without its events: what another tenant's log holds is never fetched.
            let log = self.0.bus.read(job_id, 0, 0).await?;
            let owner = log.as_ref().map(|log| log.job.client_id.as_ref());
            match owner {
                Some(owner) if clients.see(owner) => {}
                Some(_) => {
                    self.0.gateway.job(&entropy::nobodys_job()).await?;
                    return Ok(Events::Unknown);
                }
                None => return self.without_log(clients, job_id).await,
            }
        }
        let mut lines = Vec::new();
        let mut from = after;
        while let Some(log) = self.0.bus.read(job_id, from, PAGE).await? {
            // It may have begun anew meanwhile, as another tenant's.
            if !clients.see(log.job.client_id.as_ref()) {
                return Ok(Events::Unknown);
            }
            let last = log.entries.last().map(|entry| entry.sequence);
            lines.extend(log.entries.into_iter().map(|entry| entry.line));
            match last {
                Some(last) if last < log.job.position.sequence => from = last,
                _ => return Ok(Events::Kept(lines)),
            }
        }
        self.without_log(clients, job_id).await
    }

    /// What there is to say of the events of a job that has no log.
    async fn without_log(&self, clients: &Clients, job_id: &JobId) -> Result<Events, Arc<Error>> {
        let job = self.0.gateway.job(job_id).await?;
        let is_theirs = job.is_some_and(|job| clients.see(job.client_id.as_ref()));
        Ok(if is_theirs {
            Events::Expired
        } else {
            Events::Unknown
        })
    }
}

/// A question's place on the list. Leaves it however the question ends: one that panicked must not be
/// the answer to all who ask later.
struct UnderWay {
    inner: Arc<Inner>,
    id: JobId,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.inner.flights.lock().remove(&self.id);
    }
}

fn defect(panic: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, "lookup.job", "the lookup broke off").with_source(panic)
}

impl Inner {
    /// Asks those who haven't answered for a job that doesn't exist: whatever is down shows as it does for
    /// an absent job.
    async fn ask_others_in_vain(&self, answered: Answered) -> Result<(), Error> {
        let nobodys = entropy::nobodys_job();
        let mut unread = None;
        if !answered.cache {
            unread = self.results.get(&nobodys).await.err();
        }
        if !answered.log {
            unread = self.bus.read(&nobodys, 0, 0).await.err().or(unread);
        }
        if !answered.triton {
            self.gateway.job(&nobodys).await?;
        }
        unread.map_or(Ok(()), Err)
    }

    async fn find(&self, job_id: &JobId) -> Result<Option<(Bytes, Answered)>, Error> {
        let lapses = self.lapses.load(Ordering::Acquire);
        let cached = self.results.get(job_id).await;
        let mut answered = Answered {
            cache: cached.is_ok(),
            ..Answered::default()
        };
        let unread_cache = match cached {
            Ok(Some(result)) => {
                tracing::info!(job.id = %job_id, "Cache hit for job {job_id}");
                let result = self.checked(job_id, result, &mut answered, lapses).await;
                return Ok(Some((result, answered)));
            }
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(job.id = %job_id, %error, "cache out of reach, asking on");
                Some(error)
            }
        };
        tracing::info!(job.id = %job_id, "Cache miss for job {job_id}");
        let log = self.bus.read(job_id, 0, 0).await;
        answered.log = log.is_ok();
        let unread = match log {
            Ok(Some(log)) => {
                let job = self.up_to_date(log.job, PATIENCE, &mut answered).await;
                return Ok(Some((self.keep(&job, lapses).await, answered)));
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
            Some(job) => Ok(Some((self.keep(&job, lapses).await, answered))),
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
        lapses: u64,
    ) -> Bytes {
        let status = job::status_if_whole(&result, job_id);
        // Another program's may lack what the log knows.
        let is_whole = document::look(&result).created_at.is_some();
        if status != Some(JobStatus::Failed) && is_whole {
            self.keep_here(job_id, result.clone(), lapses);
            return result;
        }
        // An external job may have gone on, and another program may have cached its failure since.
        let log = self.bus.read(job_id, 0, 0).await;
        answered.log = log.is_ok();
        let Ok(Some(log)) = log else {
            return result;
        };
        if Some(log.job.status) == status && is_whole {
            if log.job.own {
                self.keep_here(job_id, result.clone(), lapses);
            }
            return result;
        }
        let job = self.up_to_date(log.job, RESULT_WAITS, answered).await;
        // Nothing but a failure is gone on from: the log has missed this end.
        let has_missed_it =
            status != Some(JobStatus::Failed) && !job.own && !job.status.is_terminal();
        if has_missed_it && let Ok(ended) = job::decode(&result, job_id) {
            // The log says whose it is, the result's own fields don't.
            let own = false;
            let mut ended = Job::restore(JobRecord {
                own,
                ..(*ended).clone()
            });
            ended.learn(&Origin::of(&job));
            return self.keep(&ended, lapses).await;
        }
        self.keep(&job, lapses).await
    }

    /// The job as its log tells it once the log has what Triton knows. Where Triton doesn't answer in
    /// time the log is believed as it is: the next lookup asks again.
    async fn up_to_date(&self, job: Job, patience: Duration, answered: &mut Answered) -> Job {
        // No one knows more of our own jobs than the log.
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
                if let Ok(Some(log)) = self.bus.read(&job.id, 0, 0).await {
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

    fn keep_here(&self, job_id: &JobId, result: Bytes, lapses: u64) {
        self.local.insert(job_id.clone(), Kept { result, lapses });
    }

    /// Encodes the job, and caches it if it has ended. It was asked for after so many `lapses`.
    async fn keep(&self, job: &Job, lapses: u64) -> Bytes {
        let mut told = job.clone();
        if let Some(origin) = self.reconcile.known_origin(&job.id) {
            told.learn(&origin);
        }
        let bytes = job::encode(&told);
        if job.status.is_terminal() {
            // An external job may go on after this, and what is heard of that may overtake this.
            if job.own || job.status != JobStatus::Failed {
                self.keep_here(&job.id, bytes.clone(), lapses);
            }
            if let Err(error) = self.put(job, bytes.clone()).await {
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
            let Some(log) = self.bus.read(&job.id, 0, 0).await? else {
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
