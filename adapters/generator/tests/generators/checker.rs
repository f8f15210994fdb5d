//! An independent check of a template's rules, on its JSON and written only from the contract's tables: it
//! shares no code with the domain's check or the schema.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use serde_json::Value;

/// The contract's table: type, minimum rows and columns, required parts of `config`.
const TYPES: &str = "
    kpi-card 2 2 icon subtitle | kpi-grid 2 6 metrics>2 | metric-comparison 3 4 metrics>2
    scorecard 3 4 metrics>2 | line-chart 3 4 | multi-line-chart 3 4 | area-chart 3 4
    stacked-area-chart 3 4 | bar-chart 3 3 | horizontal-bar-chart 3 4 | stacked-bar-chart 3 4
    grouped-bar-chart 3 4 | pie-chart 3 3 | donut-chart 3 3 | waterfall-chart 3 4 | scatter-plot 3 4
    bubble-chart 3 4 | radar-chart 3 3 | polar-area-chart 1 1 | progress-bar 1 3 target_value#
    gauge-chart 2 3 min_value# max_value# | timeline-chart 3 6 | quality-progression 3 4
    ranked-list 3 3 | data-table 3 6 columns>1 | heatmap 4 4 | trend-sparkline 1 2 | treemap 3 4
    funnel-chart 3 3 | candlestick-chart 1 1 | box-plot 1 1 | radial-bar-chart 1 1
    range-bar-chart 1 1 | slope-chart 1 1 | roi-summary 3 4 | clinical-metrics 4 6 metrics>1
    cost-breakdown 3 6";

/// The rows of the table, split into words.
pub(crate) fn types() -> impl Iterator<Item = Vec<&'static str>> {
    TYPES
        .split(['|', '\n'])
        .map(|row| row.split_whitespace().collect::<Vec<_>>())
        .filter(|row| !row.is_empty())
}

/// The same by type, computed once.
static BY_TYPE: LazyLock<HashMap<&str, Vec<&str>>> =
    LazyLock::new(|| types().map(|words| (words[0], words)).collect());

/// Describes each violation of the rules that a schema can't express.
pub(crate) fn faults(template: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut cells = HashSet::new();
    let mut ids = HashSet::new();
    for widget in template["widgets"].as_array().unwrap() {
        let at = &widget["position"];
        let number = |name: &str| at[name].as_u64().unwrap();
        let (row, col) = (number("row"), number("col"));
        let (rows, columns) = (number("rowSpan"), number("colSpan"));
        if col + columns > 13 {
            faults.push(format!("{at} leaves the grid"));
        }
        for y in row..row + rows {
            for x in col..col + columns {
                if !cells.insert((y, x)) {
                    faults.push(format!("two widgets at row {y}, column {x}"));
                }
            }
        }
        if !ids.insert(widget["id"].as_str().unwrap()) {
            faults.push(format!("two widgets are {}", widget["id"]));
        }
        let kind = widget["type"].as_str().unwrap();
        let Some(rules) = BY_TYPE.get(kind) else {
            faults.push(format!("{kind} is no type"));
            continue;
        };
        let least = |i: usize| rules[i].parse::<u64>().unwrap();
        if rows < least(1) || columns < least(2) {
            faults.push(format!("a {kind} of {rows} × {columns}"));
        }
        for rule in &rules[3..] {
            let (key, met) = if let Some((key, least)) = rule.split_once('>') {
                let list = widget["config"][key].as_array();
                (key, list.is_some_and(|l| l.len() >= least.parse().unwrap()))
            } else if let Some(key) = rule.strip_suffix('#') {
                (key, widget["config"][key].is_number())
            } else {
                (*rule, widget["config"][rule].is_string())
            };
            if !met {
                faults.push(format!(
                    "a {kind} with config.{key} = {}",
                    widget["config"][key]
                ));
            }
        }
        let (unit, in_data) = (&widget["config"]["unit"], &widget["data"]["unit"]);
        if in_data.is_string() && unit != in_data {
            faults.push(format!("a {kind} in {unit} with data in {in_data}"));
        }
        if !has_shape(kind, &widget["data"]) {
            faults.push(format!("a {kind} with data {}", widget["data"]));
        }
    }
    faults
}

/// Whether a dashboard has no holes: every row up to the last one is full.
pub(crate) fn is_packed(template: &Value) -> bool {
    let mut cells = 0;
    let mut last = 0;
    for widget in template["widgets"].as_array().unwrap() {
        let number = |name: &str| widget["position"][name].as_u64().unwrap();
        cells += number("rowSpan") * number("colSpan");
        last = last.max(number("row") + number("rowSpan") - 1);
    }
    cells == 12 * last
}

fn numbers(value: &Value, count: usize) -> bool {
    value
        .as_array()
        .is_some_and(|list| list.len() == count && list.iter().all(Value::is_number))
}

fn texts(value: &Value) -> Option<usize> {
    let list = value.as_array()?;
    (!list.is_empty() && list.iter().all(Value::is_string)).then_some(list.len())
}

/// Whether the value is a non-empty list of objects with these strings and numbers.
fn objects(value: &Value, text: &[&str], number: &[&str]) -> bool {
    value.as_array().is_some_and(|list| {
        !list.is_empty()
            && list.iter().all(|item| {
                text.iter().all(|key| item[key].is_string())
                    && number.iter().all(|key| item[key].is_number())
            })
    })
}

