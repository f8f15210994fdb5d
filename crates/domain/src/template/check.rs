//! The rules that a draft must meet, beyond what its types enforce (contract §5).
//!
//! They apply to new templates only. Templates read from a store or from another service are served
//! unchanged and are never checked here.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;

use super::draft::{DataRequirements, TemplateDraft, Widget, WidgetPosition};

/// Columns of the grid.
pub const COLUMNS: u32 = 12;
/// Characters of a template's name and of a widget's title.
pub const TITLE_CHARS: RangeInclusive<usize> = 5..=100;
/// Characters of a template's description.
pub const DESCRIPTION_CHARS: RangeInclusive<usize> = 20..=500;
/// Entries of `key_features`.
pub const KEY_FEATURES: RangeInclusive<usize> = 3..=5;
/// Widgets of a template.
pub const WIDGETS: RangeInclusive<usize> = 6..=12;

/// A rule that a template breaks: the field's path in HTTP answers, and a description of what is wrong.
/// It never quotes the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenRule {
    /// `widgets[2].position`.
    pub path: String,
    /// `shares a cell with widgets[0]`.
    pub rule: String,
}

impl BrokenRule {
    /// A rule broken at a path.
    pub fn new(path: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            rule: rule.into(),
        }
    }
}

impl fmt::Display for BrokenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.rule)
    }
}

/// All rules that a template breaks, in order; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTemplate(Vec<BrokenRule>);

impl InvalidTemplate {
    /// Most rules that its text lists.
    const TOLD: usize = 5;

    /// None if no rule is broken.
    pub fn of(broken: Vec<BrokenRule>) -> Option<Self> {
        (!broken.is_empty()).then_some(Self(broken))
    }

    /// The rules, in the order of the fields.
    pub fn rules(&self) -> &[BrokenRule] {
        &self.0
    }
}

impl fmt::Display for InvalidTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, rule) in self.0.iter().take(Self::TOLD).enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{rule}")?;
        }
        match self.0.len().saturating_sub(Self::TOLD) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for InvalidTemplate {}

/// Whether a text is `#rrggbb`.
pub(super) fn is_color(text: &str) -> bool {
    text.strip_prefix('#')
        .is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The rules found broken so far.
#[derive(Default)]
struct Findings(Vec<BrokenRule>);

impl Findings {
    fn require(&mut self, met: bool, path: impl Into<String>, rule: impl Into<String>) {
        if !met {
            self.0.push(BrokenRule::new(path, rule));
        }
    }

    fn require_chars(&mut self, text: &str, range: RangeInclusive<usize>, path: impl Into<String>) {
        let (least, most) = (range.start(), range.end());
        self.require(
            range.contains(&text.chars().count()),
            path,
            format!("must have {least} to {most} characters"),
        );
    }

    fn require_text(&mut self, text: &str, path: impl Into<String>) {
        self.require(!text.trim().is_empty(), path, "must not be empty");
    }
}

impl TemplateDraft {
    /// Checks the contract's rules, in the order of the fields.
    ///
    /// # Errors
    /// All rules that are broken.
    pub fn check(&self) -> Result<(), InvalidTemplate> {
        let mut found = Findings::default();
        found.require_chars(&self.name, TITLE_CHARS, "name");
        found.require_chars(&self.description, DESCRIPTION_CHARS, "description");
        found.require(
            KEY_FEATURES.contains(&self.key_features.len()),
            "key_features",
            "must have 3 to 5 entries",
        );
        for (i, feature) in self.key_features.iter().enumerate() {
            found.require_text(feature, format!("key_features[{i}]"));
        }
        found.require(
            WIDGETS.contains(&self.widgets.len()),
            "widgets",
            "must have 6 to 12 entries",
        );
        let mut ids = HashSet::new();
        // Comparing every pair is cheap: the number of widgets is limited.
        for (i, widget) in self.widgets.iter().enumerate().take(*WIDGETS.end()) {
            let path = format!("widgets[{i}]");
            found.require_text(&widget.id, format!("{path}.id"));
            found.require(
                ids.insert(widget.id.as_str()),
                format!("{path}.id"),
                "must differ from those of the other widgets",
            );
            widget.check(&path, &mut found);
            let other = self.widgets[..i]
                .iter()
                .position(|other| other.position.overlaps(widget.position));
            if let Some(other) = other {
                found.require(
                    false,
                    format!("{path}.position"),
                    format!("shares a cell with widgets[{other}]"),
                );
            }
        }
        let style = &self.visual_style;
        for (name, color) in [
            ("primaryColor", &style.primary_color),
            ("secondaryColor", &style.secondary_color),
            ("accentColor", &style.accent_color),
            ("backgroundColor", &style.background_color),
            ("textColor", &style.text_color),
        ] {
            let path = format!("visual_style.{name}");
            found.require(is_color(color), path, "must be a #rrggbb colour");
        }
        found.require_text(&style.font_family, "visual_style.fontFamily");
        InvalidTemplate::of(found.0).map_or(Ok(()), Err)
    }
}

impl Widget {
    fn check(&self, path: &str, found: &mut Findings) {
        let rules = self.widget_type.rules();
        found.require_chars(&self.title, TITLE_CHARS, format!("{path}.title"));
        let at = self.position;
        let is_on_grid = at.row >= 1
            && at.row_span >= 1
            && (1..=COLUMNS).contains(&at.col)
            && (1..=COLUMNS).contains(&at.col_span)
            && at.col + at.col_span <= COLUMNS + 1;
        found.require(
            is_on_grid,
            format!("{path}.position"),
            "must lie on the 12-column grid: row, col, rowSpan and colSpan from 1, col + colSpan at most 13",
        );
        let (rows, columns) = rules.least;
        found.require(
            at.row_span >= rows && at.col_span >= columns,
            format!("{path}.position"),
            format!(
                "must be at least {rows} × {columns} (rows × columns) for a {}",
                self.widget_type.as_str()
            ),
        );
        found.require_text(
            &self.analytics_question,
            format!("{path}.analytics_question"),
        );
        self.data_requirements
            .check(&format!("{path}.data_requirements"), found);
        for (key, rule) in self.config.faults(rules.config) {
            found.require(false, format!("{path}.config.{key}"), rule);
        }
    }
}

impl DataRequirements {
    fn check(&self, path: &str, found: &mut Findings) {
        found.require(
            !self.metrics.is_empty(),
            format!("{path}.metrics"),
            "must have at least one entry",
        );
        for (i, metric) in self.metrics.iter().enumerate() {
            let path = format!("{path}.metrics[{i}]");
            found.require_text(&metric.name, format!("{path}.name"));
            let says = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.trim().is_empty());
            found.require(
                says(&metric.metric_ref) || says(&metric.expression),
                &path,
                "must have a metric_ref or an expression",
            );
            found.require_text(&metric.format, format!("{path}.format"));
        }
        for (i, filter) in self.filters.iter().enumerate() {
            found.require_text(&filter.field, format!("{path}.filters[{i}].field"));
        }
    }
}

impl WidgetPosition {
    fn overlaps(self, other: Self) -> bool {
        let meets = |start: u32, span: u32, other_start: u32, other_span: u32| {
            let end = u64::from(start) + u64::from(span);
            let other_end = u64::from(other_start) + u64::from(other_span);
            u64::from(start) < other_end && u64::from(other_start) < end
        };
        meets(self.row, self.row_span, other.row, other.row_span)
            && meets(self.col, self.col_span, other.col, other.col_span)
    }
}
