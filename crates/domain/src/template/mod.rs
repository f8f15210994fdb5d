//! Dashboard templates: what a job makes, the plan it follows, and the rules that a template must meet
//! (contract §5).
//!
//! A generator makes a [`TemplateDraft`], and `check` validates it. A [`Template`] is stored and served:
//! its JSON object is written once and never changes afterwards.

mod check;
mod config;
mod draft;
mod metadata;
mod names;
mod plan;
mod widget_type;

pub use check::{
    BrokenRule, COLUMNS, DESCRIPTION_CHARS, InvalidTemplate, KEY_FEATURES, TITLE_CHARS, WIDGETS,
};
pub use config::{Config, ConfigValue, Rule};
pub use draft::{
    DataRequirements, Filter, Metric, TemplateDraft, TimeRange, VisualStyle, Widget,
    WidgetPosition, WrittenDraft,
};
pub use metadata::Metadata;
pub use names::{
    Audience, Category, ChartType, DataType, Layout, Operator, QueryType, TimeRangeKind,
};
pub use plan::{PLAN, PlanItem};
pub use widget_type::{Group, WidgetRules, WidgetType};

use crate::{ClientId, JobId, TemplateId, Timestamp};

/// A finished template: its JSON object as clients see it, and the fields that lists filter by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// The job that made it.
    pub job_id: JobId,
    /// The client that it was made for.
    pub client_id: ClientId,
    /// Its place in the job's plan, 1-based: a job has at most one template per place.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its category.
    pub category: Category,
    /// Its audience.
    pub target_audience: Audience,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The whole JSON object. `wire` writes it once; templates of earlier versions are served with theirs,
    /// whatever rules applied then.
    pub object: Metadata,
}
