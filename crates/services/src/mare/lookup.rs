//! What a job is now: this process's own finished jobs, then the cache, then the log, then Triton.
//!
//! The log of an external job may have missed its end: while it shows none, Triton is asked from time to
//! time. Where the cache or the log has a job's end, its lookup reaches Triton only if that end is doubtful
//! (a cached failure or incomplete result, of a job whose log shows no end), if neither says whose the job
//! is, or if the caller may not see it. Concurrent lookups of one job share one question.
//!
//! A caller who may see some clients' jobs only gets the same answer about another tenant's job as about an
//! absent one, after the same questions in the same order: so neither the answer nor an upstream that is down
//! tells the two apart. How long the answers take is not hidden.
//!
//! Never in here: which source is believed about a job (`answer`), or how long a result is kept (`local`).

mod answer;
mod local;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conch_domain::{ClientId, Clients, JobId};
use conch_ports::{Error, ErrorKind, JobLog, ResultCache, TritonGateway};
use conch_wire::document;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;

use self::answer::{Answered, Sources};
use self::local::Local;
use crate::entropy;
use crate::mare::origins::KnownOrigins;
use crate::mare::reconcile::Reconcile;

/// Events of one page of a history read.
const PAGE: usize = 500;

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

/// What lookups ask.
pub struct Dependencies {
    /// Results.
    pub cache: Arc<dyn ResultCache>,
    /// Logs.
    pub log: Arc<dyn JobLog>,
    /// Triton.
    pub gateway: Arc<dyn TritonGateway>,
    /// What Triton knows beyond a log.
    pub reconcile: Reconcile,
}

/// The encoded job object; none if there is no such job.
type Answer = Result<Option<Bytes>, Arc<Error>>;

/// The encoded job object, and which upstreams have answered by then.
type Found = Result<Option<(Bytes, Answered)>, Arc<Error>>;

struct Inner {
    sources: Sources,
    /// Questions under way.
    flights: Mutex<HashMap<JobId, Shared<BoxFuture<'static, Found>>>>,
}

/// Answers questions for jobs; a cheap handle.
#[derive(Clone)]
pub struct Lookup(Arc<Inner>);

impl Settings {
    /// Lookups that ask `dependencies`.
    pub fn build(self, dependencies: Dependencies) -> Lookup {
        Lookup(Arc::new(Inner {
            sources: Sources::new(&self, dependencies),
            flights: Mutex::new(HashMap::new()),
        }))
    }
}

impl Lookup {
    /// The encoded job object, or none when there is no such job. Cancel-safe.
    ///
    /// # Errors
    /// When neither cache nor log has it and Triton can't be asked.
    pub async fn job(&self, job_id: &JobId) -> Answer {
        Ok(self.find(job_id).await?.map(|(result, _)| result))
    }

