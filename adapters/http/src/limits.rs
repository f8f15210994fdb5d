//! The counter of what was refused because a limit was reached; where each limit is kept is another
//! file's matter.

/// One more hit of a limit, which goes by its setting's name.
pub(crate) fn hit(limit: &'static str) {
    metrics::counter!("conch_limits_hit_total", "limit" => limit).increment(1);
}
