//! The library of metrics: the words that suggest each one, and what it is broken down by.
//!
//! Never in here: the selection of metrics.

use conch_domain::DataType;

use conch_domain::Category::{
    self, ClinicalOutcomes as C, CompetitivePositioning as P, OperationalEfficiency as O,
    RoiFocused as R,
};

/// One thing that a widget can show.
pub(crate) struct Metric {
    pub(crate) key: &'static str,
    pub(crate) label: &'static str,
    pub(crate) unit: &'static str,
    /// Whether less is better.
    pub(crate) falls: bool,
    /// The range of its sample values.
    pub(crate) range: (f64, f64),
    /// Word stems that suggest it, separated by spaces.
    pub(crate) words: &'static str,
    /// The categories that it suits.
    pub(crate) serves: &'static [Category],
    /// Whether it is specific to health benefits.
    pub(crate) health: bool,
    /// What it is broken down by, and the parts.
    pub(crate) by: (&'static str, &'static [&'static str]),
}

impl Metric {
    /// Whether it is a share of a whole: at most 100 %.
    pub(crate) fn is_share(&self) -> bool {
        self.unit == "%" && self.range.1 <= 100.0
    }

    /// Whether its parts add up to a whole.
    pub(crate) fn adds_up(&self) -> bool {
        matches!(self.data_type(), DataType::Currency | DataType::Count)
    }

    /// Whether it measures people's health.
    pub(crate) fn is_clinical(&self) -> bool {
        self.serves.contains(&C)
    }

    /// The label as used within a sentence.
    pub(crate) fn phrase(&self) -> String {
        // A single countable thing needs an article.
        let ends = [" rate", " yield", " period", " trend", " score", " time"];
        let is_one = ends.iter().any(|end| self.label.ends_with(end))
            || ["Price ", "Cost per "]
                .iter()
                .any(|start| self.label.starts_with(start));
        let mut chars = self.label.chars();
        let first = chars.next().map(|c| c.to_ascii_lowercase());
        let article = if is_one { "the " } else { "" };
        article.chars().chain(first).chain(chars).collect()
    }

    /// Limits a value to what is possible.
    pub(crate) fn cap(&self, value: f64) -> f64 {
        if self.is_share() {
            value.min(100.0)
        } else {
            value
        }
    }

    pub(crate) fn data_type(&self) -> DataType {
        match self.unit {
            "USD" => DataType::Currency,
            "%" => DataType::Percentage,
            "members" | "cases" | "visits" | "units" => DataType::Count,
            _ => DataType::Number,
        }
    }

    /// The display format of the value that `expression` gives.
    pub(crate) fn format(&self) -> &'static str {
        match self.data_type() {
            DataType::Currency if self.range.1 >= 100_000.0 => "$0.0a",
            DataType::Currency => "$0,0",
            DataType::Percentage => "0.0%",
            DataType::Count => "0,0",
            DataType::Number => "0,0.0",
        }
    }

    /// The same in the terms of a `kpi-card`.
    pub(crate) fn kpi_format(&self) -> &'static str {
        match self.data_type() {
            DataType::Currency => "currency",
            DataType::Percentage => "percentage",
            DataType::Count | DataType::Number => "number",
        }
    }

    /// How it is computed; none if the analytics system defines it under its key.
    pub(crate) fn expression(&self) -> Option<String> {
        let key = self.key;
        match self.data_type() {
            DataType::Currency => Some(format!("SUM({key}_amount)")),
            DataType::Percentage => {
                Some(format!("SUM({key}_met) / NULLIF(SUM({key}_eligible), 0)"))
            }
            DataType::Count | DataType::Number => None,
        }
    }

    /// A value formatted for people.
    pub(crate) fn written(&self, value: f64) -> String {
        match (self.unit, value) {
            ("USD", v) if v >= 1e6 => format!("${:.1}M", v / 1e6),
            ("USD", v) if v >= 1e4 => format!("${:.0}K", v / 1e3),
            ("USD", v) => format!("${v:.0}"),
            ("%", v) => format!("{v:.1}%"),
            (unit, v) => format!("{v:.1} {unit}"),
        }
    }
}

