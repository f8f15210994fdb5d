//! Sample data that looks like the real thing and is the same every time.
//!
//! Never in here: the standard library's hasher, which differs from run to run.

use serde_json::{Value, json};

use super::library::Metric;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `SplitMix64` over an FNV-1a hash: stable everywhere and for ever.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn seeded(parts: &[&str]) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        // The separator keeps ("ab", "c") apart from ("a", "bc"): UTF-8 has no 0xff.
        for byte in parts.iter().flat_map(|part| part.bytes().chain([0xff])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share()
    }
}

/// Whole numbers above 1,000, one decimal below.
fn rounded(value: f64) -> Value {
    if value.abs() >= 1000.0 {
        json!(value.round() as i64)
    } else {
        json!((value * 10.0).round() / 10.0)
    }
}

/// Where the metric comes from and where it shall go; `share` is what the text promises.
fn goal(metric: &Metric, share: Option<f64>, dice: &mut Dice) -> (f64, f64) {
    let (low, high) = metric.range;
    let share = share.unwrap_or_else(|| dice.between(0.06, 0.24));
    if metric.falls {
        let from = dice.between(low + (high - low) * 0.5, high);
        (from, from * (1.0 - share))
    } else {
        let from = dice.between(low, low + (high - low) * 0.5);
        let to = from * (1.0 + share);
        (
            from,
            if metric.unit == "%" && high <= 100.0 {
                to.min(99.9)
            } else {
                to
            },
        )
    }
}

/// Data for a widget of that type.
pub(crate) fn data(kind: &str, metric: &Metric, share: Option<f64>, dice: &mut Dice) -> Value {
    let (from, to) = goal(metric, share, dice);
    let (_, parts) = metric.by;
    let spread = |dice: &mut Dice| rounded(to * dice.between(0.7, 1.3));
    match kind {
        "kpi-card" => {
            let now = from + (to - from) * dice.between(0.4, 0.95);
            json!({
                "value": rounded(now), "unit": metric.unit, "baseline": rounded(from),
                "target": rounded(to), "change_percent": rounded((now / from - 1.0) * 100.0),
                "trend": if metric.falls { "down" } else { "up" },
            })
        }
        "line-chart" => {
            let step = |i: usize| i as f64 / (MONTHS.len() - 1) as f64;
            let values: Vec<_> = (0..MONTHS.len())
                .map(|i| rounded((from + (to - from) * step(i)) * dice.between(0.98, 1.02)))
                .collect();
            json!({ "labels": MONTHS, "unit": metric.unit, "target": rounded(to),
                "series": [{ "name": metric.label, "values": values }] })
        }
        "donut" => {
            let weights: Vec<f64> = parts.iter().map(|_| dice.between(1.0, 4.0)).collect();
            let sum: f64 = weights.iter().sum();
            let segments: Vec<_> = parts
                .iter()
                .zip(&weights)
                .map(|(part, weight)| json!({ "label": part, "value": rounded(weight / sum * 100.0) }))
                .collect();
            json!({ "unit": "%", "segments": segments })
        }
        "table" => {
            let rows: Vec<_> = parts
                .iter()
                .map(|part| {
                    let before = from * dice.between(0.8, 1.2);
                    json!([
                        part,
                        rounded(before),
                        rounded(before * to / from),
                        metric.unit
                    ])
                })
                .collect();
            json!({ "columns": [metric.by.0, "Baseline", "Target", "Unit"], "rows": rows })
        }
        "funnel" => {
            let mut left = dice.between(2_000.0, 12_000.0).round();
            let stages: Vec<_> = [
                "Identified",
                "Contacted",
                "Enrolled",
                "Active",
                "Goal reached",
            ]
            .iter()
            .map(|stage| {
                let stage = json!({ "label": stage, "value": left as u64 });
                left = (left * dice.between(0.5, 0.85)).round();
                stage
            })
            .collect();
            json!({ "stages": stages })
        }
        "heatmap" => {
            let columns = ["Q1", "Q2", "Q3", "Q4"];
            let values: Vec<Vec<_>> = parts
                .iter()
                .map(|_| columns.iter().map(|_| spread(dice)).collect())
                .collect();
            json!({ "rows": parts, "columns": columns, "values": values, "unit": metric.unit })
        }
        _ => {
            let values: Vec<_> = parts.iter().map(|_| spread(dice)).collect();
            json!({ "labels": parts, "values": values, "unit": metric.unit })
        }
    }
}
