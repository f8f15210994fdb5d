//! The job service as the edge sees it. Ours or the existing Python one may stand behind it.

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{ClientId, Job, JobId, Schedule, TemplateId, ValuePropositionId};

use crate::{ClientFilter, JobFilter, Page, Paging, Result, TemplateFilter};

/// The text of one JSON object, passed on with whatever fields the job service gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document(Bytes);

impl Document {
    /// Wraps the text of a JSON object; the caller has checked that it is one.
    pub fn from_json(text: impl Into<Bytes>) -> Self {
        Self(text.into())
    }

    /// The JSON text.
    pub fn as_json(&self) -> &Bytes {
        &self.0
    }
}

/// A submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Whose.
    pub client_id: ClientId,
    /// From which value proposition; none: the latest active one.
    pub value_proposition_id: Option<ValuePropositionId>,
    /// When it may run, and how urgently.
    pub schedule: Schedule,
    /// The caller's idempotency key, passed on as it came.
    pub idempotency_key: Option<String>,
}

/// What became of a [`NewJob`].
#[derive(Debug, Clone, PartialEq)]
pub enum Requested {
    /// The job.
    Accepted(Box<Job>),
    /// The job that was accepted before under this idempotency key, for the same submission.
    Repeated(Box<Job>),
    /// No such client, no such value proposition, or the client has no active one; in words.
    NotFound(String),
    /// The idempotency key came before with something else.
    KeyReused,
    /// A field asks for what can't be had: nothing was submitted.
    Invalid {
        /// The field's path.
        path: String,
        /// What is wrong with it, in words.
        detail: String,
    },
}

/// What became of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It was taken.
    Requested,
    /// The job had ended.
    AlreadyEnded,
    /// No such job.
    NotFound,
}

/// The job service.
///
/// # Laws
/// - **reads_are_retried**: reads MUST be tried a few times with jittered backoff within their time;
///   a write MUST be sent at most once.
/// - **ends_in_time**: every call MUST end within the adapter's time limit.
/// - **fails_fast_when_down**: after repeated failures calls MUST fail at once for a while, and then
///   be let through one by one.
/// - **nothing_is_ignored**: a submission whose schedule the job service would ignore MUST be refused as
///   `Invalid`, and not submitted.
/// - **speaks_both_dialects**: bare arrays and pages, `id` with and without `job_id`, naive times and
///   a refused late cancel MUST all be understood.
/// - **garbage_is_bad_response**: an answer that is not what was asked for (not JSON, cut off,
///   another job's, completed without templates, a redirect) MUST be `BadResponse`.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait TritonGateway: Send + Sync {
    /// Whether the job service answers now.
    ///
    /// # Errors
    /// As for every method here: `Unavailable`, `Timeout` or `BadResponse`, each saying which address.
    async fn health(&self) -> Result<()>;

    /// Creates a client from a checked request body.
    async fn create_client(&self, body: Document) -> Result<Document>;
    /// The client.
    async fn client(&self, id: &ClientId) -> Result<Option<Document>>;
    /// Clients.
    async fn clients(&self, filter: &ClientFilter, paging: Paging) -> Result<Page<Document>>;
    /// Creates a value proposition from a checked request body; none when there is no such client.
    async fn create_value_proposition(
        &self,
        client_id: &ClientId,
        body: Document,
    ) -> Result<Option<Document>>;
    /// All of a client; none when there is no such client.
    async fn value_propositions(&self, client_id: &ClientId) -> Result<Option<Vec<Document>>>;

    /// Submits a job. Never retried.
    async fn submit(&self, job: NewJob) -> Result<Requested>;
    /// The job as the service knows it, its template ids included when it has ended. Its `position`
    /// says nothing: the service knows no log.
    async fn job(&self, id: &JobId) -> Result<Option<Job>>;
    /// Jobs.
    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>>;
    /// Asks for a job's end. Never retried.
    async fn cancel(&self, id: &JobId) -> Result<Cancelled>;

    /// The template.
    async fn template(&self, id: &TemplateId) -> Result<Option<Document>>;
    /// Templates.
    async fn templates(&self, filter: &TemplateFilter, paging: Paging) -> Result<Page<Document>>;
}
