//! Log lines on standard error, and counters in Prometheus' text format.

use std::sync::Arc;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Renders all counters.
pub(crate) type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Starts logging and counting, once per process.
///
/// # Errors
/// When either was started before.
pub(crate) fn start(format: LogFormat, filter: &str) -> anyhow::Result<Metrics> {
    let logs = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(false).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    }
    .map_err(anyhow::Error::from_boxed)
    .context("starting the log")?;
    let recorder = PrometheusBuilder::new()
        .install_recorder()
        .context("starting the counters")?;
    Ok(Arc::new(move || {
        recorder.run_upkeep();
        recorder.render()
    }))
}
