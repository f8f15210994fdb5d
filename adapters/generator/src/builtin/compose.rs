//! From a brief to a dashboard: which metrics, in which widgets, under which names.
//!
//! Never in here: sample values (`sample`), or text of the client's at full length in a title.

use conch_domain::{
    Audience, Category, Layout, Metadata, TemplateDraft, VisualStyle, Widget, WidgetPosition,
};
use conch_ports::Brief;
use serde_json::{Value, json};

use super::library::{HEALTH, METRICS, Metric};
use super::reading::{Promise, Reading};
use super::sample::{self, Dice};

/// Most characters of a widget's title (contract §5).
const TITLE_MAX: usize = 100;
/// Most characters of a client's name inside a title.
const NAME_MAX: usize = 40;

/// A row of the grid: how high, and which widgets with how many columns each; always twelve.
type Band = (u32, &'static [(&'static str, u32)]);

const KPIS: Band = (
    1,
    &[
        ("kpi-card", 3),
        ("kpi-card", 3),
        ("kpi-card", 3),
        ("kpi-card", 3),
    ],
);
const BIG_KPIS: Band = (2, &[("kpi-card", 4), ("kpi-card", 4), ("kpi-card", 4)]);
const TREND: Band = (3, &[("line-chart", 8), ("donut", 4)]);
const COMPARE: Band = (3, &[("bar-chart", 6), ("line-chart", 6)]);
const MATRIX: Band = (4, &[("heatmap", 7), ("bar-chart", 5)]);
const PATH: Band = (3, &[("funnel", 5), ("table", 7)]);
const DETAIL: Band = (3, &[("table", 8), ("insight", 4)]);
const NOTE: Band = (1, &[("insight", 12)]);

fn bands(category: Category, audience: Audience) -> &'static [Band] {
    let short = matches!(audience, Audience::Broker | Audience::Pbm);
    match (category, short) {
        (Category::RoiFocused, false) => &[KPIS, TREND, COMPARE, DETAIL],
        (Category::RoiFocused, true) => &[NOTE, BIG_KPIS, TREND, PATH],
        (Category::ClinicalOutcomes, false) if audience == Audience::MedicalManagement => {
            &[BIG_KPIS, PATH, MATRIX, NOTE]
        }
        (Category::ClinicalOutcomes, _) => &[KPIS, MATRIX, TREND, NOTE],
        (Category::OperationalEfficiency, _) => &[KPIS, PATH, COMPARE, DETAIL],
        (Category::CompetitivePositioning, _) => &[NOTE, BIG_KPIS, COMPARE, DETAIL],
        (Category::Comprehensive, _) => &[KPIS, TREND, MATRIX, PATH, COMPARE],
    }
}

/// Composes the template of a brief.
pub(crate) fn compose(brief: &Brief) -> TemplateDraft {
    let (category, audience) = (brief.item.category, brief.item.audience);
    let industry = brief.client.industry.as_deref().unwrap_or_default();
    let content = &brief.value_proposition.content;
    let reading = Reading::of(content);
    let mut dice = Dice::seeded(&[
        &brief.client.name,
        industry,
        content,
        category.as_str(),
        audience.as_str(),
        &brief.index.to_string(),
    ]);
    let client = name_of(&brief.client.name);
    let metrics = ranked(brief, &reading, &mut dice);
    let mut widgets = Vec::new();
    let mut row = 1;
    for (height, tiles) in bands(category, audience) {
        let mut col = 1;
        for (kind, width) in *tiles {
            let position = WidgetPosition {
                row,
                col,
                row_span: *height,
                col_span: *width,
            };
            let metric = metrics[widgets.len() % metrics.len()];
            let number = widgets.len() + 1;
            widgets.push(widget(
                number, kind, metric, position, &client, &reading, &mut dice,
            ));
            col += width;
        }
        row += height;
    }
    TemplateDraft {
        name: format!("{client}: {} for {}", heading(category), audience.as_str()),
        description: format!(
            "What {client} promises, shown to a {} audience through {}, {} and {} more measures.",
            audience.as_str(),
            metrics[0].label,
            metrics[1].label,
            widgets.len() - 2
        ),
        category,
        target_audience: audience,
        key_features: features(&reading, &metrics, &client, audience),
        widgets,
        visual_style: style(category, audience),
        meta_data: metadata(&json!({
            "generator": "builtin",
            "promises": reading.promises.iter().map(|p| p.figure.as_str()).collect::<Vec<_>>(),
        })),
    }
}

