//! The system of one run: a store, and the programs on it as they live and die.
//!
//! Never in here: what happens when. A program is put together as `app/src/wiring.rs` does it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::{Client, ClientId, Metadata, Timestamp, ValueProposition, ValuePropositionId};
use conch_memory::Memory;
use conch_ports::{Catalogue, TritonGateway};
use conch_services::cancel::Cancel;
use conch_services::edge_cancel::EdgeCancel;
use conch_services::hub::{self, Hub};
use conch_services::ingest::{self, ForeignEvents, Listeners};
use conch_services::lookup::{self, Lookup};
use conch_services::reconcile::Reconcile;
use conch_services::store_clock::StoreClock;
use conch_services::submit::Submit;
use conch_services::{Clock, subscription, worker};
use parking_lot::Mutex;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::board::Board;
use crate::channel::Channel;
use crate::gate::Gate;
use crate::generator::Composer;
use crate::history::{Fault, History, What};
use crate::plan::{self, Plan};
use crate::planted::{self, Planted};
use crate::process::{Process, Role};
use crate::store::{Store, at_once};
use crate::triton::{ForeignRecords, Gateway, Service, Services};

/// How long a program waits at its start for the store to tell its time.
const FIRST_LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(1);
/// How long a worker that doesn't know the store's time claims nothing.
const LONGEST_WAIT_FOR_THE_CLOCK: Duration = Duration::from_secs(10);

/// An edge that is up.
pub(crate) struct Api {
    pub(crate) process: Arc<Process>,
    pub(crate) hub: Hub,
    pub(crate) lookup: Lookup,
    pub(crate) edge_cancel: EdgeCancel,
    pub(crate) gateway: Arc<dyn TritonGateway>,
    /// Set when it takes no new connections any more.
    pub(crate) shutdown: CancellationToken,
}

/// A program from its start on.
struct Program {
    process: Arc<Process>,
    shutdown: CancellationToken,
    service: Option<Arc<Service>>,
    /// All that it runs, or as much of it as can be taken hold of.
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Slots {
    programs: BTreeMap<Role, Program>,
    apis: BTreeMap<usize, Arc<Api>>,
    lives: BTreeMap<Role, u32>,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) planted: Option<Planted>,
    pub(crate) history: Arc<History>,
    pub(crate) board: Arc<Board>,
    pub(crate) channel: Arc<Channel>,
    pub(crate) store: Arc<Store>,
    pub(crate) services: Services,
    pub(crate) foreign: Arc<ForeignRecords>,
    pub(crate) client: Client,
    value_proposition: ValueProposition,
    slots: Mutex<Slots>,
}

impl World {
    pub(crate) fn new(plan: Plan, planted: Option<Planted>) -> Arc<Self> {
        let history = Arc::new(History::new());
        let channel = Channel::new(Arc::clone(&history));
        let memory: Memory = conch_memory::Settings {
            history_limit: plan.history_limit,
            ..conch_memory::Settings::default()
        }
        .build();
        let store = Arc::new(Store::new(
            &memory,
            Arc::clone(&history),
            Arc::clone(&channel),
        ));
        let now = store.now();
        let client = Client {
            id: ClientId::parse("client").expect("an id"),
            name: "Nereid Health".to_owned(),
            industry: None,
            meta_data: Metadata::default(),
            created_at: now,
            updated_at: now,
        };
        let value_proposition = ValueProposition {
            id: ValuePropositionId::parse("value-proposition").expect("an id"),
            client_id: client.id.clone(),
            content: "We cut readmissions by a fifth.".to_owned(),
            is_active: true,
            meta_data: Metadata::default(),
            created_at: now,
            updated_at: now,
        };
        let world = Self {
            plan,
            planted,
            history,
            board: Board::new(),
            channel,
            store,
            services: Services::default(),
            foreign: Arc::default(),
            client,
            value_proposition,
            slots: Mutex::default(),
        };
        world.seed_client();
        Arc::new(world)
    }

    /// What there is before the first job, and again after the store has forgotten it.
    pub(crate) fn seed_client(&self) {
        let catalogue = &self.store.catalogue;
        at_once(catalogue.create_client(&self.client)).expect("there is room");
        at_once(catalogue.add_value_proposition(&self.value_proposition)).expect("there is room");
    }

    fn gate(&self, process: &Arc<Process>) -> Gate {
        Gate {
            process: Arc::clone(process),
            board: Arc::clone(&self.board),
            store: Arc::clone(&self.store),
        }
    }

