//! How much is kept, and for how long.

use std::time::Duration;

use conch_domain::Timestamp;
use conch_ports::Quotas;

use crate::Memory;

/// Bounds of a store in memory. Nothing in it grows past them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Events kept per job.
    pub history_limit: usize,
    /// How long a cached result lives.
    pub result_ttl: Duration,
    /// How long the log of a job that has ended lives, from its end on.
    pub ended_log_ttl: Duration,
    /// How long an unfinished job's log lives after its last event. The job stays queued: the worker that claims it
    /// then begins the log anew.
    pub unfinished_ttl: Duration,
    /// How long catalogue records live after their last change; none: for ever.
    pub retention: Option<Duration>,
    /// Announcements that a subscriber may lag behind; beyond it misses some and gets
    /// [`Signal::Gap`](conch_ports::Signal::Gap).
    pub subscriber_queue: usize,
    /// Whether an append announces its events itself. If not, that is a step of its own, after it.
    pub announces: bool,
    /// Logs at once. A new one beyond it is refused as out of space.
    pub max_logs: usize,
    /// Cached results at once. The one that would go next makes room.
    pub max_results: usize,
    /// Remembered idempotency keys at once. The one that would go next makes room.
    pub max_idempotency_keys: usize,
    /// What is bounded in every store. Templates are bounded with their jobs.
    pub quotas: Quotas,
    /// Tickets at once. One more is refused by quota.
    pub max_tickets: usize,
    /// Tickets of one caller at once. One more is refused by quota.
    pub max_tickets_per_caller: usize,
    /// What the store's clock says when the store is built; from then on it goes with tokio's, as leases do.
    /// None: it is the system's clock, which a machine that slept or was set to another time may move.
    pub begins: Option<Timestamp>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            history_limit: 100,
            result_ttl: Duration::from_hours(1),
            ended_log_ttl: Duration::from_hours(1),
            unfinished_ttl: Duration::from_hours(7 * 24),
            retention: None,
            subscriber_queue: 1024,
            announces: true,
            max_logs: 50_000,
            max_results: 50_000,
            max_idempotency_keys: 50_000,
            quotas: Quotas {
                // With their templates some 2 GB.
                jobs: 25_000,
                ..Quotas::default()
            },
            max_tickets: 50_000,
            max_tickets_per_caller: 200,
            begins: None,
        }
    }
}

impl Settings {
    /// An empty store. Clones of it are handles to the same one.
    pub fn build(self) -> Memory {
        Memory::new(self)
    }
}