/// The metrics, the most fitting first.
fn ranked(brief: &Brief, reading: &Reading, dice: &mut Dice) -> Vec<&'static Metric> {
    let industry = Reading::of(brief.client.industry.as_deref().unwrap_or_default());
    let is_health = reading.hits(HEALTH) + industry.hits(HEALTH) > 0;
    let mut scored: Vec<(f64, &Metric)> = METRICS
        .iter()
        .map(|metric| {
            let said = f64::from(reading.hits(metric.words)) * 2.0
                + f64::from(industry.hits(metric.words));
            let serves = metric.serves.contains(&brief.item.category);
            let everything = brief.item.category == Category::Comprehensive;
            let audience = audience_words(brief.item.audience)
                .split_whitespace()
                .any(|w| metric.words.split_whitespace().any(|m| m == w));
            let mut score = said + dice.share();
            score += if serves {
                5.0
            } else if everything {
                2.5
            } else {
                0.0
            };
            score += if audience { 1.5 } else { 0.0 };
            if metric.health && !is_health {
                score -= 8.0;
            }
            if reading.promises.iter().any(|p| p.is_about(metric.words)) {
                score += 2.0;
            }
            (score, metric)
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored
        .into_iter()
        .take(12)
        .map(|(_, metric)| metric)
        .collect()
}

fn audience_words(audience: Audience) -> &'static str {
    match audience {
        Audience::HealthPlan => "pmpm trend star hedis quality member",
        Audience::Broker => "renew broker price compet win",
        Audience::Pbm => "pharma drug rebate formular rx",
        Audience::Tpa => "claim adjudic process stop-loss servic",
        Audience::MedicalManagement => "nurse case prior readmi adheren",
    }
}

fn widget(
    number: usize,
    kind: &str,
    metric: &Metric,
    position: WidgetPosition,
    client: &str,
    reading: &Reading,
    dice: &mut Dice,
) -> Widget {
    let about = |p: &&Promise| p.is_about(metric.words);
    let promise = reading.promises.iter().find(about);
    let (dimension, _) = metric.by;
    let title = match (kind, promise) {
        ("insight", Some(p)) => format!("{client} promises {}: {}", p.figure, metric.label),
        ("insight", None) => format!("What {client} changes: {}", metric.label),
        ("kpi-card", Some(p)) => format!("{} – {} promised by {client}", metric.label, p.figure),
        ("kpi-card", None) => format!("{} with {client}", metric.label),
        ("line-chart", Some(p)) => format!("{client}: {} on the way to {}", metric.label, p.figure),
        ("line-chart", None) => format!("{client}: {} over twelve months", metric.label),
        ("funnel", _) => format!("From identified to goal reached: {}", metric.label),
        ("table", _) => format!("{}: baseline and target by {dimension}", metric.label),
        _ => format!("{} by {dimension}", metric.label),
    };
    let verb = if metric.falls {
        "brings down"
    } else {
        "raises"
    };
    let target = promise.map_or("a typical improvement", |p| p.figure.as_str());
    let data = if kind == "insight" {
        let body = promise.map_or_else(
            || format!("{client} {verb} {}.", metric.label),
            |p| cut(&p.sentence, 400),
        );
        json!({ "headline": format!("{client} {verb} {}", metric.label), "body": body,
            "figure": promise.map(|p| p.figure.as_str()) })
    } else {
        sample::data(kind, metric, promise.and_then(|p| p.share), dice)
    };
    let chart = matches!(
        kind,
        "line-chart" | "bar-chart" | "donut" | "funnel" | "heatmap"
    )
    .then(|| kind.trim_end_matches("-chart").to_owned());
    Widget {
        id: format!("widget-{number}"),
        widget_type: kind.to_owned(),
        title: cut(&title, TITLE_MAX),
        description: format!(
            "{} in {}, measured against {target}.",
            metric.label, metric.unit
        ),
        position,
        analytics_question: format!(
            "How far has {client} {} {}, and where by {dimension}?",
            if metric.falls {
                "brought down"
            } else {
                "raised"
            },
            metric.label
        ),
        query_type: query_type(kind).to_owned(),
        metrics: vec![metric.key.to_owned()],
        more_requirements: metadata(&json!({
            "dimensions": [dimension], "time_range": "last_12_months", "aggregation":
            if metric.unit == "USD" { "sum" } else { "average" },
        })),
        chart_type: chart,
        config: metadata(&json!({
            "unit": metric.unit, "target": promise.map(|p| p.figure.as_str()),
            "good_direction": if metric.falls { "down" } else { "up" },
        })),
        data: metadata(&data),
    }
}

