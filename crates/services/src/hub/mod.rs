//! The fan-out: one topic per watched job, however many watch it.
//!
//! ```text
//!   hint(job) ─► topic's pump ─► bus.read(after head) ─► frames, encoded once ─► wake all watchers
//!   silence   ─┘                        └─ nothing new, still silent: ask Triton, once per job
//! ```
//!
//! What is streamed comes out of the log and from nowhere else: an announcement only says that the
//! log is worth reading (law 1), so a forged one changes nothing. Knows nothing of HTTP or sockets.

mod announced;
mod asking;
mod attach;
mod callers;
mod expiry;
mod feed;
mod floors;
mod follow;
mod hearing;
mod held;
mod looks;
mod many;
mod pump;
mod questions;
mod ring;
mod selection;
mod standing;
mod state;
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
use conch_domain::{Caller, JobId};
use conch_ports::{EventBus, ResultCache, TritonGateway};
use conch_wire::sse;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::reconcile::Reconcile;
use crate::results::Results;
use crate::{Clock, entropy, limits};
use announced::Announcements;
use callers::{Callers, Most, Place, TooMany};
use expiry::{Due, Expiries};
use feed::Feed;
use follow::Paced;
use looks::Looks;
use many::ManyWatcher;
use questions::Questions;
pub use selection::Selection;
use topic::Topic;
use wake::{Beats, Over, Slot, Slots};
use watcher::JobWatcher;

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
    /// `retry:` of whoever is turned away, in milliseconds.
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
    pub bus: Arc<dyn EventBus>,
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
            bus,
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
            feed: Arc::new(Feed::new(self.max_held)),
            announcements: Announcements::default(),
            settings: self,
            bus,
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

/// The fan-out; a cheap handle.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

/// What all parts of the hub hold together.
struct Shared {
    settings: Settings,
    bus: Arc<dyn EventBus>,
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
    /// Held by every watcher, so that its count is theirs.
    watchers: Arc<()>,
    callers: Arc<Callers>,
    reads: Semaphore,
    /// See [`LISTS`].
    lists: Semaphore,
    tasks: TaskTracker,
    /// Where they run: whoever attaches may come from another runtime, and whom a topic wakes is here.
    runtime: Handle,
    /// A task that all streams need is gone.
    failed: CancellationToken,
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
    /// None where nobody says who they are and streams last for ever.
    _held: Option<Box<Held>>,
}

/// What goes back when a watcher is gone.
struct Held {
    _due: Option<Due>,
    _place: Option<Place>,
}

enum Kind {
    Job(Paced<JobWatcher>),
    Many(Box<Paced<ManyWatcher>>),
    TurnedAway(Option<Bytes>),
}

impl Watcher {
    /// Whether this is the stream of one job, which has ended.
    pub fn is_of_ended_job(&self) -> bool {
        match &self.kind {
            Kind::Job(watcher) => watcher.follower().has_ended(),
            Kind::Many(_) | Kind::TurnedAway(_) => false,
        }
    }

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
    /// A stream that says when to come back, soon, and ends: for who can't be let in now and must not
    /// be told never to try again.
    pub fn come_back(&self) -> Watcher {
        Watcher {
            kind: Kind::TurnedAway(Some(self.0.farewell())),
            _counted: None,
            _held: None,
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

    /// Waits until a task that all streams need has ended, by a panic or otherwise, though no shutdown
    /// was asked for. Then streams seem to live and don't: heartbeats, or jobs that nobody announced,
    /// are missing.
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
        Attached::Full(Watcher {
            kind: Kind::TurnedAway(Some(self.0.not_now())),
            _counted: None,
            _held: None,
        })
    }
}

impl Shared {
    fn is_full(&self) -> bool {
        Arc::strong_count(&self.watchers) > self.settings.max_watchers
    }

    fn counted(&self, kind: Kind, due: Option<Due>, place: Option<Place>) -> Watcher {
        let held = due.is_some() || place.is_some();
        Watcher {
            kind,
            _counted: Some(Arc::clone(&self.watchers)),
            _held: held.then(|| {
                Box::new(Held {
                    _due: due,
                    _place: place,
                })
            }),
        }
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

    /// The topic of a job that somebody names, made by `make` and started if need be; none when there
    /// are too many.
    fn interest(
        self: &Arc<Self>,
        job_id: &JobId,
        claimed: bool,
        questions: Option<&Arc<Questions>>,
        make: impl FnOnce(JobId) -> Topic,
    ) -> Option<Interest> {
        let interest = self.interest_in(job_id, claimed, self.settings.max_topics, make)?;
        let topic = interest.topic();
        topic.payers.add(questions);
        topic.look_anew();
        // A lookup would ask Triton now.
        if topic.may_lack_an_end() && self.reconcile.is_due(job_id, self.settings.position_check) {
            topic.inquire();
        }
        Some(interest)
    }

    /// The same for a job that nobody names. Whoever can announce could else turn away all who do.
    fn unnamed_interest(self: &Arc<Self>, job_id: &JobId) -> Option<Interest> {
        let most = self.settings.max_topics;
        let make = |job_id| Topic::new(job_id, None);
        self.interest_in(job_id, false, most - most / 8, make)
    }

    /// A topic in which nothing is ever found, for one who may not know of the job; none when there are
    /// too many. It costs what a topic of an absent job does, and takes as long.
    fn decoy(
        self: &Arc<Self>,
        instead_of: &JobId,
        claimed: bool,
        questions: Option<Arc<Questions>>,
    ) -> Option<Interest> {
        let make = |nobodys| Topic::decoy(nobodys, instead_of.clone(), questions);
        let most = self.settings.max_topics;
        self.interest_in(&entropy::nobodys_job(), claimed, most, make)
    }

    fn interest_in(
        self: &Arc<Self>,
        job_id: &JobId,
        claimed: bool,
        most: usize,
        make: impl FnOnce(JobId) -> Topic,
    ) -> Option<Interest> {
        let mut topics = self.topics.lock();
        let topic = if let Some(topic) = topics.get(job_id) {
            Arc::clone(topic)
        } else {
            if topics.len() >= most {
                return None;
            }
            let topic = Arc::new(make(job_id.clone()));
            topics.insert(job_id.clone(), Arc::clone(&topic));
            let pump = pump::run(Arc::clone(self), Arc::clone(&topic));
            self.tasks.spawn_on(pump, &self.runtime);
            topic
        };
        if claimed {
            topic.claimed.store(true, Ordering::Release);
        }
        // Under the map's lock, so that the pump can't take the topic away in between.
        Some(Interest::new(&topic))
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
