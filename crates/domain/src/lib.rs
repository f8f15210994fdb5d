//! What a job is, what can happen to it, and in which order: ids, events, the state machine,
//! templates and clients.
//!
//! Never in here: IO, async, a clock, serde. Time and randomness come in as arguments, so that
//! every rule can be checked by a plain function call.

mod client;
mod event;
mod id;
mod job;
mod template;
mod time;

pub use client::{Client, InvalidText, ValueProposition};
pub use event::{Event, EventKind, RetryReason};
pub use id::{
    ClientId, EPOCH_BYTES, Epoch, EventId, InvalidId, JobId, LeaseToken, Position, TemplateId,
    ValuePropositionId,
};
pub use job::{Applied, Illegal, Job, JobStatus, Record as JobRecord};
pub use job::{MAX_EVENTS_PER_JOB, MAX_TEMPLATE_IDS};
pub use template::{
    Audience, Category, InvalidTemplate, Layout, Metadata, PLAN, PlanItem, Template, TemplateDraft,
    VisualStyle, Widget, WidgetPosition,
};
pub use time::Timestamp;
