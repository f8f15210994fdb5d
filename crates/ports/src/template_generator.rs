//! Whatever composes a template from what a client says of itself.

use async_trait::async_trait;
use conch_domain::{Client, JobId, PlanItem, ValueProposition, WrittenDraft};

use crate::Result;

/// What one template is made from.
#[derive(Debug, Clone)]
pub struct Brief {
    /// The job, for logs.
    pub job_id: JobId,
    /// Whom it is for.
    pub client: Client,
    /// What it argues from.
    pub value_proposition: ValueProposition,
    /// Which template of the plan.
    pub item: PlanItem,
    /// Its place in the plan, 1-based.
    pub index: u32,
    /// Templates in the plan.
    pub total: u32,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Which try at this template within the attempt, from 1.
    pub try_number: u32,
    /// What was wrong with the last answer to this brief, for the generator to do better: none on the
    /// first try.
    pub last_failure: Option<String>,
    /// The names of this job's templates that have been made so far, in the order of the plan.
    pub names: Vec<String>,
}

/// Composes templates.
///
/// # Laws
/// - **drafts_are_valid**: a draft that is returned MUST pass `TemplateDraft::check` and be of the
///   brief's category and audience.
/// - **dropping_stops**: dropping the future MUST stop the work, and leave no process and no task.
/// - **ends_by_itself**: the future MUST end within a bound that the adapter's settings name.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait TemplateGenerator: Send + Sync {
    /// Composes one template. Cancel-safe: dropping it stops the work.
    ///
    /// # Errors
    /// When this template can't be made now; `is_retryable` says whether another try may help.
    /// The message is told to the job's watchers: the kind of failure in plain words, nothing
    /// that the generator said, no path and no address. What only an operator may know is its source.
    async fn generate(&self, brief: &Brief) -> Result<WrittenDraft>;
}
