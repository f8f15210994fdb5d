//! The enumerations of the template contract, each value with its name on the wire.
//!
//! Never in here: a rule about how values combine (see `check`).

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// All of them, in the contract's order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value with that name on the wire.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(super) use names;

names!(
    /// The argument that a dashboard makes.
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
    /// The audience of a dashboard.
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
    /// How densely the widgets are arranged.
    Layout {
        /// Close.
        Dense = "dense",
        /// In between.
        Balanced = "balanced",
        /// Far.
        Spacious = "spacious",
    }
);
names!(
    /// How a widget's data is queried.
    QueryType {
        /// One figure over all.
        Aggregate = "aggregate",
        /// One figure per period.
        TimeSeries = "time-series",
        /// The parts of a whole, or how values are distributed.
        Distribution = "distribution",
        /// Two or more things side by side.
        Comparison = "comparison",
    }
);
names!(
    /// What kind of number a metric is.
    DataType {
        /// A count.
        Count = "count",
        /// Money.
        Currency = "currency",
        /// A share of a whole.
        Percentage = "percentage",
        /// Any other number.
        Number = "number",
    }
);
names!(
    /// How a filter compares a field with its value.
    Operator {
        /// Equal.
        Eq = "eq",
        /// Not equal.
        Ne = "ne",
        /// Greater.
        Gt = "gt",
        /// Less.
        Lt = "lt",
        /// Greater or equal.
        Gte = "gte",
        /// Less or equal.
        Lte = "lte",
        /// One of a list.
        In = "in",
        /// From one value to another.
        Between = "between",
        /// A pattern.
        Like = "like",
    }
);
names!(
    /// How a time range is specified.
    TimeRangeKind {
        /// Counted back from today.
        Relative = "relative",
        /// From one date to another.
        Absolute = "absolute",
    }
);
names!(
    /// The basic chart that a frontend may fall back to.
    ChartType {
        /// Lines.
        Line = "line",
        /// Bars.
        Bar = "bar",
        /// A pie.
        Pie = "pie",
        /// A waterfall.
        Waterfall = "waterfall",
        /// Filled lines.
        Area = "area",
        /// A ring.
        Donut = "donut",
    }
);
