//! A hub with its neighbours, a job to append to, and a watcher's eyes.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{
    Caller, ClientId, Clients, Epoch, Event, EventCap, EventId, EventKind, Identity, Job, JobId,
    Position, Scopes, Timestamp,
};
use conch_memory::{Faults, Memory, ScriptedTriton};
use conch_ports::{Commit, EventBus, Fence, Guarantees, Log, Published, QueueEffect, Signals};
use conch_services::hub::{Attached, Hub, Next, Selection, Settings, Watcher};
use conch_services::ingest::{self, ForeignEvents, Listeners};
use conch_services::lookup::{self, Lookup};
use conch_services::reconcile::Reconcile;
use conch_services::{Clock, hub};
use conch_wire::{event, sse};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest foreign event that these worlds take.
pub(crate) const MAX_EVENT_BYTES: usize = 64 * 1024;

pub(crate) fn accept() -> ForeignEvents {
    ForeignEvents::Accept {
        max_bytes: MAX_EVENT_BYTES,
        cap: EventCap::default(),
    }
}

pub(crate) const POSITION_CHECK: Duration = Duration::from_secs(10);

pub(crate) struct World {
    pub(crate) memory: Memory,
    pub(crate) faults: Faults,
    pub(crate) triton: Arc<ScriptedTriton>,
    pub(crate) hub: Hub,
    pub(crate) lookup: Lookup,
    pub(crate) clock: Clock,
    pub(crate) shutdown: CancellationToken,
    pub(crate) ingest: JoinHandle<()>,
}

pub(crate) fn clock() -> Clock {
    let start = tokio::time::Instant::now();
    Arc::new(move || {
        Timestamp::from_micros(1_800_000_000_000_000)
            .plus_millis(start.elapsed().as_millis() as i64)
    })
}