    /// The machine's own clock: wrong by as much as this life of the program happens to be.
    fn local_clock(&self, role: Role, life: u32) -> Clock {
        let minutes = self.plan.skew_minutes;
        let mut rng = self.rng(role, u64::from(life));
        let off = rng.random_range(-minutes * 60_000..=minutes * 60_000);
        let store = Arc::clone(&self.store);
        Arc::new(move || store.now().plus_millis(off))
    }

    pub(crate) fn rng(&self, role: Role, salt: u64) -> Xoshiro256PlusPlus {
        let (kind, n) = match role {
            Role::Worker(n) => (1, n),
            Role::Api(n) => (2, n),
            Role::Client(n) => (3, n),
        };
        let salt = (salt << 16) | (kind << 8) | n as u64;
        Xoshiro256PlusPlus::seed_from_u64(self.plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt)
    }

    pub(crate) fn api(&self, n: usize) -> Option<Arc<Api>> {
        let api = self.slots.lock().apis.get(&n).cloned();
        api.filter(|api| !api.shutdown.is_cancelled())
    }

    /// Programs that run, draining ones included.
    pub(crate) fn up(&self) -> Vec<Role> {
        self.slots.lock().programs.keys().copied().collect()
    }

    pub(crate) fn is_up(&self, role: Role) -> bool {
        self.slots.lock().programs.contains_key(&role)
    }

    pub(crate) fn start(self: &Arc<Self>, role: Role) {
        let mut slots = self.slots.lock();
        let life = slots.lives.entry(role).or_default();
        *life += 1;
        let life = *life;
        let process = Process::new(role, life);
        let shutdown = CancellationToken::new();
        let clock = StoreClock::new(self.local_clock(role, life));
        let world = Arc::clone(self);
        let (task, service) = match role {
            Role::Worker(n) => {
                let service = self.service(&process, &clock.clock());
                self.services.lock().insert(n, Arc::clone(&service));
                let run = world.run_worker(Arc::clone(&process), clock, shutdown.clone());
                (tokio::spawn(run), Some(service))
            }
            Role::Api(n) => {
                let run = world.run_api(n, Arc::clone(&process), clock, shutdown.clone());
                (tokio::spawn(run), None)
            }
            Role::Client(_) => return,
        };
        let program = Program {
            process,
            shutdown,
            service,
            _task: AbortOnDropHandle::new(task),
        };
        slots.programs.insert(role, program);
        drop(slots);
        self.history.note(What::Fault(Fault::Started(role)));
    }

    fn service(&self, process: &Arc<Process>, clock: &Clock) -> Arc<Service> {
        let gate = self.gate(process);
        let catalogue: Arc<dyn Catalogue> = Arc::new(gate.clone());
        let bus = planted::bus(&gate, self.planted);
        let queue = planted::queue(&gate, self.planted);
        Arc::new(Service {
            submit: Submit::new(queue, Arc::clone(&catalogue), Arc::clone(clock)),
            cancel: Cancel::new(bus, Arc::clone(&catalogue), Arc::clone(clock)),
            catalogue,
            underway: Mutex::new(JoinSet::new()),
        })
    }

