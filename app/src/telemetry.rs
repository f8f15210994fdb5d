//! Log lines on standard error, and counters in Prometheus' text format.
//!
//! Never in here: waiting for standard error. See [`line_queue`].

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::config::LogFormat;

mod described;
mod line_queue;
mod panic_hook;

use line_queue::Bounds;
pub(crate) use line_queue::LineQueue;

const DROPPED: &str = "conch_log_lines_dropped_total";

/// Renders all counters.
pub(crate) type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Starts logging and counting, once per process. The code that ends the process must flush the queue.
///
/// # Errors
/// When either was started before, or the system has no more threads or file descriptors.
pub(crate) fn start(format: LogFormat, filter: &str) -> anyhow::Result<(Metrics, LineQueue)> {
    // Not `io::stderr()`: a blocked writer would hold its lock.
    let standard_error = io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .context("starting the log")?;
    let queue = LineQueue::start(
        Bounds::default(),
        std::fs::File::from(standard_error),
        move |lost| report(format, lost),
    )
    .context("starting the log")?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(completed(filter)?)
        .with_writer(queue.clone())
        // It would print to standard error, and panic if that fails.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => logs.with_ansi(false).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    }
    .map_err(anyhow::Error::from_boxed)
    .context("starting the log")?;
    panic_hook::install();
    let recorder = described::with_buckets(PrometheusBuilder::new())
        .and_then(PrometheusBuilder::install_recorder)
        .context("starting the counters")?;
    described::describe_all();
    let lines = queue.clone();
    let metrics: Metrics = Arc::new(move || {
        metrics::counter!(DROPPED).absolute(lines.dropped());
        recorder.run_upkeep();
        recorder.render()
    });
    Ok((metrics, queue))
}

/// What an operator asked for, with panics, and without what a library says each time that it tries to connect:
/// an outage is said once, by our own.
fn completed(filter: &str) -> anyhow::Result<EnvFilter> {
    const CHATTY: &str = "async_nats";
    let panics = format!("{}=error", panic_hook::TARGET);
    let mut completed = EnvFilter::try_new(filter)?.add_directive(panics.parse()?);
    if !filter.contains(CHATTY) {
        completed = completed.add_directive(format!("{CHATTY}=off").parse()?);
    }
    Ok(completed)
}

/// The line that says how many lines are missing before it. It is not an event, so no filter removes it.
fn report(format: LogFormat, lost: u64) -> String {
    let mut time = String::new();
    if SystemTime.format_time(&mut Writer::new(&mut time)).is_err() {
        time.clear();
    }
    let target = module_path!();
    let message = "log lines were lost before this one: standard error did not take them";
    match format {
        LogFormat::Text => format!("{time}  WARN {target}: {message} lines={lost}\n"),
        LogFormat::Json => format!(
            "{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"message\":\"{message}\",\"lines\":{lost},\"target\":\"{target}\"}}\n"
        ),
    }
}
