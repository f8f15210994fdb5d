//! Sample data of charts.

use conch_domain::WidgetType;
use serde_json::{Value, json};

use super::{Course, MONTHS, Subject, rounded, shares};
use crate::builtin::dice::Dice;
use crate::builtin::library::Metric;

/// Number of series in a chart that has several.
const SERIES: usize = 3;
const QUARTERS: [&str; 4] = ["Q1", "Q2", "Q3", "Q4"];

pub(super) fn sample(
    widget_type: WidgetType,
    subject: &Subject<'_>,
    dice: &mut Dice,
) -> (Value, Value) {
    use WidgetType as T;
    let course = Course::of(subject.metric(), subject.aim, dice);
    match widget_type {
        T::LineChart | T::MultiLineChart | T::AreaChart | T::StackedAreaChart => {
            lines(widget_type, subject, &course, dice)
        }
        T::BarChart | T::HorizontalBarChart | T::StackedBarChart | T::GroupedBarChart => {
            bars(widget_type, subject, &course, dice)
        }
        T::PieChart
        | T::DonutChart
        | T::PolarAreaChart
        | T::RadialBarChart
        | T::Treemap
        | T::FunnelChart => parts_of_a_whole(widget_type, subject, dice),
        T::ScatterPlot | T::BubbleChart => points(widget_type, subject, dice),
        T::WaterfallChart => waterfall(subject, &course, dice),
        T::RadarChart => radar(subject, dice),
        _ => ranges(widget_type, subject, &course, dice),
    }
}

fn lines(
    widget_type: WidgetType,
    subject: &Subject<'_>,
    course: &Course,
    dice: &mut Dice,
) -> (Value, Value) {
    let metric = subject.metric();
    let mut series = |name: &str, scale: f64| {
        let values: Vec<Value> = (0..12)
            .map(|i| {
                rounded(
                    metric.cap(course.at(f64::from(i) / 11.0) * scale * dice.between(0.97, 1.03)),
                )
            })
            .collect();
        json!({ "name": name, "values": values })
    };
    let is_single = matches!(widget_type, WidgetType::LineChart | WidgetType::AreaChart);
    let series: Vec<Value> = if is_single {
        vec![series(metric.label, 1.0)]
    } else {
        let parts = subject.parts().iter().take(SERIES);
        let scales = [1.0, 0.8, 1.15];
        parts
            .zip(scales)
            .map(|(part, scale)| series(part, scale))
            .collect()
    };
    (
        json!({
            "x_axis": "Month", "y_axis": format!("{} ({})", metric.label, metric.unit),
            "show_legend": !is_single, "stacked": widget_type == WidgetType::StackedAreaChart,
        }),
        json!({ "labels": MONTHS, "series": series, "target": rounded(course.to), "unit": metric.unit }),
    )
}

fn bars(
    widget_type: WidgetType,
    subject: &Subject<'_>,
    course: &Course,
    dice: &mut Dice,
) -> (Value, Value) {
    let metric = subject.metric();
    let parts = subject.parts();
    let mut series = |name: &str, scale: f64| {
        let values: Vec<Value> = parts
            .iter()
            .map(|_| rounded(metric.cap(scale * dice.between(0.7, 1.3))))
            .collect();
        json!({ "name": name, "values": values })
    };
    let series = match widget_type {
        WidgetType::StackedBarChart => QUARTERS
            .iter()
            .map(|quarter| series(quarter, course.now / 4.0))
            .collect(),
        WidgetType::GroupedBarChart => {
            vec![series("Before", course.from), series("Now", course.now)]
        }
        _ => vec![series(metric.label, course.now)],
    };
    (
        json!({
            "x_axis": metric.by.0, "y_axis": format!("{} ({})", metric.label, metric.unit),
            "show_values": true, "show_legend": series.len() > 1,
        }),
        json!({ "labels": parts, "series": series, "unit": metric.unit }),
    )
}

