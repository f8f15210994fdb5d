//! The fan-out: one topic per watched job, however many watch it.
//!
//! ```text
//!   hint(job) ─► topic's pump ─► bus.read(after head) ─► frames, encoded once ─► wake all watchers
//!   silence   ─┘                        └─ nothing new, still silent: ask Triton, once per job
//! ```
//!
//! What is streamed comes out of the log and from nowhere else: an announcement only says that the
//! log is worth reading (law 1), so a forged one changes nothing. Knows nothing of HTTP or sockets.

mod feed;
mod floors;
mod follow;
mod many;
mod pump;
mod ring;
mod selection;
mod topic;
mod waiting;
mod wake;
mod watcher;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use conch_domain::{JobId, Position};
use conch_ports::{EventBus, TritonGateway};
use conch_wire::sse;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::reconcile::Reconcile;
use crate::{Clock, entropy};
use feed::Feed;
use follow::Paced;
use many::{ManyWatcher, NoStream};
pub use selection::Selection;
use topic::{Phase, Topic};
use wake::{Beats, SHARDS, Slots};
use watcher::{Cursor, JobWatcher, LOST_ID};

/// What the fan-out may do and for how long.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a watched job may be silent before its log is read again, and Triton asked.
    pub position_check: Duration,
    /// Between two heartbeats of one watcher.
    pub heartbeat: Duration,
    /// Events of a job that are kept here for those who attach; at least the log's own limit.
    pub history_limit: usize,
    /// How long a new watcher waits for word of its job before its stream begins without.
    pub attach_patience: Duration,
    /// How long a record may be nowhere to be found before its watchers are told that it is lost: a
    /// worker that still runs the job puts it back within a third of its lease.
    pub record_lost_after: Duration,
    /// How long a topic outlives its last watcher, for the one who reconnects.
    pub linger: Duration,
    /// Jobs watched at once; one more watcher of another job is turned away.
    pub max_topics: usize,
    /// Watchers at once; one more is turned away.
    pub max_watchers: usize,
    /// Log reads under way at once; bounds what a reconnect asks of the store.
    pub max_reads: usize,
    /// `retry:` of a stream, in milliseconds.
    pub retry_ms: u64,
    /// `retry:` of whoever is turned away, in milliseconds.
    pub retry_when_full_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let position_check = Duration::from_secs(10);
        Self {
            position_check,
            heartbeat: Duration::from_secs(15),
            history_limit: 100,
            attach_patience: Duration::from_secs(2),
            record_lost_after: position_check * 3,
            linger: Duration::from_secs(5),
            max_topics: 50_000,
            max_watchers: 100_000,
            max_reads: 32,
            retry_ms: 2000,
            retry_when_full_ms: 30_000,
        }
    }
}

impl Settings {
    /// Builds the hub. Its own tasks run on the current tokio runtime until `shutdown`, which also
    /// ends every stream with a farewell.
    pub fn build(
        self,
        bus: Arc<dyn EventBus>,
        gateway: Arc<dyn TritonGateway>,
        reconcile: Reconcile,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Hub {
        let shared = Arc::new(Shared {
            reads: Semaphore::new(self.max_reads),
            greeting: sse::retry(self.retry_ms),
            settings: self,
            bus,
            gateway,
            reconcile,
            clock,
            shutdown,
            topics: Mutex::new(HashMap::new()),
            beats: Arc::new(Beats::new()),
            feed: Arc::new(Feed::default()),
            watchers: Arc::new(()),
            tasks: TaskTracker::new(),
        });
        shared.tasks.spawn(heart(Arc::clone(&shared)));
        shared.tasks.spawn(feed::watch_over(Arc::clone(&shared)));
        Hub(shared)
    }
}

/// The fan-out; a cheap handle.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

/// What all parts of the hub hold together.
struct Shared {
    settings: Settings,
    bus: Arc<dyn EventBus>,
    gateway: Arc<dyn TritonGateway>,
    reconcile: Reconcile,
    clock: Clock,
    shutdown: CancellationToken,
    topics: Mutex<HashMap<JobId, Arc<Topic>>>,
    beats: Arc<Beats>,
    feed: Arc<Feed>,
    /// Held by every watcher, so that its count is theirs.
    watchers: Arc<()>,
    reads: Semaphore,
    tasks: TaskTracker,
    greeting: Bytes,
}

/// What a watcher's stream does after the frames that it just gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// More may follow.
    More,
    /// The stream is over.
    End,
}