fn query_type(kind: &str) -> &'static str {
    match kind {
        "line-chart" => "time_series",
        "table" => "detail",
        "funnel" => "funnel",
        "heatmap" => "cross_tab",
        "bar-chart" | "donut" => "breakdown",
        _ => "aggregate",
    }
}

fn features(
    reading: &Reading,
    metrics: &[&Metric],
    client: &str,
    audience: Audience,
) -> Vec<String> {
    let mut features: Vec<String> = reading
        .promises
        .iter()
        .take(3)
        .map(|p| format!("{}: “{}”", p.figure, cut(&p.sentence, 160)))
        .collect();
    features.push(format!(
        "Leads with {} and {}",
        metrics[0].label, metrics[1].label
    ));
    features.push(format!(
        "Answers what a {} audience asks of {client}",
        audience.as_str()
    ));
    if features.len() < 3 {
        features.push(format!(
            "Breaks {} down by {}",
            metrics[2].label, metrics[2].by.0
        ));
    }
    features
}

fn heading(category: Category) -> &'static str {
    match category {
        Category::RoiFocused => "Return on investment",
        Category::ClinicalOutcomes => "Clinical outcomes",
        Category::OperationalEfficiency => "Operational efficiency",
        Category::CompetitivePositioning => "Competitive position",
        Category::Comprehensive => "The whole picture",
    }
}

fn style(category: Category, audience: Audience) -> VisualStyle {
    let [primary, secondary] = match category {
        Category::RoiFocused => ["#0b6e4f", "#6bbf59"],
        Category::ClinicalOutcomes => ["#1b4d89", "#5fa8d3"],
        Category::OperationalEfficiency => ["#7a4419", "#d8973c"],
        Category::CompetitivePositioning => ["#5b2a86", "#a06cd5"],
        Category::Comprehensive => ["#243b4a", "#6c8ea0"],
    };
    let (accent, font, layout) = match audience {
        Audience::HealthPlan => ("#f2a541", "Inter, sans-serif", Layout::Balanced),
        Audience::Broker => ("#e4572e", "Georgia, serif", Layout::Spacious),
        Audience::Pbm => ("#17bebb", "Roboto, sans-serif", Layout::Balanced),
        Audience::Tpa => ("#76b041", "Source Sans 3, sans-serif", Layout::Dense),
        Audience::MedicalManagement => ("#c1292e", "Inter, sans-serif", Layout::Dense),
    };
    VisualStyle {
        colors: [primary, secondary, accent, "#ffffff", "#1f2933"].map(str::to_owned),
        font_family: font.to_owned(),
        layout,
    }
}

/// A name that fits into titles: on one line, without control characters, not too long.
fn name_of(name: &str) -> String {
    let spaced: String = name
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let name = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() {
        "This client".to_owned()
    } else {
        cut(&name, NAME_MAX)
    }
}

fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(max - 1).collect();
    kept.truncate(kept.trim_end().len());
    kept.push('…');
    kept
}

fn metadata(value: &Value) -> Metadata {
    Metadata::from_json(value.to_string())
}