fn parts_of_a_whole(
    widget_type: WidgetType,
    subject: &Subject<'_>,
    dice: &mut Dice,
) -> (Value, Value) {
    let parts = subject.parts();
    let shares = shares(parts.len(), dice);
    let percentages: Vec<Value> = parts
        .iter()
        .zip(&shares)
        .map(|(part, share)| json!({ "label": part, "value": rounded(share * 100.0) }))
        .collect();
    match widget_type {
        WidgetType::PieChart => (
            json!({ "show_labels": true, "show_legend": true }),
            json!({ "items": percentages, "unit": "%" }),
        ),
        WidgetType::DonutChart => (
            json!({ "show_labels": true, "inner_radius": 0.6 }),
            json!({ "items": percentages, "unit": "%" }),
        ),
        WidgetType::FunnelChart => {
            let mut left = dice.between(2_000.0, 12_000.0).round();
            let stages = [
                "Identified",
                "Contacted",
                "Enrolled",
                "Active",
                "Goal reached",
            ];
            let items: Vec<Value> = stages
                .iter()
                .map(|stage| {
                    let item = json!({ "label": stage, "value": left as i64 });
                    left = (left * dice.between(0.5, 0.85)).round();
                    item
                })
                .collect();
            (
                json!({ "show_conversion": true }),
                json!({ "items": items, "unit": "people" }),
            )
        }
        WidgetType::Treemap => {
            let items: Vec<Value> = parts
                .iter()
                .zip(&shares)
                .map(|(part, share)| {
                    let value = (share * 1000.0).round() / 10.0;
                    let first = (value * dice.between(3.0, 7.0)).round() / 10.0;
                    let rest = ((value - first) * 10.0).round() / 10.0;
                    json!({ "label": part, "value": value, "children": [
                        { "label": "First half of the year", "value": first },
                        { "label": "Second half of the year", "value": rest },
                    ] })
                })
                .collect();
            (
                json!({ "show_labels": true, "depth": 2 }),
                json!({ "items": items, "unit": "%" }),
            )
        }
        // Bars and sectors around a circle, each with its own value.
        _ => {
            let items: Vec<Value> = parts
                .iter()
                .map(|part| json!({ "label": part, "value": rounded(dice.between(35.0, 96.0)) }))
                .collect();
            (
                json!({ "show_labels": true }),
                json!({ "items": items, "max": 100, "unit": "% of target" }),
            )
        }
    }
}

fn points(widget_type: WidgetType, subject: &Subject<'_>, dice: &mut Dice) -> (Value, Value) {
    let x = subject.metric();
    let y = subject.metrics.get(1).copied().unwrap_or(x);
    let (x_range, y_range) = (x.range, y.range);
    let points: Vec<Value> = subject
        .parts()
        .iter()
        .flat_map(|part| [(part, "A"), (part, "B")])
        .map(|(part, half)| {
            let mut point = json!({
                "label": format!("{part} {half}"), "x": rounded(dice.between(x_range.0, x_range.1)),
                "y": rounded(dice.between(y_range.0, y_range.1)),
            });
            if widget_type == WidgetType::BubbleChart {
                point["size"] = json!(dice.between(20.0, 400.0).round() as i64);
            }
            point
        })
        .collect();
    let axis = |metric: &Metric| format!("{} ({})", metric.label, metric.unit);
    let mut config = json!({ "x_axis": axis(x), "y_axis": axis(y) });
    if widget_type == WidgetType::BubbleChart {
        config["size_label"] = json!("People");
    }
    (
        config,
        json!({ "points": points, "x_unit": x.unit, "y_unit": y.unit }),
    )
}

fn waterfall(subject: &Subject<'_>, course: &Course, dice: &mut Dice) -> (Value, Value) {
    let metric = subject.metric();
    let parts = subject.parts();
    let way = course.to - course.from;
    let mut steps =
        vec![json!({ "label": "Baseline", "value": rounded(course.from), "kind": "start" })];
    for (share, part) in shares(parts.len(), dice).iter().zip(parts) {
        steps.push(json!({ "label": part, "value": rounded(way * share), "kind": "change" }));
    }
    steps.push(json!({ "label": "Target", "value": rounded(course.to), "kind": "total" }));
    (
        json!({ "show_breakeven_line": metric.unit == "USD", "y_axis": format!("{} ({})", metric.label, metric.unit) }),
        json!({ "steps": steps, "unit": metric.unit }),
    )
}

