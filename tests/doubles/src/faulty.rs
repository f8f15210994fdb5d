//! Any store port with a [`Plan`] between it and its caller.
//!
//! Never in here: an answer of its own. A call is carried out by the port, fails as planned, or both.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{
    Client, ClientId, Grant, Job, JobId, LeaseToken, Position, Template, TemplateId, Timestamp,
    ValueProposition, ValuePropositionId,
};
use conch_ports::{
    Announcement, Appended, Bucket, BusId, Carries, Catalogue, Claimed, ClientFilter, Commit,
    EventBus, Guarantees, Idempotency, JobFilter, JobLog, JobQueue, Lease, Log, Page, Paging,
    PutTemplate, QueuePlace, Result, ResultCache, Signals, Stamp, Submission, Submitted, Sweep,
    Swept, TemplateFilter, TicketHash, TicketStore,
};

use crate::Plan;

/// A port whose calls may fail as planned.
#[derive(Debug)]
pub struct Faulty<P: ?Sized> {
    port: Arc<P>,
    plan: Plan,
}

impl Plan {
    /// That port, under this plan.
    pub fn over<P: ?Sized>(&self, port: Arc<P>) -> Arc<Faulty<P>> {
        Arc::new(Faulty {
            port,
            plan: self.clone(),
        })
    }
}

#[async_trait]
impl<P: JobLog + ?Sized> JobLog for Faulty<P> {
    fn guarantees(&self) -> Guarantees {
        self.port.guarantees()
    }

    fn announces(&self) -> Option<BusId> {
        self.port.announces()
    }

    async fn append(&self, commit: Commit) -> Result<Appended> {
        let call = self.port.append(commit);
        self.plan.around("job_log.append", call).await
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        let call = self.port.read(job_id, after, limit);
        self.plan.around("job_log.read", call).await
    }

    async fn latest(&self, buckets: &[Bucket]) -> Result<Vec<Option<Stamp>>> {
        let call = self.port.latest(buckets);
        self.plan.around("job_log.latest", call).await
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        let call = self.port.positions(job_ids);
        self.plan.around("job_log.positions", call).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.plan.around("job_log.now", self.port.now()).await
    }

    async fn ping(&self) -> Result<()> {
        self.plan.around("job_log.ping", self.port.ping()).await
    }
}

#[async_trait]
impl<P: EventBus + ?Sized> EventBus for Faulty<P> {
    fn id(&self) -> BusId {
        self.port.id()
    }

    fn carries(&self) -> Carries {
        self.port.carries()
    }

    async fn announce(&self, announcement: &Announcement) -> Result<()> {
        let call = self.port.announce(announcement);
        self.plan.around("event_bus.announce", call).await
    }

    fn subscribe(&self) -> Signals {
        self.port.subscribe()
    }

    async fn ping(&self) -> Result<()> {
        self.plan.around("event_bus.ping", self.port.ping()).await
    }
}

#[async_trait]
impl<P: ResultCache + ?Sized> ResultCache for Faulty<P> {
    async fn get(&self, job_id: &JobId) -> Result<Option<Bytes>> {
        let call = self.port.get(job_id);
        self.plan.around("result_cache.get", call).await
    }

    async fn put(&self, job_id: &JobId, result: Bytes) -> Result<()> {
        let call = self.port.put(job_id, result);
        self.plan.around("result_cache.put", call).await
    }

    async fn remove(&self, job_id: &JobId) -> Result<()> {
        let call = self.port.remove(job_id);
        self.plan.around("result_cache.remove", call).await
    }

    async fn ping(&self) -> Result<()> {
        self.plan
            .around("result_cache.ping", self.port.ping())
            .await
    }
}

