//! The log lines that operators look for, word for word.

use std::io;
use std::sync::{Arc, Mutex};

use conch_ports::Signal;
use futures::StreamExt;

use crate::jobs::{commit, completed, initial, queued};
use crate::server::Server;

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn count(&self, text: &str) -> usize {
        let bytes = self.0.lock().unwrap();
        String::from_utf8_lossy(&bytes).matches(text).count()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn operators_find_their_lines_and_an_outage_once() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let mut server = Server::start();
    let stores = server.stores();
    assert_eq!(
        lines.count("Event publisher connected"),
        0,
        "building connects to nothing"
    );
    let first = commit(&initial("j-1"), queued());
    stores.log.append(first.clone()).await.unwrap();
    stores
        .log
        .append(commit(&first.job, completed()))
        .await
        .unwrap();
    assert_eq!(
        lines.count("INFO conch_redis::connection: Event publisher connected to Redis"),
        1
    );

    let mut signals = stores.bus.subscribe();
    assert_eq!(signals.next().await, Some(Signal::Gap));
    server.kill();
    while stores.bus.ping().await.is_ok() {}
    server.restart();
    assert_eq!(signals.next().await, Some(Signal::Gap));
    assert_eq!(
        lines.count("Triton event subscriber started successfully"),
        1
    );
    assert_eq!(lines.count("WARN"), 1, "however many tries it took");
    assert_eq!(lines.count("event subscription restored"), 1);
    assert_eq!(
        lines.count("Event publisher connected to Redis"),
        1,
        "for all connections"
    );
}
