//! An adapter that passes every call on to an honest store in memory, except where its fault says
//! otherwise. The faults live in this test: the adapter itself has none.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_conformance::{Cannot, ForeignBlob, Limits, Loss, Subject, build};
use conch_domain::{
    Client, ClientId, Grant, Job, JobId, JobRecord, LeaseToken, Metadata, Position, Template,
    TemplateId, Timestamp, ValueProposition, ValuePropositionId,
};
use conch_memory::Memory;
use conch_ports::{
    Catalogue, ClientFilter, Commit, ErrorKind, EventBus, Fence, Guarantees, Idempotency,
    JobFilter, JobQueue, Lease, Log, Page, Paging, Published, PutTemplate, QueueEffect, Quota,
    Quotas, Result, ResultCache, Signal, Signals, Submission, Submitted, Sweep, Swept,
    TemplateFilter, TicketHash, TicketStore,
};
use futures::StreamExt;

use crate::Fault;
use crate::subject::{CANNOT, LIMITS, OUTLIVED, lose_from_queue, memory, with_quotas};

/// An adapter with one fault.
#[derive(Clone)]
pub(crate) struct Broken {
    fault: Fault,
    /// The honest store.
    bus: Arc<dyn EventBus>,
    cache: Arc<dyn ResultCache>,
    queue: Arc<dyn JobQueue>,
    catalogue: Arc<dyn Catalogue>,
    tickets: Arc<dyn TicketStore>,
    memory: Memory,
    seen: Arc<Mutex<Seen>>,
    interruptions: Arc<AtomicUsize>,
}

/// What some faults need to remember.
#[derive(Default)]
struct Seen {
    results: Vec<(JobId, Bytes)>,
    claims: Vec<Lease>,
    held: HashMap<JobId, Bytes>,
    tickets: Vec<TicketHash>,
    /// Jobs that lost a part of their place since the last sweep.
    lost: HashSet<JobId>,
    /// A queue entry was written over.
    broken: bool,
}

