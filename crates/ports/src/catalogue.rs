//! The records that outlive the moment: clients, value propositions, jobs, templates.

use async_trait::async_trait;
use conch_domain::{
    Audience, Category, Client, ClientId, Job, JobId, JobStatus, Template, TemplateId, Timestamp,
    ValueProposition, ValuePropositionId,
};

use crate::{Lease, Result};

/// Which page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paging {
    /// From 1.
    pub page: u32,
    /// 1–100.
    pub page_size: u32,
}

impl Paging {
    /// How many records come before the page.
    pub fn offset(self) -> u64 {
        u64::from(self.page.saturating_sub(1)) * u64::from(self.page_size)
    }
}

/// One page of a list, newest record first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// Records that match, on all pages.
    pub total: u64,
    /// Those of the page.
    pub items: Vec<T>,
}

/// Which clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// Only of this industry, compared as it was written.
    pub industry: Option<String>,
}

/// Which jobs; what is absent doesn't matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only of this client.
    pub client_id: Option<ClientId>,
    /// Only in this state.
    pub status: Option<JobStatus>,
    /// Only those with an event at or after this moment, of the [`JobFilter::NEWEST_CHANGES`] jobs
    /// that changed last, of whichever client and in whichever state: who asks for a moment longer
    /// ago learns of the newest changes alone. The list's order is that of any other.
    pub updated_since: Option<Timestamp>,
}

impl JobFilter {
    /// Jobs that a list by `updated_since` looks at, the one that changed last first.
    pub const NEWEST_CHANGES: usize = 2000;
}

/// Which templates; what is absent doesn't matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateFilter {
    /// Only of this client.
    pub client_id: Option<ClientId>,
    /// Only of this job.
    pub job_id: Option<JobId>,
    /// Only of this category.
    pub category: Option<Category>,
    /// Only for this audience.
    pub target_audience: Option<Audience>,
}

/// What became of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum PutTemplate {
    /// It is kept.
    Stored,
    /// Its place in the plan was taken by this one, which stays.
    Taken(Box<Template>),
    /// The lease is lost: nothing changed.
    Fenced,
}

/// Records of clients, value propositions, jobs and templates.
///
/// # Laws
/// - **reads_what_was_written**: a record MUST be found by its id as soon as the call that wrote it
///   has returned, equal in every field.
/// - **pages_are_newest_first**: a list MUST be ordered by creation, newest first, ties by id, and its
///   pages MUST neither repeat nor leave out a record that was there all the time. `total` counts all
///   that match. A page past the end is empty.
/// - **filters_intersect**: a record MUST be listed only if it meets every filter that is given.
/// - **value_propositions_need_their_client**: adding one to a client that isn't there MUST answer
///   false and store nothing.
/// - **quotas_refuse_before_anything_changes**: a client, or a value proposition of one client, more
///   than [`Quotas`](crate::Quotas) allow MUST be refused in the step that would write it and leave
///   nothing behind. What is there MUST stay changeable.
/// - **job_records_follow_the_log**: the record of an own job MUST be the fold of its log as soon as
///   its commit is answered, and outlive the log.
/// - **templates_are_fenced**: `put_template`, and an append of a commit that has templates, MUST check, in the
///   step that writes, that the lease is the job's and has not run out. A refused one MUST be in no answer.
/// - **one_template_per_place**: a place in a job's plan MUST hold at most one template; the first
///   one stays. The same one MAY come again.
#[async_trait]
pub trait Catalogue: Send + Sync {
    /// Stores a new client.
    ///
    /// # Errors
    /// As for every method here: when the store is out of reach or has no room, or a quota is used up.
    async fn create_client(&self, client: &Client) -> Result<()>;
    /// The client.
    async fn client(&self, id: &ClientId) -> Result<Option<Client>>;
    /// Clients.
    async fn clients(&self, filter: &ClientFilter, paging: Paging) -> Result<Page<Client>>;

    /// Stores a new value proposition; false when its client isn't there.
    async fn add_value_proposition(&self, value_proposition: &ValueProposition) -> Result<bool>;
    /// The value proposition.
    async fn value_proposition(&self, id: &ValuePropositionId) -> Result<Option<ValueProposition>>;
    /// All of a client, newest first; none when the client isn't there.
    async fn value_propositions(
        &self,
        client_id: &ClientId,
    ) -> Result<Option<Vec<ValueProposition>>>;
    /// Switches one on or off and answers it; none when the client has no such one.
    async fn set_value_proposition_active(
        &self,
        client_id: &ClientId,
        id: &ValuePropositionId,
        is_active: bool,
        now: Timestamp,
    ) -> Result<Option<ValueProposition>>;

    /// The record of an own job.
    async fn job(&self, id: &JobId) -> Result<Option<Job>>;
    /// Own jobs.
    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>>;

    /// Stores a template that an attempt made, if the attempt still holds its lease: one that its store has lost,
    /// or whose event can't be appended. All others come with the [`Commit`](crate::Commit) that names them.
    async fn put_template(&self, template: &Template, lease: &Lease) -> Result<PutTemplate>;
    /// The template.
    async fn template(&self, id: &TemplateId) -> Result<Option<Template>>;
    /// All templates of a job, in the order of its plan.
    async fn templates_of(&self, job_id: &JobId) -> Result<Vec<Template>>;
    /// Templates.
    async fn templates(&self, filter: &TemplateFilter, paging: Paging) -> Result<Page<Template>>;
}
