//! Dashboard templates: what a job makes, the plan it follows, and the rules a template must meet
//! (contract §5). A [`Template`] exists only if it met them.

use std::collections::HashSet;
use std::sync::Arc;

use crate::{ClientId, JobId, TemplateId, Timestamp};

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// All of them, in the contract's order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value with that name on the wire.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

names!(
    /// What a dashboard argues for.
    Category {
        /// Return on investment.
        RoiFocused = "roi-focused",
        /// Clinical outcomes.
        ClinicalOutcomes = "clinical-outcomes",
        /// Operational efficiency.
        OperationalEfficiency = "operational-efficiency",
        /// Competitive positioning.
        CompetitivePositioning = "competitive-positioning",
        /// Everything at once.
        Comprehensive = "comprehensive",
    }
);
names!(
    /// Whom a dashboard is shown to.
    Audience {
        /// A health plan.
        HealthPlan = "Health Plan",
        /// A broker.
        Broker = "Broker",
        /// A pharmacy benefit manager.
        Pbm = "PBM",
        /// A third-party administrator.
        Tpa = "TPA",
        /// A medical management team.
        MedicalManagement = "Medical Management",
    }
);
names!(
    /// How close together the widgets stand.
    Layout {
        /// Close.
        Dense = "dense",
        /// In between.
        Balanced = "balanced",
        /// Far.
        Spacious = "spacious",
    }
);

/// One template of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanItem {
    /// What it argues for.
    pub category: Category,
    /// Whom it is for.
    pub audience: Audience,
}

const fn item(category: Category, audience: Audience) -> PlanItem {
    PlanItem { category, audience }
}

/// The default plan of a job, in order.
pub const PLAN: [PlanItem; 7] = [
    item(Category::RoiFocused, Audience::HealthPlan),
    item(Category::RoiFocused, Audience::Broker),
    item(Category::ClinicalOutcomes, Audience::HealthPlan),
    item(Category::ClinicalOutcomes, Audience::MedicalManagement),
    item(Category::OperationalEfficiency, Audience::MedicalManagement),
    item(Category::CompetitivePositioning, Audience::Broker),
    item(Category::Comprehensive, Audience::Tpa),
];

/// A JSON object that is the caller's own: kept and given back as it came, never looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata(Arc<str>);

impl Metadata {
    /// Wraps the text of a JSON object; `wire` sees to it that it is one.
    pub fn from_json(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The object's JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self::from_json("{}")
    }
}

/// Where a widget stands on the 12-column grid, 1-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WidgetPosition {
    /// First row, from 1.
    pub row: u32,
    /// First column, 1–12.
    pub col: u32,
    /// Rows taken, at least 1.
    pub row_span: u32,
    /// Columns taken, 1–12; `col + col_span` reaches 13 at most.
    pub col_span: u32,
}

/// One tile of a dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct Widget {
    /// Unique within its template.
    pub id: String,
    /// What it is (`kpi-card`, `line-chart`, …); `type` on the wire.
    pub widget_type: String,
    /// 5–100 characters.
    pub title: String,
    /// For people.
    pub description: String,
    /// Where it stands.
    pub position: WidgetPosition,
    /// The question that it answers.
    pub analytics_question: String,
    /// How its data is asked for; `data_requirements.query_type` on the wire.
    pub query_type: String,
    /// What it shows, at least one.
    pub metrics: Vec<String>,
    /// The other fields of `data_requirements`.
    pub more_requirements: Metadata,
    /// The chart, if it is one; `chartType` on the wire.
    pub chart_type: Option<String>,
    /// Presentation.
    pub config: Metadata,
    /// Sample data.
    pub data: Metadata,
}

/// Colours, type and density.
#[derive(Debug, Clone, PartialEq)]
pub struct VisualStyle {
    /// Five `#rrggbb` colours, by name, in order: primary, secondary, accent, background, text.
    pub colors: [String; 5],
    /// A CSS font family.
    pub font_family: String,
    /// Density.
    pub layout: Layout,
}