/// Stems that indicate a text about health benefits.
pub(crate) const HEALTH: &str = "health medic clinic patient member pharma drug claim care hospital disease \
    therap diabet plan benefit payer payor provider nurse chronic";

const CONDITION: (&str, &[&str]) = (
    "condition",
    &[
        "Diabetes",
        "Hypertension",
        "COPD",
        "Heart failure",
        "Behavioral health",
    ],
);
const SERVICE: (&str, &[&str]) = (
    "service line",
    &[
        "Inpatient",
        "Outpatient",
        "Pharmacy",
        "Emergency",
        "Professional",
    ],
);
const GROUP: (&str, &[&str]) = (
    "group size",
    &["2–50", "51–250", "251–1,000", "1,001–5,000", "5,001+"],
);
const CHANNEL: (&str, &[&str]) = (
    "channel",
    &["Phone", "Web portal", "Mobile app", "E-mail", "Chat"],
);
const REGION: (&str, &[&str]) = (
    "region",
    &["Northeast", "Southeast", "Midwest", "Southwest", "West"],
);
const STEP: (&str, &[&str]) = (
    "step",
    &["Received", "Reviewed", "Decided", "Notified", "Closed"],
);

macro_rules! metrics {
    ($($key:literal $label:literal $unit:literal $falls:literal $lo:literal..$hi:literal $words:literal
       [$($serves:ident)*] $health:literal $by:ident;)*) => {
        &[$(Metric {
            key: $key, label: $label, unit: $unit, falls: $falls, range: ($lo, $hi), words: $words,
            serves: &[$($serves),*], health: $health, by: $by,
        }),*]
    };
}