/// The answer to whoever wants to watch.
pub enum Attached {
    /// Here is the stream.
    Stream(Watcher),
    /// The cursor is at the end of everything: there is nothing to wait for.
    Ended,
    /// There is no such job.
    Unknown,
    /// Too many watch already: this stream says when to come back, and ends.
    Full(Watcher),
}

/// A stream of SSE text for one watcher. Dropping it takes the watcher off the list.
pub struct Watcher {
    kind: Kind,
    _counted: Option<Arc<()>>,
}

enum Kind {
    Job(Paced<JobWatcher>),
    Many(Box<Paced<ManyWatcher>>),
    TurnedAway(Option<Bytes>),
}

impl Watcher {
    /// Pushes the frames that are due, each a whole number of SSE lines, and says whether more can
    /// follow. When pending nothing was pushed, and the waker is called once there may be something.
    /// To be polled by one task at a time.
    pub fn poll_frames(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) -> Poll<Next> {
        match &mut self.kind {
            Kind::Job(watcher) => watcher.poll_frames(cx, out),
            Kind::Many(watcher) => watcher.poll_frames(cx, out),
            Kind::TurnedAway(line) => {
                out.extend(line.take());
                Poll::Ready(Next::End)
            }
        }
    }
}

impl Hub {
    /// Attaches to one job. `cursor` is what the watcher says it has seen: `<epoch>-<sequence>`.
    ///
    /// Waits at most `attach_patience` for word of the job; if neither log nor Triton answers by
    /// then, the stream begins without. Cancel-safe.
    pub async fn watch(&self, job_id: &JobId, cursor: Option<&str>) -> Attached {
        let shared = &self.0;
        if cursor == Some(LOST_ID) {
            return Attached::Ended;
        }
        let cursor = match cursor {
            None => Cursor::Beginning,
            Some(text) => text.parse::<Position>().map_or_else(
                // Only as much of a stranger's text as a cursor could have is kept.
                |_| Cursor::Unusable(text.chars().take(128).collect()),
                Cursor::After,
            ),
        };
        if shared.is_full() {
            return self.turn_away();
        }
        let Some(interest) = shared.interest(job_id, matches!(cursor, Cursor::After(_))) else {
            return self.turn_away();
        };
        let patience = tokio::time::sleep(shared.settings.attach_patience);
        tokio::pin!(patience);
        loop {
            let settled = interest.topic().settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            {
                let state = interest.topic().state();
                match (state.phase, &cursor) {
                    (Phase::Ended(_), Cursor::After(at)) if Some(*at) == state.head() => {
                        return Attached::Ended;
                    }
                    (Phase::Live | Phase::Ended(_), _) => break,
                    (Phase::Lost | Phase::Loading, Cursor::After(_)) => {
                        // Well-formed, so the job did exist: wait for it on the stream.
                        if state.absent.is_some() {
                            break;
                        }
                    }
                    (Phase::Lost, _) => return Attached::Unknown,
                    (Phase::Loading, _) => {
                        if state.absent.is_some_and(|a| a.unknown_to_triton) {
                            return Attached::Unknown;
                        }
                    }
                }
            }
            tokio::select! {
                biased;
                () = settled => {}
                () = &mut patience => break,
            }
        }
        if let Cursor::After(position) = cursor
            && !interest.topic().honours(position)
        {
            let refreshed = tokio::select! {
                biased;
                refreshed = pump::refresh(shared, interest.topic()) => refreshed,
                () = &mut patience => false,
            };
            if !refreshed {
                interest.topic().doubt();
            }
            let state = interest.topic().state();
            if matches!(state.phase, Phase::Ended(_)) && state.head() == Some(position) {
                return Attached::Ended;
            }
        }
        let watcher = JobWatcher::new(Arc::clone(shared), interest, cursor);
        Attached::Stream(shared.counted(Kind::Job(Paced::new(watcher))))
    }