    async fn find(&self, job_id: &JobId) -> Found {
        let doubtful = match self.0.sources.local.get(job_id) {
            Some(Local::Certain(result)) => return Ok(Some((result, Answered::default()))),
            Some(Local::Doubtful(result)) => Some(result),
            None => None,
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
                    let found = under_way.inner.sources.find(&under_way.id).await;
                    found.map_err(Arc::new)
                })
                .map(|joined| joined.unwrap_or_else(|panic| Err(Arc::new(defect(panic)))))
                .boxed()
                .shared();
                flights.insert(job_id.clone(), flight.clone());
                flight
            }
        };
        match (flight.await, doubtful) {
            // Falls back to the local copy.
            (Ok(None), Some(result)) => Ok(Some((result, Answered::ALL))),
            (Err(_), Some(result)) => Ok(Some((result, Answered::default()))),
            (answer, _) => answer,
        }
    }

    /// Something was appended to the job's log: it hasn't ended, or may have ended otherwise than this
    /// process knows.
    pub fn hint(&self, job_id: &JobId) {
        self.0.sources.local.remove(job_id);
    }

    /// Announcements may have been lost: what this process keeps is asked for once more, and
    /// served only if no upstream answers otherwise.
    pub fn lapsed(&self) {
        self.0.sources.local.note_gap();
    }

    /// Caches the job's result for all processes, if its log has an end. What is there may be that of
    /// an end that was replaced; if the job has gone on after an end, that one's result is taken away. A
    /// job without a log is left to lookups.
    ///
    /// # Errors
    /// When the log is out of reach.
    pub async fn cache_result(&self, job_id: &JobId) -> Result<(), Error> {
        let sources = &self.0.sources;
        let gaps = sources.local.gaps();
        match sources.log.read(job_id, 0, 0).await? {
            Some(log) if log.job.status.is_terminal() => drop(sources.keep(&log.job, gaps).await),
            Some(log) if !log.job.past.is_empty() => sources.cache.remove(job_id).await?,
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Where external jobs come from.
    pub(crate) fn origins(&self) -> &KnownOrigins {
        self.0.sources.reconcile.origins()
    }

    /// Events of an external job were lost, perhaps its end: its log is brought up to what Triton knows.
    ///
    /// # Errors
    /// When the log or Triton is out of reach. Then Triton is asked again by the position check if the job
    /// is watched, else by its next lookup or stream.
    pub(crate) async fn make_up_for(&self, job_id: &JobId) -> Result<(), Error> {
        let log = self.0.sources.log.read(job_id, 0, 0).await?;
        let job = log.map(|log| log.job);
        if job
            .as_ref()
            .is_some_and(|job| job.own || job.status.is_terminal())
        {
            return Ok(());
        }
        self.0.sources.reconcile.ask(job_id).await.map(drop)
    }

    /// As [`Lookup::job`], for a caller who may see these clients' jobs. Cancel-safe.
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
            // Another program's cached result may lack the owner.
            None => self.owner(job_id, answered).await?,
            owner => (owner, answered),
        };
        if clients.see(owner.as_ref()) {
            return Ok(Some(result));
        }
        self.0.sources.ask_others_in_vain(answered).await?;
        Ok(None)
    }

    /// The job's owner, by its log or else by Triton, which is asked once.
    async fn owner(
        &self,
        job_id: &JobId,
        mut answered: Answered,
    ) -> Result<(Option<ClientId>, Answered), Error> {
        let log = self.0.sources.log.read(job_id, 0, 0).await;
        answered.log = log.is_ok();
        let job = log.ok().flatten().map(|log| log.job);
        if let Some(job) = &job
            && (job.own || job.client_id.is_some() || answered.triton)
        {
            return Ok((job.client_id.clone(), answered));
        }
        // There is no log, or its publisher left the owner out.
        let (owner, was_asked) = self.owner_by_triton(job_id).await?;
        answered.triton |= was_asked;
        Ok((owner, answered))
    }

    /// The job's owner as Triton told it lately, or else tells it now; and whether it was asked now.
    async fn owner_by_triton(&self, job_id: &JobId) -> Result<(Option<ClientId>, bool), Error> {
        let known = self.origins().known(job_id);
        if let Some(owner) = known.and_then(|origin| origin.client_id) {
            return Ok((Some(owner), false));
        }
        let told = self.0.sources.gateway.job(job_id).await?;
        if let Some(job) = &told {
            self.origins().remember(job);
        }
        Ok((told.and_then(|job| job.client_id.clone()), true))
    }

    /// The kept events after sequence `after`, for a caller who may see these clients' jobs.
    ///
    /// # Errors
    /// When the store, or for a job without a log Triton, is out of reach.
    pub async fn events_seen_by(
        &self,
        clients: &Clients,
        job_id: &JobId,
        after: u64,
    ) -> Result<Events, Arc<Error>> {
        // Of a log that doesn't name it.
        let mut told_owner = None;
        if !clients.are_all() {
            // Without its events: what another tenant's log holds is never fetched.
            let log = self.0.sources.log.read(job_id, 0, 0).await?;
            let Some(job) = log.map(|log| log.job) else {
                return self.without_log(clients, job_id).await;
            };
            if !job.own && job.client_id.is_none() {
                let (owner, was_asked) = self.owner_by_triton(job_id).await?;
                if was_asked && !clients.see(owner.as_ref()) {
                    return Ok(Events::Unknown);
                }
                told_owner = owner;
            }
            if !clients.see(job.client_id.as_ref().or(told_owner.as_ref())) {
                self.0.sources.gateway.job(&entropy::absent_job()).await?;
                return Ok(Events::Unknown);
            }
        }
        let mut lines = Vec::new();
        let mut from = after;
        while let Some(log) = self.0.sources.log.read(job_id, from, PAGE).await? {
            // It may have begun anew meanwhile, as another tenant's.
            let told_owner = told_owner.as_ref().filter(|_| !log.job.own);
            if !clients.see(log.job.client_id.as_ref().or(told_owner)) {
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
        let job = self.0.sources.gateway.job(job_id).await?;
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
