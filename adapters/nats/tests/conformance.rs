//! Every law of the bus, against a nats-server of each test's own, as users with no more rights than they
//! need.

// The other test of this crate uses more of it.
#[allow(dead_code)]
#[path = "nats/server.rs"]
mod server;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use conch_conformance::{BusSubject, Cannot, bus_conformance};
use conch_ports::EventBus;
use parking_lot::Mutex;
use server::{RIGHTS, Server, settings, url};

struct OnNats {
    server: Mutex<Server>,
    port: u16,
    bus: Arc<dyn EventBus>,
}

fn bus(port: u16) -> Arc<dyn EventBus> {
    let mut settings = settings(&url(port));
    settings.kit.queue_signals = 128;
    settings.build().expect("they can work")
}

#[allow(clippy::unused_async)] // the suite awaits it
async fn fresh() -> OnNats {
    let server = Server::with(&format!("{RIGHTS}max_payload: 16384\n"));
    OnNats {
        port: server.port,
        bus: bus(server.port),
        server: Mutex::new(server),
    }
}

#[async_trait]
impl BusSubject for OnNats {
    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::clone(&self.bus)
    }

    fn cannot(&self) -> &'static [Cannot] {
        &[]
    }

    fn elsewhere(&self) -> Option<Arc<dyn EventBus>> {
        Some(bus(self.port))
    }

    async fn interrupt(&self) {
        self.server.lock().restart();
    }

    async fn send_external(&self, bytes: Bytes) -> bool {
        let publisher = server::client(self.port, "publisher").await;
        publisher
            .publish("triton.jobs.j-1", bytes)
            .await
            .expect("it may");
        publisher.flush().await.expect("it is up");
        true
    }

    async fn take_away(&self, away: bool) -> bool {
        let mut server = self.server.lock();
        if away {
            server.kill();
        } else {
            server.restart();
        }
        true
    }

    async fn freeze(&self, frozen: bool) -> bool {
        let signal = if frozen { "STOP" } else { "CONT" };
        self.server.lock().signal(signal);
        true
    }
}

bus_conformance! { #[tokio::test(flavor = "multi_thread", worker_threads = 2)] fresh }
