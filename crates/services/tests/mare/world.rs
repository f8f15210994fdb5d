//! A hub with its neighbours on a memory store: what each test here starts with.

mod eyes;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use conch_domain::{
    Caller, ClientId, Clients, Epoch, EventCap, Identity, Job, JobId, JobRecord, JobStatus,
    LogSecret, Scopes, Timestamp,
};
use conch_doubles::{Faults, FaultyMemory, ScriptedTriton, When};
use conch_ports::{ErrorKind, JobLog};
use conch_services::Clock;
use conch_services::mare::hub;
use conch_services::mare::hub::{Attached, Hub, Selection, Settings};
use conch_services::mare::ingest::{self, ForeignEvents, Listeners};
use conch_services::mare::lookup::{self, Lookup};
use conch_services::mare::reconcile::Reconcile;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::distant::Distant;
pub(crate) use eyes::{Eyes, Seen, data, ids, is_greeting, retry, told};
pub(crate) use writer::{Writer, completed, queued, started};

/// Longest external event that these worlds take.
pub(crate) const MAX_EVENT_BYTES: usize = 64 * 1024;

pub(crate) fn accept() -> ForeignEvents {
    ForeignEvents::Accept {
        max_bytes: MAX_EVENT_BYTES,
        cap: EventCap::default(),
    }
}

pub(crate) const POSITION_CHECK: Duration = Duration::from_secs(10);

pub(crate) struct World {
    pub(crate) memory: FaultyMemory,
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

fn lookup_in(memory: &FaultyMemory, triton: &Arc<ScriptedTriton>, reconcile: Reconcile) -> Lookup {
    lookup::Settings {
        local_bytes: 1 << 20,
        ask_again_after: POSITION_CHECK,
    }
    .build(lookup::Dependencies {
        cache: memory.cache(),
        log: memory.log(),
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

    pub(crate) fn ignoring_external_events() -> Self {
        let memory = conch_memory::Settings::default();
        Self::build(memory, Settings::default(), ForeignEvents::Ignore)
    }

    pub(crate) fn build(
        memory: conch_memory::Settings,
        settings: hub::Settings,
        external: ForeignEvents,
    ) -> Self {
        let memory = FaultyMemory::new(memory);
        let log = memory.log();
        Self::build_on(memory, &log, settings, external)
    }

    /// An own job that runs, and a watcher that has seen its first two events.
    pub(crate) async fn watched() -> (Self, Writer, Eyes) {
        let world = Self::new();
        let mut job = world.job("j");
        job.start().await;
        let mut eyes = world.watch("j", None).await;
        eyes.events(2).await;
        (world, job, eyes)
    }

    /// Its store answers after a while, as one over a network does.
    pub(crate) fn with_a_distant_store(settings: conch_memory::Settings) -> Self {
        let memory = FaultyMemory::new(settings);
        let log: Arc<dyn JobLog> = Arc::new(Distant(memory.log(), Duration::from_millis(1)));
        Self::build_on(memory, &log, Settings::default(), accept())
    }

    fn build_on(
        memory: FaultyMemory,
        log: &Arc<dyn JobLog>,
        settings: hub::Settings,
        external: ForeignEvents,
    ) -> Self {
        let triton = Arc::new(ScriptedTriton::new());
        let shutdown = CancellationToken::new();
        let clock = clock();
        let reconcile = Reconcile::new(Arc::clone(log), triton.clone(), Arc::clone(&clock));
        let hub = settings.build(
            hub::Dependencies {
                log: Arc::clone(log),
                cache: memory.cache(),
                gateway: triton.clone(),
                reconcile: reconcile.clone(),
                clock: Arc::clone(&clock),
            },
            shutdown.clone(),
        );
        let lookup = lookup_in(&memory, &triton, reconcile);
        let ingest = tokio::spawn(ingest::run(
            Arc::clone(log),
            memory.bus().subscribe(),
            Listeners {
                hub: hub.clone(),
                lookup: lookup.clone(),
                cache_results: false,
            },
            external,
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
            self.memory.log(),
            self.triton.clone(),
            Arc::clone(&self.clock),
        )
    }

    /// The hub of a second process on the same store, with a subscription of its own.
    pub(crate) fn another_instance(&self) -> Hub {
        let memory = &self.memory;
        let hub = self.hub_with(Arc::clone(&self.clock));
        tokio::spawn(ingest::run(
            memory.log(),
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
        let (log, triton) = (self.memory.log(), self.triton.clone());
        let reconcile = Reconcile::new(Arc::clone(&log), triton.clone(), Arc::clone(&clock));
        let dependencies = hub::Dependencies {
            log,
            cache: self.memory.cache(),
            gateway: triton,
            reconcile,
            clock,
        };
        Settings::default().build(dependencies, self.shutdown.clone())
    }

    /// No log can be read, so many times.
    pub(crate) fn fail_reads(&self, times: usize) {
        let kind = ErrorKind::Unavailable;
        self.faults
            .fail_next("job_log.read", times, kind, When::Before);
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

    /// One of another publisher.
    pub(crate) fn external_job(&self, id: &str) -> Writer {
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
            job: Job::initial(job_id(id), epoch, own).with_secret(secret(1)),
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

/// The secret of a log's first epoch, or of another one.
pub(crate) fn secret(number: u8) -> LogSecret {
    LogSecret::from_random([number; 16])
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

/// A job as Triton knows it, that has no log.
pub(crate) fn only_triton_knows(id: &str, status: JobStatus) -> Job {
    let initial = Job::initial(job_id(id), "00000000".parse().expect("an epoch"), false);
    Job::restore(JobRecord {
        status,
        template_ids: vec!["t1".parse().expect("an id")],
        template_count: 1,
        ..(*initial).clone()
    })
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
