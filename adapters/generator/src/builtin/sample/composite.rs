//! Sample data of lists, tables, and tiles with several figures.

use conch_domain::WidgetType;
use serde_json::{Value, json};

use super::{Course, MONTHS, Subject, metric_list, rounded, shares, trend};
use crate::builtin::dice::Dice;

pub(super) fn sample(
    widget_type: WidgetType,
    subject: &Subject<'_>,
    dice: &mut Dice,
) -> (Value, Value) {
    let metric = subject.metric();
    let course = Course::of(metric, subject.aim, dice);
    let parts = subject.parts();
    match widget_type {
        WidgetType::RoiSummary => roi_summary(dice),
        WidgetType::ClinicalMetrics => (
            json!({ "metrics": metric_list(subject.metrics), "show_benchmark": true }),
            clinical_metrics(subject, dice),
        ),
        WidgetType::CostBreakdown => {
            let total = course.from.max(1.0);
            let items: Vec<Value> = shares(parts.len(), dice)
                .iter()
                .zip(parts)
                .map(|(share, part)| json!({ "label": part, "value": rounded(total * share), "percent": rounded(share * 100.0) }))
                .collect();
            (
                json!({ "show_percent": true, "sort": "descending" }),
                json!({ "items": items, "total": rounded(total), "unit": metric.unit }),
            )
        }
        WidgetType::DataTable => data_table(subject, &course, dice),
        WidgetType::RankedList => {
            let mut values: Vec<f64> = parts
                .iter()
                .map(|_| metric.cap(course.now * dice.between(0.6, 1.4)))
                .collect();
            values.sort_by(|a, b| b.total_cmp(a));
            let mut labels = parts.to_vec();
            dice.shuffle(&mut labels);
            let items: Vec<Value> = (1..)
                .zip(labels.iter().zip(&values))
                .map(|(rank, (label, value)): (u32, _)| json!({ "rank": rank, "label": label, "value": rounded(*value) }))
                .collect();
            (
                json!({ "limit": parts.len(), "show_rank": true }),
                json!({ "items": items, "unit": metric.unit }),
            )
        }
        WidgetType::QualityProgression => {
            let stages = [
                "Baseline",
                "Quarter 1",
                "Quarter 2",
                "Quarter 3",
                "Quarter 4",
            ];
            let stages: Vec<Value> = (0..).zip(stages)
                .map(|(i, label): (u32, _)| {
                    let step = f64::from(i) / 4.0;
                    let reached = course.at(step * dice.between(0.85, 1.0));
                    json!({ "label": label, "value": rounded(reached), "target": rounded(course.at(step)) })
                })
                .collect();
            (
                json!({ "show_target": true, "good_direction": trend(metric) }),
                json!({ "stages": stages, "unit": metric.unit }),
            )
        }
        _ => timeline(subject, dice),
    }
}

/// Always money, whatever the metric: an investment and its return within a year.
fn roi_summary(dice: &mut Dice) -> (Value, Value) {
    let investment = (dice.between(80_000.0, 600_000.0) / 1000.0).round() * 1000.0;
    let savings = (investment * dice.between(1.6, 4.2) / 1000.0).round() * 1000.0;
    let months = (12.0 * investment / savings).ceil();
    (
        json!({ "currency": "USD", "show_payback": true }),
        json!({
            "investment": rounded(investment), "savings": rounded(savings), "net": rounded(savings - investment),
            "roi_percent": rounded((savings / investment - 1.0) * 100.0), "payback_months": months as i64, "unit": "USD",
        }),
    )
}

fn clinical_metrics(subject: &Subject<'_>, dice: &mut Dice) -> Value {
    let items: Vec<Value> = subject
        .metrics
        .iter()
        .enumerate()
        .map(|(i, metric)| {
            let course = Course::of(metric, subject.aim.filter(|_| i == 0), dice);
            let benchmark = course.from * dice.between(0.92, 1.08);
            json!({
                "label": metric.label, "unit": metric.unit, "baseline": rounded(course.from), "value": rounded(course.now),
                "target": rounded(course.to), "benchmark": rounded(benchmark), "trend": trend(metric),
            })
        })
        .collect();
    json!({ "items": items })
}

fn data_table(subject: &Subject<'_>, course: &Course, dice: &mut Dice) -> (Value, Value) {
    let metric = subject.metric();
    let rows: Vec<Value> = subject
        .parts()
        .iter()
        .map(|part| {
            let spread = dice.between(0.8, 1.2);
            let course = Course {
                from: metric.cap(course.from * spread),
                now: metric.cap(course.now * spread * dice.between(0.97, 1.03)),
                to: metric.cap(course.to * spread),
            };
            json!({
                "segment": part, "baseline": rounded(course.from), "current": rounded(course.now),
                "target": rounded(course.to), "change_percent": course.change_percent(),
            })
        })
        .collect();
    let column = |key: &str, label: &str, format: &str| json!({ "key": key, "label": label, "format": format });
    (
        json!({
            "columns": [
                { "key": "segment", "label": metric.by.0 }, column("baseline", "Baseline", metric.format()),
                column("current", "Now", metric.format()), column("target", "Target", metric.format()),
                column("change_percent", "Change in %", "0.0"),
            ],
            "sortable": true, "page_size": 10,
        }),
        json!({ "rows": rows }),
    )
}

/// The investment compared with its return so far, month by month.
fn timeline(subject: &Subject<'_>, dice: &mut Dice) -> (Value, Value) {
    let monthly = dice.between(20_000.0, 90_000.0);
    let investment = monthly * dice.between(4.0, 9.0);
    let mut sum = 0.0;
    let mut breakeven = Value::Null;
    let mut values = Vec::new();
    for month in MONTHS {
        sum += monthly * dice.between(0.8, 1.2);
        if breakeven.is_null() && sum >= investment {
            breakeven = json!(month);
        }
        values.push(rounded(sum));
    }
    let invested = vec![rounded(investment); MONTHS.len()];
    (
        json!({ "show_breakeven_line": true, "x_axis": "Month", "y_axis": "USD, cumulative" }),
        json!({
            "labels": MONTHS, "unit": "USD", "breakeven": breakeven,
            "series": [{ "name": "Savings so far", "values": values }, { "name": "Investment", "values": invested }],
            "milestones": [
                { "at": MONTHS[0], "label": "Start" },
                { "at": MONTHS[5], "label": format!("Review: {}", subject.metric().label) },
                { "at": MONTHS[11], "label": "First year" },
            ],
        }),
    )
}
