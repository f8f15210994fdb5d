//! A template as a generator makes it: it may be invalid until it has passed `check`.
//!
//! Values that may be any JSON (`data`, `meta_data`, a filter's value) are kept as text.

use std::ops::Deref;
use std::sync::Arc;

use super::config::Config;
use super::metadata::Metadata;
use super::names::{
    Audience, Category, ChartType, DataType, Layout, Operator, QueryType, TimeRangeKind,
};
use super::widget_type::WidgetType;

/// A generator's result: a template before it has an id.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateDraft {
    /// 5–100 characters.
    pub name: String,
    /// 20–500 characters.
    pub description: String,
    /// Its category: the argument that it makes.
    pub category: Category,
    /// Its audience.
    pub target_audience: Audience,
    /// 3–5, none empty.
    pub key_features: Vec<String>,
    /// 6–12, without overlaps.
    pub widgets: Vec<Widget>,
    /// Colours, font and density.
    pub visual_style: VisualStyle,
    /// The generator's own notes; `reasoning` and `recommendedUseCase` are kept in here.
    pub meta_data: Metadata,
}

/// A draft whose JSON has been written: once, however often it is stored. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenDraft {
    draft: Arc<TemplateDraft>,
    fields: Arc<str>,
    notes: Metadata,
}

impl WrittenDraft {
    /// Joins a draft and what `wire` wrote of it.
    pub fn new(draft: TemplateDraft, fields: impl Into<Arc<str>>, notes: Metadata) -> Self {
        Self {
            draft: Arc::new(draft),
            fields: fields.into(),
            notes,
        }
    }

    /// Its fields from `name` to `visual_style` as a JSON object has them, without the braces.
    pub fn fields(&self) -> &str {
        &self.fields
    }

    /// Its `meta_data`.
    pub fn notes(&self) -> &Metadata {
        &self.notes
    }
}

impl Deref for WrittenDraft {
    type Target = TemplateDraft;

    fn deref(&self) -> &TemplateDraft {
        &self.draft
    }
}

/// One tile of a dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct Widget {
    /// Unique within its template.
    pub id: String,
    /// Its type; `type` on the wire.
    pub widget_type: WidgetType,
    /// 5–100 characters.
    pub title: String,
    /// An explanation for users.
    pub description: Option<String>,
    /// Its place on the grid.
    pub position: WidgetPosition,
    /// The question that it answers, not empty.
    pub analytics_question: String,
    /// What data it needs.
    pub data_requirements: DataRequirements,
    /// The basic chart that a frontend may fall back to; `chartType` on the wire.
    pub chart_type: Option<ChartType>,
    /// Presentation; the widget's type determines the required keys.
    pub config: Config,
    /// Sample data, or `{}`.
    pub data: Metadata,
}

/// A widget's place on the 12-column grid, 1-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WidgetPosition {
    /// First row, from 1.
    pub row: u32,
    /// First column, 1–12.
    pub col: u32,
    /// Rows taken, at least 1.
    pub row_span: u32,
    /// Columns taken, 1–12; `col + col_span` is at most 13.
    pub col_span: u32,
}

/// What data a widget needs, and how it is queried.
#[derive(Debug, Clone, PartialEq)]
pub struct DataRequirements {
    /// The kind of query.
    pub query_type: QueryType,
    /// The metrics shown, at least one.
    pub metrics: Vec<Metric>,
    /// What it is broken down by.
    pub dimensions: Vec<String>,
    /// Which rows are included.
    pub filters: Vec<Filter>,
    /// The time range covered.
    pub time_range: Option<TimeRange>,
    /// Fields that the contract doesn't name, unchanged.
    pub more: Metadata,
}

/// One metric that a widget shows. It has a `metric_ref`, an `expression`, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Its name, not empty.
    pub name: String,
    /// The name of a metric defined in the analytics system.
    pub metric_ref: Option<String>,
    /// How it is computed.
    pub expression: Option<String>,
    /// What kind of number it is.
    pub data_type: DataType,
    /// Its display format: `0,0`, `$0.0a`, `0.0%`.
    pub format: String,
}

/// A condition that rows must meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The field that is compared, not empty.
    pub field: String,
    /// The comparison.
    pub operator: Operator,
    /// The value compared with: any JSON value, as text.
    pub value: Arc<str>,
}

/// The time range that a widget covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeRange {
    /// The kind of range.
    pub kind: TimeRangeKind,
    /// `last_12_months`, or dates: any JSON value, as text.
    pub value: Arc<str>,
}

/// Colours, font and density.
#[derive(Debug, Clone, PartialEq)]
pub struct VisualStyle {
    /// `#rrggbb`, like the others; has no default.
    pub primary_color: String,
    /// For less important elements.
    pub secondary_color: String,
    /// For emphasis; has no default.
    pub accent_color: String,
    /// The background.
    pub background_color: String,
    /// The colour of text.
    pub text_color: String,
    /// A CSS font family.
    pub font_family: String,
    /// Density.
    pub layout: Layout,
}

impl VisualStyle {
    /// The secondary colour if a style names none.
    pub const SECONDARY_COLOR: &str = "#64748b";
    /// The background if a style names none.
    pub const BACKGROUND_COLOR: &str = "#ffffff";
    /// The text colour if a style names none.
    pub const TEXT_COLOR: &str = "#1e293b";
    /// The font family if a style names none.
    pub const FONT_FAMILY: &str = "Inter, system-ui, sans-serif";
}