impl Broken {
    pub(crate) fn new(fault: Fault) -> Self {
        let memory = match fault {
            Fault::IgnoreQuotas => with_quotas(Quotas::default()),
            _ => memory(),
        };
        Self {
            fault,
            bus: memory.bus(),
            cache: memory.cache(),
            queue: memory.queue(),
            catalogue: memory.catalogue(),
            tickets: memory.tickets(),
            memory,
            seen: Arc::default(),
            interruptions: Arc::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen
            .lock()
            .expect("no fault panics while it remembers")
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn announce(&self, line: Bytes) {
        self.memory.faults().announce_raw(line);
    }

    /// Puts the commit where the log ends, wherever it says it belongs.
    async fn moved_to_the_end(&self, mut commit: Commit) -> Result<Commit> {
        if let Some(log) = self.bus.read(&commit.job.id, 0, 0).await? {
            commit.job = at(&commit.job, log.job.position.next());
        }
        Ok(commit)
    }
}

fn at(job: &Job, position: Position) -> Job {
    Job::restore(JobRecord {
        position,
        ..(**job).clone()
    })
}

#[async_trait]
impl EventBus for Broken {
    fn guarantees(&self) -> Guarantees {
        Guarantees {
            shared: self.is(Fault::ClaimsToBeShared),
            ..self.bus.guarantees()
        }
    }

    async fn publish(&self, mut commit: Commit) -> Result<Published> {
        let job_id = commit.job.id.clone();
        let line = commit.line.clone();
        match self.fault {
            Fault::AnnounceBeforeAppend => {
                commit.announce = false;
                self.announce(line);
                tokio::task::yield_now().await;
            }
            Fault::AnnounceOtherBytes if commit.announce => {
                commit.announce = false;
                let answer = self.bus.publish(commit).await;
                let text = String::from_utf8_lossy(&line).replace("schema_version", "version");
                self.announce(text.into());
                return answer;
            }
            Fault::AnnounceFenced => {
                let answer = self.bus.publish(commit).await?;
                if answer == Published::Fenced {
                    self.announce(line);
                }
                return Ok(answer);
            }
            Fault::LoseOrder => {
                commit.announce = false;
                let answer = self.bus.publish(commit).await;
                // Every other announcement of a job waits for the next one, and comes after it.
                if let Some(earlier) = self.seen().held.remove(&job_id) {
                    self.announce(line);
                    self.announce(earlier);
                } else {
                    self.seen().held.insert(job_id, line);
                }
                return answer;
            }
            Fault::ForgetHeldFence if matches!(commit.fence, Fence::Held(_)) => {
                commit.fence = Fence::Open;
            }
            Fault::ForgetExpiredFence if matches!(commit.fence, Fence::Expired(_)) => {
                commit.fence = Fence::Open;
            }
            Fault::ForgetForeignFence if commit.fence == Fence::Foreign => {
                commit.fence = Fence::Open;
            }
            Fault::AppendAnywhere if commit.replaces.is_none() => {
                commit = self.moved_to_the_end(commit).await?;
            }
            Fault::AppendDuplicates => {
                let answer = self.bus.publish(commit.clone()).await?;
                if matches!(answer, Published::Duplicate(_)) {
                    commit.event_id = build::event_id();
                    commit = self.moved_to_the_end(commit).await?;
                    return self.bus.publish(commit).await;
                }
                return Ok(answer);
            }
            Fault::FenceBeforeEventId => {
                if let Fence::Held(token) = &commit.fence {
                    let lease = Lease {
                        job_id,
                        attempt: 1,
                        token: token.clone(),
                    };
                    if !self.queue.renew(&lease, Duration::from_mins(1)).await? {
                        return Ok(Published::Fenced);
                    }
                }
            }
            Fault::AppendAfterTheEnd => {
                let answer = self.bus.publish(commit).await?;
                return Ok(match answer {
                    Published::Ended => Published::Appended,
                    other => other,
                });
            }
            Fault::KeepTheOldResult if commit.reopens() => {
                let old = self.cache.get(&job_id).await?;
                let answer = self.bus.publish(commit).await?;
                if let Some(old) = old.filter(|_| answer == Published::Appended) {
                    self.cache.put(&job_id, old).await?;
                }
                return Ok(answer);
            }
            Fault::MuteFullLogs if commit.job.position.sequence > 1 => {
                let log = self.bus.read(&job_id, 0, usize::MAX >> 32).await?;
                let kept = log.map_or(0, |log| log.entries.iter().map(|e| e.line.len()).sum());
                if kept + line.len() > LIMITS.quotas.bytes_per_job() {
                    return Err(LIMITS.quotas.refusal(Quota::ForeignJobKib, "publish"));
                }
            }
            Fault::ReplaceAnyLog if commit.replaces.is_some() => {
                let log = self.bus.read(&job_id, 0, 0).await?;
                commit.replaces = log.map(|log| log.job.position);
            }
            Fault::GoOnAfterALoss => {
                let answer = self.bus.publish(commit.clone()).await?;
                let Published::Doubtful(at) = answer else {
                    return Ok(answer);
                };
                commit.job = commit.job.with_epoch(build::epoch());
                commit.job = self::at(&commit.job, commit.job.position.next());
                commit.replaces = Some(at);
            }
            Fault::KeepQueueEntry => commit.effect = QueueEffect::Keep,
            Fault::RequeueAtOnce => {
                if let QueueEffect::Requeue { after, .. } = &mut commit.effect {
                    *after = Duration::ZERO;
                }
            }
            Fault::AttemptsStay => {
                if let QueueEffect::Requeue { counts, .. } = &mut commit.effect {
                    *counts = false;
                }
            }
            _ => {}
        }
        self.bus.publish(commit).await
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        let log = self.bus.read(job_id, after, limit).await?;
        Ok(match (self.fault, log) {
            (Fault::EmptyLogForNone, None) => Some(Log {
                job: Job::initial(job_id.clone(), build::epoch(), false),
                oldest: 1,
                base: None,
                entries: Vec::new(),
            }),
            (Fault::RenumberOnRead, Some(mut log)) => {
                for entry in &mut log.entries {
                    entry.sequence += 1;
                }
                Some(log)
            }
            (Fault::TrimTheState, Some(mut log)) if log.oldest > 1 => {
                let mut record = (*log.job).clone();
                record.template_ids.clear();
                record.template_count = 0;
                log.job = Job::restore(record);
                Some(log)
            }
            (Fault::LoseTheBase, Some(log)) => Some(Log { base: None, ..log }),
            (_, log) => log,
        })
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        let mut positions = self.bus.positions(job_ids).await?;
        if self.is(Fault::PassOverAbsentLogs) {
            positions.retain(Option::is_some);
        }
        Ok(positions)
    }

    fn subscribe(&self) -> Signals {
        let signals = self.bus.subscribe();
        match self.fault {
            // The first is told, later ones are swallowed.
            Fault::LapseInSilence => {
                let mut first = true;
                let told = move |signal: &Signal| {
                    let tell = *signal != Signal::Lapsed || first;
                    first = false;
                    std::future::ready(tell)
                };
                signals.filter(told).boxed()
            }
            // Only what follows an interruption is told.
            Fault::OverflowInSilence => {
                let interruptions = Arc::clone(&self.interruptions);
                let mut first = true;
                let mut told_of = interruptions.load(Ordering::Relaxed);
                let told = move |signal: &Signal| {
                    let mut tell = true;
                    if *signal == Signal::Lapsed {
                        let seen = interruptions.load(Ordering::Relaxed);
                        tell = first || seen > told_of;
                        told_of = seen;
                    }
                    first = false;
                    std::future::ready(tell)
                };
                signals.filter(told).boxed()
            }
            _ => signals,
        }
    }

    async fn now(&self) -> Result<Timestamp> {
        self.bus.now().await
    }

    async fn ping(&self) -> Result<()> {
        self.bus.ping().await
    }
}

#[async_trait]
impl ResultCache for Broken {
    async fn get(&self, job_id: &JobId) -> Result<Option<Bytes>> {
        let found = self.cache.get(job_id).await?;
        if self.is(Fault::CacheNothing) {
            return Ok(None);
        }
        if self.is(Fault::CacheOnlyJson) {
            return Ok(found.filter(|found| found.starts_with(b"{")));
        }
        if self.is(Fault::CacheForEver) {
            let mut seen = self.seen();
            seen.results
                .extend(found.iter().map(|found| (job_id.clone(), found.clone())));
            let known = seen.results.iter().rev().find(|(id, _)| id == job_id);
            return Ok(known.map(|(_, result)| result.clone()));
        }
        Ok(found)
    }

    async fn put(&self, job_id: &JobId, result: Bytes) -> Result<()> {
        self.cache.put(job_id, result).await
    }

    async fn remove(&self, job_id: &JobId) -> Result<()> {
        self.cache.remove(job_id).await
    }

    async fn ping(&self) -> Result<()> {
        self.cache.ping().await
    }
}

#[async_trait]
impl JobQueue for Broken {
    async fn submit(&self, mut submission: Submission) -> Result<Submitted> {
        match self.fault {
            Fault::ForgetKeys => submission.idempotency = None,
            Fault::WriteBeforeTheQuota => {
                let commit = submission.commit.clone();
                let answer = self.queue.submit(submission).await;
                if let Err(error) = &answer
                    && error.kind() == ErrorKind::QuotaExceeded
                {
                    self.bus.publish(commit).await?;
                }
                return answer;
            }
            Fault::RefuseResubmission => {
                let job_id = submission.commit.job.id.clone();
                if self.bus.read(&job_id, 0, 0).await?.is_some() {
                    return Ok(Submitted::KeyReused);
                }
            }
            _ => {}
        }
        self.queue.submit(submission).await
    }

    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        let known = self.queue.recall(idempotency).await?;
        Ok(known.filter(|_| !self.is(Fault::RecallNothing)))
    }

    async fn claim(
        &self,
        worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Lease>> {
        if self.is(Fault::BrokenEntryStopsClaims) && self.seen().broken {
            return Ok(None);
        }
        let fresh = build::token();
        let token = match self.fault {
            Fault::ClaimAnotherWhenAskedAgain => &fresh,
            _ => token,
        };
        if self.is(Fault::ClaimForTwo) {
            let twice = self.seen().claims.pop();
            if twice.is_some() {
                return Ok(twice);
            }
        }
        if self.is(Fault::ClaimNewestFirst) {
            let mut all = std::mem::take(&mut self.seen().claims);
            while let Some(lease) = self.queue.claim(worker, &build::token(), duration).await? {
                all.push(lease);
            }
            let newest = all.pop();
            self.seen().claims = all;
            return Ok(newest);
        }
        let duration = match self.fault {
            Fault::LeaseNeverExpires => Duration::from_hours(24),
            _ => duration,
        };
        let lease = self.queue.claim(worker, token, duration).await?;
        if self.is(Fault::ClaimForTwo) {
            self.seen().claims.extend(lease.clone());
        }
        if self.is(Fault::ForgetWhoHasNoLog)
            && let Some(lease) = &lease
            && self.bus.read(&lease.job_id, 0, 0).await?.is_none()
        {
            return Ok(None);
        }
        Ok(lease)
    }

    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        if self.is(Fault::RenewOnlyWhatIsListed) && self.seen().lost.contains(&lease.job_id) {
            return Ok(false);
        }
        let renewed = self.queue.renew(lease, duration).await?;
        Ok(renewed || self.is(Fault::RenewAnything))
    }

    async fn expired(&self, limit: usize) -> Result<Vec<Lease>> {
        self.queue.expired(limit).await
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        if self.is(Fault::FindNothing) {
            return Ok(Swept {
                next: None,
                found: Vec::new(),
            });
        }
        self.seen().lost.clear();
        self.queue.sweep(sweep).await
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        self.queue.next_due().await
    }

    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        if self.is(Fault::RestoreRespectsForeignLogs)
            && self.bus.read(&job.id, 0, 0).await?.is_some()
        {
            return Ok(false);
        }
        let restored = self.queue.restore(lease, job, duration).await?;
        Ok(restored || self.is(Fault::RestoreAlways))
    }
}

