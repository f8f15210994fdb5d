//! Every store port in memory: [`JobLog`], [`ResultCache`], [`JobQueue`], [`Catalogue`] and
//! [`TicketStore`] over one store behind one lock, with the [`EventBus`] that it announces on, so that a commit with all that belongs to it is one atomic step. For the
//! program that runs everything in one process, and for tests.
//!
//! Honest: jobs, records, templates and results are kept as bytes that pass through `conch-wire`
//! both ways; nothing comes back that a store outside the process could not have given back. Time is
//! tokio's, so a test on paused time moves it. [`Faults`] does on demand what a network does by itself.
//!
//! Never in here: a lock held across an await, a background task, anything without a bound, a fault
//! that no test asked for.

mod bus;
mod cache;
mod catalogue;
mod clock;
mod commit;
mod errors;
mod expiring;
#[cfg(feature = "faults")]
mod faults;
mod feed;
mod job_queue;
mod log;
mod queue;
mod settings;
mod shelf;
mod store;
mod tickets;
mod waiting;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conch_ports::{BusId, Catalogue, EventBus, JobLog, JobQueue, Result, ResultCache, TicketStore};
use tokio::time::Instant;

#[cfg(feature = "faults")]
pub use faults::{Backup, Faults, Loss};
pub use settings::Settings;

use store::Store;

/// A handle to a store in memory; clones share it. It implements each of the store ports.
#[derive(Clone)]
pub struct Memory {
    store: Arc<Mutex<Store>>,
    bus_id: BusId,
}

impl Memory {
    fn new(settings: Settings) -> Self {
        Self {
            store: Arc::new(Mutex::new(Store::new(settings))),
            bus_id: BusId::new(),
        }
    }

    /// The logs.
    pub fn log(&self) -> Arc<dyn JobLog> {
        Arc::new(self.clone())
    }

    /// What is announced of the logs.
    pub fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.clone())
    }

    /// The cached results.
    pub fn cache(&self) -> Arc<dyn ResultCache> {
        Arc::new(self.clone())
    }

    /// The queue.
    pub fn queue(&self) -> Arc<dyn JobQueue> {
        Arc::new(self.clone())
    }

    /// The records.
    pub fn catalogue(&self) -> Arc<dyn Catalogue> {
        Arc::new(self.clone())
    }

    /// The tickets.
    pub fn tickets(&self) -> Arc<dyn TicketStore> {
        Arc::new(self.clone())
    }

    /// What makes this store misbehave.
    #[cfg(feature = "faults")]
    pub fn faults(&self) -> Faults {
        Faults::new(self.clone())
    }

    /// The store. Nothing panics while it is locked, but a test's own predicate, and that changes nothing.
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One operation as one atomic step.
    fn step<T>(&self, body: impl FnOnce(&mut Store, Instant) -> Result<T>) -> Result<T> {
        body(&mut self.lock(), Instant::now())
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