fn lookup_in(memory: &Memory, triton: &Arc<ScriptedTriton>, reconcile: Reconcile) -> Lookup {
    lookup::Settings {
        local_bytes: 1 << 20,
        ask_again_after: POSITION_CHECK,
    }
    .build(lookup::Dependencies {
        cache: memory.cache(),
        bus: memory.bus(),
        gateway: triton.clone(),
        reconcile,
    })
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(conch_memory::Settings::default(), Settings::default())
    }

    pub(crate) fn with(memory: conch_memory::Settings, settings: hub::Settings) -> Self {
        Self::build(memory, settings, accept())
    }

    pub(crate) fn ignoring_foreign_events() -> Self {
        let memory = conch_memory::Settings::default();
        Self::build(memory, Settings::default(), ForeignEvents::Ignore)
    }

    pub(crate) fn build(
        memory: conch_memory::Settings,
        settings: hub::Settings,
        foreign: ForeignEvents,
    ) -> Self {
        let memory = memory.build();
        let bus = memory.bus();
        Self::build_on(memory, &bus, settings, foreign)
    }

    /// Its store answers after a while, as one over a network does.
    pub(crate) fn with_a_distant_store(settings: conch_memory::Settings) -> Self {
        let memory = settings.build();
        let bus: Arc<dyn EventBus> = Arc::new(Distant(memory.bus()));
        Self::build_on(memory, &bus, Settings::default(), accept())
    }

    fn build_on(
        memory: Memory,
        bus: &Arc<dyn EventBus>,
        settings: hub::Settings,
        foreign: ForeignEvents,
    ) -> Self {
        let triton = Arc::new(ScriptedTriton::new());
        let shutdown = CancellationToken::new();
        let clock = clock();
        let reconcile = Reconcile::new(Arc::clone(bus), triton.clone(), Arc::clone(&clock));
        let hub = settings.build(
            hub::Dependencies {
                bus: Arc::clone(bus),
                cache: memory.cache(),
                gateway: triton.clone(),
                reconcile: reconcile.clone(),
                clock: Arc::clone(&clock),
            },
            shutdown.clone(),
        );
        let lookup = lookup_in(&memory, &triton, reconcile);
        let ingest = tokio::spawn(ingest::run(
            Arc::clone(bus),
            bus.subscribe(),
            Listeners {
                hub: hub.clone(),
                lookup: lookup.clone(),
                cache_results: false,
            },
            foreign,
            Arc::clone(&clock),
            shutdown.clone(),
        ));
        Self {
            faults: memory.faults(),
            memory,
            triton,
            hub,
            lookup,
            clock,
            shutdown,
            ingest,
        }
    }

    fn reconcile(&self) -> Reconcile {
        Reconcile::new(
            self.memory.bus(),
            self.triton.clone(),
            Arc::clone(&self.clock),
        )
    }

    /// The hub of a second process on the same store, with an ear of its own.
    pub(crate) fn another_instance(&self) -> Hub {
        let memory = &self.memory;
        let hub = self.hub_with(Arc::clone(&self.clock));
        tokio::spawn(ingest::run(
            memory.bus(),
            memory.bus().subscribe(),
            Listeners {
                hub: hub.clone(),
                lookup: lookup_in(memory, &self.triton, self.reconcile()),
                cache_results: false,
            },
            accept(),
            clock(),
            self.shutdown.clone(),
        ));
        hub
    }

    /// Another hub on the same store, that hears nothing and has a clock of its own.
    pub(crate) fn hub_with(&self, clock: Clock) -> Hub {
        let (bus, triton) = (self.memory.bus(), self.triton.clone());
        let reconcile = Reconcile::new(Arc::clone(&bus), triton.clone(), Arc::clone(&clock));
        let dependencies = hub::Dependencies {
            bus,
            cache: self.memory.cache(),
            gateway: triton,
            reconcile,
            clock,
        };
        Settings::default().build(dependencies, self.shutdown.clone())
    }

    /// Until what was announced so far has been heard; no time passes.
    pub(crate) async fn has_heard(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// An own job that nothing has happened to yet.
    pub(crate) fn job(&self, id: &str) -> Writer {
        self.writer(id, true, "c1")
    }

    /// The same, another client's.
    pub(crate) fn job_of(&self, id: &str, client: &str) -> Writer {
        self.writer(id, true, client)
    }

    /// One of a Triton that isn't ours.
    pub(crate) fn foreign_job(&self, id: &str) -> Writer {
        self.writer(id, false, "c1")
    }

    /// The same, another client's.
    pub(crate) fn external_job_of(&self, id: &str, client: &str) -> Writer {
        self.writer(id, false, client)
    }

    fn writer(&self, id: &str, own: bool, client: &str) -> Writer {
        let epoch = "0000abcd".parse::<Epoch>().expect("an epoch");
        Writer {
            memory: self.memory.clone(),
            clock: Arc::clone(&self.clock),
            job: Job::initial(job_id(id), epoch, own),
            client: client_id(client),
        }
    }

    pub(crate) async fn watch(&self, id: &str, cursor: Option<&str>) -> Eyes {
        match self.hub.watch(&job_id(id), cursor).await {
            Attached::Stream(watcher) => Eyes(watcher),
            other => panic!("expected a stream, got {}", name(&other)),
        }
    }

    pub(crate) async fn watch_many(&self, selection: Selection, cursor: Option<&str>) -> Eyes {
        match self.hub.watch_many(selection, cursor).await {
            Attached::Stream(watcher) => Eyes(watcher),
            other => panic!("expected a stream, got {}", name(&other)),
        }
    }

    /// Announces an event of which nothing is true but perhaps the job's id.
    pub(crate) fn forge(&self, id: &str, sequence: u64) {
        self.faults.announce_raw(format!(
            r#"{{"event_type":"job:failed","timestamp":"2025-12-01T08:55:49","job_id":"{id}","status":"failed","error_message":"forged","sequence":{sequence},"epoch":"0000abcd"}}"#
        ));
    }
}

pub(crate) fn name(attached: &Attached) -> &'static str {
    match attached {
        Attached::Stream(_) => "Stream",
        Attached::Ended => "Ended",
        Attached::Unknown => "Unknown",
        Attached::Full(_) => "Full",
    }
}

/// A stream that names these jobs.
pub(crate) fn named(ids: &[&str]) -> Selection {
    Selection {
        job_ids: ids.iter().map(|id| job_id(id)).collect(),
        client_ids: Vec::new(),
    }
}

pub(crate) fn job_id(id: &str) -> JobId {
    JobId::parse(id).expect("a job id")
}

pub(crate) fn client_id(id: &str) -> ClientId {
    ClientId::parse(id).expect("a client id")
}

/// Who may see those clients, until then.
pub(crate) fn caller(clients: &[&str], ends_at: Timestamp) -> Caller {
    let identity = Identity {
        issuer: "https://issuer.example".to_owned(),
        subject: "somebody".to_owned(),
    };
    let clients = Clients::only(clients.iter().map(|id| client_id(id))).expect("few");
    Caller::new(identity, clients, Scopes::all(), ends_at)
}

/// A store whose answers take a millisecond each way.
struct Distant(Arc<dyn EventBus>);

impl Distant {
    async fn way() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[async_trait]
impl EventBus for Distant {
    fn guarantees(&self) -> Guarantees {
        self.0.guarantees()
    }

