//! The system of one run: a store, and the programs on it as they live and die.
//!
//! Never in here: what happens when, or what a program consists of; that is `programs`'.

mod programs;

use std::collections::BTreeMap;
use std::sync::Arc;

use conch_domain::{Client, ClientId, Metadata, Timestamp, ValueProposition, ValuePropositionId};
use conch_memory::Memory;
use conch_ports::TritonGateway;
use conch_services::Clock;
use conch_services::mare::edge_cancel::EdgeCancel;
use conch_services::mare::hub::Hub;
use conch_services::mare::lookup::Lookup;
use conch_services::store_clock::StoreClock;
use parking_lot::Mutex;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::board::Board;
use crate::channel::Channel;
use crate::gate::Gate;
use crate::history::{Fault, History, What};
use crate::plan::Plan;
use crate::planted::Planted;
use crate::process::{Process, Role};
use crate::store::{BEGINNING, Store, at_once};
use crate::triton::{ForeignRecords, Service, Services};

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
            begins: Some(BEGINNING),
            announces: !plan.announces_beside,
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
