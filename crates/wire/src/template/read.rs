//! A generator's JSON object as a draft, in either spelling, with every rule that it breaks.
//!
//! Faults are told to the job's watchers, so they name fields and rules. Never in here: a fault
//! that quotes what the generator wrote.

use conch_domain::{
    Audience, Category, ChartType, Config, ConfigValue, DataRequirements, DataType, Filter,
    InvalidTemplate, Layout, Metadata, Metric, Operator, QueryType, Rule, TemplateDraft, TimeRange,
    TimeRangeKind, VisualStyle, WIDGETS, Widget, WidgetPosition, WidgetType,
};
use serde_json::{Map, Value};

use super::reader::{Place, Reader, other_spelling};
use crate::fields::Object;

/// The fields of `data_requirements` that the contract names.
const NAMED_REQUIREMENTS: [&str; 5] = [
    "query_type",
    "metrics",
    "dimensions",
    "filters",
    "time_range",
];

/// Reads a template, bare or wrapped.
///
/// # Errors
/// All rules that it breaks: first those about what is there and of which kind, then the domain's.
pub(crate) fn draft(mut object: Object) -> Result<TemplateDraft, InvalidTemplate> {
    let mut reasoning = object.get("reasoning").cloned();
    if let (None, Some(Value::Object(_))) = (object.get("widgets"), object.get("template"))
        && let Some(Value::Object(inner)) = object.remove("template")
    {
        reasoning = reasoning.or_else(|| inner.get("reasoning").cloned());
        object = inner;
    }
    let mut reader = Reader::default();
    let draft = reader.template(&object, reasoning);
    match reader.invalid() {
        Some(invalid) => Err(invalid),
        None => draft.check().map(|()| draft),
    }
}

impl Reader {
    fn template(&mut self, object: &Object, reasoning: Option<Value>) -> TemplateDraft {
        let place = &Place {
            path: String::new(),
            object,
        };
        let name = self.text(place, "name");
        let description = self.text(place, "description");
        let category = self.one_of(place, "category", Category::ALL, Category::as_str);
        let target_audience =
            self.one_of(place, "target_audience", Audience::ALL, Audience::as_str);
        let features = self.list(place, "key_features");
        let key_features = self.texts(place, "key_features", features);
        let widgets = self.any_list(place, "widgets");
        // One more than there may be, so that the rule about their number is seen to be broken.
        let widgets = &widgets[..widgets.len().min(WIDGETS.end() + 1)];
        let widgets = self.places("widgets", widgets);
        TemplateDraft {
            name,
            description,
            category,
            target_audience,
            key_features,
            widgets: widgets.iter().map(|widget| self.widget(widget)).collect(),
            visual_style: self.visual_style(place),
            meta_data: self.notes(place, reasoning),
        }
    }

    /// The generator's notes, with its reasoning and the use that it recommends.
    fn notes(&mut self, place: &Place<'_>, reasoning: Option<Value>) -> Metadata {
        let mut notes = match place.get("meta_data") {
            Some(Value::Object(notes)) => notes.clone(),
            _ => Map::new(),
        };
        let use_case = self.optional_text(place, "recommendedUseCase");
        for (name, value) in [
            ("reasoning", reasoning.filter(|value| !value.is_null())),
            ("recommendedUseCase", use_case.map(Value::String)),
        ] {
            if let Some(value) = value {
                notes.insert(name.to_owned(), value);
            }
        }
        as_metadata(notes)
    }

    fn widget(&mut self, place: &Place<'_>) -> Widget {
        let id = self.text(place, "id");
        let widget_type = self.one_of(place, "type", WidgetType::ALL, WidgetType::as_str);
        let title = self.text(place, "title");
        let description = self.optional_text(place, "description");
        let position = self.object(place, "position");
        let position = position.map(|at| WidgetPosition {
            row: self.whole(&at, "row"),
            col: self.whole(&at, "col"),
            row_span: self.whole(&at, "rowSpan"),
            col_span: self.whole(&at, "colSpan"),
        });
        let analytics_question = self.text(place, "analytics_question");
        let requirements = self.object(place, "data_requirements");
        let requirements = requirements.map(|place| self.requirements(&place));
        let chart_type = place
            .get("chartType")
            .map(|_| self.one_of(place, "chartType", ChartType::ALL, ChartType::as_str));
        let config = self.object(place, "config");
        let data = match place.get("data") {
            None => None,
            Some(_) => self.object(place, "data"),
        };
        Widget {
            id,
            widget_type,
            title,
            description,
            position: position.unwrap_or(WidgetPosition {
                row: 0,
                col: 0,
                row_span: 0,
                col_span: 0,
            }),
            analytics_question,
            data_requirements: requirements.unwrap_or_else(nothing_required),
            chart_type,
            config: config.map_or_else(Config::default, |place| {
                config_of(widget_type, place.object.clone())
            }),
            data: data.map_or_else(Metadata::default, |place| as_metadata(place.object.clone())),
        }
    }

