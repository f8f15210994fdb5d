//! Composes a dashboard from a brief: selects metrics and widgets, and names them.
//!
//! Never in here: sample values (`sample`), a widget's texts (`widget`), or a client's text at full length.

use std::sync::LazyLock;

use conch_domain::{Audience, Category, Layout, Metadata, TITLE_CHARS, TemplateDraft, VisualStyle};
use conch_ports::Brief;
use serde_json::{Value, json};

use super::dice::Dice;
use super::layout::{Sheet, lay_out};
use super::library::{METRICS, Metric};
use super::reading::Reading;
use super::text::{cut, name_of};
use super::widget::Maker;

/// Most metrics used in one dashboard.
const MAX_METRICS: usize = 14;

/// Composes the template for a brief; `digest` is the digest of the text that was read.
pub(crate) fn compose(brief: &Brief, reading: &Reading, digest: &[u8; 32]) -> TemplateDraft {
    let (category, audience) = (brief.item.category, brief.item.audience);
    let name = brief.client.name.as_bytes();
    let mut of_plan = Dice::seeded(&[name, digest]);
    let mut dice = Dice::seeded(&[
        name,
        digest,
        category.as_str().as_bytes(),
        audience.as_str().as_bytes(),
        &brief.index.to_le_bytes(),
    ]);
    let client = name_of(&brief.client.name);
    let metrics = ranked(brief, reading, &mut dice);
    let style = style(category, audience);
    let sheet = Sheet {
        category,
        index: brief.index,
        total: brief.total,
    };
    let mut maker = Maker::new(
        &client,
        brief.client.industry.as_deref(),
        reading,
        &metrics,
        &style,
    );
    let widgets: Vec<_> = lay_out(&sheet, &mut of_plan, &mut dice)
        .into_iter()
        .map(|placed| maker.make(&placed, &mut dice))
        .collect();
    let leading = [&METRICS[metrics[0]], &METRICS[metrics[1]]];
    TemplateDraft {
        name: template_name(&client, category, audience, &brief.names),
        description: description(&client, audience, leading, reading, widgets.len()),
        category,
        target_audience: audience,
        key_features: features(reading, leading, &client, audience),
        widgets,
        visual_style: style,
        meta_data: metadata(&json!({
            "generator": "builtin",
            "promises": reading.promises.iter().map(|p| p.figure.as_str()).collect::<Vec<_>>(),
            "recommendedUseCase": use_case(audience, category),
        })),
    }
}