    async fn run_worker(
        self: Arc<Self>,
        process: Arc<Process>,
        clock: StoreClock,
        shutdown: CancellationToken,
    ) {
        let gate = self.gate(&process);
        let bus = planted::bus(&gate, self.planted);
        clock.begin(&*bus, FIRST_LOOK_AT_THE_CLOCK).await;
        let worker = worker::Settings {
            name: process.name.clone(),
            concurrency: 2,
            lease: plan::LEASE,
            max_attempts: plan::MAX_ATTEMPTS,
            backoff: plan::BACKOFF,
            backoff_cap: plan::BACKOFF_CAP,
            poll: plan::POLL,
            drain: Duration::from_secs(3),
            ..worker::Settings::default()
        }
        .build(worker::Dependencies {
            bus: Arc::clone(&bus),
            queue: planted::queue(&gate, self.planted),
            catalogue: Arc::new(gate),
            generator: Arc::new(Composer {
                pace: self.plan.pace,
                fails: self.plan.templates_fail,
                rng: Mutex::new(self.rng(process.role, 7)),
            }),
            clock: clock.clock(),
        });
        let hears = Arc::clone(&bus);
        let keeps_time = clock.clone().keep(bus, shutdown.clone());
        let keeps_time = AbortOnDropHandle::new(tokio::spawn(keeps_time));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = clock.known() => {}
            () = tokio::time::sleep(LONGEST_WAIT_FOR_THE_CLOCK) => {}
        }
        let mut subscription = subscription::Settings::default().build(hears.subscribe());
        let signals = subscription.listener("worker");
        let hears = AbortOnDropHandle::new(tokio::spawn(subscription.run()));
        worker.run(signals, shutdown).await;
        drop((keeps_time, hears));
        self.ended(&process);
    }

    async fn run_api(
        self: Arc<Self>,
        n: usize,
        process: Arc<Process>,
        clock: StoreClock,
        shutdown: CancellationToken,
    ) {
        let gate = self.gate(&process);
        let bus = planted::bus(&gate, self.planted);
        clock.begin(&*bus, FIRST_LOOK_AT_THE_CLOCK).await;
        let time = clock.clock();
        let gateway: Arc<dyn TritonGateway> = Arc::new(Gateway {
            process: Arc::clone(&process),
            board: Arc::clone(&self.board),
            services: Arc::clone(&self.services),
            foreign: Arc::clone(&self.foreign),
            history: Arc::clone(&self.history),
        });
        let reconcile = Reconcile::new(Arc::clone(&bus), Arc::clone(&gateway), Arc::clone(&time));
        let hub = hub::Settings {
            position_check: planted::position_check(self.planted, plan::POSITION_CHECK),
            record_lost_after: plan::RECORD_LOST,
            history_limit: self.plan.history_limit,
            retry_ms: plan::RETRY.as_millis() as u64,
            ..hub::Settings::default()
        }
        .build(
            Arc::clone(&bus),
            Arc::clone(&gateway),
            reconcile.clone(),
            Arc::clone(&time),
            shutdown.clone(),
        );
        let lookup = lookup::Settings {
            local_bytes: 1 << 20,
            ask_again_after: plan::POSITION_CHECK,
        }
        .build(lookup::Dependencies {
            cache: Arc::new(gate),
            bus: Arc::clone(&bus),
            gateway: Arc::clone(&gateway),
            reconcile: reconcile.clone(),
        });
        let mut subscription = subscription::Settings::default().build(bus.subscribe());
        let signals = subscription.listener("ingest");
        let hears = AbortOnDropHandle::new(tokio::spawn(subscription.run()));
        let ears = ingest::run(
            Arc::clone(&bus),
            signals,
            Listeners {
                hub: hub.clone(),
                cache_results: None,
            },
            ForeignEvents::Accept {
                max_bytes: 64 * 1024,
            },
            time,
            shutdown.clone(),
        );
        let ears = AbortOnDropHandle::new(tokio::spawn(ears));
        let keeps_time = AbortOnDropHandle::new(tokio::spawn(clock.keep(bus, shutdown.clone())));
        let api = Api {
            process: Arc::clone(&process),
            edge_cancel: EdgeCancel::new(Arc::clone(&gateway), reconcile, hub.clone()),
            hub: hub.clone(),
            lookup,
            gateway,
            shutdown: shutdown.clone(),
        };
        self.slots.lock().apis.insert(n, Arc::new(api));
        shutdown.cancelled().await;
        // Streams are told to come back, requests in flight are answered.
        hub.stopped().await;
        drop(tokio::time::timeout(Duration::from_secs(2), ears).await);
        drop((keeps_time, hears));
        self.ended(&process);
    }

    /// The program came to its end by itself.
    fn ended(&self, process: &Process) {
        self.remove(process.role);
    }

    fn remove(&self, role: Role) {
        let mut slots = self.slots.lock();
        let program = slots.programs.remove(&role);
        match role {
            Role::Api(n) => drop(slots.apis.remove(&n)),
            Role::Worker(n) => drop(self.services.lock().remove(&n)),
            Role::Client(_) => {}
        }
        drop(slots);
        if let Some(program) = program {
            program.process.die();
            if let Some(service) = &program.service {
                service.underway.lock().abort_all();
            }
            self.board.bury(&program.process);
            self.channel.bury(&program.process);
            // What can't be taken hold of is told to end; nothing of it has an effect any more.
            program.shutdown.cancel();
        }
    }

    /// Kills a program, whatever it is at.
    pub(crate) fn crash(&self, role: Role) {
        self.history.note(What::Fault(Fault::Crashed(role)));
        self.remove(role);
    }

    /// Asks a program to end.
    pub(crate) fn drain(&self, role: Role) {
        self.history.note(What::Fault(Fault::Drained(role)));
        if let Role::Worker(n) = role {
            self.services.lock().remove(&n);
        }
        if let Some(program) = self.slots.lock().programs.get(&role) {
            program.shutdown.cancel();
        }
    }

    pub(crate) fn is_draining(&self, role: Role) -> bool {
        let slots = self.slots.lock();
        let program = slots.programs.get(&role);
        program.is_some_and(|program| program.shutdown.is_cancelled())
    }

    /// The store's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.store.now()
    }
}
