//! A store in memory as the conformance suite sees it.

// Each test program uses its part of this.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_conformance::{BusSubject, Cannot, ForeignBlob, Limits, Loss, StoreSubject, build};
use conch_domain::JobId;
use conch_memory::{Memory, Settings};
use conch_ports::{Catalogue, EventBus, JobLog, JobQueue, Quotas, ResultCache, TicketStore};

pub const LIMITS: Limits = Limits {
    history_limit: 24,
    result_ttl: Duration::from_secs(2),
    ended_log_ttl: Duration::from_secs(2),
    tickets: 6,
    tickets_per_caller: 4,
    quotas: Quotas {
        queued_jobs: 24,
        jobs: 30,
        clients: 20,
        value_propositions: 4,
        foreign_jobs: 4,
        foreign_job_kib: 64,
        foreign_mib: 1,
    },
};

/// Longer than anything lives here that does not live for ever.
pub const OUTLIVED: Duration = Duration::from_hours(8 * 24);

pub fn lose_from_queue(memory: &Memory, job_id: &JobId, loss: Loss) {
    let loss = match loss {
        Loss::Entry => conch_memory::Loss::Entry,
        Loss::Place => conch_memory::Loss::Place,
    };
    memory.faults().lose_from_queue(job_id, loss);
}

/// On time that is moved the store's clock goes with it; else it is the system's.
pub fn memory(paused: bool) -> Memory {
    let settings = Settings {
        begins: paused.then_some(build::BEGINNING),
        ..settings()
    };
    settings.build()
}

pub fn settings() -> Settings {
    Settings {
        quotas: LIMITS.quotas,
        history_limit: LIMITS.history_limit,
        result_ttl: LIMITS.result_ttl,
        ended_log_ttl: LIMITS.ended_log_ttl,
        subscriber_queue: 128,
        max_tickets: LIMITS.tickets,
        max_tickets_per_caller: LIMITS.tickets_per_caller,
        ..Settings::default()
    }
}

const SHARED: &str = "no other process sees this memory";

/// What a store in memory can't be shown to do.
pub const CANNOT: &[Cannot] = &[
    cannot("job_log::shared_means_shared", SHARED),
    cannot("event_bus::others_hear", SHARED),
    cannot("event_bus::outages_are_told", "there is no server"),
    cannot("event_bus::announcing_is_bounded", "there is no server"),
    cannot("event_bus::ping_tells", "there is no server that hangs"),
    cannot("ticket_store::tickets_open_elsewhere", SHARED),
    cannot(
        "result_cache::foreign_blobs_are_only_bytes",
        "it holds nothing but bytes",
    ),
    cannot(
        "job_queue::broken_keys_block_no_other_job",
        "nothing else can write into this memory",
    ),
];

const CANNOT_IN_REAL_TIME: &[Cannot] = &[
    CANNOT[0],
    CANNOT[1],
    CANNOT[2],
    CANNOT[3],
    CANNOT[4],
    CANNOT[5],
    CANNOT[6],
    CANNOT[7],
    cannot(
        "job_queue::waiting_jobs_never_expire",
        "eight days would have to pass",
    ),
];

const fn cannot(law: &'static str, why: &'static str) -> Cannot {
    Cannot { law, why }
}

pub struct InMemory {
    memory: Memory,
    /// Whether time is moved; else it is waited for.
    paused: bool,
}

impl InMemory {
    pub fn new(paused: bool) -> Self {
        Self::of(memory(paused), paused)
    }

    pub fn of(memory: Memory, paused: bool) -> Self {
        Self { memory, paused }
    }
}

#[async_trait]
impl StoreSubject for InMemory {
    fn log(&self) -> Arc<dyn JobLog> {
        self.memory.log()
    }

    fn bus(&self) -> Option<Arc<dyn EventBus>> {
        Some(self.memory.bus())
    }

    fn cache(&self) -> Arc<dyn ResultCache> {
        self.memory.cache()
    }

    fn queue(&self) -> Arc<dyn JobQueue> {
        self.memory.queue()
    }

    fn catalogue(&self) -> Arc<dyn Catalogue> {
        self.memory.catalogue()
    }

    fn tickets(&self) -> Arc<dyn TicketStore> {
        self.memory.tickets()
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn cannot(&self) -> &'static [Cannot] {
        if self.paused {
            CANNOT
        } else {
            CANNOT_IN_REAL_TIME
        }
    }

    fn elsewhere(&self) -> Option<Arc<dyn JobLog>> {
        None
    }

    fn tickets_elsewhere(&self) -> Option<Arc<dyn TicketStore>> {
        None
    }

    async fn advance(&self, by: Duration) {
        if self.paused {
            tokio::time::advance(by).await;
        } else {
            tokio::time::sleep(by).await;
        }
    }

    async fn outlive(&self) -> bool {
        if self.paused {
            tokio::time::advance(OUTLIVED).await;
        }
        self.paused
    }

    async fn restart_from_a_copy(&self) -> bool {
        self.memory.faults().doubt_logs();
        true
    }

    async fn lose_from_queue(&self, job_id: &JobId, loss: Loss) {
        lose_from_queue(&self.memory, job_id, loss);
    }

    async fn break_entry(&self, _: &JobId) -> bool {
        false
    }

    async fn write_foreign_result(&self, job_id: &JobId, blob: ForeignBlob) -> bool {
        match blob {
            ForeignBlob::Bytes(bytes) => self.memory.cache().put(job_id, bytes).await.is_ok(),
            ForeignBlob::NotAString => false,
        }
    }
}

#[async_trait]
impl BusSubject for InMemory {
    fn bus(&self) -> Arc<dyn EventBus> {
        self.memory.bus()
    }

    fn cannot(&self) -> &'static [Cannot] {
        StoreSubject::cannot(self)
    }

    fn elsewhere(&self) -> Option<Arc<dyn EventBus>> {
        None
    }

    async fn interrupt(&self) {
        self.memory.faults().interrupt_subscription();
    }

    async fn send_external(&self, bytes: Bytes) -> bool {
        self.memory.faults().announce_raw(bytes);
        true
    }

    async fn take_away(&self, _: bool) -> bool {
        false
    }

    async fn freeze(&self, _: bool) -> bool {
        false
    }
}
