//! How long things took, and how often a check found what no announcement had told. Handles are made once and kept:
//! on an event's way nothing is looked up by name.
//!
//! Never in here: a label that a caller can make up.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{Counter, Histogram};

/// From when a job was due to its first attempt.
pub(crate) fn waited_in_queue(took: Duration) {
    static TIMES: LazyLock<Histogram> =
        LazyLock::new(|| metrics::histogram!("conch_queue_wait_seconds"));
    TIMES.record(took);
}

/// One try at a template, whatever it brought.
pub(crate) fn tried_template(took: Duration) {
    static TIMES: LazyLock<Histogram> =
        LazyLock::new(|| metrics::histogram!("conch_template_seconds"));
    TIMES.record(took);
}

/// From a job's first attempt to its end.
pub(crate) fn ran_job(took: Duration) {
    static TIMES: LazyLock<Histogram> = LazyLock::new(|| metrics::histogram!("conch_job_seconds"));
    TIMES.record(took);
}

/// What found out that a log has more than was announced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Backstop {
    /// The position check.
    PositionCheck,
    /// The look at all logs after an interruption of the subscription.
    Gap,
    /// The question to Triton about a job that was silent.
    Reconcile,
}

/// A check found that a watched log has more than was announced.
pub(crate) fn delivered_by(backstop: Backstop) {
    fn counter(source: &'static str) -> Counter {
        metrics::counter!("conch_backstop_deliveries_total", "source" => source)
    }
    static POSITION_CHECK: LazyLock<Counter> = LazyLock::new(|| counter("position_check"));
    static GAP: LazyLock<Counter> = LazyLock::new(|| counter("gap"));
    static RECONCILE: LazyLock<Counter> = LazyLock::new(|| counter("reconcile"));
    let counter = match backstop {
        Backstop::PositionCheck => &POSITION_CHECK,
        Backstop::Gap => &GAP,
        Backstop::Reconcile => &RECONCILE,
    };
    counter.increment(1);
}
