//! Arranges widget types in bands of twelve columns without holes, each in a place that is large enough.
//!
//! Never in here: what a widget shows.

use conch_domain::{Category, WidgetPosition, WidgetType};

use super::dice::Dice;

/// A row of places: its height, and the columns of each place, twelve in total.
type Band = (u32, &'static [u32]);

const FOUR_FIGURES: Band = (2, &[3, 3, 3, 3]);
const THREE_FIGURES: Band = (2, &[4, 4, 4]);
const GRID_AND_FIGURES: Band = (2, &[6, 3, 3]);
const WIDE_AND_NARROW: Band = (3, &[8, 4]);
const NARROW_AND_WIDE: Band = (3, &[5, 7]);
const HALVES: Band = (3, &[6, 6]);
const THIRDS: Band = (3, &[4, 4, 4]);
const TALL: Band = (4, &[7, 5]);
const TALL_HALVES: Band = (4, &[6, 6]);

/// Arrangements to choose from: 6 to 12 places each.
const ARRANGEMENTS: [&[Band]; 8] = [
    &[FOUR_FIGURES, WIDE_AND_NARROW, HALVES],
    &[GRID_AND_FIGURES, THIRDS, WIDE_AND_NARROW],
    &[THREE_FIGURES, NARROW_AND_WIDE, TALL, HALVES],
    &[FOUR_FIGURES, TALL_HALVES, THIRDS],
    &[GRID_AND_FIGURES, HALVES, TALL],
    &[THREE_FIGURES, THIRDS, WIDE_AND_NARROW, HALVES],
    &[FOUR_FIGURES, TALL, NARROW_AND_WIDE, THIRDS],
    &[GRID_AND_FIGURES, TALL_HALVES, THIRDS, WIDE_AND_NARROW],
];

/// Whether a type looks good at this size. Its minimum size is defined in the domain.
fn looks_well(widget_type: WidgetType, rows: u32, columns: u32) -> bool {
    use WidgetType as T;
    let (least_rows, least_columns) = widget_type.rules().least;
    if rows < least_rows || columns < least_columns {
        return false;
    }
    let (heights, widths) = match widget_type {
        T::KpiCard | T::TrendSparkline => (2..=2, 2..=4),
        T::GaugeChart | T::ProgressBar => (2..=2, 3..=4),
        T::KpiGrid => (2..=2, 6..=12),
        T::PieChart
        | T::DonutChart
        | T::RadarChart
        | T::PolarAreaChart
        | T::RadialBarChart
        | T::RankedList
        | T::FunnelChart => (3..=4, 3..=5),
        T::BarChart
        | T::SlopeChart
        | T::BoxPlot
        | T::RoiSummary
        | T::QualityProgression
        | T::Scorecard
        | T::MetricComparison => (3..=4, 4..=6),
        T::Heatmap | T::ClinicalMetrics => (4..=4, 5..=12),
        _ => (3..=4, 6..=12),
    };
    heights.contains(&rows) && widths.contains(&columns)
}

/// How well a type suits a category, 0 to 2.
fn argues_for(widget_type: WidgetType, category: Category) -> f64 {
    use WidgetType as T;
    let fitting: &[T] = match category {
        Category::RoiFocused => &[
            T::RoiSummary,
            T::WaterfallChart,
            T::CostBreakdown,
            T::TimelineChart,
            T::AreaChart,
            T::Treemap,
            T::StackedBarChart,
        ],
        Category::ClinicalOutcomes => &[
            T::ClinicalMetrics,
            T::QualityProgression,
            T::SlopeChart,
            T::MultiLineChart,
            T::BoxPlot,
            T::Heatmap,
            T::GaugeChart,
        ],
        Category::OperationalEfficiency => &[
            T::FunnelChart,
            T::BoxPlot,
            T::Heatmap,
            T::RangeBarChart,
            T::StackedAreaChart,
            T::DataTable,
            T::ProgressBar,
        ],
        Category::CompetitivePositioning => &[
            T::RadarChart,
            T::ScatterPlot,
            T::BubbleChart,
            T::MetricComparison,
            T::GroupedBarChart,
            T::RankedList,
            T::HorizontalBarChart,
        ],
        Category::Comprehensive => &[
            T::Scorecard,
            T::KpiGrid,
            T::DataTable,
            T::Treemap,
            T::CandlestickChart,
            T::RoiSummary,
        ],
    };
    if fitting.contains(&widget_type) {
        2.0
    } else {
        0.0
    }
}

/// A place with the type selected for it.
pub(crate) struct Placed {
    pub(crate) widget_type: WidgetType,
    pub(crate) position: WidgetPosition,
}

/// The template of a plan whose layout is made.
pub(crate) struct Sheet {
    pub(crate) category: Category,
    /// Its place in the plan, from 1.
    pub(crate) index: u32,
    /// Templates in the plan.
    pub(crate) total: u32,
}

/// Lays out a template. `of_plan` is shared by all templates of a plan, so that each gets different types;
/// `dice` belongs to the template.
pub(crate) fn lay_out(sheet: &Sheet, of_plan: &mut Dice, dice: &mut Dice) -> Vec<Placed> {
    let mut turns: Vec<WidgetType> = WidgetType::ALL.to_vec();
    of_plan.shuffle(&mut turns);
    let total = sheet.total.clamp(1, 37) as usize;
    let turn = sheet.index as usize % total;
    let weights: Vec<(WidgetType, f64)> = turns
        .into_iter()
        .enumerate()
        .map(|(at, widget_type)| {
            let has_turn = if at % total == turn { 3.0 } else { 0.0 };
            let weight = has_turn + argues_for(widget_type, sheet.category) + 2.0 * dice.share();
            (widget_type, weight)
        })
        .collect();
    let arrangement = *dice.pick(&ARRANGEMENTS);
    let mut placed: Vec<Placed> = Vec::new();
    let mut row = 1;
    for (height, widths) in arrangement {
        let mut col = 1;
        for width in *widths {
            let position = WidgetPosition {
                row,
                col,
                row_span: *height,
                col_span: *width,
            };
            let widget_type = choose(&weights, &placed, position);
            placed.push(Placed {
                widget_type,
                position,
            });
            col += width;
        }
        row += height;
    }
    placed
}

/// The best-rated type that looks good in the place and is still available. Each dashboard begins with a
/// single figure; figures may be repeated, charts only if nothing else fits.
fn choose(
    weights: &[(WidgetType, f64)],
    placed: &[Placed],
    position: WidgetPosition,
) -> WidgetType {
    let first = placed.is_empty() && position.col_span < 6;
    if first {
        return WidgetType::KpiCard;
    }
    let used = |widget_type| {
        let same = placed.iter().filter(|p| p.widget_type == widget_type);
        same.count() as f64
    };
    let fits = weights
        .iter()
        .filter(|(widget_type, _)| looks_well(*widget_type, position.row_span, position.col_span));
    let penalty = |widget_type| match widget_type {
        WidgetType::KpiCard => 1.5,
        _ => 10.0,
    };
    let best = fits.max_by(|(a, a_weight), (b, b_weight)| {
        let a_weight = a_weight - penalty(*a) * used(*a);
        let b_weight = b_weight - penalty(*b) * used(*b);
        a_weight.total_cmp(&b_weight)
    });
    best.map_or(WidgetType::DataTable, |(widget_type, _)| *widget_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_place_and_every_place_a_choice() {
        let places = || {
            ARRANGEMENTS
                .iter()
                .flat_map(|bands| bands.iter())
                .flat_map(|(height, widths)| widths.iter().map(|width| (*height, *width)))
        };
        for widget_type in WidgetType::ALL {
            let room = places().any(|(rows, columns)| looks_well(*widget_type, rows, columns));
            assert!(room, "{widget_type:?} never stands anywhere");
        }
        for (rows, columns) in places() {
            let all = WidgetType::ALL.iter();
            let choice = all.filter(|t| looks_well(**t, rows, columns)).count();
            let least = if (rows, columns) == (2, 6) { 1 } else { 4 };
            assert!(choice >= least, "{choice} types for {rows} × {columns}");
        }
        for bands in ARRANGEMENTS {
            assert!(
                bands
                    .iter()
                    .all(|(_, widths)| widths.iter().sum::<u32>() == 12)
            );
            let places = bands.iter().map(|(_, widths)| widths.len()).sum::<usize>();
            assert!((6..=12).contains(&places));
        }
    }
}