/// All metrics.
pub(crate) const METRICS: &[Metric] = metrics![
    "claims_cost" "Claims cost" "USD" true 180_000.0..2_400_000.0 "claim cost spend expens" [R] true SERVICE;
    "pmpm" "Cost per member per month" "USD" true 310.0..620.0 "pmpm member premium cost" [R P] true SERVICE;
    "savings" "Net savings" "USD" false 90_000.0..1_900_000.0 "save saving reduc return cost money" [R P] false GROUP;
    "roi" "Return on investment" "%" false 120.0..410.0 "roi return invest value payback" [R P] false GROUP;
    "payback" "Payback period" "months" true 4.0..16.0 "payback invest return" [R] false GROUP;
    "trend" "Medical cost trend" "%" true 3.0..9.5 "trend inflat cost medical" [R P] true SERVICE;
    "high_cost" "High-cost claimants" "members" true 40.0..320.0 "catastroph stop-loss stoploss high-cost risk" [R C] true CONDITION;
    "pharmacy_spend" "Pharmacy spend" "USD" true 80_000.0..900_000.0 "pharma drug rx specialt biosimilar" [R] true CONDITION;
    "generic_rate" "Generic dispensing rate" "%" false 78.0..93.0 "generic drug formular pharma rx" [R O] true REGION;
    "rebates" "Rebate yield" "USD" false 40_000.0..500_000.0 "rebate pbm formular transparen" [R P] true GROUP;
    "readmissions" "30-day readmissions" "%" true 8.0..19.0 "readmi hospital discharge inpatient" [C R] true CONDITION;
    "er_visits" "Emergency visits per 1,000" "visits" true 140.0..260.0 "emergenc er urgent hospital" [C R] true CONDITION;
    "adherence" "Medication adherence" "%" false 62.0..88.0 "adheren medication refill complian" [C] true CONDITION;
    "a1c" "Members with controlled A1c" "%" false 48.0..74.0 "diabet a1c glucose glycem chronic" [C] true REGION;
    "blood_pressure" "Controlled blood pressure" "%" false 52.0..77.0 "hypertens pressure cardi heart" [C] true REGION;
    "gaps_closed" "Care gaps closed" "%" false 41.0..83.0 "gap prevent screen hedis quality star" [C O] true CONDITION;
    "screening" "Preventive screening rate" "%" false 45.0..79.0 "screen prevent cancer wellness" [C] true REGION;
    "behavioral" "Behavioral health engagement" "%" false 18.0..46.0 "mental behavior depress anxiet stress" [C] true CHANNEL;
    "musculoskeletal" "Surgeries avoided" "cases" false 12.0..140.0 "surger msk back joint musculoskelet pain" [C R] true REGION;
    "engagement" "Program engagement" "%" false 28.0..71.0 "engag enrol particip outreach coach member" [C P] false CHANNEL;
    "telehealth" "Virtual visits" "visits" false 300.0..4_200.0 "virtual tele digital remote" [C O] true REGION;
    "prior_auth" "Prior-authorization turnaround" "hours" true 6.0..72.0 "prior authoriz auth approv utiliz" [O C] true STEP;
    "call_handling" "Average call handling time" "minutes" true 3.5..11.0 "call phone contact center servic support" [O] false CHANNEL;
    "first_contact" "First-contact resolution" "%" false 61.0..91.0 "call resol contact servic support complaint" [O P] false CHANNEL;
    "auto_adjudication" "Auto-adjudication rate" "%" false 68.0..94.0 "adjudic automat claim process" [O R] true SERVICE;
    "claim_turnaround" "Claim turnaround" "days" true 2.0..14.0 "claim process turnaround fast pay" [O] true STEP;
    "caseload" "Cases per nurse" "cases" false 38.0..85.0 "nurse case manag staff workload" [O C] true CONDITION;
    "appeals" "Appeals overturned" "%" true 9.0..34.0 "appeal denial grievanc dispute" [O] true SERVICE;
    "renewal_rate" "Renewal rate" "%" false 82.0..97.0 "renew retent retain churn loyal broker" [P R] false GROUP;
    "win_rate" "Win rate" "%" false 18.0..47.0 "win compet sales rfp broker market" [P] false GROUP;
    "satisfaction" "Satisfaction (NPS)" "points" false 21.0..68.0 "satisf nps happy experien loyal" [P O] false CHANNEL;
    "network_access" "Network access" "%" false 84.0..98.0 "network access provider discount" [P] true REGION;
    "price_position" "Price against market" "%" true 86.0..108.0 "price compet market benchmark cheap afford" [P R] false REGION;
    "implementation" "Implementation time" "days" true 21.0..95.0 "implement onboard launch deploy integrat" [O P] false STEP;
    "productivity" "Output per employee" "units" false 120.0..460.0 "product effici staff labor labour workforce" [O R] false REGION;
    "cycle_time" "Cycle time" "hours" true 4.0..60.0 "cycle time fast speed quick delay wait deliver" [O] false STEP;
    "error_rate" "Error rate" "%" true 0.4..5.5 "error accura defect quality mistake waste" [O C] false STEP;
    "automation" "Work done automatically" "%" false 22.0..81.0 "automat ai digital robot software platform" [O P] false STEP;
    "uptime" "Service availability" "%" false 97.0..99.9 "uptime reliab availab outage cloud" [O] false REGION;
    "revenue" "Revenue influenced" "USD" false 200_000.0..3_800_000.0 "revenue sales grow margin profit" [R P] false GROUP;
    "market_share" "Market share" "%" false 4.0..29.0 "market share compet leader brand" [P] false REGION;
    "safety" "Incidents per 1,000" "incidents" true 2.0..19.0 "safe risk incident injur secur complian" [C O] false REGION;
    "outcome_score" "Outcome score" "points" false 54.0..92.0 "outcome result improv quality better" [C P] false REGION;
    "coverage" "Population reached" "%" false 33.0..89.0 "reach cover population access communit" [C P] false REGION;
];
