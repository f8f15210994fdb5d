//! What a measurement prints: tables, targets with their verdicts, notes.
//!
//! One rendering serves the terminal and the file, so the two can't differ. It holds figures that
//! were measured and must never fill in one that was not: an absent figure is printed as a dash.

use std::fmt::Write as _;

/// One part of the report: a heading, a sentence on how it was measured, then the figures.
pub(crate) struct Section {
    /// The heading.
    pub title: &'static str,
    /// How it was measured, as paragraphs.
    pub method: String,
    /// The figures.
    pub tables: Vec<Table>,
    /// The goals with what was reached.
    pub verdicts: Vec<Verdict>,
}

/// A table whose columns are padded, so that it reads well unrendered too.
pub(crate) struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headers: &[&'static str]) -> Self {
        Self {
            headers: headers.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; it has as many cells as there are headers.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(
            cells.len(),
            self.headers.len(),
            "a row has a cell per header"
        );
        self.rows.push(cells);
    }

    fn render(&self, out: &mut String) {
        let widths: Vec<usize> = (0..self.headers.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                cells
                    .chain([self.headers[column].chars().count()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            for (index, (cell, width)) in cells.zip(&widths).enumerate() {
                let pad = " ".repeat(width - cell.chars().count());
                // The first column names things, the others are figures.
                let cell = if index == 0 {
                    format!("{cell}{pad}")
                } else {
                    format!("{pad}{cell}")
                };
                out.push_str("| ");
                out.push_str(&cell);
                out.push(' ');
            }
            out.push_str("|\n");
        };
        line(&mut self.headers.iter().copied());
        let rules: Vec<String> = widths
            .iter()
            .enumerate()
            .map(|(index, width)| {
                if index == 0 {
                    "-".repeat(*width)
                } else {
                    format!("{}:", "-".repeat(width - 1))
                }
            })
            .collect();
        line(&mut rules.iter().map(String::as_str));
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str));
        }
        out.push('\n');
    }
}

/// One goal and what came of it.
pub(crate) struct Verdict {
    shape: &'static str,
    what: String,
    goal: String,
    figure: Option<(String, bool)>,
    peer: String,
}

impl Verdict {
    /// A goal of the form "at most". `None` when one of the figures was not measured.
    pub(crate) fn at_most(
        shape: &'static str,
        what: impl Into<String>,
        figure: Option<f64>,
        limit: f64,
        unit: &str,
    ) -> Self {
        Self {
            shape,
            what: what.into(),
            goal: format!("≤ {}{unit}", significant(limit)),
            figure: figure.map(|value| (significant(value) + unit, value <= limit)),
            peer: "–".to_owned(),
        }
    }

    /// A goal of the form "at least".
    pub(crate) fn at_least(
        shape: &'static str,
        what: impl Into<String>,
        figure: Option<f64>,
        limit: f64,
        unit: &str,
    ) -> Self {
        Self {
            goal: format!("≥ {}{unit}", significant(limit)),
            figure: figure.map(|value| (significant(value) + unit, value >= limit)),
            ..Self::at_most(shape, what, None, limit, unit)
        }
    }

    /// What a peer came to in the same run.
    #[must_use]
    pub(crate) fn beside(mut self, peer: &str, figure: Option<f64>, unit: &str) -> Self {
        let figure = figure.map_or_else(|| "–".to_owned(), |value| significant(value) + unit);
        self.peer = format!("{peer} {figure}");
        self
    }
}

/// A figure with three digits that mean something, or all before the point.
fn significant(value: f64) -> String {
    let decimals = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    match text.strip_suffix(".00").or(text.strip_suffix(".0")) {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// All goals of these sections in one table, or nothing where there are none.
pub(crate) fn goals(sections: &[Section]) -> String {
    let mut table = Table::new(&[
        "shape",
        "what",
        "measured",
        "peer, same run",
        "goal",
        "verdict",
    ]);
    for verdict in sections.iter().flat_map(|section| &section.verdicts) {
        let (figure, reached) = match &verdict.figure {
            Some((figure, true)) => (figure.clone(), "reached"),
            Some((figure, false)) => (figure.clone(), "NOT reached"),
            None => ("–".to_owned(), "not measured"),
        };
        table.row(vec![
            verdict.shape.to_owned(),
            verdict.what.clone(),
            figure,
            verdict.peer.clone(),
            verdict.goal.clone(),
            reached.to_owned(),
        ]);
    }
    let mut out = String::new();
    if !table.rows.is_empty() {
        out.push_str("## Goals\n\n");
        table.render(&mut out);
    }
    out
}

impl Section {
    /// The section as Markdown.
    pub(crate) fn render(&self) -> String {
        let mut out = format!("## {}\n\n{}\n\n", self.title, self.method.trim());
        for table in &self.tables {
            table.render(&mut out);
        }
        out
    }
}

/// A list of `name: value` facts as Markdown bullets.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (name, value) in facts {
        writeln!(out, "- {name}: {value}").expect("writing to a string can't fail");
    }
    out
}

/// The median: the middle value, or the mean of the middle two. `None` of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The value below which the share `q` of the values lies (nearest rank). The values are sorted.
pub(crate) fn quantile(sorted: &[u64], q: f64) -> u64 {
    assert!(!sorted.is_empty(), "a quantile of nothing was asked for");
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// `12.3 (11.9–13.0)`: the median with the span of the runs; a dash when nothing was measured.
pub(crate) fn spread(values: &[f64], decimals: usize) -> String {
    let Some(middle) = median(values.iter().copied()) else {
        return "–".to_owned();
    };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() == 1 {
        return format!("{middle:.decimals$}");
    }
    format!("{middle:.decimals$} ({least:.decimals$}–{most:.decimals$})")
}

/// The median alone; a dash when nothing was measured.
pub(crate) fn middle(values: impl IntoIterator<Item = f64>, decimals: usize) -> String {
    median(values).map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::{Section, Table, Verdict, goals, median, quantile};

    #[test]
    fn the_median_of_three_runs_is_the_middle_one() {
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([1.0, 2.0]), Some(1.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn quantiles_are_nearest_rank() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(quantile(&values, 0.5), 50);
        assert_eq!(quantile(&values, 0.99), 99);
        assert_eq!(quantile(&[7], 0.99), 7);
    }

    #[test]
    fn a_figure_that_was_not_measured_is_never_a_verdict() {
        let mut table = Table::new(&["server", "µs"]);
        table.row(vec!["a".into(), "1".into()]);
        let section = Section {
            title: "T",
            method: "m".into(),
            tables: vec![table],
            verdicts: vec![
                Verdict::at_most("W1", "a", None, 2.0, " ×"),
                Verdict::at_most("W1", "b", Some(3.5), 3.0, " ×").beside("nchan", None, " ×"),
                Verdict::at_least("W2", "c", Some(71.26), 70.0, " %").beside("d", Some(1234.5), ""),
            ],
        };
        let text = goals(&[section]);
        let lines: Vec<String> = text
            .lines()
            .skip(4)
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines[..3],
            [
                "| W1 | a | – | – | ≤ 2 × | not measured |",
                "| W1 | b | 3.50 × | nchan – | ≤ 3 × | NOT reached |",
                "| W2 | c | 71.3 % | d 1234 | ≥ 70 % | reached |",
            ]
        );
    }
}
