//! The rules of a job, independent of any technology: ids, events, the state machine, templates, clients
//! and callers.
//!
//! Never in here: IO, async, a clock, serde. Time and randomness are passed in as arguments, so that every
//! rule can be tested with a plain function call.

mod attempts;
mod caller;
mod client;
mod event;
mod id;
mod job;
mod limits;
mod reopen;
mod schedule;
mod secret;
mod template;
mod time;

pub use attempts::{Attempts, MAX_PLACES};
pub use caller::{
    Caller, Clients, Grant, Identity, MAX_CLIENTS_PER_CALLER, Opens, Scope, Scopes, StreamDigest,
    TooManyClients,
};
pub use client::{Client, InvalidText, ValueProposition};
pub use event::{Event, EventKind, RetryReason};
pub use id::{
    ClientId, EPOCH_BYTES, Epoch, EventId, InvalidId, JobId, LeaseToken, Position, TemplateId,
    ValuePropositionId,
};
pub use job::{Applied, Illegal, Job, JobStatus, MAX_TEMPLATE_IDS, Record as JobRecord};
pub use limits::{EventCap, MAX_TEXT_CHARS, clip};
pub use reopen::{MAX_EPOCHS, Origin};
pub use schedule::{InvalidPriority, Priority, Schedule};
pub use secret::{InvalidSecret, LogSecret, SECRET_BYTES};
pub use template::{
    Audience, BrokenRule, COLUMNS, Category, ChartType, Config, ConfigValue, DESCRIPTION_CHARS,
    DataRequirements, DataType, Filter, Group, InvalidTemplate, KEY_FEATURES, Layout, Metadata,
    Metric, Operator, PLAN, PlanItem, QueryType, Rule, TITLE_CHARS, Template, TemplateDraft,
    TimeRange, TimeRangeKind, VisualStyle, WIDGETS, Widget, WidgetPosition, WidgetRules,
    WidgetType, WrittenDraft,
};
pub use time::Timestamp;