    fn requirements(&mut self, place: &Place<'_>) -> DataRequirements {
        let query_type = self.one_of(place, "query_type", QueryType::ALL, QueryType::as_str);
        let metrics = self.list(place, "metrics");
        let metrics = self.places(&place.at("metrics"), metrics);
        let metrics = metrics.iter().map(|metric| self.metric(metric)).collect();
        let dimensions = self.optional_list(place, "dimensions");
        let dimensions = self.texts(place, "dimensions", dimensions);
        let filters = self.optional_list(place, "filters");
        let filters = self.places(&place.at("filters"), filters);
        let filters = filters.iter().map(|filter| self.filter(filter)).collect();
        let time_range = match place.get("time_range") {
            None => None,
            Some(_) => self.object(place, "time_range"),
        };
        let is_named = |key: &str| {
            NAMED_REQUIREMENTS.contains(&key)
                || NAMED_REQUIREMENTS
                    .iter()
                    .any(|name| other_spelling(name) == key)
        };
        let more = place.object.iter().filter(|(key, _)| !is_named(key));
        DataRequirements {
            query_type,
            metrics,
            dimensions,
            filters,
            time_range: time_range.map(|range| TimeRange {
                kind: self.one_of(&range, "type", TimeRangeKind::ALL, TimeRangeKind::as_str),
                value: self.any(&range, "value"),
            }),
            more: as_metadata(more.map(|(k, v)| (k.clone(), v.clone())).collect()),
        }
    }

    fn metric(&mut self, place: &Place<'_>) -> Metric {
        Metric {
            name: self.text(place, "name"),
            metric_ref: self.optional_text(place, "metric_ref"),
            expression: self.optional_text(place, "expression"),
            data_type: self.one_of(place, "data_type", DataType::ALL, DataType::as_str),
            format: self.text(place, "format"),
        }
    }

    fn filter(&mut self, place: &Place<'_>) -> Filter {
        Filter {
            field: self.text(place, "field"),
            operator: self.one_of(place, "operator", Operator::ALL, Operator::as_str),
            value: self.any(place, "value"),
        }
    }

    fn visual_style(&mut self, place: &Place<'_>) -> VisualStyle {
        let nothing = Object::new();
        let place = self.object(place, "visual_style").unwrap_or_else(|| Place {
            path: "visual_style".to_owned(),
            object: &nothing,
        });
        let mut or = |name: &str, default: &str| {
            let given = self.optional_text(&place, name);
            given.unwrap_or_else(|| default.to_owned())
        };
        let secondary_color = or("secondaryColor", VisualStyle::SECONDARY_COLOR);
        let background_color = or("backgroundColor", VisualStyle::BACKGROUND_COLOR);
        let text_color = or("textColor", VisualStyle::TEXT_COLOR);
        let font_family = or("fontFamily", VisualStyle::FONT_FAMILY);
        VisualStyle {
            primary_color: self.text(&place, "primaryColor"),
            secondary_color,
            accent_color: self.text(&place, "accentColor"),
            background_color,
            text_color,
            font_family,
            layout: self.one_of(&place, "layout", Layout::ALL, Layout::as_str),
        }
    }
}

/// Stands in for what is missing.
fn nothing_required() -> DataRequirements {
    DataRequirements {
        query_type: QueryType::Aggregate,
        metrics: Vec::new(),
        dimensions: Vec::new(),
        filters: Vec::new(),
        time_range: None,
        more: Metadata::default(),
    }
}

fn as_metadata(object: Object) -> Metadata {
    if object.is_empty() {
        return Metadata::default();
    }
    Metadata::from_json(Value::Object(object).to_string())
}

/// A `config` with the values that the type's rules look at.
pub(crate) fn config_of(widget_type: WidgetType, mut object: Object) -> Config {
    let rules = widget_type.rules().config;
    // Null is absent where the key may be.
    object.retain(|key, value| {
        let is_optional = |(name, rule): &(&str, Rule)| *name == key && rule.is_optional();
        !(value.is_null() && rules.iter().any(is_optional))
    });
    let ruled = rules
        .iter()
        .filter_map(|(key, _)| Some((*key, value_of(object.get(*key)?))))
        .collect();
    Config {
        object: as_metadata(object),
        ruled,
    }
}

fn value_of(value: &Value) -> ConfigValue {
    match value {
        Value::String(text) => ConfigValue::Text(text.clone()),
        Value::Number(_) => ConfigValue::Number,
        Value::Array(list) => ConfigValue::List(list.iter().map(value_of).collect()),
        Value::Object(object) => {
            let fields = object.iter();
            ConfigValue::Object(fields.map(|(k, v)| (k.clone(), value_of(v))).collect())
        }
        Value::Null | Value::Bool(_) => ConfigValue::Other,
    }
}
