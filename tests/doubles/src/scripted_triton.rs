//! A job service that answers what a test told it to, for the unit tests of services.
//!
//! Never in here: the rules of the real one. It runs no jobs; its answers change when the test says so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use conch_domain::{ClientId, Epoch, Job, JobId, TemplateId};
use conch_ports::{
    Cancelled, ClientFilter, Document, Error, ErrorKind, JobFilter, NewJob, Page, Paging,
    Requested, Result, TemplateFilter, TritonGateway,
};
use conch_wire::document;
use tokio::sync::watch;
use uuid::Uuid;

/// How it takes calls.
#[derive(Debug, Clone, Copy)]
enum Mood {
    Answers,
    Fails(ErrorKind),
    FailsAt(&'static str, ErrorKind),
    Hangs,
    HangsAt(&'static str),
}

/// A scripted [`TritonGateway`]; clones share the script.
#[derive(Debug, Clone)]
pub struct ScriptedTriton {
    script: Arc<Mutex<Script>>,
    mood: Arc<watch::Sender<Mood>>,
}

#[derive(Debug, Default)]
struct Script {
    jobs: Vec<Job>,
    clients: Vec<(ClientId, Document)>,
    value_propositions: HashMap<ClientId, Vec<Document>>,
    templates: Vec<(TemplateId, Document)>,
    submitted: Vec<NewJob>,
    next_submission: Option<Requested>,
    calls: HashMap<&'static str, u64>,
}

impl Default for ScriptedTriton {
    fn default() -> Self {
        Self {
            script: Arc::default(),
            mood: Arc::new(watch::Sender::new(Mood::Answers)),
        }
    }
}

impl ScriptedTriton {
    /// One that knows nothing and answers at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a job known, or changes what is known of it.
    pub fn set_job(&self, job: Job) {
        let mut script = self.lock();
        script.jobs.retain(|known| known.id != job.id);
        script.jobs.push(job);
    }

    /// Forgets a job.
    pub fn forget_job(&self, id: &JobId) {
        self.lock().jobs.retain(|known| known.id != *id);
    }

    /// Makes a client known, or changes its document.
    pub fn set_client(&self, id: ClientId, document: Document) {
        let mut script = self.lock();
        script.clients.retain(|(known, _)| *known != id);
        script.clients.push((id, document));
    }

    /// Makes a template known, or changes its document.
    pub fn set_template(&self, id: TemplateId, document: Document) {
        let mut script = self.lock();
        script.templates.retain(|(known, _)| *known != id);
        script.templates.push((id, document));
    }

    /// What the next submission answers; else a known client's is accepted as a fresh job.
    pub fn answer_next_submission(&self, answer: Requested) {
        self.lock().next_submission = Some(answer);
    }

    /// Every submission so far, refused ones included.
    pub fn submitted(&self) -> Vec<NewJob> {
        self.lock().submitted.clone()
    }

    /// Fails every call, those that hang included, until [`ScriptedTriton::heal`].
    pub fn fail(&self, kind: ErrorKind) {
        self.mood.send_replace(Mood::Fails(kind));
    }

    /// Fails every call of one operation (`triton_gateway.job`) until [`ScriptedTriton::heal`].
    pub fn fail_at(&self, operation: &'static str, kind: ErrorKind) {
        self.mood.send_replace(Mood::FailsAt(operation, kind));
    }

    /// Lets every call wait until [`ScriptedTriton::heal`] or [`ScriptedTriton::fail`].
    pub fn hang(&self) {
        self.mood.send_replace(Mood::Hangs);
    }

    /// Lets every call of one operation (`triton_gateway.job`) wait until [`ScriptedTriton::heal`] or
    /// [`ScriptedTriton::fail`].
    pub fn hang_at(&self, operation: &'static str) {
        self.mood.send_replace(Mood::HangsAt(operation));
    }

    /// Answers again, also the calls that wait.
    pub fn heal(&self) {
        self.mood.send_replace(Mood::Answers);
    }

    /// How often a method of the port was called, by its name (`job`, `submit` …), failures included.
    pub fn calls(&self, method: &str) -> u64 {
        let operation = format!("triton_gateway.{method}");
        self.lock().calls.get(&*operation).copied().unwrap_or(0)
    }

    /// Calls of all methods together.
    pub fn total_calls(&self) -> u64 {
        self.lock().calls.values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the call, waits or fails as told, and gives the script. Cancel-safe: a call that is
    /// dropped while it waits was counted, no more.
    async fn called(&self, operation: &'static str) -> Result<MutexGuard<'_, Script>> {
        *self.lock().calls.entry(operation).or_default() += 1;
        let mut mood = self.mood.subscribe();
        let hangs = |mood: &Mood| match mood {
            Mood::Hangs => true,
            Mood::HangsAt(at) => *at == operation,
            Mood::Answers | Mood::Fails(_) | Mood::FailsAt(..) => false,
        };
        let settled = mood.wait_for(|mood| !hangs(mood)).await;
        let settled = *settled.expect("the sender lives as long as self");
        let failure = match settled {
            Mood::Fails(kind) => Some(kind),
            Mood::FailsAt(at, kind) => (at == operation).then_some(kind),
            Mood::Answers | Mood::Hangs | Mood::HangsAt(_) => None,
        };
        let message = "the scripted job service was told to fail";
        failure.map_or_else(
            || Ok(self.lock()),
            |kind| Err(Error::new(kind, operation, message)),
        )
    }
}

fn find<K: PartialEq>(documents: &[(K, Document)], id: &K) -> Option<Document> {
    let found = documents.iter().find(|(known, _)| known == id);
    found.map(|(_, document)| document.clone())
}

/// The page, newest first.
fn page<T>(items: impl DoubleEndedIterator<Item = T>, paging: Paging) -> Page<T> {
    let all: Vec<T> = items.rev().collect();
    Page {
        total: all.len() as u64,
        items: all
            .into_iter()
            .skip(usize::try_from(paging.offset()).unwrap_or(usize::MAX))
            .take(paging.page_size as usize)
            .collect(),
    }
}

#[async_trait]
impl TritonGateway for ScriptedTriton {
    async fn health(&self) -> Result<()> {
        self.called("triton_gateway.health").await.map(drop)
    }

    /// Answers the body; it isn't made known, for it has no id.
    async fn create_client(&self, body: Document) -> Result<Document> {
        self.called("triton_gateway.create_client")
            .await
            .map(|_| body)
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Document>> {
        Ok(find(
            &self.called("triton_gateway.client").await?.clients,
            id,
        ))
    }

    /// All of them: documents aren't looked into, so the filter does nothing.
    async fn clients(&self, _: &ClientFilter, paging: Paging) -> Result<Page<Document>> {
        let script = self.called("triton_gateway.clients").await?;
        Ok(page(script.clients.iter().map(|(_, d)| d.clone()), paging))
    }

    async fn create_value_proposition(
        &self,
        client_id: &ClientId,
        body: Document,
    ) -> Result<Option<Document>> {
        let mut script = self
            .called("triton_gateway.create_value_proposition")
            .await?;
        if find(&script.clients, client_id).is_none() {
            return Ok(None);
        }
        let held = script
            .value_propositions
            .entry(client_id.clone())
            .or_default();
        held.push(body.clone());
        Ok(Some(body))
    }

    async fn value_propositions(&self, client_id: &ClientId) -> Result<Option<Vec<Document>>> {
        let script = self.called("triton_gateway.value_propositions").await?;
        Ok(find(&script.clients, client_id).map(|_| {
            let held = script.value_propositions.get(client_id);
            held.cloned().unwrap_or_default()
        }))
    }

    async fn submit(&self, job: NewJob) -> Result<Requested> {
        let mut script = self.called("triton_gateway.submit").await?;
        let client_id = job.client_id.clone();
        script.submitted.push(job);
        if let Some(answer) = script.next_submission.take() {
            return Ok(answer);
        }
        if find(&script.clients, &client_id).is_none() {
            return Ok(Requested::NotFound(format!("no client {client_id}")));
        }
        let id = JobId::from_uuid(Uuid::now_v7());
        let job = Job::initial(id, Epoch::from_random([0; 4]), false);
        script.jobs.push(job.clone());
        Ok(Requested::Accepted(Box::new(job)))
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>> {
        let script = self.called("triton_gateway.job").await?;
        Ok(script.jobs.iter().find(|job| job.id == *id).cloned())
    }

    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        let script = self.called("triton_gateway.jobs").await?;
        let meets = |job: &&Job| {
            filter
                .client_id
                .as_ref()
                .is_none_or(|id| job.client_id.as_ref() == Some(id))
                && filter.status.is_none_or(|status| job.status == status)
                && filter
                    .updated_since
                    .is_none_or(|since| job.updated_at >= Some(since))
        };
        Ok(page(script.jobs.iter().filter(meets).cloned(), paging))
    }

    /// Answers by the job's state and leaves it: only the test ends jobs.
    async fn cancel(&self, id: &JobId) -> Result<Cancelled> {
        let script = self.called("triton_gateway.cancel").await?;
        let job = script.jobs.iter().find(|job| job.id == *id);
        Ok(match job {
            None => Cancelled::NotFound,
            Some(job) if job.status.is_terminal() => Cancelled::AlreadyEnded,
            Some(_) => Cancelled::Requested,
        })
    }

    async fn template(&self, id: &TemplateId) -> Result<Option<Document>> {
        Ok(find(
            &self.called("triton_gateway.template").await?.templates,
            id,
        ))
    }

    /// Of the filter only the client counts: documents are looked into no further.
    async fn templates(&self, filter: &TemplateFilter, paging: Paging) -> Result<Page<Document>> {
        let script = self.called("triton_gateway.templates").await?;
        let meets = |document: &&Document| {
            let client = &filter.client_id;
            client.is_none() || document::look(document.as_json()).client_id == *client
        };
        let documents = script.templates.iter().map(|(_, document)| document);
        Ok(page(documents.filter(meets).cloned(), paging))
    }
}
