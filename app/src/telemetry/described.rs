//! What each metric says, and the buckets of those that are times. A name that isn't in here has no help text on
//! `/metrics`.
//!
//! Never in here: what is counted when.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};

/// What a metric is.
enum Kind {
    Counter,
    Gauge,
    /// Seconds, in these buckets.
    Seconds(&'static [f64]),
}

use Kind::{Counter, Gauge, Seconds};

/// Upper bounds for what is part of an answer or of an event's way.
const SHORT: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];
/// Upper bounds for work, and for waiting for it.
const LONG: &[f64] = &[
    0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
];

/// All metrics: what they are, their names, what they say.
const METRICS: &[(Kind, &str, &str)] = &[
    (
        Counter,
        "conch_accept_errors_total",
        "Failures to accept a connection",
    ),
    (
        Counter,
        "conch_announcements_dropped_total",
        "Announcements that could not be sent and are not sent again",
    ),
    (
        Counter,
        "conch_announcements_failed_total",
        "Announcements that a bus beside the store did not take at once",
    ),
    (
        Counter,
        "conch_attempts_ended_total",
        "Ended attempts, by how they ended",
    ),
    (Counter, "conch_auth_refused_total", "Requests answered 401"),
    (
        Counter,
        "conch_backstop_deliveries_total",
        "Watched logs that had more than was announced, by what found out",
    ),
    (
        Counter,
        "conch_cache_blobs_refused_total",
        "Unusable cached results",
    ),
    (
        Counter,
        "conch_channel_events_dropped_total",
        "Messages on the channel that were not accepted",
    ),
    (
        Gauge,
        "conch_clock_offset_seconds",
        "How far the store's clock is ahead of this machine's",
    ),
    (
        Gauge,
        "conch_connections",
        "Open connections of all listeners",
    ),
    (
        Counter,
        "conch_connections_refused_total",
        "Connections over MAX_CONNECTIONS",
    ),
    (
        Counter,
        "conch_feed_jobs_not_held_total",
        "Announcements of jobs that streams over all jobs do not follow until their end",
    ),
    (
        Counter,
        "conch_feed_jobs_skipped_total",
        "Announcements that streams over all jobs did not report",
    ),
    (
        Seconds(SHORT),
        "conch_http_request_seconds",
        "From a request to the beginning of its answer",
    ),
    (
        Seconds(LONG),
        "conch_job_seconds",
        "From a job's first attempt to its end",
    ),
    (
        Counter,
        "conch_jobs_lost_by_the_queue_total",
        "Unfinished jobs that had lost their place in the queue and were put back",
    ),
    (
        Counter,
        "conch_jobs_overdue_total",
        "Jobs ended at JOB_DEADLINE_SECONDS",
    ),
    (
        Counter,
        "conch_leases_expired_total",
        "Jobs taken back from silent workers",
    ),
    (
        Counter,
        "conch_limits_hit_total",
        "Requests refused and connections or streams ended at a limit",
    ),
    (
        Counter,
        "conch_log_lines_dropped_total",
        "Log lines that standard error did not take, or that found the queue to it full",
    ),
    (
        Counter,
        "conch_nats_messages_dropped_total",
        "Messages from NATS dropped on arrival",
    ),
    (
        Counter,
        "conch_nats_subscription_interruptions_total",
        "Outages of the subscription to NATS",
    ),
    (
        Seconds(LONG),
        "conch_queue_wait_seconds",
        "From when a job was due to its first attempt",
    ),
    (
        Counter,
        "conch_records_lost_total",
        "Jobs whose watchers were told record-lost",
    ),
    (
        Counter,
        "conch_records_unreadable_total",
        "Unreadable catalogue records left out of a list",
    ),
    (Counter, "conch_redis_errors_total", "Failed calls to Redis"),
    (
        Counter,
        "conch_redis_keys_set_aside_total",
        "Keys of ours that another program had overwritten, set aside",
    ),
    (
        Counter,
        "conch_redis_messages_dropped_total",
        "Messages from Redis dropped on arrival",
    ),
    (
        Counter,
        "conch_redis_subscription_interruptions_total",
        "Outages of the subscription to Redis",
    ),
    (
        Counter,
        "conch_sealed_announcements_total",
        "Sealed announcements, by what became of them",
    ),
    (
        Counter,
        "conch_signals_dropped_total",
        "Announcements that a part of the process could not keep up with",
    ),
    (
        Seconds(SHORT),
        "conch_store_call_seconds",
        "Calls of Redis until their answer, by operation",
    ),
    (Gauge, "conch_streams", "Open streams"),
    (
        Counter,
        "conch_streams_cut_total",
        "Streams whose client accepted no data or sent too much",
    ),
    (
        Seconds(LONG),
        "conch_template_seconds",
        "One try at a template, whatever it brought",
    ),
    (
        Counter,
        "conch_template_tries_repeated_total",
        "Repeated tries at a template",
    ),
    (
        Counter,
        "conch_topics_broken_off_total",
        "Panics in the task of a watched job",
    ),
    (
        Counter,
        "conch_watchers_turned_away_total",
        "Streams over a limit of the hub",
    ),
];