    async fn publish(&self, commit: Commit) -> conch_ports::Result<Published> {
        Self::way().await;
        let answer = self.0.publish(commit).await;
        Self::way().await;
        answer
    }

    async fn read(
        &self,
        job_id: &JobId,
        after: u64,
        limit: usize,
    ) -> conch_ports::Result<Option<Log>> {
        Self::way().await;
        let answer = self.0.read(job_id, after, limit).await;
        Self::way().await;
        answer
    }

    async fn positions(&self, job_ids: &[JobId]) -> conch_ports::Result<Vec<Option<Position>>> {
        Self::way().await;
        let answer = self.0.positions(job_ids).await;
        Self::way().await;
        answer
    }

    fn subscribe(&self) -> Signals {
        self.0.subscribe()
    }

    async fn now(&self) -> conch_ports::Result<Timestamp> {
        self.0.now().await
    }

    async fn ping(&self) -> conch_ports::Result<()> {
        self.0.ping().await
    }
}

/// Appends to one job's log as its worker would.
pub(crate) struct Writer {
    memory: Memory,
    clock: Clock,
    pub(crate) job: Job,
    client: ClientId,
}

impl Writer {
    pub(crate) async fn append(&mut self, kind: EventKind) {
        let published = self.try_append(kind, None).await;
        assert_eq!(published, Published::Appended);
    }

    /// Begins another incarnation of the log.
    pub(crate) async fn begin_again(&mut self, epoch: &str, kind: EventKind) {
        let log = self.memory.bus().read(&self.job.id, 0, 0).await;
        let replaces = log.expect("memory answers").map(|log| log.job.position);
        self.job = self.job.with_epoch(epoch.parse().expect("an epoch"));
        let published = self.try_append(kind, replaces).await;
        assert_eq!(published, Published::Appended);
    }

    async fn try_append(
        &mut self,
        kind: EventKind,
        replaces: Option<conch_domain::Position>,
    ) -> Published {
        let position = self.job.position.next();
        // Each event a little later than the one before it, though no time passes.
        let now = (self.clock)();
        let now = Timestamp::from_micros(now.as_micros() + position.sequence as i64);
        let event = Event {
            job_id: self.job.id.clone(),
            client_id: Some(self.client.clone()),
            timestamp: now,
            attempt: None,
            event_id: EventId::parse(&format!("{position}")).expect("an id"),
            making: None,
            derived: false,
            kind,
        };
        self.job.apply(position, &event).expect("a legal event");
        self.memory
            .bus()
            .publish(Commit {
                line: event::encode(&event, &self.job),
                event_id: event.event_id.clone(),
                fence: Fence::Open,
                effect: QueueEffect::Keep,
                announce: true,
                replaces,
                base: None,
                job: self.job.clone(),
            })
            .await
            .expect("memory answers")
    }

    pub(crate) async fn start(&mut self) {
        self.append(queued()).await;
        self.append(started()).await;
    }

    pub(crate) async fn progress(&mut self, progress: u8) {
        self.append(EventKind::Progress {
            progress,
            completed_templates: 0,
            total_templates: 7,
            message: None,
        })
        .await;
    }

    pub(crate) async fn complete(&mut self) {
        self.append(completed()).await;
    }
}

pub(crate) fn queued() -> EventKind {
    EventKind::Queued {
        queued_at: Timestamp::from_micros(1_800_000_000_000_000),
        value_proposition_id: None,
    }
}

pub(crate) fn started() -> EventKind {
    EventKind::Started {
        started_at: Timestamp::from_micros(1_800_000_000_000_000),
    }
}

pub(crate) fn completed() -> EventKind {
    EventKind::Completed {
        template_ids: vec!["t1".parse().expect("an id")],
        template_count: 1,
        generation_duration_ms: Some(5),
        completed_at: Timestamp::from_micros(1_800_000_000_000_000),
        failed_templates: Vec::new(),
        error_message: None,
    }
}

/// What a watcher sees.
pub(crate) struct Eyes(pub(crate) Watcher);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// An SSE event, as its id and its data.
    Event(String, serde_json::Value),
    /// Any other line.
    Line(String),
}

/// How long a stream has for what is waited for, by the test's own clock.
const PATIENCE: Duration = Duration::from_hours(24);

impl Eyes {
    /// The next frames, as text; none at the end.
    pub(crate) async fn frames(&mut self) -> (Vec<Bytes>, Next) {
        let mut out = Vec::new();
        let next = poll_fn(|cx| self.0.poll_frames(cx, &mut out)).await;
        (out, next)
    }

