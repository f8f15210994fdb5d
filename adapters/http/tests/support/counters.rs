//! What the code under test counts on this thread, which is all of it where the runtime has one thread.

#![allow(dead_code, reason = "each test program uses a part of it")]

use metrics::LocalRecorderGuard;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

pub(crate) struct Counters {
    handle: PrometheusHandle,
    _guard: LocalRecorderGuard<'static>,
}

impl Counters {
    /// Counts from here on, until dropped.
    pub(crate) fn start() -> Self {
        // For as long as the test's process: a guard borrows it.
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        Self {
            handle: recorder.handle(),
            _guard: metrics::set_default_local_recorder(recorder),
        }
    }

    /// How often a limit was hit.
    pub(crate) fn hits(&self, limit: &str) -> u64 {
        self.of(&format!("conch_limits_hit_total{{limit=\"{limit}\"}}"))
    }

    /// Where a counter stands; 0 as long as it has not moved.
    pub(crate) fn of(&self, series: &str) -> u64 {
        let text = self.handle.render();
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.map_or(0, |value| value.trim().parse().expect("a whole number"))
    }
}
