//! Every law of the store ports, against a redis-server of each test's own, with no more rights than
//! docs/operations.md says.

// The other test of this crate uses more of it.
#[allow(dead_code)]
#[path = "redis/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_conformance::{
    BusSubject, Cannot, ForeignBlob, Limits, Loss, StoreSubject, bus_conformance, store_conformance,
};
use conch_domain::JobId;
use conch_ports::{Catalogue, EventBus, JobLog, JobQueue, Quotas, ResultCache, TicketStore};
use conch_redis::{Settings, Stores};
use parking_lot::Mutex;
use server::Server;

const LIMITS: Limits = Limits {
    history_limit: 32,
    result_ttl: Duration::from_secs(1),
    ended_log_ttl: Duration::from_secs(1),
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

struct OnRedis {
    server: Mutex<Server>,
    stores: Stores,
}

fn settings(server: &Server) -> Settings {
    let mut settings = server.settings();
    settings.url = format!("redis://conch-worker:secret@127.0.0.1:{}/0", server.port);
    settings.history_limit = LIMITS.history_limit;
    settings.result_ttl = LIMITS.result_ttl;
    settings.finished_ttl = LIMITS.ended_log_ttl;
    settings.max_tickets = LIMITS.tickets;
    settings.max_tickets_per_caller = LIMITS.tickets_per_caller;
    settings.quotas = LIMITS.quotas;
    settings
}

/// Makes a user with the rights that the documentation names, and no others.
fn grant_the_least(server: &Server) {
    let rights = include_str!("../../../docs/operations.md")
        .lines()
        .find(|line| line.starts_with("ACL SETUSER conch-worker "))
        .expect("the least that a user needs");
    let words: Vec<&str> = rights.split(' ').collect();
    let _: String = server.run(&words);
}

#[allow(clippy::unused_async)] // the suite awaits it
async fn fresh() -> OnRedis {
    let server = Server::start();
    grant_the_least(&server);
    let stores = settings(&server).build().expect("good settings");
    OnRedis {
        server: Mutex::new(server),
        stores,
    }
}

impl OnRedis {
    /// On connections of their own.
    fn stores_elsewhere(&self) -> Stores {
        let settings = settings(&self.server.lock());
        settings.build().expect("good settings")
    }
}

#[async_trait]
impl StoreSubject for OnRedis {
    fn log(&self) -> Arc<dyn JobLog> {
        self.stores.log.clone()
    }

    fn bus(&self) -> Option<Arc<dyn EventBus>> {
        Some(self.stores.bus.clone())
    }

    fn cache(&self) -> Arc<dyn ResultCache> {
        self.stores.cache.clone()
    }

    fn queue(&self) -> Arc<dyn JobQueue> {
        self.stores.queue.clone()
    }

    fn catalogue(&self) -> Arc<dyn Catalogue> {
        self.stores.catalogue.clone()
    }

    fn tickets(&self) -> Arc<dyn TicketStore> {
        self.stores.tickets.clone()
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn cannot(&self) -> &'static [Cannot] {
        &[]
    }

    fn elsewhere(&self) -> Option<Arc<dyn JobLog>> {
        Some(self.stores_elsewhere().log)
    }

    fn tickets_elsewhere(&self) -> Option<Arc<dyn TicketStore>> {
        Some(self.stores_elsewhere().tickets)
    }

    async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    async fn outlive(&self) -> bool {
        self.server.lock().outlive();
        true
    }

    async fn restart_from_a_copy(&self) -> bool {
        let mut server = self.server.lock();
        let _: String = server.run(&["SAVE"]);
        server.restart();
        grant_the_least(&server);
        true
    }

    async fn lose_from_queue(&self, job_id: &JobId, loss: Loss) {
        let server = self.server.lock();
        match loss {
            Loss::Entry => {
                let _: u64 = server.run(&["DEL", &format!("triton:queue:entry:{job_id}")]);
            }
            Loss::Place => {
                for set in ["triton:queue:ready", "triton:queue:leases"] {
                    let _: u64 = server.run(&["ZREM", set, job_id.as_str()]);
                }
            }
        }
    }

    async fn break_entry(&self, job_id: &JobId) -> bool {
        let key = format!("triton:queue:entry:{job_id}");
        self.server.lock().set(&key, b"what is this");
        true
    }

    async fn write_foreign_result(&self, job_id: &JobId, blob: ForeignBlob) -> bool {
        let key = format!("triton:job:result:{job_id}");
        match blob {
            ForeignBlob::Bytes(bytes) => self.server.lock().set(&key, &bytes),
            ForeignBlob::NotAString => {
                let _: u64 = self.server.lock().run(&["LPUSH", &key, "x"]);
            }
        }
        true
    }
}

#[async_trait]
impl BusSubject for OnRedis {
    fn bus(&self) -> Arc<dyn EventBus> {
        self.stores.bus.clone()
    }

    fn cannot(&self) -> &'static [Cannot] {
        &[]
    }

    fn elsewhere(&self) -> Option<Arc<dyn EventBus>> {
        Some(self.stores_elsewhere().bus)
    }

    async fn interrupt(&self) {
        let _: u64 = self
            .server
            .lock()
            .run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    }

    async fn send_external(&self, bytes: Bytes) -> bool {
        self.server.lock().publish("triton:jobs:all", &bytes);
        true
    }

    async fn take_away(&self, away: bool) -> bool {
        let mut server = self.server.lock();
        if away {
            server.kill();
        } else {
            server.restart();
            grant_the_least(&server);
        }
        true
    }

    async fn freeze(&self, frozen: bool) -> bool {
        let signal = if frozen { "STOP" } else { "CONT" };
        self.server.lock().signal(signal);
        true
    }
}

store_conformance! { #[tokio::test(flavor = "multi_thread", worker_threads = 2)] fresh }
bus_conformance! { #[tokio::test(flavor = "multi_thread", worker_threads = 2)] fresh }