#[async_trait]
impl Catalogue for Broken {
    async fn create_client(&self, client: &Client) -> Result<()> {
        self.catalogue.create_client(client).await
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>> {
        let mut client = self.catalogue.client(id).await?;
        if let Some(client) = client.as_mut()
            && self.is(Fault::LoseAField)
        {
            client.meta_data = Metadata::default();
        }
        Ok(client)
    }

    async fn clients(&self, filter: &ClientFilter, mut paging: Paging) -> Result<Page<Client>> {
        if self.is(Fault::PagesRepeat) {
            paging.page = paging.page.saturating_sub(1).max(1);
        }
        self.catalogue.clients(filter, paging).await
    }

    async fn add_value_proposition(&self, value_proposition: &ValueProposition) -> Result<bool> {
        let added = self
            .catalogue
            .add_value_proposition(value_proposition)
            .await?;
        Ok(added || self.is(Fault::AdoptOrphans))
    }

    async fn value_proposition(&self, id: &ValuePropositionId) -> Result<Option<ValueProposition>> {
        self.catalogue.value_proposition(id).await
    }

    async fn value_propositions(
        &self,
        client_id: &ClientId,
    ) -> Result<Option<Vec<ValueProposition>>> {
        self.catalogue.value_propositions(client_id).await
    }

    async fn set_value_proposition_active(
        &self,
        client_id: &ClientId,
        id: &ValuePropositionId,
        is_active: bool,
        now: Timestamp,
    ) -> Result<Option<ValueProposition>> {
        let catalogue = &self.catalogue;
        catalogue
            .set_value_proposition_active(client_id, id, is_active, now)
            .await
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>> {
        let record = self.catalogue.job(id).await?;
        if self.is(Fault::LoseCatalogueRecord) {
            // As if it were written only at the submission.
            let first = self.bus.read(id, 0, 0).await?;
            return Ok(record.filter(|_| first.is_some()));
        }
        Ok(record)
    }

    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        if self.is(Fault::IgnoreFilters) {
            return self.catalogue.jobs(&JobFilter::default(), paging).await;
        }
        self.catalogue.jobs(filter, paging).await
    }

    async fn put_template(&self, template: &Template, lease: &Lease) -> Result<PutTemplate> {
        let put = self.catalogue.put_template(template, lease).await?;
        Ok(match (self.fault, put) {
            (Fault::TemplatesUnfenced, PutTemplate::Fenced)
            | (Fault::ReplaceTemplates, PutTemplate::Taken(_)) => PutTemplate::Stored,
            (_, put) => put,
        })
    }

    async fn template(&self, id: &TemplateId) -> Result<Option<Template>> {
        self.catalogue.template(id).await
    }

    async fn templates_of(&self, job_id: &JobId) -> Result<Vec<Template>> {
        self.catalogue.templates_of(job_id).await
    }

    async fn templates(&self, filter: &TemplateFilter, paging: Paging) -> Result<Page<Template>> {
        self.catalogue.templates(filter, paging).await
    }
}

#[async_trait]
impl TicketStore for Broken {
    async fn put(&self, hash: TicketHash, grant: &Grant, lifetime: Duration) -> Result<()> {
        let lifetime = match self.fault {
            Fault::OpenForEver => Duration::from_hours(24),
            _ => lifetime,
        };
        self.seen().tickets.push(hash);
        match self.tickets.put(hash, grant, lifetime).await {
            Err(_) if self.is(Fault::StoreAnyTicket) => Ok(()),
            answer => answer,
        }
    }

