//! What generators answer, read as they write it: both spellings, wrapped, fenced; and which rule is
//! named for each kind of fault.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use conch_domain::{TemplateDraft, WidgetType};
use conch_wire::draft;
use serde_json::{Value, json};

/// A valid template in the generators' spelling.
fn valid() -> Value {
    let widget = |n: u32| {
        json!({
            "id": format!("w{n}"), "type": "gauge-chart", "title": format!("Gauge {n}"),
            "position": {"row": 2 * n - 1, "col": 1, "rowSpan": 2, "colSpan": 12},
            "analytics_question": "How much?",
            "data_requirements": {
                "query_type": "aggregate",
                "metrics": [{"name": "Cost", "expression": "SUM(cost)", "data_type": "currency", "format": "$0.0a"}],
                "filters": [{"field": "age", "operator": "gte", "value": 18}],
                "time_range": {"type": "relative", "value": "last_12_months"},
            },
            "config": {"min_value": 0, "max_value": 1.5, "thresholds": null},
            "data": {},
        })
    };
    json!({
        "name": "A name", "description": "What the dashboard is for.", "category": "roi-focused",
        "targetAudience": "Health Plan", "keyFeatures": ["a", "b", "c"],
        "widgets": (1..=6).map(widget).collect::<Vec<_>>(),
        "visualStyle": {"primaryColor": "#2563eb", "accentColor": "#1E40AF", "layout": "dense"},
        "recommendedUseCase": "A renewal.",
    })
}

fn read(answer: &str) -> TemplateDraft {
    draft::decode(answer.as_bytes()).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

/// All keys of all objects in the other spelling.
fn in_snake_case(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let fields = object.iter().map(|(key, value)| {
                let mut name = String::new();
                for c in key.chars() {
                    if c.is_ascii_uppercase() {
                        name.push('_');
                    }
                    name.push(c.to_ascii_lowercase());
                }
                (name, in_snake_case(value))
            });
            Value::Object(fields.collect())
        }
        Value::Array(list) => list.iter().map(in_snake_case).collect(),
        other => other.clone(),
    }
}

#[test]
fn one_template_however_it_is_written() {
    let template = valid();
    let plain = read(&template.to_string());
    assert_eq!(plain.widgets[0].widget_type, WidgetType::GaugeChart);
    assert_eq!(plain.visual_style.secondary_color, "#64748b");
    assert_eq!(
        plain.visual_style.font_family,
        "Inter, system-ui, sans-serif"
    );
    assert_eq!(
        plain.meta_data.as_json(),
        r#"{"recommendedUseCase":"A renewal."}"#
    );
    assert_eq!(&*plain.widgets[0].data_requirements.filters[0].value, "18");

    let snake = in_snake_case(&template);
    assert!(snake.get("target_audience").is_some());
    assert_eq!(read(&snake.to_string()), plain);
    let mut mixed = template.clone();
    mixed["target_audience"] = mixed
        .as_object_mut()
        .unwrap()
        .remove("targetAudience")
        .unwrap();
    assert_eq!(read(&mixed.to_string()), plain);

    let wrapped = json!({ "template": template, "reasoning": "Because ```." });
    let reasons = r#"{"reasoning":"Because ```.","recommendedUseCase":"A renewal."}"#;
    for answer in [
        wrapped.to_string(),
        format!("```json\n{wrapped:#}\n```"),
        format!("Here you are {{as asked}}:\n\n```\n{wrapped}\n```\n\nShall I go on?"),
        format!("\u{feff}{wrapped}\n"),
    ] {
        let draft = read(&answer);
        assert_eq!(draft.meta_data.as_json(), reasons, "{answer}");
        assert_eq!((&draft.widgets, &draft.name), (&plain.widgets, &plain.name));
    }
}

/// The first fault of the valid template after a change.
fn fault(change: impl FnOnce(&mut Value)) -> String {
    let mut template = valid();
    change(&mut template);
    match draft::decode(template.to_string().as_bytes()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it is valid: {template}"),
    }
}