fn radar(subject: &Subject<'_>, dice: &mut Dice) -> (Value, Value) {
    let axes: Vec<Value> = subject
        .parts()
        .iter()
        .map(|part| json!({ "label": part, "max": 100 }))
        .collect();
    let mut values = |low, high| -> Vec<Value> {
        axes.iter()
            .map(|_| rounded(dice.between(low, high)))
            .collect()
    };
    let series = json!([
        { "name": "Market", "values": values(35.0, 70.0) },
        { "name": subject.metric().label, "values": values(60.0, 96.0) },
    ]);
    (
        json!({ "show_legend": true }),
        json!({ "axes": axes, "series": series, "unit": "index" }),
    )
}

/// Charts of ranges and of changes between two points in time, and the heat map.
fn ranges(
    widget_type: WidgetType,
    subject: &Subject<'_>,
    course: &Course,
    dice: &mut Dice,
) -> (Value, Value) {
    let metric = subject.metric();
    let parts = subject.parts();
    let mut around = |low, high| metric.cap(course.now * dice.between(low, high));
    let y_axis = format!("{} ({})", metric.label, metric.unit);
    match widget_type {
        WidgetType::Heatmap => {
            let values: Vec<Vec<Value>> = parts
                .iter()
                .map(|_| QUARTERS.iter().map(|_| rounded(around(0.7, 1.3))).collect())
                .collect();
            (
                json!({ "show_values": true, "x_axis": "Quarter", "y_axis": metric.by.0 }),
                json!({ "rows": parts, "columns": QUARTERS, "values": values, "unit": metric.unit }),
            )
        }
        WidgetType::CandlestickChart => {
            let candles: Vec<[Value; 4]> = MONTHS
                .iter()
                .map(|_| {
                    let (open, close) = (around(0.95, 1.05), around(0.95, 1.05));
                    let low = open.min(close) * 0.97;
                    let high = open.max(close) * 1.03;
                    [open, close, low, high].map(rounded)
                })
                .collect();
            (
                json!({ "x_axis": "Month", "y_axis": y_axis }),
                json!({ "labels": MONTHS, "candles": candles, "unit": metric.unit }),
            )
        }
        WidgetType::BoxPlot => {
            let boxes: Vec<Vec<Value>> = parts
                .iter()
                .map(|_| {
                    let spread = [
                        (0.6, 0.7),
                        (0.8, 0.88),
                        (0.95, 1.05),
                        (1.12, 1.2),
                        (1.3, 1.5),
                    ];
                    spread
                        .map(|(low, high)| rounded(around(low, high)))
                        .to_vec()
                })
                .collect();
            (
                json!({ "x_axis": metric.by.0, "y_axis": y_axis }),
                json!({ "labels": parts, "boxes": boxes, "unit": metric.unit }),
            )
        }
        WidgetType::SlopeChart => {
            let series: Vec<Value> = parts
                .iter()
                .map(|part| {
                    // Each part develops like the whole.
                    let size = dice.between(0.85, 1.15);
                    let values = [course.from, course.now].map(|v| rounded(metric.cap(v * size)));
                    json!({ "name": part, "values": values })
                })
                .collect();
            (
                json!({ "show_labels": true, "y_axis": y_axis }),
                json!({ "labels": ["Before", "Now"], "series": series, "unit": metric.unit }),
            )
        }
        _ => {
            let items: Vec<Value> = parts
                .iter()
                .map(|part| json!({ "label": part, "low": rounded(around(0.7, 0.9)), "high": rounded(around(1.1, 1.3)) }))
                .collect();
            (
                json!({ "x_axis": y_axis, "y_axis": metric.by.0 }),
                json!({ "items": items, "unit": metric.unit }),
            )
        }
    }
}
