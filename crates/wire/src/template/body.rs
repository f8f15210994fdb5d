//! The JSON of a template, field by field: what is written, and what the JSON Schema is made from.
//!
//! Never in here: reading. What a generator wrote is read by `read`, which says what is wrong where.

use std::sync::Arc;

use conch_domain::{
    DataRequirements, Filter, Metadata, Metric, TemplateDraft, TimeRange, VisualStyle, Widget,
    WrittenDraft,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::rules;
use crate::record::Heading;
use crate::time::{self, Written};
use crate::to_bytes;

/// A template as HTTP answers show it. It is written in the parts below, in this order: the draft's own fields
/// are written before there is an id.
#[derive(JsonSchema)]
#[schemars(title = "Template", rename = "Template")]
#[allow(dead_code, reason = "only the schema is made from it")]
pub(super) struct TemplateBody<'a> {
    #[schemars(schema_with = "rules::not_empty")]
    id: &'a str,
    job_id: &'a str,
    client_id: &'a str,
    /// Its place in the job's plan.
    #[schemars(range(min = 1))]
    template_index: u32,
    #[schemars(length(min = 5, max = 100))]
    name: &'a str,
    #[schemars(length(min = 20, max = 500))]
    description: &'a str,
    #[schemars(schema_with = "rules::category")]
    category: &'static str,
    #[schemars(schema_with = "rules::audience")]
    target_audience: &'static str,
    #[schemars(schema_with = "rules::key_features")]
    key_features: &'a [String],
    #[schemars(length(min = 6, max = 12))]
    widgets: Vec<WidgetBody<'a>>,
    #[schemars(range(min = 6, max = 12))]
    widget_count: usize,
    visual_style: StyleBody<'a>,
    status: &'static str,
    #[schemars(schema_with = "rules::date_time")]
    created_at: String,
    #[schemars(schema_with = "rules::date_time")]
    updated_at: String,
    /// The generator's notes: `reasoning` and `recommendedUseCase` among them.
    #[schemars(schema_with = "rules::object")]
    meta_data: &'a RawValue,
}

/// What comes before a draft's fields.
#[derive(Serialize)]
struct HeadBody<'a> {
    id: &'a str,
    job_id: &'a str,
    client_id: &'a str,
    template_index: u32,
}

/// A draft's fields, without its notes.
#[derive(Serialize)]
struct DraftBody<'a> {
    name: &'a str,
    description: &'a str,
    category: &'static str,
    target_audience: &'static str,
    key_features: &'a [String],
    widgets: Vec<WidgetBody<'a>>,
    widget_count: usize,
    visual_style: StyleBody<'a>,
}

/// What comes after them, before the notes.
#[derive(Serialize)]
struct TailBody {
    status: &'static str,
    created_at: Written,
    updated_at: Written,
}

/// A template as a generator writes it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "GeneratedTemplate", rename = "GeneratedTemplate")]
pub(super) struct GeneratedBody<'a> {
    #[schemars(length(min = 5, max = 100))]
    name: &'a str,
    #[schemars(length(min = 20, max = 500))]
    description: &'a str,
    #[schemars(schema_with = "rules::category")]
    category: &'static str,
    #[schemars(schema_with = "rules::audience")]
    target_audience: &'static str,
    #[schemars(schema_with = "rules::key_features")]
    key_features: &'a [String],
    #[schemars(length(min = 6, max = 12))]
    widgets: Vec<WidgetBody<'a>>,
    visual_style: StyleBody<'a>,
    /// When this dashboard is of most use.
    #[serde(skip_serializing_if = "Option::is_none")]
    recommended_use_case: Option<String>,
}

/// One tile.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Widget", transform = rules::add_rules_by_type)]
struct WidgetBody<'a> {
    /// Unique in its template.
    #[schemars(schema_with = "rules::not_empty")]
    id: &'a str,
    #[serde(rename = "type")]
    #[schemars(schema_with = "rules::widget_type")]
    widget_type: &'static str,
    #[schemars(length(min = 5, max = 100))]
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    position: PositionBody,
    #[schemars(schema_with = "rules::not_empty")]
    analytics_question: &'a str,
    data_requirements: RequirementsBody<'a>,
    #[serde(rename = "chartType", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::chart_type")]
    chart_type: Option<&'static str>,
    /// Presentation; what it must have depends on the type.
    #[schemars(schema_with = "rules::object")]
    config: &'a RawValue,
    /// Sample data, or an empty object: docs/templates.md has the shape for each type.
    #[schemars(schema_with = "rules::object")]
    data: &'a RawValue,
}

