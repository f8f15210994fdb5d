//! Triton as an edge sees it: a request on its way to a worker's program, which answers from its own
//! services and may die over it; and the foreign programs' own records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conch_domain::{ClientId, Job, JobId, TemplateId};
use conch_ports::{
    Cancelled, Catalogue, ClientFilter, Document, Error, ErrorKind, JobFilter, NewJob, Page,
    Paging, Requested, Result, TemplateFilter, TritonGateway,
};
use conch_services::triton::cancel::Cancel;
use conch_services::triton::submit::Submit;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::board::{Board, Effect, Later, Peer};
use crate::history::History;
use crate::process::Process;

/// A request to Triton takes no longer.
const LIMIT: Duration = Duration::from_secs(4);

/// What a worker's program serves.
pub(crate) struct Service {
    pub(crate) submit: Submit,
    pub(crate) cancel: Cancel,
    pub(crate) catalogue: Arc<dyn Catalogue>,
    /// Requests that it is at; they die with it.
    pub(crate) underway: Mutex<JoinSet<()>>,
}

/// What foreign job services know of their jobs.
#[derive(Default)]
pub(crate) struct ForeignRecords(Mutex<BTreeMap<JobId, Job>>);

impl ForeignRecords {
    pub(crate) fn set(&self, job: Job) {
        self.0.lock().insert(job.id.clone(), job);
    }

    fn get(&self, id: &JobId) -> Option<Job> {
        self.0.lock().get(id).cloned()
    }
}

/// Where the services are found that are up.
pub(crate) type Services = Arc<Mutex<BTreeMap<usize, Arc<Service>>>>;

pub(crate) struct Gateway {
    pub(crate) process: Arc<Process>,
    pub(crate) board: Arc<Board>,
    pub(crate) services: Services,
    pub(crate) foreign: Arc<ForeignRecords>,
    pub(crate) history: Arc<History>,
}

impl Gateway {
    async fn ask<T, F>(
        &self,
        operation: &'static str,
        about: String,
        serve: impl FnOnce(Arc<Service>) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let services = Arc::clone(&self.services);
        let effect = Effect::Later(Box::new(move |later: Later<T>| {
            // The first that is up: several addresses are tried in turn.
            let service = services.lock().values().next().cloned();
            // None: the answer is dropped, as a connection that nobody takes.
            if let Some(service) = service {
                let mut underway = service.underway.lock();
                while underway.try_join_next().is_some() {}
                let serving = serve(Arc::clone(&service));
                underway.spawn(async move { later.answer(serving.await) });
            }
        }));
        let call = self
            .board
            .call(&self.process, Peer::Triton, operation, about, effect);
        match tokio::time::timeout(LIMIT, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                operation,
                "Triton took too long",
            )),
        }
    }
}

/// As a job comes over the wire: without its place in a log.
fn told(job: &Job) -> Result<Job> {
    conch_wire::job::decode(&conch_wire::job::encode(job), &job.id).map_err(|invalid| {
        let message = format!("what Triton says of a job doesn't read back: {invalid}");
        Error::new(ErrorKind::BadResponse, "triton_gateway.job", message)
    })
}

fn not_here<T>(operation: &'static str) -> Result<T> {
    Err(Error::new(
        ErrorKind::Internal,
        operation,
        "nobody asks for this in a simulation",
    ))
}

#[async_trait]
impl TritonGateway for Gateway {
    async fn health(&self) -> Result<()> {
        self.ask("triton_gateway.health", String::new(), |_| async { Ok(()) })
            .await
    }

    async fn create_client(&self, _: Document) -> Result<Document> {
        not_here("triton_gateway.create_client")
    }

    async fn client(&self, _: &ClientId) -> Result<Option<Document>> {
        not_here("triton_gateway.client")
    }

    async fn clients(&self, _: &ClientFilter, _: Paging) -> Result<Page<Document>> {
        not_here("triton_gateway.clients")
    }

    async fn create_value_proposition(
        &self,
        _: &ClientId,
        _: Document,
    ) -> Result<Option<Document>> {
        not_here("triton_gateway.create_value_proposition")
    }

    async fn value_propositions(&self, _: &ClientId) -> Result<Option<Vec<Document>>> {
        not_here("triton_gateway.value_propositions")
    }

    async fn submit(&self, job: NewJob) -> Result<Requested> {
        let about = job.idempotency_key.clone().unwrap_or_default();
        self.ask("triton_gateway.submit", about, |service| async move {
            let requested = service.submit.submit(job, "somebody").await?;
            Ok(match requested {
                Requested::Accepted(job) => Requested::Accepted(Box::new(told(&job)?)),
                Requested::Repeated(job) => Requested::Repeated(Box::new(told(&job)?)),
                other => other,
            })
        })
        .await
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>> {
        let (about, known, id) = (self.history.job(id), self.foreign.get(id), id.clone());
        self.ask("triton_gateway.job", about, move |service| async move {
            if let Some(job) = known {
                return told(&job).map(Some);
            }
            service
                .catalogue
                .job(&id)
                .await?
                .map(|job| told(&job))
                .transpose()
        })
        .await
    }

    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        let filter = filter.clone();
        self.ask(
            "triton_gateway.jobs",
            String::new(),
            move |service| async move {
                let page = service.catalogue.jobs(&filter, paging).await?;
                Ok(Page {
                    total: page.total,
                    items: page.items.iter().map(told).collect::<Result<_>>()?,
                })
            },
        )
        .await
    }

    async fn cancel(&self, id: &JobId) -> Result<Cancelled> {
        let (about, id) = (self.history.job(id), id.clone());
        self.ask("triton_gateway.cancel", about, move |service| async move {
            service.cancel.cancel(&id, None).await
        })
        .await
    }

    async fn template(&self, _: &TemplateId) -> Result<Option<Document>> {
        not_here("triton_gateway.template")
    }

    async fn templates(&self, _: &TemplateFilter, _: Paging) -> Result<Page<Document>> {
        not_here("triton_gateway.templates")
    }
}
