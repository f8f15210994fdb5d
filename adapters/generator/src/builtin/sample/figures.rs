//! Sample data of single figures, and of several side by side.

use conch_domain::WidgetType;
use serde_json::{Value, json};

use super::{Course, Subject, metric_list, rounded, trend};
use crate::builtin::dice::Dice;
use crate::builtin::library::Metric;

pub(super) fn sample(
    widget_type: WidgetType,
    subject: &Subject<'_>,
    dice: &mut Dice,
) -> (Value, Value) {
    let metric = subject.metric();
    let course = Course::of(metric, subject.aim, dice);
    match widget_type {
        WidgetType::KpiCard => (
            json!({
                "icon": icon(metric), "subtitle": format!("against a baseline of {}", metric.written(course.from)),
                "format": metric.kpi_format(), "good_direction": trend(metric),
            }),
            json!({
                "value": rounded(course.now), "unit": metric.unit, "baseline": rounded(course.from),
                "target": rounded(course.to), "change_percent": course.change_percent(), "trend": trend(metric),
            }),
        ),
        WidgetType::KpiGrid => (
            json!({ "metrics": metric_list(subject.metrics), "columns": subject.metrics.len() }),
            json!({ "items": each(subject, dice, |metric, course| json!({
                "label": metric.label, "value": rounded(course.now), "unit": metric.unit,
                "change_percent": course.change_percent(), "trend": trend(metric),
            })) }),
        ),
        WidgetType::MetricComparison => (
            json!({ "metrics": metric_list(subject.metrics), "before_label": "Before", "after_label": "After" }),
            json!({ "items": each(subject, dice, |metric, course| json!({
                "label": metric.label, "unit": metric.unit, "before": rounded(course.from),
                "after": rounded(course.now), "change_percent": course.change_percent(),
            })) }),
        ),
        WidgetType::Scorecard => (
            json!({ "metrics": metric_list(subject.metrics), "show_status": true }),
            json!({ "items": each(subject, dice, |metric, course| json!({
                "label": metric.label, "unit": metric.unit, "value": rounded(course.now),
                "target": rounded(course.to), "status": status(course),
            })) }),
        ),
        WidgetType::ProgressBar => (
            json!({ "target_value": rounded(course.to), "show_percent": true }),
            json!({
                "value": rounded(course.now), "start": rounded(course.from), "target": rounded(course.to),
                "percent": rounded(done(&course) * 100.0), "unit": metric.unit,
            }),
        ),
        WidgetType::GaugeChart => {
            let low = course.from.min(course.to) * 0.8;
            let high = metric.cap(course.from.max(course.to) * 1.2);
            let [primary, accent] = subject.colors;
            let middle = f64::midpoint(course.from, course.to);
            (
                json!({
                    "min_value": rounded(low), "max_value": rounded(high),
                    "thresholds": [
                        { "value": rounded(middle), "color": accent },
                        { "value": rounded(high), "color": primary },
                    ],
                }),
                json!({ "value": rounded(course.now), "target": rounded(course.to), "unit": metric.unit }),
            )
        }
        _ => {
            let values: Vec<Value> = (0..12)
                .map(|i| rounded(course.at(f64::from(i) / 11.0) * dice.between(0.97, 1.03)))
                .collect();
            (
                json!({ "show_last_value": true, "good_direction": trend(metric) }),
                json!({
                    "values": values, "unit": metric.unit, "change_percent": course.change_percent(),
                    "trend": trend(metric),
                }),
            )
        }
    }
}

/// One entry per metric; the text's promise applies to the first.
fn each(
    subject: &Subject<'_>,
    dice: &mut Dice,
    entry: impl Fn(&Metric, &Course) -> Value,
) -> Vec<Value> {
    let metrics = subject.metrics.iter().enumerate();
    metrics
        .map(|(i, metric)| {
            let aim = subject.aim.filter(|_| i == 0);
            entry(metric, &Course::of(metric, aim, dice))
        })
        .collect()
}

/// How much of the way to the target is done, 0 to 1.
fn done(course: &Course) -> f64 {
    let way = course.to - course.from;
    if way == 0.0 {
        1.0
    } else {
        ((course.now - course.from) / way).clamp(0.0, 1.0)
    }
}

fn status(course: &Course) -> &'static str {
    match done(course) {
        share if share >= 0.75 => "on_track",
        share if share >= 0.55 => "at_risk",
        _ => "off_track",
    }
}

fn icon(metric: &Metric) -> &'static str {
    match metric.unit {
        "USD" => "dollar-sign",
        "%" if metric.falls => "trending-down",
        "%" => "trending-up",
        "members" | "cases" | "visits" => "users",
        "months" | "days" | "hours" | "minutes" => "clock",
        _ => "activity",
    }
}