    /// Attaches to many jobs at once: states, not histories. `cursor` is `m-<milliseconds>`; what is
    /// no such thing counts as none. Cancel-safe.
    pub async fn watch_many(&self, selection: Selection, cursor: Option<&str>) -> Attached {
        let shared = &self.0;
        if shared.is_full() {
            return self.turn_away();
        }
        match ManyWatcher::attach(Arc::clone(shared), selection, cursor).await {
            Ok(watcher) => {
                Attached::Stream(shared.counted(Kind::Many(Box::new(Paced::new(watcher)))))
            }
            Err(NoStream::Ended) => Attached::Ended,
            Err(NoStream::Unknown) => Attached::Unknown,
            Err(NoStream::NoRoom) => self.turn_away(),
        }
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
            topic.hint.notify_one();
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

    /// Waits until the hub's own tasks have ended, after its shutdown was asked for.
    pub async fn stopped(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn turn_away(&self) -> Attached {
        metrics::counter!("conch_watchers_turned_away_total").increment(1);
        let line = self.0.not_now();
        Attached::Full(Watcher {
            kind: Kind::TurnedAway(Some(line)),
            _counted: None,
        })
    }
}

impl Shared {
    fn is_full(&self) -> bool {
        Arc::strong_count(&self.watchers) > self.settings.max_watchers
    }

    fn counted(&self, kind: Kind) -> Watcher {
        Watcher {
            kind,
            _counted: Some(Arc::clone(&self.watchers)),
        }
    }

    /// The job's topic, made and started if need be; none when there are too many.
    fn interest(self: &Arc<Self>, job_id: &JobId, claimed: bool) -> Option<Interest> {
        let mut topics = self.topics.lock();
        let topic = if let Some(topic) = topics.get(job_id) {
            Arc::clone(topic)
        } else {
            if topics.len() >= self.settings.max_topics {
                return None;
            }
            let topic = Arc::new(Topic::new(job_id.clone()));
            topics.insert(job_id.clone(), Arc::clone(&topic));
            self.tasks
                .spawn(pump::run(Arc::clone(self), Arc::clone(&topic)));
            topic
        };
        if claimed {
            topic.claimed.store(true, Ordering::Release);
        }
        // Under the map's lock, so that the pump can't take the topic away in between.
        Some(Interest::new(&topic))
    }

    /// The only line of a stream that finds no room: come back, but much later.
    fn not_now(&self) -> Bytes {
        sse::retry(jittered(self.settings.retry_when_full_ms))
    }

    /// The last line of a stream that a shutdown ends: come back, but not all at once.
    fn farewell(&self) -> Bytes {
        sse::retry(jittered(self.settings.retry_ms))
    }
}

/// A value between the base and twice the base.
fn jittered(base: u64) -> u64 {
    base + entropy::up_to(base)
}

/// Keeps a topic alive.
struct Interest(Arc<Topic>);

impl Interest {
    /// To be called where the topic's pump can't take it away meanwhile.
    fn new(topic: &Arc<Topic>) -> Self {
        topic.interest.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(topic))
    }

    fn topic(&self) -> &Arc<Topic> {
        &self.0
    }
}

impl Clone for Interest {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        if self.0.interest.fetch_sub(1, Ordering::AcqRel) == 1 {
            *self.0.idle_since.lock() = tokio::time::Instant::now();
            self.0.idle.notify_one();
        }
    }
}

impl AsRef<Slots> for Interest {
    fn as_ref(&self) -> &Slots {
        &self.0.slots
    }
}

/// Asks a share of all watchers for a heartbeat at each tick: one timer for all of them.
async fn heart(shared: Arc<Shared>) {
    let period = (shared.settings.heartbeat / SHARDS as u32).max(Duration::from_millis(1));
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 0_usize.. {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => break,
            _ = ticks.tick() => shared.beats.beat(tick),
        }
    }
    shared.beats.wake_all();
}
