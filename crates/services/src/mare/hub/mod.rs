//! The fan-out: one topic per watched job, however many watch it.
//!
//! ```text
//!   hint(job) ─► topic's pump ─► log.read(after head) ─► frames, encoded once ─► wake all watchers
//!   silence   ─┘                        └─ nothing new, still silent: ask Triton, once per job
//! ```
//!
//! What is streamed comes out of the log: an announcement only says that the log is worth reading (law 1), so a
//! forged one changes nothing. One that is sealed with the log's secret and joins on to what is known is
//! taken in without a read (`join`). Knows nothing of HTTP or sockets.

mod announced;
mod asking;
mod attach;
mod batched_check;
mod callers;
mod calls;
mod expiry;
mod feed;
mod floors;
mod follow;
mod hearing;
mod held;
mod inquiry;
mod interest;
mod join;
mod looks;
mod many;
mod owner;
mod payers;
mod pump;
mod questions;
mod reading;
mod ring;
mod selection;
mod settings;
mod shelf;
mod standing;
mod state;
mod stream;
mod topic;
mod unfinished;
mod waiting;
mod wake;
mod watcher;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use conch_domain::{Caller, JobId};
use conch_ports::{JobLog, TritonGateway};
use conch_wire::sse;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::mare::reconcile::Reconcile;
use crate::mare::results::Results;
use crate::{Clock, entropy, limits};
use announced::Announcements;
use batched_check::Checks;
use callers::{Callers, Place, TooMany};
use calls::Reason;
use expiry::{Due, Expiries};
use feed::Feed;
use interest::Interest;
pub use join::Joined;
use looks::Looks;
pub use selection::Selection;
pub use settings::{Dependencies, Settings};
pub use stream::{Attached, Next, Watcher};
use stream::{Guards, Kind};
use topic::Topic;
use wake::{Beats, Over, Slot};

/// The fan-out; a cheap handle.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

/// What all parts of the hub hold together.
struct Shared {
    settings: Settings,
    log: Arc<dyn JobLog>,
    results: Results,
    gateway: Arc<dyn TritonGateway>,
    reconcile: Reconcile,
    clock: Clock,
    shutdown: CancellationToken,
    topics: Mutex<HashMap<JobId, Arc<Topic>>>,
    beats: Arc<Beats>,
    expiries: Arc<Expiries>,
    feed: Arc<Feed>,
    announcements: Announcements,
    looks: Looks,
    checks: Checks,
    /// Held by every watcher, so that its count is theirs.
    watchers: Arc<()>,
    callers: Arc<Callers>,
    reads: Semaphore,
    /// Bounds the questions for Triton's lists that are under way, of all streams over many jobs.
    lists: Semaphore,
    tasks: TaskTracker,
    /// Where they run: callers may attach from another runtime, and topics wake tasks of this one.
    runtime: Handle,
    /// A task that all streams need is gone.
    failed: CancellationToken,
}

impl Hub {
    /// A stream that says when to come back, soon, and ends: for who can't be let in now and must not
    /// be told never to try again.
    pub fn come_back(&self) -> Watcher {
        Watcher::turned_away(self.0.farewell())
    }

    /// Something was appended to the job's log, at `sequence` if that is known: read it, if anybody
    /// watches. Costs nothing otherwise, and may be wrong.
    pub fn hint(&self, job_id: &JobId, sequence: Option<u64>) {
        self.0.hint(job_id, sequence);
    }

    /// Announcements may have been lost: every watched job's log is read again, spread over time.
    pub fn lapsed(&self) {
        let mut topics: Vec<_> = self.0.topics.lock().values().cloned().collect();
        topics.sort_unstable_by(|a, b| a.job_id.cmp(&b.job_id));
        for topic in topics {
            topic.lapsed.store(true, Ordering::Release);
            topic.call(Reason::Hint);
        }
        self.0.feed.lapsed.notify_one();
    }

    /// Watchers now.
    pub fn watchers(&self) -> usize {
        Arc::strong_count(&self.0.watchers) - 1
    }

    /// Watched jobs now.
    pub fn topics(&self) -> usize {
        self.0.topics.lock().len()
    }

    /// Waits until a task that all streams need has ended, by a panic or otherwise, though no shutdown
    /// was asked for. Then streams seem to live and don't: heartbeats are missing, or
    /// jobs whose announcement was lost.
    pub async fn failed(&self) {
        self.0.failed.cancelled().await;
    }

    /// Waits until the hub's own tasks have ended, after its shutdown was asked for.
    pub async fn stopped(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn turn_away(&self) -> Attached {
        metrics::counter!("conch_watchers_turned_away_total").increment(1);
        self.not_now()
    }

    fn turn_away_from_more(&self, TooMany(limit): TooMany) -> Attached {
        limits::hit(limit);
        self.not_now()
    }

    fn not_now(&self) -> Attached {
        Attached::Full(Watcher::turned_away(self.0.not_now()))
    }
}

impl Shared {
    fn is_full(&self) -> bool {
        Arc::strong_count(&self.watchers) > self.settings.max_watchers
    }

    fn counted(&self, kind: Kind, due: Option<Due>, place: Option<Place>) -> Watcher {
        Watcher::new(kind, Arc::clone(&self.watchers), Guards::new(due, place))
    }

    /// Has the watcher told when its time is over, if it ever is: that of the caller's credentials, or
    /// of the stream.
    fn due(&self, caller: &Caller, slot: &Arc<Slot>) -> Option<Due> {
        let credentials = caller.ends_at().map(|at| (at, Over::Credentials));
        let lifetime = self.settings.stream_lifetime.map(|lifetime| {
            let lifetime = lifetime.mul_f64(entropy::factor(0.9..=1.1));
            let millis = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
            ((self.clock)().plus_millis(millis), Over::Lifetime)
        });
        let both = [credentials, lifetime].into_iter().flatten();
        let (ends_at, why) = both.min_by_key(|(at, _)| *at)?;
        Some(self.expiries.add(ends_at, why, Arc::clone(slot)))
    }

    /// The first line of a stream: when to come back should it break. Each stream has its own, so that the
    /// watchers of a process that was killed come back spread over time.
    fn greeting(&self) -> Bytes {
        sse::retry(self.spread_retry())
    }

    /// The last lines of a stream that ends before its jobs do: come back, but not all at once.
    fn farewell(&self) -> Bytes {
        sse::come_back(self.spread_retry())
    }

    /// All that is told to one that finds no room: come back, but much later.
    fn not_now(&self) -> Bytes {
        let least = Duration::from_millis(self.settings.retry_when_full_ms);
        sse::come_back(entropy::lengthened(least).as_millis() as u64)
    }

    fn spread_retry(&self) -> u64 {
        let middle = Duration::from_millis(self.settings.retry_ms);
        entropy::spread(middle).as_millis() as u64
    }
}
