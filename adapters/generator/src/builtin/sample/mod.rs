//! Sample data and presentation of a widget, by its type: the shapes of docs/templates.md.
//!
//! Data is in the metric's unit: with `%`, 18.2 means 18.2 %. The same brief gives the same data. Never in
//! here: a widget's place or title.

mod charts;
mod composite;
mod figures;

use conch_domain::WidgetType;
use serde_json::{Map, Value, json};

use super::dice::Dice;
use super::library::Metric;
use super::reading::Aim;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// What a widget's sample shows.
pub(crate) struct Subject<'a> {
    /// Its metrics, the most important first; never empty.
    pub(crate) metrics: &'a [&'static Metric],
    /// The promised effect on the first one.
    pub(crate) aim: Option<Aim>,
    /// The promise about the first one, as written in the text.
    pub(crate) figure: Option<&'a str>,
    /// The dashboard's main and accent colours.
    pub(crate) colors: [&'a str; 2],
}

impl Subject<'_> {
    fn metric(&self) -> &'static Metric {
        self.metrics[0]
    }

    /// What the first metric is broken down by.
    fn parts(&self) -> &'static [&'static str] {
        self.metric().by.1
    }
}

/// `config` and `data` of a widget.
pub(crate) struct Sample {
    pub(crate) config: Map<String, Value>,
    pub(crate) data: Value,
}

/// The sample for a widget of this type.
pub(crate) fn sample(widget_type: WidgetType, subject: &Subject<'_>, dice: &mut Dice) -> Sample {
    use WidgetType as T;
    let (config, data) = match widget_type {
        T::KpiCard
        | T::KpiGrid
        | T::MetricComparison
        | T::Scorecard
        | T::ProgressBar
        | T::GaugeChart
        | T::TrendSparkline => figures::sample(widget_type, subject, dice),
        T::RoiSummary
        | T::ClinicalMetrics
        | T::CostBreakdown
        | T::DataTable
        | T::RankedList
        | T::QualityProgression
        | T::TimelineChart => composite::sample(widget_type, subject, dice),
        _ => charts::sample(widget_type, subject, dice),
    };
    let mut config = match config {
        Value::Object(config) => config,
        _ => Map::new(),
    };
    // Shares of a sum are in %, whatever the unit of the sum.
    let unit = data["unit"].as_str().unwrap_or(subject.metric().unit);
    config.insert("unit".to_owned(), json!(unit));
    if let Some(figure) = subject.figure {
        config.insert("target_label".to_owned(), json!(figure));
    }
    Sample { config, data }
}

/// Whole numbers above 1,000, one decimal below.
fn rounded(value: f64) -> Value {
    if value.abs() >= 1000.0 {
        json!(value.round() as i64)
    } else {
        json!((value * 10.0).round() / 10.0)
    }
}

/// A metric's baseline, present value and target.
struct Course {
    from: f64,
    now: f64,
    to: f64,
}

impl Course {
    /// `aim` is the promised effect.
    fn of(metric: &Metric, aim: Option<Aim>, dice: &mut Dice) -> Self {
        let (low, high) = metric.range;
        let share = match aim {
            Some(Aim::By(share)) => share,
            _ => dice.between(0.06, 0.24),
        };
        if let Some(Aim::To(level)) = aim.filter(|_| metric.is_share()) {
            let to = level * 100.0;
            let from = if metric.falls {
                metric.cap(to * (1.0 + share))
            } else {
                to * (1.0 - share)
            };
            let now = from + (to - from) * dice.between(0.4, 0.95);
            return Self { from, now, to };
        }
        let half = (high - low) * 0.5;
        let (from, to) = if metric.falls {
            let from = dice.between(low + half, high);
            (from, from * (1.0 - share))
        } else {
            let from = dice.between(low, low + half);
            let to = from * (1.0 + share);
            // A share can't exceed the whole.
            (from, if metric.is_share() { to.min(99.9) } else { to })
        };
        let now = from + (to - from) * dice.between(0.4, 0.95);
        Self { from, now, to }
    }

    /// The value on the way from the baseline to the target; `step` from 0 to 1.
    fn at(&self, step: f64) -> f64 {
        self.from + (self.to - self.from) * step
    }

    fn change_percent(&self) -> Value {
        let change = if self.from == 0.0 {
            0.0
        } else {
            (self.now / self.from - 1.0) * 100.0
        };
        rounded(change)
    }
}

fn trend(metric: &Metric) -> &'static str {
    if metric.falls { "down" } else { "up" }
}

/// The names of a widget's metrics, as in `config.metrics`.
fn metric_list(metrics: &[&Metric]) -> Value {
    let list = metrics.iter().map(|metric| {
        json!({ "name": metric.key, "label": metric.label, "unit": metric.unit, "format": metric.format() })
    });
    list.collect()
}

/// Random shares that add up to a whole, one per part.
fn shares(parts: usize, dice: &mut Dice) -> Vec<f64> {
    let weights: Vec<f64> = (0..parts).map(|_| dice.between(1.0, 4.0)).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}