#[async_trait]
impl<P: JobQueue + ?Sized> JobQueue for Faulty<P> {
    async fn submit(&self, submission: Submission) -> Result<Submitted> {
        let call = self.port.submit(submission);
        self.plan.around("job_queue.submit", call).await
    }

    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        let call = self.port.recall(idempotency);
        self.plan.around("job_queue.recall", call).await
    }

    async fn claim(
        &self,
        worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Claimed>> {
        let call = self.port.claim(worker, token, duration);
        self.plan.around("job_queue.claim", call).await
    }

    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        let call = self.port.renew(lease, duration);
        self.plan.around("job_queue.renew", call).await
    }

    async fn expired(&self, limit: usize) -> Result<Vec<Lease>> {
        let call = self.port.expired(limit);
        self.plan.around("job_queue.expired", call).await
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        let call = self.port.sweep(sweep);
        self.plan.around("job_queue.sweep", call).await
    }

    async fn places(&self, job_ids: &[JobId]) -> Result<Vec<Option<QueuePlace>>> {
        let call = self.port.places(job_ids);
        self.plan.around("job_queue.places", call).await
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        let call = self.port.next_due();
        self.plan.around("job_queue.next_due", call).await
    }

    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        let call = self.port.restore(lease, job, duration);
        self.plan.around("job_queue.restore", call).await
    }
}

#[async_trait]
impl<P: TicketStore + ?Sized> TicketStore for Faulty<P> {
    async fn put(&self, hash: TicketHash, grant: &Grant, lifetime: Duration) -> Result<()> {
        let call = self.port.put(hash, grant, lifetime);
        self.plan.around("ticket_store.put", call).await
    }

    async fn bind(&self, hash: TicketHash, grant: &Grant, lifetime: Duration) -> Result<bool> {
        let call = self.port.bind(hash, grant, lifetime);
        self.plan.around("ticket_store.bind", call).await
    }

    async fn shorten(&self, hash: TicketHash, grant: &Grant, within: Duration) -> Result<()> {
        let call = self.port.shorten(hash, grant, within);
        self.plan.around("ticket_store.shorten", call).await
    }

    async fn get(&self, hash: TicketHash) -> Result<Option<Grant>> {
        let call = self.port.get(hash);
        self.plan.around("ticket_store.get", call).await
    }
}

#[async_trait]
impl<P: Catalogue + ?Sized> Catalogue for Faulty<P> {
    async fn create_client(&self, client: &Client) -> Result<()> {
        let call = self.port.create_client(client);
        self.plan.around("catalogue.create_client", call).await
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>> {
        let call = self.port.client(id);
        self.plan.around("catalogue.client", call).await
    }

    async fn clients(&self, filter: &ClientFilter, paging: Paging) -> Result<Page<Client>> {
        let call = self.port.clients(filter, paging);
        self.plan.around("catalogue.clients", call).await
    }

    async fn add_value_proposition(&self, value_proposition: &ValueProposition) -> Result<bool> {
        let call = self.port.add_value_proposition(value_proposition);
        self.plan
            .around("catalogue.add_value_proposition", call)
            .await
    }

    async fn value_proposition(&self, id: &ValuePropositionId) -> Result<Option<ValueProposition>> {
        let call = self.port.value_proposition(id);
        self.plan.around("catalogue.value_proposition", call).await
    }

    async fn value_propositions(
        &self,
        client_id: &ClientId,
    ) -> Result<Option<Vec<ValueProposition>>> {
        let call = self.port.value_propositions(client_id);
        self.plan.around("catalogue.value_propositions", call).await
    }

    async fn set_value_proposition_active(
        &self,
        client_id: &ClientId,
        id: &ValuePropositionId,
        is_active: bool,
        now: Timestamp,
    ) -> Result<Option<ValueProposition>> {
        let port = &self.port;
        let call = port.set_value_proposition_active(client_id, id, is_active, now);
        let plan = &self.plan;
        plan.around("catalogue.set_value_proposition_active", call)
            .await
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>> {
        self.plan.around("catalogue.job", self.port.job(id)).await
    }

    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        let call = self.port.jobs(filter, paging);
        self.plan.around("catalogue.jobs", call).await
    }

    async fn put_template(&self, template: &Template, lease: &Lease) -> Result<PutTemplate> {
        let call = self.port.put_template(template, lease);
        self.plan.around("catalogue.put_template", call).await
    }

    async fn template(&self, id: &TemplateId) -> Result<Option<Template>> {
        let call = self.port.template(id);
        self.plan.around("catalogue.template", call).await
    }

    async fn templates_of(&self, job_id: &JobId) -> Result<Vec<Template>> {
        let call = self.port.templates_of(job_id);
        self.plan.around("catalogue.templates_of", call).await
    }

    async fn templates(&self, filter: &TemplateFilter, paging: Paging) -> Result<Page<Template>> {
        let call = self.port.templates(filter, paging);
        self.plan.around("catalogue.templates", call).await
    }
}