    /// The next frames, as what they are.
    pub(crate) async fn look(&mut self) -> (Vec<Seen>, Next) {
        let (frames, next) = self.frames().await;
        (parse(&frames), next)
    }

    /// The next frames, as text, of a stream that should have said what is waited for by `deadline`: a
    /// stream of heartbeats alone goes on for ever.
    async fn frames_before(&mut self, deadline: Instant, seen: &[Seen]) -> (Vec<Bytes>, Next) {
        let frames = tokio::time::timeout_at(deadline, self.frames()).await;
        frames.unwrap_or_else(|_| panic!("no more than {seen:?} in {PATIENCE:?}"))
    }

    /// Everything up to the end of the stream, heartbeats and greeting left out.
    pub(crate) async fn rest(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (frames, next) = self.frames_before(deadline, &seen).await;
            seen.extend(parse(&frames).into_iter().filter(|s| !is_noise(s)));
            if next == Next::End {
                return seen;
            }
        }
    }

    /// The events up to the next heartbeat.
    pub(crate) async fn until_idle(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (frames, next) = self.frames_before(deadline, &seen).await;
            assert_eq!(next, Next::More, "ended: {seen:?}, {frames:?}");
            seen.extend(parse(&frames).into_iter().filter(|s| !is_noise(s)));
            if frames.contains(&sse::KEEP_ALIVE) {
                return seen;
            }
        }
    }

    /// The next `count` events.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while seen.len() < count {
            let (frames, next) = self.frames_before(deadline, &seen).await;
            seen.extend(parse(&frames).into_iter().filter(|s| !is_noise(s)));
            assert!(
                next == Next::More || seen.len() >= count,
                "ended early: {seen:?}"
            );
        }
        seen
    }
}

/// What `retry:` at the beginning of a frame says, in milliseconds.
pub(crate) fn retry(frame: &[u8]) -> u64 {
    let text = std::str::from_utf8(frame).expect("SSE is text");
    let line = text.lines().next().expect("a line");
    let millis = line.strip_prefix("retry: ").expect("a retry");
    millis.parse().expect("milliseconds")
}

/// Asserts that a stream with nothing to tell yet began as it should.
pub(crate) fn is_greeting(frames: &[Bytes]) {
    let [greeting, comment] = frames else {
        panic!("{frames:?}");
    };
    assert!((1000..=4000).contains(&retry(greeting)), "{frames:?}");
    assert_eq!(greeting.last_chunk(), Some(b"\n"), "{frames:?}");
    assert!(!greeting.ends_with(b"\n\n"), "{frames:?}");
    assert_eq!(comment, ": keep-alive\n");
}

fn is_noise(seen: &Seen) -> bool {
    matches!(seen, Seen::Line(line) if line.starts_with("retry:") || line.starts_with(": keep-alive"))
}

/// What frames say. An event is one frame or two, its id and the rest.
fn parse(frames: &[Bytes]) -> Vec<Seen> {
    let mut frames = frames.iter().map(|frame| String::from_utf8_lossy(frame));
    let mut seen = Vec::new();
    while let Some(frame) = frames.next() {
        let Some(event) = frame.strip_prefix("id: ") else {
            seen.push(Seen::Line(frame.trim_end().to_owned()));
            continue;
        };
        let (id, data) = event.split_once('\n').expect("a whole line");
        let rest = (data.is_empty()).then(|| frames.next().expect("the event's data"));
        let data = rest.as_deref().unwrap_or(data);
        let data = data.strip_prefix("data: ").expect("data");
        let data = data.strip_suffix("\n\n").expect("a blank line");
        let data = serde_json::from_str(data).expect("data is JSON");
        seen.push(Seen::Event(id.to_owned(), data));
    }
    seen
}

/// The ids of what was seen; other lines as they are.
pub(crate) fn ids(seen: &[Seen]) -> Vec<String> {
    seen.iter()
        .map(|s| match s {
            Seen::Event(id, _) => id.clone(),
            Seen::Line(line) => line.clone(),
        })
        .collect()
}

/// Which job, and what of it, in short: `j job:started 2`.
pub(crate) fn told(seen: &[Seen]) -> Vec<String> {
    seen.iter()
        .map(|s| {
            let data = data(s);
            let text = |field: &str| data[field].as_str().unwrap_or("-").to_owned();
            let (job, kind) = (text("job_id"), text("event_type"));
            format!("{job} {kind} {}", data["sequence"])
        })
        .collect()
}

pub(crate) fn data(seen: &Seen) -> &serde_json::Value {
    match seen {
        Seen::Event(_, data) => data,
        other @ Seen::Line(_) => panic!("expected an event, got {other:?}"),
    }
}
