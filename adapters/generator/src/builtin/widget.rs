//! Builds one widget: its metrics, title, question and data requirements.
//!
//! Never in here: its place (`layout`) or its sample values (`sample`).

use std::sync::Arc;

use conch_domain::{
    ChartType, DataRequirements, Filter, Group, Metadata, Operator, QueryType, TITLE_CHARS,
    TimeRange, TimeRangeKind, VisualStyle, Widget, WidgetType,
};
use serde_json::{Value, json};

use super::dice::Dice;
use super::layout::Placed;
use super::library::{METRICS, Metric};
use super::reading::{Promise, Reading};
use super::sample::{self, Subject};
use super::text::{cut, one_line};

/// Number of metrics in a widget that shows several.
const SEVERAL: usize = 4;

/// Makes the widgets of one dashboard, one after another.
pub(crate) struct Maker<'a> {
    client: &'a str,
    industry: Option<String>,
    reading: &'a Reading,
    /// Indexes in the library, the most suitable first.
    metrics: &'a [usize],
    /// How often each of them has been shown.
    shown: Vec<u32>,
    style: &'a VisualStyle,
    made: usize,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(
        client: &'a str,
        industry: Option<&str>,
        reading: &'a Reading,
        metrics: &'a [usize],
        style: &'a VisualStyle,
    ) -> Self {
        let industry = industry.map(|industry| cut(&one_line(industry), 60));
        Self {
            client,
            industry: industry.filter(|industry| !industry.is_empty()),
            reading,
            metrics,
            shown: vec![0; metrics.len()],
            style,
            made: 0,
        }
    }

    pub(crate) fn make(&mut self, placed: &Placed, dice: &mut Dice) -> Widget {
        self.made += 1;
        let widget_type = placed.widget_type;
        let first = self.choose(widget_type);
        let metric = &METRICS[first];
        let promise = self.reading.promise_about(first);
        let shown = self.several(widget_type, first);
        let subject = Subject {
            metrics: &shown,
            aim: promise.and_then(|p| p.aim),
            figure: promise.map(|p| p.figure.as_str()),
            colors: [&self.style.primary_color, &self.style.accent_color],
        };
        let sample = sample::sample(widget_type, &subject, dice);
        let (dimension, _) = metric.by;
        Widget {
            id: format!("widget-{}", self.made),
            widget_type,
            title: cut(
                &self.title(widget_type, metric, promise),
                *TITLE_CHARS.end(),
            ),
            description: Some(match promise {
                Some(p) => format!(
                    "{} ({}), promised: {}.",
                    metric.label, metric.unit, p.figure
                ),
                None => format!("{} ({}) by {dimension}.", metric.label, metric.unit),
            }),
            position: placed.position,
            analytics_question: self.question(widget_type, metric),
            data_requirements: self.requirements(widget_type, &shown, dice),
            chart_type: chart_type(widget_type),
            config: conch_wire::draft::config(widget_type, sample.config),
            data: Metadata::from_json(sample.data.to_string()),
        }
    }

    /// The metric that was shown least and suits the type; among equals the most suitable one.
    fn choose(&mut self, widget_type: WidgetType) -> usize {
        use WidgetType as T;
        let suits = |at: usize| match widget_type {
            T::CostBreakdown | T::WaterfallChart | T::RoiSummary | T::TimelineChart => {
                METRICS[at].unit == "USD"
            }
            T::GaugeChart | T::ProgressBar | T::FunnelChart => METRICS[at].is_share(),
            T::PieChart | T::DonutChart | T::Treemap | T::StackedBarChart | T::StackedAreaChart => {
                METRICS[at].adds_up()
            }
            T::ClinicalMetrics => METRICS[at].is_clinical(),
            _ => true,
        };
        let candidates = self.metrics.iter().zip(&self.shown).enumerate();
        let best = candidates
            .min_by_key(|(rank, (at, shown))| (!suits(**at), **shown, *rank))
            .map_or(0, |(rank, _)| rank);
        self.shown[best] += 1;
        self.metrics[best]
    }

    /// All metrics of the widget: the first and, if the type shows several, the next best ones.
    fn several(&self, widget_type: WidgetType, first: usize) -> Vec<&'static Metric> {
        use WidgetType as T;
        let count = match widget_type {
            T::KpiGrid | T::MetricComparison | T::Scorecard | T::ClinicalMetrics => SEVERAL,
            T::ScatterPlot | T::BubbleChart => 2,
            _ => 1,
        };
        let others = self.metrics.iter().copied().filter(|at| *at != first);
        let mut others: Vec<usize> = others.collect();
        if widget_type == T::ClinicalMetrics {
            others.sort_by_key(|at| !METRICS[*at].is_clinical());
        }
        std::iter::once(first)
            .chain(others)
            .take(count)
            .map(|at| &METRICS[at])
            .collect()
    }

    fn title(&self, widget_type: WidgetType, metric: &Metric, promise: Option<&Promise>) -> String {
        use WidgetType as T;
        let (client, label, by) = (self.client, metric.label, metric.by.0);
        let phrase = metric.phrase();
        match (widget_type, promise) {
            (T::KpiCard, Some(p)) => format!("{label} – {} promised by {client}", p.figure),
            (T::KpiCard, None) => format!("{label} with {client}"),
            (T::GaugeChart | T::ProgressBar, Some(p)) => {
                format!("{label}: progress toward the promised {}", p.figure)
            }
            (T::GaugeChart | T::ProgressBar, None) => {
                format!("{label}: progress toward the target")
            }
            (T::TrendSparkline, _) => format!("{label}: the last twelve months"),
            (T::KpiGrid, _) => format!("{client} at a glance"),
            (T::MetricComparison, _) => format!("Before and after {client}"),
            (T::Scorecard, _) => format!("{client}: where each target stands"),
            (T::LineChart | T::AreaChart, Some(p)) => {
                format!("{client}: {label} and the promised {}", p.figure)
            }
            (T::LineChart | T::AreaChart, None) => format!("{client}: {label} over twelve months"),
            (T::MultiLineChart | T::StackedAreaChart, _) => {
                format!("{label} by {by} over twelve months")
            }
            (T::StackedBarChart, _) => format!("{label} by {by} and quarter"),
            (T::GroupedBarChart, _) => format!("{label} by {by}, before and now"),
            (T::WaterfallChart, _) => format!("From baseline to target: {label}"),
            (T::ScatterPlot | T::BubbleChart, _) => format!("What moves with {phrase}"),
            (T::RadarChart, _) => format!("{client} and the market: {label}"),
            (T::TimelineChart, _) => format!("When {client} pays for itself"),
            (T::RoiSummary, _) => format!("{client}: investment and return"),
            (T::ClinicalMetrics, _) => format!("Outcome measures with {client}"),
            (T::CostBreakdown, _) => format!("Where the money goes: {label}"),
            (T::DataTable, _) => format!("{label}: baseline and target by {by}"),
            (T::RankedList, _) => format!("{label}: ranking by {by}"),
            (T::QualityProgression, _) => format!("{label}, quarter by quarter"),
            (T::FunnelChart, _) => format!("From identified to goal reached: {label}"),
            (T::CandlestickChart, _) => format!("{label}: range within each month"),
            (T::BoxPlot, _) => format!("Spread of {phrase} by {by}"),
            (T::RangeBarChart, _) => format!("{label}: lowest and highest by {by}"),
            (T::SlopeChart, _) => format!("{label} by {by}: before and now"),
            (T::RadialBarChart | T::PolarAreaChart, _) => {
                format!("{label}: target reached by {by}")
            }
            (T::PieChart | T::DonutChart | T::Treemap, _) => format!("Shares of {phrase} by {by}"),
            _ => format!("{label} by {by}"),
        }
    }

    fn question(&self, widget_type: WidgetType, metric: &Metric) -> String {
        use WidgetType as T;
        let (client, phrase, by) = (self.client, metric.phrase(), metric.by.0);
        match widget_type {
            T::KpiGrid => format!("How is {client} doing on the figures that matter most?"),
            T::MetricComparison => format!("What has changed since {client} came in?"),
            T::Scorecard => format!("Which targets has {client} reached, and which not yet?"),
            T::GaugeChart | T::ProgressBar => {
                format!("How far is {client} on the way to the target for {phrase}?")
            }
            T::RoiSummary => format!("What return does an investment in {client} bring?"),
            T::TimelineChart => format!("When does an investment in {client} pay for itself?"),
            T::ClinicalMetrics => "How do outcomes compare with targets and benchmarks?".to_owned(),
            T::FunnelChart => {
                format!("Where are people lost on the way to the goal for {phrase}?")
            }
            T::WaterfallChart => format!("What moves {phrase} from the baseline to the target?"),
            T::ScatterPlot | T::BubbleChart => format!("What rises and falls with {phrase}?"),
            T::RadarChart => format!("Where does {client} stand against the market in {phrase}?"),
            T::RadialBarChart | T::PolarAreaChart => {
                format!("How much of the target for {phrase} is reached in each {by}?")
            }
            T::BoxPlot | T::RangeBarChart => {
                format!("How wide is the spread of {phrase} within each {by}?")
            }
            T::Heatmap => format!("Which {by} and which quarter stand out in {phrase}?"),
            _ => match query_type(widget_type) {
                QueryType::Aggregate => {
                    let changed = if metric.falls {
                        "brought down"
                    } else {
                        "raised"
                    };
                    format!("How far has {client} {changed} {phrase}?")
                }
                QueryType::TimeSeries => {
                    format!("How did {phrase} change over the last twelve months with {client}?")
                }
                QueryType::Distribution => format!("What part of {phrase} falls to each {by}?"),
                QueryType::Comparison => format!("Which {by} stands out in {phrase}?"),
            },
        }
    }

    fn requirements(
        &self,
        widget_type: WidgetType,
        shown: &[&'static Metric],
        dice: &mut Dice,
    ) -> DataRequirements {
        let query_type = query_type(widget_type);
        let is_figure = widget_type.rules().group == Group::Figures;
        let mut dimensions = Vec::new();
        if query_type == QueryType::TimeSeries {
            dimensions.push("month".to_owned());
        }
        if !is_figure {
            dimensions.push(shown[0].by.0.to_owned());
        }
        let time_range = match query_type {
            QueryType::TimeSeries => "last_12_months",
            _ => dice.pick(&["last_12_months", "last_4_quarters", "year_to_date"]),
        };
        DataRequirements {
            query_type,
            metrics: shown.iter().map(|metric| as_required(metric)).collect(),
            dimensions,
            filters: self.filters(widget_type, shown[0]),
            time_range: Some(TimeRange {
                kind: TimeRangeKind::Relative,
                value: json_text(&json!(time_range)),
            }),
            more: Metadata::default(),
        }
    }

    fn filters(&self, widget_type: WidgetType, metric: &Metric) -> Vec<Filter> {
        let filter = |field: &str, operator, value: Value| Filter {
            field: field.to_owned(),
            operator,
            value: json_text(&value),
        };
        let mut filters = Vec::new();
        if let Some(industry) = &self.industry {
            filters.push(filter("industry", Operator::Eq, json!(industry)));
        }
        if metric.health {
            let statuses = json!(["active", "cobra"]);
            filters.push(filter("member_status", Operator::In, statuses));
        }
        if matches!(widget_type, WidgetType::RankedList | WidgetType::DataTable) {
            filters.push(filter(metric.key, Operator::Gt, json!(0)));
        }
        filters
    }
}

