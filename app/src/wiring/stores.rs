//! The store and the bus that the settings name, built: contains the only `match` on either.
//!
//! Never in here: who uses which port.

use std::fmt;
use std::sync::Arc;

use conch_ports::{Catalogue, EventBus, JobLog, JobQueue, ResultCache, TicketStore};

use conch_services::announcing::announcing;

use crate::config::{Bus, Store};

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
    pub(super) fn new(store: Store, bus: Bus) -> anyhow::Result<Self> {
        let stores = Self::of(store)?;
        Ok(match bus {
            Bus::OfStore => stores,
            Bus::Nats(settings) => stores.announced_on(settings.build()?),
        })
    }

    /// What is appended is announced on that bus, and no longer on the store's own.
    fn announced_on(self, bus: Arc<dyn EventBus>) -> Self {
        if !bus.carries().ephemeral {
            tracing::info!("this bus carries no ephemeral events: they are not sent");
        }
        let (log, queue) = announcing(self.log, self.queue, &bus);
        Self {
            log,
            bus,
            queue,
            ..self
        }
    }

    fn of(store: Store) -> anyhow::Result<Self> {
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