    async fn bind(&self, hash: TicketHash, grant: &Grant, lifetime: Duration) -> Result<bool> {
        let is_there = self.tickets.get(hash).await?.is_some();
        match self.fault {
            Fault::BindNothing => Ok(is_there),
            Fault::BindWhereThereIsNoRoom => {
                let bound = self.tickets.bind(hash, grant, lifetime).await?;
                Ok(bound || is_there)
            }
            _ => self.tickets.bind(hash, grant, lifetime).await,
        }
    }

    async fn shorten(&self, hash: TicketHash, grant: &Grant, within: Duration) -> Result<()> {
        match self.fault {
            Fault::NeverCutShort => Ok(()),
            _ => self.tickets.shorten(hash, grant, within).await,
        }
    }

    async fn get(&self, hash: TicketHash) -> Result<Option<Grant>> {
        if self.is(Fault::OpenOnce) {
            let mut seen = self.seen();
            let before = seen.tickets.len();
            seen.tickets.retain(|known| *known != hash);
            if seen.tickets.len() == before {
                return Ok(None);
            }
        }
        let hash = match self.fault {
            Fault::OpenToAnyHash => self.seen().tickets.last().copied().unwrap_or(hash),
            _ => hash,
        };
        self.tickets.get(hash).await
    }
}

#[async_trait]
impl Subject for Broken {
    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.clone())
    }

    fn cache(&self) -> Arc<dyn ResultCache> {
        Arc::new(self.clone())
    }

    fn queue(&self) -> Arc<dyn JobQueue> {
        Arc::new(self.clone())
    }

    fn catalogue(&self) -> Arc<dyn Catalogue> {
        Arc::new(self.clone())
    }

    fn tickets(&self) -> Arc<dyn TicketStore> {
        Arc::new(self.clone())
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn cannot(&self) -> &'static [Cannot] {
        CANNOT
    }

    fn elsewhere(&self) -> Option<Arc<dyn EventBus>> {
        None
    }

    fn tickets_elsewhere(&self) -> Option<Arc<dyn TicketStore>> {
        None
    }

    async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }

    async fn outlive(&self) -> bool {
        tokio::time::advance(OUTLIVED).await;
        true
    }

    async fn restart_from_a_copy(&self) -> bool {
        self.memory.faults().doubt_logs();
        true
    }

    async fn interrupt_subscription(&self) {
        self.interruptions.fetch_add(1, Ordering::Relaxed);
        self.memory.faults().interrupt_subscription();
    }

    async fn lose_from_queue(&self, job_id: &JobId, loss: Loss) {
        self.seen().lost.insert(job_id.clone());
        lose_from_queue(&self.memory, job_id, loss);
    }

    /// As an adapter does that sets a broken entry aside: it is gone.
    async fn break_entry(&self, job_id: &JobId) -> bool {
        self.seen().broken = true;
        lose_from_queue(&self.memory, job_id, Loss::Entry);
        true
    }

    async fn write_foreign_result(&self, job_id: &JobId, blob: ForeignBlob) -> bool {
        match blob {
            ForeignBlob::Bytes(bytes) => self.cache.put(job_id, bytes).await.is_ok(),
            ForeignBlob::NotAString => false,
        }
    }
}