/// Indexes of metrics in the library, the most suitable first.
fn ranked(brief: &Brief, reading: &Reading, dice: &mut Dice) -> Vec<usize> {
    let is_for_audience = metrics_for(brief.item.audience);
    let mut scored: Vec<(f64, usize)> = METRICS
        .iter()
        .enumerate()
        .map(|(at, metric)| {
            let mut score = f64::from(reading.calls_for(at)) + dice.share();
            score += if metric.serves.contains(&brief.item.category) {
                5.0
            } else if brief.item.category == Category::Comprehensive {
                2.5
            } else {
                0.0
            };
            if is_for_audience[at] {
                score += 1.5;
            }
            if metric.health && !reading.is_health {
                score -= 8.0;
            }
            if reading.promise_about(at).is_some() {
                score += 2.0;
            }
            (score, at)
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let best = scored.into_iter().take(MAX_METRICS);
    best.map(|(_, at)| at).collect()
}

/// Per metric of the library: whether it speaks to that audience.
fn metrics_for(audience: Audience) -> &'static [bool] {
    static FOR: LazyLock<Vec<(Audience, Vec<bool>)>> = LazyLock::new(|| {
        let for_one = |audience| {
            let words = audience_words(audience);
            let metrics = METRICS.iter();
            metrics
                .map(|metric| shares_a_word(metric.words, words))
                .collect()
        };
        Audience::ALL
            .iter()
            .map(|one| (*one, for_one(*one)))
            .collect()
    });
    let found = FOR.iter().find(|(one, _)| *one == audience);
    &found.expect("all of them are there").1
}

fn shares_a_word(words: &str, others: &str) -> bool {
    words
        .split(' ')
        .any(|word| others.split(' ').any(|other| other == word))
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

/// A name that differs from those of the job's other templates.
fn template_name(client: &str, category: Category, audience: Audience, taken: &[String]) -> String {
    let plain = format!("{client}: {} for {}", heading(category), audience.as_str());
    let mut name = cut(&plain, *TITLE_CHARS.end());
    let mut number = 2;
    while taken.contains(&name) {
        let suffix = format!(" ({number})");
        name = cut(&plain, *TITLE_CHARS.end() - suffix.len()) + &suffix;
        number += 1;
    }
    name
}

fn description(
    client: &str,
    audience: Audience,
    leading: [&Metric; 2],
    reading: &Reading,
    widgets: usize,
) -> String {
    let topics = match &reading.topics[..] {
        [] => String::new(),
        [one] => format!(" It is built around “{}”.", cut(one, 40)),
        [one, other, ..] => format!(
            " It is built around “{}” and “{}”.",
            cut(one, 40),
            cut(other, 40)
        ),
    };
    format!(
        "What {client} promises a {} audience: {}, {} and more, in {widgets} widgets.{topics}",
        audience.as_str(),
        leading[0].phrase(),
        leading[1].phrase(),
    )
}

fn features(
    reading: &Reading,
    leading: [&Metric; 2],
    client: &str,
    audience: Audience,
) -> Vec<String> {
    // A sentence is quoted once, with all promises in it.
    let mut features: Vec<String> = reading
        .promises
        .chunk_by(|one, next| one.sentence == next.sentence)
        .take(3)
        .map(|promises| {
            let figures: Vec<&str> = promises.iter().map(|p| p.figure.as_str()).collect();
            let sentence = cut(&promises[0].sentence, 160);
            format!("{}: “{sentence}”", figures.join(", "))
        })
        .collect();
    if features.is_empty() {
        let quotes = reading.quotes.iter().take(2);
        features.extend(quotes.map(|quote| format!("“{}”", cut(quote, 160))));
    }
    features.push(format!(
        "Leads with {} and {}",
        leading[0].phrase(),
        leading[1].phrase()
    ));
    features.push(format!(
        "Answers what a {} audience asks of {client}",
        audience.as_str()
    ));
    if features.len() < 3 {
        let by = leading[0].by.0;
        features.push(format!("Breaks {} down by {by}", leading[0].phrase()));
    }
    features
}

fn use_case(audience: Audience, category: Category) -> String {
    let occasion = match audience {
        Audience::HealthPlan => "A quarterly review with a health plan",
        Audience::Broker => "A broker's renewal meeting",
        Audience::Pbm => "A formulary discussion with a PBM",
        Audience::Tpa => "An operations review with a TPA",
        Audience::MedicalManagement => "A meeting of the medical management team",
    };
    format!("{occasion} about {}", heading(category).to_lowercase())
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

/// The colours that the contract recommends for the category; density and font depend on the audience.
fn style(category: Category, audience: Audience) -> VisualStyle {
    let [primary, accent] = match category {
        Category::RoiFocused => ["#2563eb", "#1e40af"],
        Category::ClinicalOutcomes => ["#0891b2", "#06b6d4"],
        Category::OperationalEfficiency => ["#7c3aed", "#6366f1"],
        Category::CompetitivePositioning => ["#f97316", "#ea580c"],
        Category::Comprehensive => ["#2563eb", "#16a34a"],
    };
    let layout = match audience {
        Audience::HealthPlan | Audience::Pbm => Layout::Balanced,
        Audience::Broker => Layout::Spacious,
        Audience::Tpa | Audience::MedicalManagement => Layout::Dense,
    };
    VisualStyle {
        primary_color: primary.to_owned(),
        secondary_color: VisualStyle::SECONDARY_COLOR.to_owned(),
        accent_color: accent.to_owned(),
        background_color: VisualStyle::BACKGROUND_COLOR.to_owned(),
        text_color: VisualStyle::TEXT_COLOR.to_owned(),
        font_family: VisualStyle::FONT_FAMILY.to_owned(),
        layout,
    }
}

fn metadata(value: &Value) -> Metadata {
    Metadata::from_json(value.to_string())
}
