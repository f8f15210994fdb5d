//! An edge on a store in memory and a scripted job service.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use conch_domain::{
    Epoch, Event, EventId, EventKind, Job, JobId, JobRecord, JobStatus, Position, Timestamp,
};
use conch_doubles::{FaultyMemory, ScriptedTriton};
use conch_http::serve::{self, Handle, IoThreads};
use conch_http::{mare, ops};
use conch_memory::Settings;
use conch_ports::{Appended, Commit, Document, Fence, NewEvent, QueueEffect};
use conch_services::Clock;
use conch_services::mare::access::Access;
use conch_services::mare::edge_cancel::EdgeCancel;
use conch_services::mare::hub;
use conch_services::mare::lookup;
use conch_services::mare::reconcile::Reconcile;
use conch_services::mare::submissions::SubmissionRate;
use conch_services::mare::tickets::Tickets;
use conch_services::places::Places;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support;

pub(crate) const CLIENT: &str = r#"{"id":"acme","name":"Acme","odd":[1,2.50]}"#;

/// The edge behind a real socket, on this thread.
pub(crate) async fn serve(edge: &Edge) -> Handle {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let threads = IoThreads::on_current();
    let never = CancellationToken::new();
    serve::Settings::default()
        .serve(listener, edge.router.clone(), &threads, &never)
        .unwrap()
}

pub(crate) struct Edge {
    pub(crate) router: Router,
    pub(crate) memory: FaultyMemory,
    pub(crate) triton: ScriptedTriton,
    /// Ends the hub's tasks with the test.
    _shutdown: tokio_util::sync::DropGuard,
}

pub(crate) fn edge() -> Edge {
    edge_with(mare::Settings::default(), support::ops())
}

pub(crate) fn edge_with(settings: mare::Settings, ops: ops::Dependencies) -> Edge {
    let hub = hub::Settings::default();
    edge_within(settings, ops, hub, SubmissionRate::unlimited())
}

/// With limits of its own.
pub(crate) fn edge_within(
    settings: mare::Settings,
    ops: ops::Dependencies,
    hub: hub::Settings,
    rate: SubmissionRate,
) -> Edge {
    let memory = FaultyMemory::new(Settings::default());
    let triton = ScriptedTriton::new();
    triton.set_client(id("acme"), Document::from_json(CLIENT));
    let gateway = Arc::new(triton.clone());
    let now = Timestamp::from_micros(1_764_579_349_123_456);
    let clock: Clock = Arc::new(move || now);
    // Tickets end, and tests let time pass for that.
    let began = tokio::time::Instant::now();
    let passing: Clock = Arc::new(move || now.plus_millis(began.elapsed().as_millis() as i64));
    let shutdown = CancellationToken::new();
    let reconcile = Reconcile::new(memory.log(), gateway.clone(), clock.clone());
    let hub = hub.build(
        hub::Dependencies {
            log: memory.log(),
            cache: memory.cache(),
            gateway: gateway.clone(),
            reconcile: reconcile.clone(),
            clock: clock.clone(),
        },
        shutdown.clone(),
    );
    let lookup = lookup::Settings {
        local_bytes: 0,
        ask_again_after: Duration::from_secs(10),
    }
    .build(lookup::Dependencies {
        cache: memory.cache(),
        log: memory.log(),
        gateway: gateway.clone(),
        reconcile: reconcile.clone(),
    });
    let router = settings.build(mare::Dependencies {
        hub: hub.clone(),
        lookup: lookup.clone(),
        edge_cancel: EdgeCancel::new(gateway.clone(), lookup, reconcile, hub),
        access: Access::new(gateway.clone(), rate),
        places: Places::new(memory.queue()),
        tickets: Tickets::new(memory.tickets(), passing),
        clock,
        gateway,
        log: memory.log(),
        bus: memory.bus(),
        cache: memory.cache(),
        ops,
    });
    Edge {
        router,
        memory,
        triton,
        _shutdown: shutdown.drop_guard(),
    }
}

pub(crate) fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// A job as Triton knows it.
pub(crate) fn known(job_id: &str, status: JobStatus) -> Job {
    let initial = Job::initial(id(job_id), Epoch::from_random([0; 4]), false);
    Job::restore(JobRecord {
        status,
        client_id: Some(id("acme")),
        ..JobRecord::clone(&initial)
    })
}

/// Writes a log of a start and an end.
pub(crate) async fn finish(memory: &FaultyMemory, job_id: &str) {
    finish_of(memory, job_id, "acme").await;
}

fn at() -> Timestamp {
    Timestamp::from_micros(1_764_579_349_000_000)
}

/// A job that runs.
pub(crate) async fn start(memory: &FaultyMemory, job_id: &str, client: &str) -> Job {
    let started = EventKind::Started { started_at: at() };
    tell(memory, job_id, client, vec![started]).await
}

/// The same of another client; answers the job.
pub(crate) async fn finish_of(memory: &FaultyMemory, job_id: &str, client: &str) -> Job {
    let kinds = vec![
        EventKind::Started { started_at: at() },
        EventKind::Completed {
            template_ids: vec![id("t1")],
            template_count: 1,
            generation_duration_ms: Some(7),
            completed_at: at(),
            failed_templates: Vec::new(),
            error_message: None,
        },
    ];
    tell(memory, job_id, client, kinds).await
}

async fn tell(memory: &FaultyMemory, job_id: &str, client: &str, kinds: Vec<EventKind>) -> Job {
    let job_id: JobId = id(job_id);
    let at = at();
    let mut job = Job::initial(job_id.clone(), Epoch::from_random([0xab; 4]), false);
    for (i, kind) in kinds.into_iter().enumerate() {
        let event = Event {
            job_id: job_id.clone(),
            client_id: Some(id(client)),
            timestamp: at,
            attempt: None,
            event_id: EventId::parse(&format!("e{i}")).unwrap(),
            making: None,
            derived: false,
            kind,
        };
        let position: Position = job.position.next();
        job.apply(position, &event).unwrap();
        let commit = Commit {
            events: vec![NewEvent {
                line: conch_wire::event::encode(&event, &job),
                event_id: event.event_id,
            }],
            job: job.clone(),
            templates: Vec::new(),
            fence: Fence::Open,
            effect: QueueEffect::Keep,
            announce: true,
            replaces: None,
            base: None,
        };
        let appended = memory.log().append(commit).await.unwrap();
        assert_eq!(appended, Appended::Appended);
    }
    job
}
