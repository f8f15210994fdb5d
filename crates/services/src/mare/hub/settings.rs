//! What the fan-out may do and for how long, and whom it asks; both together build it.
//!
//! Never in here: where a setting comes from.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use conch_ports::{JobLog, ResultCache, TritonGateway};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::announced::Announcements;
use super::batched_check::Checks;
use super::callers::{Callers, Most};
use super::expiry::Expiries;
use super::feed::Feed;
use super::looks::Looks;
use super::wake::Beats;
use super::{Hub, Shared, standing};
use crate::Clock;
use crate::mare::reconcile::Reconcile;
use crate::mare::results::Results;

/// Questions for Triton's lists at once, of all streams over many jobs together.
const LISTS: usize = 8;

/// What the fan-out may do and for how long.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a watched job may be silent before its log is read again, and Triton asked.
    pub position_check: Duration,
    /// Between two heartbeats of one watcher.
    pub heartbeat: Duration,
    /// Events of a job that are kept here for those who attach; at least the log's own limit.
    pub history_limit: usize,
    /// Bytes of an external job's events that are kept here; at least the log's own limit.
    pub external_history_bytes: usize,
    /// How long a new watcher waits for word of its job before its stream begins without.
    pub attach_patience: Duration,
    /// How long a record may be nowhere to be found before its watchers are told that it is lost: a
    /// worker that still runs the job puts it back within a third of its lease.
    pub record_lost_after: Duration,
    /// How long a topic outlives its last watcher, for the one who reconnects.
    pub linger: Duration,
    /// Jobs watched at once; one more watcher of another job is turned away. The last eighth is for
    /// jobs that somebody names.
    pub max_topics: usize,
    /// Of them, those that are followed to their ends for streams that name no jobs; half of these are
    /// for our own Triton's jobs alone. Of any more such streams are told what is announced.
    pub max_held: usize,
    /// Watchers at once; one more is turned away.
    pub max_watchers: usize,
    /// Streams of one caller at once, where callers say who they are; one more is turned away. None:
    /// any number.
    pub max_streams_per_caller: Option<usize>,
    /// Jobs that the streams of one caller name together; a stream that names more is turned away. A
    /// caller who doesn't say who it is goes by its address. None: any number.
    pub max_watched_jobs_per_caller: Option<usize>,
    /// How long a stream lasts, give or take a tenth: then its watcher is told to come back. None: as
    /// long as its jobs.
    pub stream_lifetime: Option<Duration>,
    /// Log reads under way at once; bounds what a reconnect asks of the store.
    pub max_reads: usize,
    /// `retry:` of a stream, in milliseconds: each is told another, from half of this to twice as long.
    pub retry_ms: u64,
    /// `retry:` of a stream that is turned away, in milliseconds.
    pub retry_when_full_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let position_check = Duration::from_secs(10);
        Self {
            position_check,
            // The shortest read timeout among common clients is five seconds (decision 0046).
            heartbeat: Duration::from_secs(4),
            history_limit: 100,
            external_history_bytes: 1 << 20,
            attach_patience: Duration::from_secs(2),
            record_lost_after: position_check * 3,
            linger: Duration::from_secs(5),
            max_topics: 50_000,
            max_held: 10_000,
            max_watchers: 100_000,
            max_streams_per_caller: Some(100),
            max_watched_jobs_per_caller: Some(5000),
            stream_lifetime: None,
            max_reads: 32,
            retry_ms: 2000,
            retry_when_full_ms: 30_000,
        }
    }
}

/// What the hub asks.
pub struct Dependencies {
    /// Logs.
    pub log: Arc<dyn JobLog>,
    /// Results of jobs whose log is gone.
    pub cache: Arc<dyn ResultCache>,
    /// Which jobs there are.
    pub gateway: Arc<dyn TritonGateway>,
    /// What Triton knows beyond a log.
    pub reconcile: Reconcile,
    /// The time.
    pub clock: Clock,
}

impl Settings {
    /// Builds the hub. Its own tasks run on the current tokio runtime until `shutdown`, which also
    /// ends every stream with a farewell.
    pub fn build(self, dependencies: Dependencies, shutdown: CancellationToken) -> Hub {
        let Dependencies {
            log,
            cache,
            gateway,
            reconcile,
            clock,
        } = dependencies;
        let shared = Arc::new(Shared {
            reads: Semaphore::new(self.max_reads),
            lists: Semaphore::new(LISTS),
            callers: Arc::new(Callers::new(Most {
                streams: self.max_streams_per_caller,
                jobs: self.max_watched_jobs_per_caller,
                callers: self.max_watchers,
            })),
            looks: Looks::default(),
            checks: Checks::default(),
            feed: Arc::new(Feed::new(self.max_held)),
            announcements: Announcements::default(),
            settings: self,
            log,
            results: Results::new(cache),
            gateway,
            reconcile,
            clock,
            shutdown,
            topics: Mutex::new(HashMap::new()),
            beats: Arc::new(Beats::new()),
            expiries: Arc::new(Expiries::default()),
            watchers: Arc::new(()),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            failed: CancellationToken::new(),
        });
        standing::spawn_all(&shared);
        Hub(shared)
    }
}