/// Where it stands on the 12-column grid: `col + colSpan` is at most 13. No two widgets share a cell.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WidgetPosition", transform = rules::keep_on_grid)]
struct PositionBody {
    #[schemars(range(min = 1))]
    row: u32,
    #[schemars(range(min = 1, max = 12))]
    col: u32,
    #[schemars(range(min = 1))]
    row_span: u32,
    #[schemars(range(min = 1, max = 12))]
    col_span: u32,
}

/// What data a widget needs.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DataRequirements")]
struct RequirementsBody<'a> {
    #[schemars(schema_with = "rules::query_type")]
    query_type: &'static str,
    #[schemars(length(min = 1))]
    metrics: Vec<MetricBody<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schemars(default)]
    dimensions: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    filters: Vec<FilterBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_range: Option<TimeRangeBody<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    more: Option<serde_json::Map<String, Value>>,
}

/// One figure. It has a `metric_ref`, an `expression`, or both.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Metric", transform = rules::add_metric_source)]
struct MetricBody<'a> {
    #[schemars(schema_with = "rules::not_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric_ref: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expression: Option<&'a str>,
    #[schemars(schema_with = "rules::data_type")]
    data_type: &'static str,
    /// A pattern such as `0,0`, `$0.0a`, `0.0%`.
    #[schemars(schema_with = "rules::not_empty")]
    format: &'a str,
}

/// A condition on the rows that count.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Filter")]
struct FilterBody<'a> {
    #[schemars(schema_with = "rules::not_empty")]
    field: &'a str,
    #[schemars(schema_with = "rules::operator")]
    operator: &'static str,
    #[schemars(with = "Value")]
    value: &'a RawValue,
}

/// The time that a widget covers.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TimeRange")]
struct TimeRangeBody<'a> {
    #[serde(rename = "type")]
    #[schemars(schema_with = "rules::time_range_kind")]
    kind: &'static str,
    /// Such as `last_12_months`.
    #[schemars(with = "Value")]
    value: &'a RawValue,
}

/// Colours, font and density.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "VisualStyle", transform = rules::relax_style)]
struct StyleBody<'a> {
    #[schemars(schema_with = "rules::color")]
    primary_color: &'a str,
    #[schemars(schema_with = "rules::color")]
    secondary_color: &'a str,
    #[schemars(schema_with = "rules::color")]
    accent_color: &'a str,
    #[schemars(schema_with = "rules::color")]
    background_color: &'a str,
    #[schemars(schema_with = "rules::color")]
    text_color: &'a str,
    #[schemars(schema_with = "rules::not_empty")]
    font_family: &'a str,
    #[schemars(schema_with = "rules::layout")]
    layout: &'static str,
}

/// JSON text as it is; `instead` where it is none, which a draft that `read` made never has.
fn raw<'a>(text: &'a str, instead: &'static str) -> &'a RawValue {
    serde_json::from_str(text)
        .or_else(|_| serde_json::from_str(instead))
        .expect("what stands instead is JSON")
}

fn raw_object(metadata: &Metadata) -> &RawValue {
    raw(metadata.as_json(), "{}")
}

/// Writes what there is before a template has its heading.
pub(crate) fn draft(draft: TemplateDraft) -> WrittenDraft {
    let body = DraftBody {
        name: &draft.name,
        description: &draft.description,
        category: draft.category.as_str(),
        target_audience: draft.target_audience.as_str(),
        key_features: &draft.key_features,
        widgets: draft.widgets.iter().map(WidgetBody::of).collect(),
        widget_count: draft.widgets.len(),
        visual_style: StyleBody::of(&draft.visual_style),
    };
    let fields: Arc<str> = bare(&written(&body)).into();
    let notes = written(raw_object(&draft.meta_data));
    let notes = if notes == draft.meta_data.as_json() {
        draft.meta_data.clone()
    } else {
        Metadata::from_json(notes)
    };
    WrittenDraft::new(draft, fields, notes)
}

