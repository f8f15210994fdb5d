//! A template as a generator makes it: free to be wrong until `check` says otherwise.
//!
//! Values that are JSON of any shape (`data`, `meta_data`, a filter's value) are kept as their text.

use std::sync::Arc;

use super::config::Config;
use super::metadata::Metadata;
use super::names::{
    Audience, Category, ChartType, DataType, Layout, Operator, QueryType, TimeRangeKind,
};
use super::widget_type::WidgetType;

/// What a generator makes: a template before it has an id.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateDraft {
    /// 5–100 characters.
    pub name: String,
    /// 20–500 characters.
    pub description: String,
    /// What it argues for.
    pub category: Category,
    /// Whom it is for.
    pub target_audience: Audience,
    /// 3–5, none empty.
    pub key_features: Vec<String>,
    /// 6–12, without overlaps.
    pub widgets: Vec<Widget>,
    /// Colours, type and density.
    pub visual_style: VisualStyle,
    /// The generator's own notes; `reasoning` and `recommendedUseCase` are kept in here.
    pub meta_data: Metadata,
}

/// One tile of a dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct Widget {
    /// Unique within its template.
    pub id: String,
    /// What it is; `type` on the wire.
    pub widget_type: WidgetType,
    /// 5–100 characters.
    pub title: String,
    /// For people.
    pub description: Option<String>,
    /// Where it stands.
    pub position: WidgetPosition,
    /// The question that it answers, not empty.
    pub analytics_question: String,
    /// What data it needs.
    pub data_requirements: DataRequirements,
    /// The basic chart that a frontend may fall back to; `chartType` on the wire.
    pub chart_type: Option<ChartType>,
    /// Presentation; its type says which keys it must have.
    pub config: Config,
    /// Sample data, or `{}`.
    pub data: Metadata,
}

/// Where a widget stands on the 12-column grid, 1-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WidgetPosition {
    /// First row, from 1.
    pub row: u32,
    /// First column, 1–12.
    pub col: u32,
    /// Rows taken, at least 1.
    pub row_span: u32,
    /// Columns taken, 1–12; `col + col_span` reaches 13 at most.
    pub col_span: u32,
}

/// What data a widget needs, and how it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct DataRequirements {
    /// How it is asked for.
    pub query_type: QueryType,
    /// What is shown, at least one.
    pub metrics: Vec<Metric>,
    /// What it is broken down by.
    pub dimensions: Vec<String>,
    /// Which rows count.
    pub filters: Vec<Filter>,
    /// Over which time.
    pub time_range: Option<TimeRange>,
    /// Fields that the contract doesn't name, as they came.
    pub more: Metadata,
}

/// One figure that a widget shows. It has a `metric_ref`, an `expression`, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Its name, not empty.
    pub name: String,
    /// The name of a metric that the analytics system knows.
    pub metric_ref: Option<String>,
    /// How it is computed.
    pub expression: Option<String>,
    /// What kind of number it is.
    pub data_type: DataType,
    /// How it is written: `0,0`, `$0.0a`, `0.0%`.
    pub format: String,
}

/// A condition on the rows that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The field that is compared, not empty.
    pub field: String,
    /// How.
    pub operator: Operator,
    /// With what: any JSON value, as its text.
    pub value: Arc<str>,
}

/// The time that a widget covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeRange {
    /// How it is given.
    pub kind: TimeRangeKind,
    /// `last_12_months`, or dates: any JSON value, as its text.
    pub value: Arc<str>,
}

/// Colours, type and density.
#[derive(Debug, Clone, PartialEq)]
pub struct VisualStyle {
    /// `#rrggbb`, as the others; has no default.
    pub primary_color: String,
    /// For what is less important.
    pub secondary_color: String,
    /// For what must be seen; has no default.
    pub accent_color: String,
    /// Behind everything.
    pub background_color: String,
    /// Of all text.
    pub text_color: String,
    /// A CSS font family.
    pub font_family: String,
    /// Density.
    pub layout: Layout,
}

impl VisualStyle {
    /// The secondary colour of a style that names none.
    pub const SECONDARY_COLOR: &str = "#64748b";
    /// The background of a style that names none.
    pub const BACKGROUND_COLOR: &str = "#ffffff";
    /// The text colour of a style that names none.
    pub const TEXT_COLOR: &str = "#1e293b";
    /// The font family of a style that names none.
    pub const FONT_FAMILY: &str = "Inter, system-ui, sans-serif";
}
