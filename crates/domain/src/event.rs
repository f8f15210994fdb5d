//! What can happen to a job, one value per event of the contract's table (§2).
//!
//! An event has no position in a log yet: it gets one when it is appended.

use crate::ValuePropositionId;
use crate::{ClientId, EventId, JobId, Schedule, TemplateId, Timestamp};

/// One thing that happened to one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The job that it belongs to.
    pub job_id: JobId,
    /// The job's client; external publishers may leave it out.
    pub client_id: Option<ClientId>,
    /// When it happened, by its publisher's clock.
    pub timestamp: Timestamp,
    /// The attempt that it belongs to, 1-based; none for events outside an attempt (queued, cancel
    /// requested) and for external events.
    pub attempt: Option<u32>,
    /// The template that its attempt makes next, by its place in the plan from 1: after the attempt ended in
    /// silence, this says what was being made.
    pub making: Option<u32>,
    /// Makes its append idempotent.
    pub event_id: EventId,
    /// Whether it was derived from Triton's answer rather than published.
    pub derived: bool,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// `job:queued`
    Queued {
        /// When it was accepted.
        queued_at: Timestamp,
        /// The value proposition that its templates will be generated from.
        value_proposition_id: Option<ValuePropositionId>,
        /// When it may run, and how urgently.
        schedule: Schedule,
    },
    /// `job:started`, once per job.
    Started {
        /// When the first attempt began.
        started_at: Timestamp,
    },
    /// `job:progress`
    Progress {
        /// Share of the templates that are done, 0–100.
        progress: u8,
        /// Templates done.
        completed_templates: u32,
        /// Templates planned.
        total_templates: u32,
        /// A message for people.
        message: Option<String>,
    },
    /// `job:template_completed`
    TemplateCompleted {
        /// The stored template.
        template_id: TemplateId,
        /// Its place in the plan, 1-based.
        template_index: u32,
        /// Templates planned.
        total_templates: u32,
        /// The template's name.
        name: String,
        /// As on the wire; external publishers may use other categories.
        category: String,
        /// As on the wire.
        target_audience: String,
    },
    /// `job:template_failed`
    TemplateFailed {
        /// Its place in the plan, 1-based.
        template_index: u32,
        /// Templates planned.
        total_templates: u32,
        /// Why, in words.
        error_message: String,
    },
    /// `job:retrying`: the event's own `attempt` has ended and the job waits for another.
    Retrying {
        /// How many attempts a job gets.
        max_attempts: u32,
        /// When the next attempt may begin.
        retry_at: Timestamp,
        /// Why the attempt ended.
        reason: RetryReason,
        /// Details, in words.
        error_message: Option<String>,
    },
    /// `job:cancel_requested`
    CancelRequested {
        /// Why, in words.
        reason: Option<String>,
    },
    /// `job:completed`
    Completed {
        /// The templates that were made.
        template_ids: Vec<TemplateId>,
        /// Their number; external publishers may send it without the list.
        template_count: u64,
        /// Time from the first start to the end; derived from the job's state when absent.
        generation_duration_ms: Option<u64>,
        /// When it ended; the event's timestamp when absent on the wire.
        completed_at: Timestamp,
        /// The places of the templates that could not be made; if empty, those that failed before.
        failed_templates: Vec<u32>,
        /// Why they are missing, in words.
        error_message: Option<String>,
    },
    /// `job:failed`
    Failed {
        /// Why, in words.
        error_message: String,
        /// Time from the first start to the end; derived from the job's state when absent.
        generation_duration_ms: Option<u64>,
        /// When it ended.
        completed_at: Timestamp,
    },
    /// `job:cancelled`
    Cancelled {
        /// The templates made before that.
        template_ids: Vec<TemplateId>,
        /// When it ended.
        completed_at: Timestamp,
    },
    /// Any other `event_type`: passed on to watchers, never changes a job's state.
    Other {
        /// The `event_type` as received.
        event_type: String,
    },
}

/// Why an attempt ended without ending its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// The attempt failed.
    Error,
    /// Its worker stopped responding and the lease expired.
    LeaseExpired,
    /// Its worker was shut down; this attempt does not count.
    Shutdown,
}

impl RetryReason {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::LeaseExpired => "lease_expired",
            Self::Shutdown => "shutdown",
        }
    }
}

impl EventKind {
    /// The `event_type` on the wire.
    pub fn event_type(&self) -> &str {
        match self {
            Self::Queued { .. } => "job:queued",
            Self::Started { .. } => "job:started",
            Self::Progress { .. } => "job:progress",
            Self::TemplateCompleted { .. } => "job:template_completed",
            Self::TemplateFailed { .. } => "job:template_failed",
            Self::Retrying { .. } => "job:retrying",
            Self::CancelRequested { .. } => "job:cancel_requested",
            Self::Completed { .. } => "job:completed",
            Self::Failed { .. } => "job:failed",
            Self::Cancelled { .. } => "job:cancelled",
            Self::Other { event_type } => event_type,
        }
    }

    /// Whether a job ends with it.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Completed { .. } | Self::Failed { .. } | Self::Cancelled { .. }
        )
    }

    /// Whether its job's status depends on it. Such an event is never dropped in favour of one that isn't vital.
    pub fn is_vital(&self) -> bool {
        match self {
            Self::Queued { .. }
            | Self::Started { .. }
            | Self::Retrying { .. }
            | Self::CancelRequested { .. }
            | Self::Completed { .. }
            | Self::Failed { .. }
            | Self::Cancelled { .. } => true,
            Self::Progress { .. }
            | Self::TemplateCompleted { .. }
            | Self::TemplateFailed { .. }
            | Self::Other { .. } => false,
        }
    }

    /// Whether a later event of the same type supersedes it for a watcher that lags.
    pub fn is_superseded_by_later(&self) -> bool {
        matches!(self, Self::Progress { .. })
    }
}