/// What a generator makes: a template before it has an id. Free to be wrong until
/// [`TemplateDraft::check`] says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateDraft {
    /// For people, not empty.
    pub name: String,
    /// For people.
    pub description: String,
    /// What it argues for.
    pub category: Category,
    /// Whom it is for.
    pub target_audience: Audience,
    /// 3–5, none empty.
    pub key_features: Vec<String>,
    /// 6–12, without overlaps.
    pub widgets: Vec<Widget>,
    /// Colours, type and density.
    pub visual_style: VisualStyle,
    /// The generator's own notes.
    pub meta_data: Metadata,
}

/// A template that meets the contract's rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// The job that made it.
    pub job_id: JobId,
    /// Whom it was made for.
    pub client_id: ClientId,
    /// Its place in the job's plan, 1-based: a job has at most one template per place.
    pub index: u32,
    /// What it is.
    pub draft: TemplateDraft,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The rule that a draft breaks, with the field's path as on the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} {rule}")]
pub struct InvalidTemplate {
    path: String,
    rule: String,
}

fn broken<T>(path: impl Into<String>, rule: impl Into<String>) -> Result<T, InvalidTemplate> {
    Err(InvalidTemplate {
        path: path.into(),
        rule: rule.into(),
    })
}

const COLUMNS: u32 = 12;
const MAX_ROWS: u32 = 1000;

impl TemplateDraft {
    /// Checks the contract's rules, in the order in which the fields stand.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), InvalidTemplate> {
        if self.name.trim().is_empty() {
            return broken("name", "must not be empty");
        }
        if !(3..=5).contains(&self.key_features.len()) {
            return broken("key_features", "must have 3 to 5 entries");
        }
        if self.key_features.iter().any(|f| f.trim().is_empty()) {
            return broken("key_features", "must have no empty entry");
        }
        if !(6..=12).contains(&self.widgets.len()) {
            return broken("widgets", "must have 6 to 12 entries");
        }
        let mut ids = HashSet::new();
        let mut cells = HashSet::new();
        for (i, widget) in self.widgets.iter().enumerate() {
            widget.check(i, &mut ids, &mut cells)?;
        }
        for color in &self.visual_style.colors {
            let hex = color.strip_prefix('#').unwrap_or_default();
            if hex.len() != 6 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                return broken("visual_style", "must have five #rrggbb colours");
            }
        }
        Ok(())
    }
}

impl Widget {
    fn check<'a>(
        &'a self,
        i: usize,
        ids: &mut HashSet<&'a str>,
        cells: &mut HashSet<(u32, u32)>,
    ) -> Result<(), InvalidTemplate> {
        let at = |field: &str| format!("widgets[{i}].{field}");
        if self.id.is_empty() || !ids.insert(&self.id) {
            return broken(at("id"), "must be present and unique");
        }
        if self.widget_type.is_empty() {
            return broken(at("type"), "must not be empty");
        }
        if !(5..=100).contains(&self.title.chars().count()) {
            return broken(at("title"), "must have 5 to 100 characters");
        }
        if self.query_type.is_empty() {
            return broken(at("data_requirements.query_type"), "must not be empty");
        }
        if self.metrics.is_empty() || self.metrics.iter().any(String::is_empty) {
            return broken(
                at("data_requirements.metrics"),
                "must name at least one metric",
            );
        }
        let p = self.position;
        let fits = (1..=MAX_ROWS).contains(&p.row)
            && (1..=MAX_ROWS).contains(&p.row_span)
            && (1..=COLUMNS).contains(&p.col)
            && (1..=COLUMNS).contains(&p.col_span)
            && p.col + p.col_span <= COLUMNS + 1;
        if !fits {
            return broken(at("position"), "must lie on the 12-column grid");
        }
        for row in p.row..p.row + p.row_span {
            for col in p.col..p.col + p.col_span {
                if !cells.insert((row, col)) {
                    return broken(
                        at("position"),
                        format!("overlaps at row {row}, column {col}"),
                    );
                }
            }
        }
        Ok(())
    }
}