/// The whole template as everybody sees it: the draft's fields as they are, between those of its heading.
pub(crate) fn object(heading: &Heading, draft: &WrittenDraft) -> String {
    let head = written(&HeadBody {
        id: heading.id.as_str(),
        job_id: heading.job_id.as_str(),
        client_id: heading.client_id.as_str(),
        template_index: heading.index,
    });
    let created_at = time::written(heading.created_at);
    let tail = written(&TailBody {
        status: "completed",
        created_at,
        updated_at: created_at,
    });
    let parts = [
        "{",
        bare(&head),
        ",",
        draft.fields(),
        ",",
        bare(&tail),
        ",\"meta_data\":",
        draft.notes().as_json(),
        "}",
    ];
    parts.concat()
}

/// The fields of an object that was written, without its braces.
fn bare(object: &str) -> &str {
    &object[1..object.len() - 1]
}

/// The template as a generator writes it.
pub(crate) fn generated(draft: &TemplateDraft) -> String {
    let notes: Value = serde_json::from_str(draft.meta_data.as_json()).unwrap_or_default();
    let body = GeneratedBody {
        name: &draft.name,
        description: &draft.description,
        category: draft.category.as_str(),
        target_audience: draft.target_audience.as_str(),
        key_features: &draft.key_features,
        widgets: draft.widgets.iter().map(WidgetBody::of).collect(),
        visual_style: StyleBody::of(&draft.visual_style),
        recommended_use_case: notes["recommendedUseCase"].as_str().map(str::to_owned),
    };
    written(&body)
}

fn written(body: &(impl Serialize + ?Sized)) -> String {
    String::from_utf8(to_bytes(body).into()).expect("JSON is UTF-8")
}

impl<'a> WidgetBody<'a> {
    fn of(widget: &'a Widget) -> Self {
        let at = widget.position;
        Self {
            id: &widget.id,
            widget_type: widget.widget_type.as_str(),
            title: &widget.title,
            description: widget.description.as_deref(),
            position: PositionBody {
                row: at.row,
                col: at.col,
                row_span: at.row_span,
                col_span: at.col_span,
            },
            analytics_question: &widget.analytics_question,
            data_requirements: RequirementsBody::of(&widget.data_requirements),
            chart_type: widget.chart_type.map(conch_domain::ChartType::as_str),
            config: raw_object(&widget.config.object),
            data: raw_object(&widget.data),
        }
    }
}

impl<'a> RequirementsBody<'a> {
    fn of(requirements: &'a DataRequirements) -> Self {
        Self {
            query_type: requirements.query_type.as_str(),
            metrics: requirements.metrics.iter().map(MetricBody::of).collect(),
            dimensions: &requirements.dimensions,
            filters: requirements.filters.iter().map(FilterBody::of).collect(),
            time_range: requirements.time_range.as_ref().map(TimeRangeBody::of),
            more: match requirements.more.as_json() {
                "{}" => None,
                more => serde_json::from_str(more).ok(),
            },
        }
    }
}

impl<'a> MetricBody<'a> {
    fn of(metric: &'a Metric) -> Self {
        Self {
            name: &metric.name,
            metric_ref: metric.metric_ref.as_deref(),
            expression: metric.expression.as_deref(),
            data_type: metric.data_type.as_str(),
            format: &metric.format,
        }
    }
}

impl<'a> FilterBody<'a> {
    fn of(filter: &'a Filter) -> Self {
        Self {
            field: &filter.field,
            operator: filter.operator.as_str(),
            value: raw(&filter.value, "null"),
        }
    }
}

impl<'a> TimeRangeBody<'a> {
    fn of(range: &'a TimeRange) -> Self {
        Self {
            kind: range.kind.as_str(),
            value: raw(&range.value, "null"),
        }
    }
}

impl<'a> StyleBody<'a> {
    fn of(style: &'a VisualStyle) -> Self {
        Self {
            primary_color: &style.primary_color,
            secondary_color: &style.secondary_color,
            accent_color: &style.accent_color,
            background_color: &style.background_color,
            text_color: &style.text_color,
            font_family: &style.font_family,
            layout: style.layout.as_str(),
        }
    }
}