/// Buckets for all times.
///
/// # Errors
/// Never, for no list of buckets is empty.
pub(super) fn with_buckets(
    mut builder: PrometheusBuilder,
) -> Result<PrometheusBuilder, BuildError> {
    for (kind, name, _) in METRICS {
        if let Seconds(buckets) = kind {
            let name = Matcher::Full((*name).to_owned());
            builder = builder.set_buckets_for_metric(name, buckets)?;
        }
    }
    Ok(builder)
}

/// Tells the recorder what each metric says.
pub(super) fn describe_all() {
    for (kind, name, text) in METRICS {
        match kind {
            Counter => describe_counter!(*name, *text),
            Gauge => describe_gauge!(*name, *text),
            Seconds(_) => describe_histogram!(*name, Unit::Seconds, *text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::{METRICS, describe_all, with_buckets};

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    /// Names that `conch-bus-kit` makes of a bus's.
    const OF_A_BUS: [&str; 2] = ["subscription_interruptions_total", "messages_dropped_total"];
    const BUSES: [&str; 2] = ["redis", "nats"];

    fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    /// The names of metrics that stand in the code of the programs.
    fn used() -> BTreeSet<String> {
        let mut files = Vec::new();
        for group in ["crates", "adapters"] {
            let members = std::fs::read_dir(Path::new(ROOT).join(group)).expect("a directory");
            for member in members {
                let source = member.expect("an entry").path().join("src");
                if source.is_dir() {
                    sources(&source, &mut files);
                }
            }
        }
        sources(&Path::new(ROOT).join("app/src"), &mut files);
        let mut used = BTreeSet::new();
        for file in files {
            if file.ends_with(file!().rsplit('/').next().expect("a name"))
                || file.ends_with("tests.rs")
            {
                continue;
            }
            let code = std::fs::read_to_string(&file).expect("text");
            let code = code
                .split("#[cfg(test)]\nmod tests")
                .next()
                .expect("a part");
            let quoted = code.split('"').skip(1).step_by(2);
            let is_name = |text: &&str| {
                let rest = text.strip_prefix("conch_").unwrap_or_default();
                !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            };
            used.extend(quoted.filter(is_name).map(str::to_owned));
        }
        for bus in BUSES {
            used.extend(OF_A_BUS.map(|what| format!("conch_{bus}_{what}")));
        }
        used
    }

    #[test]
    fn times_are_shown_as_histograms_with_their_help() {
        let builder = with_buckets(PrometheusBuilder::new()).expect("there are buckets");
        let recorder = builder.build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe_all();
            metrics::histogram!("conch_job_seconds").record(0.2);
            metrics::histogram!("conch_store_call_seconds", "operation" => "x").record(0.000_2);
        });
        let shown = recorder.handle().render();
        for line in [
            "# HELP conch_job_seconds From a job's first attempt to its end",
            "# TYPE conch_job_seconds histogram",
            r#"conch_job_seconds_bucket{le="0.1"} 0"#,
            r#"conch_job_seconds_bucket{le="0.5"} 1"#,
            r#"conch_store_call_seconds_bucket{operation="x",le="0.0001"} 0"#,
            r#"conch_store_call_seconds_bucket{operation="x",le="0.00025"} 1"#,
        ] {
            assert!(
                shown.lines().any(|shown| shown == line),
                "{line} isn't in\n{shown}"
            );
        }
    }

    #[test]
    fn each_metric_is_described_and_in_the_manual() {
        let described: BTreeSet<_> = METRICS
            .iter()
            .map(|(_, name, _)| (*name).to_owned())
            .collect();
        assert_eq!(described.len(), METRICS.len(), "one is there twice");
        assert_eq!(used(), described);
        let manual = std::fs::read_to_string(Path::new(ROOT).join("docs/operations.md"));
        let manual = manual.expect("the manual");
        for name in described {
            assert!(
                manual.contains(&format!("`{name}`")),
                "{name} is not in operations.md"
            );
        }
    }
}