#[test]
fn every_kind_of_fault_is_named_by_its_path() {
    type Change = fn(&mut Value);
    let rows: &[(Change, &str)] = &[
        (
            |t| t["name"] = json!("abcd"),
            "name: must have 5 to 100 characters",
        ),
        (
            |t| t["name"] = json!("é".repeat(101)),
            "name: must have 5 to 100 characters",
        ),
        (|t| t["name"] = json!(7), "name: must be a text"),
        (
            |t| t["description"] = json!("too short"),
            "description: must have 20 to 500 characters",
        ),
        (
            |t| t["description"] = Value::Null,
            "description: is missing; it must be a text",
        ),
        (
            |t| t["category"] = json!("<secret>"),
            "category: must be one of roi-focused, clinical-outcomes",
        ),
        (
            |t| t["targetAudience"] = json!("Everyone"),
            "target_audience: must be one of Health Plan, Broker",
        ),
        (
            |t| t["keyFeatures"] = json!(["a", "b"]),
            "key_features: must have 3 to 5 entries",
        ),
        (
            |t| t["keyFeatures"][1] = json!(" "),
            "key_features[1]: must not be empty",
        ),
        (
            |t| t["keyFeatures"][1] = json!(1),
            "key_features[1]: must be a text",
        ),
        (
            |t| t["widgets"] = json!([]),
            "widgets: must have 6 to 12 entries",
        ),
        (|t| t["widgets"] = json!("none"), "widgets: must be a list"),
        (
            |t| {
                let w = t["widgets"][0].clone();
                t["widgets"] = json!(vec![w; 13]);
            },
            "widgets: must have 6 to 12 entries",
        ),
        (
            |t| {
                let w = t["widgets"][0].clone();
                t["widgets"] = json!(vec![w; 257]);
            },
            "widgets: must have 6 to 12 entries",
        ),
        (
            |t| t["widgets"][2] = json!(5),
            "widgets[2]: must be an object",
        ),
        (
            |t| t["widgets"][2]["id"] = json!("w1"),
            "widgets[2].id: must differ from those of the other widgets",
        ),
        (
            |t| t["widgets"][2]["type"] = json!("donut"),
            "widgets[2].type: must be one of kpi-card, kpi-grid",
        ),
        (
            |t| t["widgets"][2]["title"] = json!("abcd"),
            "widgets[2].title: must have 5 to 100 characters",
        ),
        (
            |t| t["widgets"][2]["position"]["row"] = json!(2),
            "widgets[2].position: shares a cell with widgets[0]",
        ),
        (
            |t| t["widgets"][2]["position"]["row"] = json!(1.5),
            "widgets[2].position.row: must be a whole number",
        ),
        (
            |t| t["widgets"][2]["position"]["row"] = json!("1"),
            "widgets[2].position.row: must be a whole number",
        ),
        (
            |t| t["widgets"][2]["position"]["row"] = json!(0),
            "widgets[2].position: must lie on the 12-column grid",
        ),
        (
            |t| t["widgets"][2]["position"]["col"] = json!(2),
            "widgets[2].position: must lie on the 12-column grid",
        ),
        (
            |t| t["widgets"][2]["position"]["colSpan"] = json!(4_294_967_295_u32),
            "widgets[2].position: must lie on",
        ),
        (
            |t| t["widgets"][2]["position"]["rowSpan"] = json!(1),
            "widgets[2].position: must be at least 2 × 3 (rows × columns) for a gauge-chart",
        ),
        (
            |t| t["widgets"][2]["analytics_question"] = json!(""),
            "widgets[2].analytics_question: must not be empty",
        ),
        (
            |t| t["widgets"][2]["data_requirements"]["query_type"] = json!("sum"),
            "widgets[2].data_requirements.query_type: must be one of aggregate, time-series, distribution, comparison",
        ),
        (
            |t| t["widgets"][2]["data_requirements"]["metrics"] = json!([]),
            "widgets[2].data_requirements.metrics: must have at least one entry",
        ),
        (
            |t| t["widgets"][2]["data_requirements"]["metrics"] = json!(["cost"]),
            "widgets[2].data_requirements.metrics[0]: must be an object",
        ),
        (
            |t| t["widgets"][2]["data_requirements"]["metrics"][0]["expression"] = Value::Null,
            "widgets[2].data_requirements.metrics[0]: must have a metric_ref or an expression",
        ),
        (
            |t| t["widgets"][2]["data_requirements"]["metrics"][0]["data_type"] = json!("text"),
            "widgets[2].data_requirements.metrics[0].data_type: must be one of count",
        ),
        (
            |t| t["widgets"][2]["data_requirements"]["metrics"][0]["format"] = json!(""),
            "widgets[2].data_requirements.metrics[0].format: must not be empty",
        ),
        (
            |t| t["widgets"][2]["data_requirements"]["filters"][0]["operator"] = json!("="),
            "widgets[2].data_requirements.filters[0].operator: must be one of eq, ne",
        ),
        (
            |t| t["widgets"][2]["data_requirements"]["time_range"] = json!("last_12_months"),
            "widgets[2].data_requirements.time_range: must be an object",
        ),
        (
            |t| t["widgets"][2]["chartType"] = json!("radar"),
            "widgets[2].chartType: must be one of line, bar, pie, waterfall, area, donut",
        ),
        (
            |t| t["widgets"][2]["config"] = Value::Null,
            "widgets[2].config: must be an object",
        ),
        (
            |t| t["widgets"][2]["config"]["min_value"] = Value::Null,
            "widgets[2].config.min_value: must be a number",
        ),
        (
            |t| t["widgets"][2]["config"] = json!({"min_value": 1}),
            "widgets[2].config.max_value: is missing; it must be a number",
        ),
        (
            |t| t["widgets"][2]["config"]["thresholds"] = json!([{"value": 1, "color": "#ffffff"}]),
            "widgets[2].config.thresholds: must be a list of at least 2",
        ),
        (
            |t| {
                t["widgets"][2]["config"]["thresholds"] =
                    json!([{"value": 1, "color": "#ffffff"}, {"value": 2, "color": "red"}]);
            },
            "widgets[2].config.thresholds: must be a list of at least 2",
        ),
        (
            |t| {
                t["widgets"][2]["type"] = json!("kpi-card");
                t["widgets"][2]["config"] =
                    json!({"icon": "x", "subtitle": "y", "format": "money"});
            },
            "widgets[2].config.format: must be one of currency, percentage, number",
        ),
        (
            |t| {
                t["widgets"][2]["type"] = json!("kpi-grid");
                t["widgets"][2]["config"] = json!({"metrics": [1]});
            },
            "widgets[2].config.metrics: must be a list of at least 2 entries",
        ),
        (
            |t| {
                t["widgets"][2]["type"] = json!("data-table");
                t["widgets"][2]["position"]["rowSpan"] = json!(3);
                t["widgets"][3]["position"]["row"] = json!(90);
                t["widgets"][2]["config"] = json!({"columns": []});
            },
            "widgets[2].config.columns: must be a list that is not empty",
        ),
        (
            |t| t["widgets"][2]["data"] = json!([1]),
            "widgets[2].data: must be an object",
        ),
        (
            |t| t["visualStyle"] = Value::Null,
            "visual_style: must be an object",
        ),
        (
            |t| t["visualStyle"]["accentColor"] = json!("blue"),
            "visual_style.accentColor: must be a #rrggbb colour",
        ),
        (
            |t| t["visualStyle"]["textColor"] = json!("#12345g"),
            "visual_style.textColor: must be a #rrggbb colour",
        ),
        (
            |t| t["visualStyle"]["layout"] = json!("wide"),
            "visual_style.layout: must be one of dense, balanced, spacious",
        ),
    ];
    for (change, expected) in rows {
        let told = fault(change);
        assert!(told.starts_with(expected), "{told}\nexpected {expected}");
    }
}

#[test]
fn faults_quote_nothing_and_are_told_in_order() {
    let told = fault(|t| {
        t["category"] = json!("<secret>");
        t["widgets"][0]["type"] = json!("<secret>");
        t["widgets"][1]["config"] = json!("<secret>");
        t["keyFeatures"][0] = json!({"<secret>": 1});
    });
    assert!(!told.contains("secret"), "{told}");
    let order = [
        "category",
        "key_features[0]",
        "widgets[0].type",
        "widgets[1].config",
    ];
    let places = order.map(|path| told.find(path).unwrap());
    assert!(places.is_sorted(), "{told}");
    // However much is wrong, little is told.
    let told = fault(|t| t["keyFeatures"] = json!(vec![1; 100_000]));
    assert!(told.len() < 1000 && told.contains("more"), "{told}");
}
