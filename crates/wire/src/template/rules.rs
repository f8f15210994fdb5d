//! What JSON Schema says of single fields of a template, made from the domain's tables.
//!
//! Never in here: a list of names that the domain has.

use conch_domain::{
    Audience, COLUMNS, Category, ChartType, DataType, Layout, Operator, QueryType, Rule,
    TimeRangeKind, VisualStyle, WidgetType,
};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

macro_rules! enums {
    ($($(#[$doc:meta])* $name:ident: $type:ident;)+) => {
        $($(#[$doc])*
        pub(super) fn $name(_: &mut SchemaGenerator) -> Schema {
            let names: Vec<&str> = $type::ALL.iter().map(|value| value.as_str()).collect();
            json_schema!({ "type": "string", "enum": names })
        })+
    };
}

enums!(
    category: Category;
    audience: Audience;
    layout: Layout;
    query_type: QueryType;
    data_type: DataType;
    operator: Operator;
    time_range_kind: TimeRangeKind;
    chart_type: ChartType;
    widget_type: WidgetType;
);

/// A text with more than blanks in it.
pub(super) fn not_empty(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "\\S" })
}

pub(super) fn color(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^#[0-9a-fA-F]{6}$" })
}

pub(super) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

pub(super) fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

pub(super) fn key_features(generator: &mut SchemaGenerator) -> Schema {
    let item = not_empty(generator);
    json_schema!({ "type": "array", "minItems": 3, "maxItems": 5, "items": item })
}

/// `col + colSpan` is at most 13: for one of the columns, the widget begins there at the latest and is no
/// wider than what is left from there.
pub(super) fn keep_on_grid(schema: &mut Schema) {
    let fits = |col: u32| {
        let left = COLUMNS + 1 - col;
        json!({ "properties": { "col": { "maximum": col }, "colSpan": { "maximum": left } } })
    };
    let columns: Vec<Value> = (1..=COLUMNS).map(fits).collect();
    schema.insert("anyOf".to_owned(), columns.into());
}

/// A metric has one source at least.
pub(super) fn add_metric_source(schema: &mut Schema) {
    let has = |name: &str| json!({ "required": [name], "properties": { name: { "type": "string", "pattern": "\\S" } } });
    schema.insert(
        "anyOf".to_owned(),
        json!([has("metric_ref"), has("expression")]),
    );
}

/// Colours that have a default, and the font, may be left out by a generator; answers have them all.
pub(super) fn relax_style(schema: &mut Schema) {
    schema.insert(
        "required".to_owned(),
        json!(["primaryColor", "accentColor", "layout"]),
    );
    for (name, default) in [
        ("secondaryColor", VisualStyle::SECONDARY_COLOR),
        ("backgroundColor", VisualStyle::BACKGROUND_COLOR),
        ("textColor", VisualStyle::TEXT_COLOR),
        ("fontFamily", VisualStyle::FONT_FAMILY),
    ] {
        if let Some(property) = schema.pointer_mut(&format!("/properties/{name}")) {
            property["default"] = default.into();
        }
    }
}

/// The least size of each type, and what its `config` must have.
pub(super) fn add_rules_by_type(schema: &mut Schema) {
    let rules: Vec<Value> = WidgetType::ALL
        .iter()
        .filter_map(|widget_type| {
            let rules = widget_type.rules();
            let mut then = Map::new();
            if rules.least != (1, 1) {
                let (rows, columns) = rules.least;
                then.insert(
                    "position".to_owned(),
                    json!({ "properties": { "rowSpan": { "minimum": rows }, "colSpan": { "minimum": columns } } }),
                );
            }
            if !rules.config.is_empty() {
                let keys = rules.config.iter();
                let properties: Map<String, Value> = keys
                    .clone()
                    .map(|(key, rule)| ((*key).to_owned(), config_rule(*rule)))
                    .collect();
                let required: Vec<&str> = keys
                    .filter(|(_, rule)| !rule.is_optional())
                    .map(|(key, _)| *key)
                    .collect();
                then.insert(
                    "config".to_owned(),
                    json!({ "required": required, "properties": properties }),
                );
            }
            (!then.is_empty()).then(|| {
                json!({
                    "if": { "properties": { "type": { "const": widget_type.as_str() } }, "required": ["type"] },
                    "then": { "properties": then },
                })
            })
        })
        .collect();
    schema.insert("allOf".to_owned(), rules.into());
}

fn config_rule(rule: Rule) -> Value {
    match rule {
        Rule::Text => json!({ "type": "string" }),
        Rule::Number => json!({ "type": "number" }),
        Rule::Items(least) => json!({ "type": "array", "minItems": least }),
        Rule::NotEmpty => json!({ "type": "array", "minItems": 1 }),
        Rule::OneOf(texts) => json!({ "enum": texts }),
        Rule::Thresholds => json!({
            "type": "array", "minItems": 2,
            "items": {
                "type": "object", "required": ["value", "color"],
                "properties": { "value": { "type": "number" }, "color": { "type": "string", "pattern": "^#[0-9a-fA-F]{6}$" } },
            },
        }),
        Rule::Optional(inner) => config_rule(*inner),
    }
}
