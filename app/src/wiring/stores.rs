//! The store that the settings name, built: contains the only `match` on it.
//!
//! Never in here: who uses which port.

use std::fmt;
use std::sync::Arc;

use conch_ports::{Catalogue, EventBus, JobLog, JobQueue, ResultCache, TicketStore};

use crate::config::Store;

/// The store ports of one process, and its bus.
pub struct Stores {
    /// The logs.
    pub log: Arc<dyn JobLog>,
    /// What is announced of them.
    pub bus: Arc<dyn EventBus>,
    /// The results of jobs that have ended.
    pub cache: Arc<dyn ResultCache>,
    /// The claimable jobs.
    pub queue: Arc<dyn JobQueue>,
    /// The records.
    pub catalogue: Arc<dyn Catalogue>,
    /// The tickets.
    pub tickets: Arc<dyn TicketStore>,
}

impl Stores {
    pub(super) fn new(store: Store) -> anyhow::Result<Self> {
        Ok(match store {
            Store::Memory(settings) => {
                let memory = settings.build();
                Self {
                    log: memory.log(),
                    bus: memory.bus(),
                    cache: memory.cache(),
                    queue: memory.queue(),
                    catalogue: memory.catalogue(),
                    tickets: memory.tickets(),
                }
            }
            Store::Redis(settings) => {
                let stores = settings.build()?;
                Self {
                    log: stores.log,
                    bus: stores.bus,
                    cache: stores.cache,
                    queue: stores.queue,
                    catalogue: stores.catalogue,
                    tickets: stores.tickets,
                }
            }
        })
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}