/// Whether there are `least` to `most` series, each with one value per label.
fn series(data: &Value, labels: &str, least: usize, most: usize) -> bool {
    let count = match labels {
        "labels" => texts(&data[labels]),
        _ => data[labels].as_array().map(Vec::len),
    };
    let Some(count) = count else { return false };
    data["series"].as_array().is_some_and(|series| {
        (least..=most).contains(&series.len())
            && series
                .iter()
                .all(|one| one["name"].is_string() && numbers(&one["values"], count))
    })
}

/// The shapes of docs/templates.md.
fn has_shape(kind: &str, data: &Value) -> bool {
    let is = |keys: &[&str]| keys.iter().all(|key| data[key].is_number());
    let unit = data["unit"].is_string();
    let items = &data["items"];
    match kind {
        "kpi-card" => {
            unit && is(&["value", "baseline", "target", "change_percent"])
                && data["trend"].is_string()
        }
        "kpi-grid" => objects(
            items,
            &["label", "unit", "trend"],
            &["value", "change_percent"],
        ),
        "metric-comparison" => objects(
            items,
            &["label", "unit"],
            &["before", "after", "change_percent"],
        ),
        "scorecard" => objects(items, &["label", "unit", "status"], &["value", "target"]),
        "line-chart" | "area-chart" => unit && is(&["target"]) && series(data, "labels", 1, 1),
        "bar-chart" | "horizontal-bar-chart" => unit && series(data, "labels", 1, 1),
        "multi-line-chart" | "stacked-area-chart" | "stacked-bar-chart" | "grouped-bar-chart" => {
            unit && series(data, "labels", 2, 6)
        }
        "pie-chart" | "donut-chart" => unit && objects(items, &["label"], &["value"]),
        "polar-area-chart" | "radial-bar-chart" => {
            unit && is(&["max"]) && objects(items, &["label"], &["value"])
        }
        "treemap" => {
            unit && objects(items, &["label"], &["value"])
                && items
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|item| objects(&item["children"], &["label"], &["value"]))
        }
        "funnel-chart" => {
            let falls = || {
                let values = items
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["value"].as_f64());
                values.is_sorted_by(|a, b| a >= b)
            };
            unit && objects(items, &["label"], &["value"]) && falls()
        }
        "waterfall-chart" => unit && objects(&data["steps"], &["label", "kind"], &["value"]),
        "scatter-plot" => {
            objects(&data["points"], &["label"], &["x", "y"]) && data["x_unit"].is_string()
        }
        "bubble-chart" => {
            objects(&data["points"], &["label"], &["x", "y", "size"]) && data["y_unit"].is_string()
        }
        "radar-chart" => {
            unit && objects(&data["axes"], &["label"], &["max"]) && series(data, "axes", 1, 4)
        }
        "progress-bar" => unit && is(&["value", "start", "target", "percent"]),
        "gauge-chart" => unit && is(&["value", "target"]),
        "timeline-chart" => {
            unit && series(data, "labels", 2, 2)
                && objects(&data["milestones"], &["at", "label"], &[])
                && (data["breakeven"].is_string() || data["breakeven"].is_null())
        }
        "quality-progression" => unit && objects(&data["stages"], &["label"], &["value", "target"]),
        "ranked-list" => unit && objects(items, &["label"], &["rank", "value"]),
        "data-table" => objects(
            &data["rows"],
            &["segment"],
            &["baseline", "current", "target", "change_percent"],
        ),
        "heatmap" => {
            let columns = texts(&data["columns"]).unwrap_or(0);
            let rows = texts(&data["rows"]).unwrap_or(0);
            let values = data["values"].as_array();
            unit && values.is_some_and(|values| {
                values.len() == rows && values.iter().all(|row| numbers(row, columns))
            })
        }
        "trend-sparkline" => {
            unit && numbers(&data["values"], 12)
                && is(&["change_percent"])
                && data["trend"].is_string()
        }
        "candlestick-chart" => {
            let ordered = |candle: &Value| {
                let [open, close, low, high] = [0, 1, 2, 3].map(|i| candle[i].as_f64().unwrap());
                low <= open.min(close) && open.max(close) <= high
            };
            lists(data, "candles", 4)
                && unit
                && data["candles"].as_array().unwrap().iter().all(ordered)
        }
        "box-plot" => {
            let ordered = |five: &Value| {
                five.as_array()
                    .unwrap()
                    .iter()
                    .map(Value::as_f64)
                    .is_sorted()
            };
            lists(data, "boxes", 5) && unit && data["boxes"].as_array().unwrap().iter().all(ordered)
        }
        "range-bar-chart" => unit && objects(items, &["label"], &["low", "high"]),
        "slope-chart" => unit && texts(&data["labels"]) == Some(2) && series(data, "labels", 2, 8),
        "roi-summary" => {
            unit && is(&[
                "investment",
                "savings",
                "net",
                "roi_percent",
                "payback_months",
            ])
        }
        "clinical-metrics" => objects(
            items,
            &["label", "unit", "trend"],
            &["baseline", "value", "target", "benchmark"],
        ),
        "cost-breakdown" => {
            unit && is(&["total"]) && objects(items, &["label"], &["value", "percent"])
        }
        _ => false,
    }
}

/// Whether there is a list of `width` numbers per label.
fn lists(data: &Value, name: &str, width: usize) -> bool {
    let Some(labels) = texts(&data["labels"]) else {
        return false;
    };
    data[name]
        .as_array()
        .is_some_and(|lists| lists.len() == labels && lists.iter().all(|list| numbers(list, width)))
}