fn as_required(metric: &Metric) -> conch_domain::Metric {
    let expression = metric.expression();
    conch_domain::Metric {
        name: metric.label.to_owned(),
        metric_ref: expression.is_none().then(|| metric.key.to_owned()),
        expression,
        data_type: metric.data_type(),
        format: metric.format().to_owned(),
    }
}

fn json_text(value: &Value) -> Arc<str> {
    value.to_string().into()
}

fn query_type(widget_type: WidgetType) -> QueryType {
    use WidgetType as T;
    match widget_type {
        T::KpiCard
        | T::KpiGrid
        | T::ProgressBar
        | T::GaugeChart
        | T::RoiSummary
        | T::ClinicalMetrics => QueryType::Aggregate,
        T::LineChart
        | T::MultiLineChart
        | T::AreaChart
        | T::StackedAreaChart
        | T::TimelineChart
        | T::TrendSparkline
        | T::QualityProgression
        | T::CandlestickChart => QueryType::TimeSeries,
        T::PieChart
        | T::DonutChart
        | T::Treemap
        | T::FunnelChart
        | T::BoxPlot
        | T::CostBreakdown
        | T::ScatterPlot
        | T::BubbleChart
        | T::PolarAreaChart
        | T::Heatmap => QueryType::Distribution,
        _ => QueryType::Comparison,
    }
}

/// The basic chart that can replace the type; none if there is none.
fn chart_type(widget_type: WidgetType) -> Option<ChartType> {
    use WidgetType as T;
    Some(match widget_type {
        T::LineChart | T::MultiLineChart | T::TrendSparkline | T::SlopeChart | T::TimelineChart => {
            ChartType::Line
        }
        T::BarChart
        | T::HorizontalBarChart
        | T::StackedBarChart
        | T::GroupedBarChart
        | T::RangeBarChart => ChartType::Bar,
        T::PieChart | T::PolarAreaChart => ChartType::Pie,
        T::DonutChart => ChartType::Donut,
        T::WaterfallChart => ChartType::Waterfall,
        T::AreaChart | T::StackedAreaChart => ChartType::Area,
        _ => return None,
    })
}
