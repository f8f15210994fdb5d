//! Template objects, as `GET …/templates/{id}` shows them and as generators print them.

use conch_domain::{
    Audience, Category, Layout, Metadata, Template, TemplateDraft, VisualStyle, Widget,
    WidgetPosition,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::fields::{Object, metadata, metadata_value};
use crate::{Invalid, time};

/// The colours of a visual style, in the order in which the domain keeps them.
const COLORS: [&str; 5] = [
    "primaryColor",
    "secondaryColor",
    "accentColor",
    "backgroundColor",
    "textColor",
];

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PositionBody {
    row: u32,
    col: u32,
    row_span: u32,
    col_span: u32,
}

#[derive(Serialize, Deserialize)]
struct RequirementsBody {
    query_type: String,
    metrics: Vec<String>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct WidgetBody {
    id: String,
    #[serde(rename = "type")]
    widget_type: String,
    title: String,
    #[serde(default)]
    description: String,
    position: PositionBody,
    #[serde(default)]
    analytics_question: String,
    data_requirements: RequirementsBody,
    #[serde(rename = "chartType", default, skip_serializing_if = "Option::is_none")]
    chart_type: Option<String>,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct DraftBody {
    name: String,
    #[serde(default)]
    description: String,
    category: String,
    target_audience: String,
    key_features: Vec<String>,
    widgets: Vec<WidgetBody>,
    visual_style: Map<String, Value>,
    #[serde(default)]
    meta_data: Value,
}

/// The whole template as everybody sees it.
pub(crate) fn object(template: &Template) -> Object {
    let draft = &template.draft;
    let widgets: Vec<WidgetBody> = draft.widgets.iter().map(widget_body).collect();
    let mut style = Map::new();
    for (name, color) in COLORS.iter().zip(&draft.visual_style.colors) {
        style.insert((*name).to_owned(), json!(color));
    }
    style.insert(
        "fontFamily".to_owned(),
        json!(draft.visual_style.font_family),
    );
    style.insert(
        "layout".to_owned(),
        json!(draft.visual_style.layout.as_str()),
    );
    let value = json!({
        "id": template.id.as_str(),
        "job_id": template.job_id.as_str(),
        "client_id": template.client_id.as_str(),
        "template_index": template.index,
        "name": draft.name,
        "description": draft.description,
        "category": draft.category.as_str(),
        "target_audience": draft.target_audience.as_str(),
        "key_features": draft.key_features,
        "widgets": widgets,
        "widget_count": draft.widgets.len(),
        "visual_style": style,
        "status": "completed",
        "created_at": time::format(template.created_at),
        "updated_at": time::format(template.updated_at),
        "meta_data": metadata_value(&draft.meta_data),
    });
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// The template without what only a stored one has, checked.
pub(crate) fn draft(object: &Value) -> Result<TemplateDraft, Invalid> {
    let body = DraftBody::deserialize(object).map_err(|e| Invalid::new(e.to_string()))?;
    let draft = TemplateDraft {
        category: known("category", &body.category, Category::parse)?,
        target_audience: known("target_audience", &body.target_audience, Audience::parse)?,
        name: body.name,
        description: body.description,
        key_features: body.key_features,
        widgets: body.widgets.into_iter().map(widget).collect(),
        visual_style: visual_style(&body.visual_style)?,
        meta_data: metadata(Some(&body.meta_data)),
    };
    draft.check().map_err(|e| Invalid::new(e.to_string()))?;
    Ok(draft)
}

fn known<T>(name: &str, text: &str, parse: fn(&str) -> Option<T>) -> Result<T, Invalid> {
    parse(text).ok_or_else(|| Invalid::new(format!("{name} is not one of the contract's")))
}

fn visual_style(object: &Object) -> Result<VisualStyle, Invalid> {
    let text = |name: &str| {
        object
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| Invalid::new(format!("visual_style.{name} must be a string")))
    };
    let mut colors: [String; 5] = Default::default();
    for (color, name) in colors.iter_mut().zip(COLORS) {
        text(name)?.clone_into(color);
    }
    Ok(VisualStyle {
        colors,
        font_family: text("fontFamily")?.to_owned(),
        layout: known("visual_style.layout", text("layout")?, Layout::parse)?,
    })
}

fn widget_body(widget: &Widget) -> WidgetBody {
    let more = match metadata_value(&widget.more_requirements) {
        Value::Object(more) => more,
        _ => Map::new(),
    };
    WidgetBody {
        id: widget.id.clone(),
        widget_type: widget.widget_type.clone(),
        title: widget.title.clone(),
        description: widget.description.clone(),
        position: PositionBody {
            row: widget.position.row,
            col: widget.position.col,
            row_span: widget.position.row_span,
            col_span: widget.position.col_span,
        },
        analytics_question: widget.analytics_question.clone(),
        data_requirements: RequirementsBody {
            query_type: widget.query_type.clone(),
            metrics: widget.metrics.clone(),
            more,
        },
        chart_type: widget.chart_type.clone(),
        config: metadata_value(&widget.config),
        data: metadata_value(&widget.data),
    }
}

fn widget(body: WidgetBody) -> Widget {
    Widget {
        id: body.id,
        widget_type: body.widget_type,
        title: body.title,
        description: body.description,
        position: WidgetPosition {
            row: body.position.row,
            col: body.position.col,
            row_span: body.position.row_span,
            col_span: body.position.col_span,
        },
        analytics_question: body.analytics_question,
        query_type: body.data_requirements.query_type,
        metrics: body.data_requirements.metrics,
        more_requirements: Metadata::from_json(
            Value::Object(body.data_requirements.more).to_string(),
        ),
        chart_type: body.chart_type,
        config: metadata(Some(&body.config)),
        data: metadata(Some(&body.data)),
    }
}
