//! The counter of what was refused or ended because a limit was reached; where each limit is kept is its
//! use case's matter.

/// One more hit of a limit, which goes by its setting's name.
pub(crate) fn hit(limit: &'static str) {
    metrics::counter!("conch_limits_hit_total", "limit" => limit).increment(1);
}

/// The limit of how many events a job takes.
pub(crate) const EVENTS_PER_JOB: &str = "max_events_per_job";
