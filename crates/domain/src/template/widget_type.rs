//! The 37 widget types, one row each: its group, its minimum size, and the required keys of its `config`.
//! `check`, the JSON Schema and the generators all use this table.

use super::config::Rule::{self, Items, NotEmpty, Number, OneOf, Optional, Text, Thresholds};
use super::names::names;

names!(
    /// The kind of widget.
    Group {
        /// Single figures.
        Figures = "figures",
        /// Lines over time.
        Lines = "lines",
        /// Bars.
        Bars = "bars",
        /// Shares of a whole.
        Shares = "shares",
        /// Specialised charts.
        Special = "special",
        /// Drawn without a chart library.
        Custom = "custom",
        /// Less common charts.
        Advanced = "advanced",
        /// Several figures in one tile.
        Composite = "composite",
    }
);

/// The rules for widgets of a type.
#[derive(Debug, Clone, Copy)]
pub struct WidgetRules {
    /// Its group.
    pub group: Group,
    /// Minimum rows and columns; types without a minimum have 1 × 1.
    pub least: (u32, u32),
    /// Keys of `config`, each with its rule.
    pub config: &'static [(&'static str, Rule)],
}

macro_rules! widget_types {
    ($(@ $group:ident: $($variant:ident = $text:literal ($rows:literal x $columns:literal) [$($key:literal: $rule:expr),*];)+)+) => {
        names!(
            /// The type of a widget.
            #[allow(missing_docs, reason = "the name says it; docs/templates.md describes each")]
            WidgetType { $($($variant = $text),+),+ }
        );

        impl WidgetType {
            /// The rules for widgets of this type.
            pub const fn rules(self) -> WidgetRules {
                match self {
                    $($(Self::$variant => WidgetRules {
                        group: Group::$group,
                        least: ($rows, $columns),
                        config: &[$(($key, $rule)),*],
                    }),+),+
                }
            }
        }
    };
}

/// The formats of a `kpi-card`'s figure.
const FORMATS: &[&str] = &["currency", "percentage", "number"];

widget_types!(
    @ Figures:
        KpiCard = "kpi-card" (2 x 2) ["icon": Text, "subtitle": Text, "format": Optional(&OneOf(FORMATS))];
        KpiGrid = "kpi-grid" (2 x 6) ["metrics": Items(2)];
        MetricComparison = "metric-comparison" (3 x 4) ["metrics": Items(2)];
        Scorecard = "scorecard" (3 x 4) ["metrics": Items(2)];
    @ Lines:
        LineChart = "line-chart" (3 x 4) [];
        MultiLineChart = "multi-line-chart" (3 x 4) [];
        AreaChart = "area-chart" (3 x 4) [];
        StackedAreaChart = "stacked-area-chart" (3 x 4) [];
    @ Bars:
        BarChart = "bar-chart" (3 x 3) [];
        HorizontalBarChart = "horizontal-bar-chart" (3 x 4) [];
        StackedBarChart = "stacked-bar-chart" (3 x 4) [];
        GroupedBarChart = "grouped-bar-chart" (3 x 4) [];
    @ Shares:
        PieChart = "pie-chart" (3 x 3) [];
        DonutChart = "donut-chart" (3 x 3) [];
    @ Special:
        WaterfallChart = "waterfall-chart" (3 x 4) [];
        ScatterPlot = "scatter-plot" (3 x 4) [];
        BubbleChart = "bubble-chart" (3 x 4) [];
        RadarChart = "radar-chart" (3 x 3) [];
        PolarAreaChart = "polar-area-chart" (1 x 1) [];
    @ Custom:
        ProgressBar = "progress-bar" (1 x 3) ["target_value": Number];
        GaugeChart = "gauge-chart" (2 x 3) ["min_value": Number, "max_value": Number, "thresholds": Optional(&Thresholds)];
        TimelineChart = "timeline-chart" (3 x 6) [];
        QualityProgression = "quality-progression" (3 x 4) [];
        RankedList = "ranked-list" (3 x 3) [];
        DataTable = "data-table" (3 x 6) ["columns": NotEmpty];
        Heatmap = "heatmap" (4 x 4) [];
        TrendSparkline = "trend-sparkline" (1 x 2) [];
    @ Advanced:
        Treemap = "treemap" (3 x 4) [];
        FunnelChart = "funnel-chart" (3 x 3) [];
        CandlestickChart = "candlestick-chart" (1 x 1) [];
        BoxPlot = "box-plot" (1 x 1) [];
        RadialBarChart = "radial-bar-chart" (1 x 1) [];
        RangeBarChart = "range-bar-chart" (1 x 1) [];
        SlopeChart = "slope-chart" (1 x 1) [];
    @ Composite:
        RoiSummary = "roi-summary" (3 x 4) [];
        ClinicalMetrics = "clinical-metrics" (4 x 6) ["metrics": NotEmpty];
        CostBreakdown = "cost-breakdown" (3 x 6) [];
);
