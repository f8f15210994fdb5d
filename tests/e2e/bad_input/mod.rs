//! What no honest program sends: answered in words, nothing lost, nothing else disturbed.
//!
//! A file per kind of input and a table in each; `harness/table.rs` counts the rows. A new input is a
//! row, and what it is answered is written beside it.

mod blobs;
mod bodies;
mod channel;
mod cursors;
mod heads;
mod ids;
mod messages;
mod queries;
mod settings;
mod stores;
mod upstream;

use conch_harness::Conch;
use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::raw::{exchange, status};

/// Everything in one process.
async fn all_in_one() -> Conch {
    Plan::all_in_one().start().await
}

/// `GET` of a path as it stands: an honest client would tidy it up.
async fn get_raw(conch: &Conch, path: &[u8]) -> u16 {
    let host = format!(
        " HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n\r\n",
        conch.mare_port()
    );
    let request = [b"GET ", path, host.as_bytes()].concat();
    status(&exchange(conch.mare_port(), &request).await)
}

/// Waits until a process's subscription has come about.
async fn until_it_listens(conch: &Conch) {
    eventually("it listens", async || {
        let log = conch.log();
        log.contains("Triton event subscriber started")
            .then_some(())
    })
    .await;
}

/// The value of a counter, 0 before it moves.
fn counted(metrics: &str, counter: &str) -> u64 {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(counter)?.trim().parse().ok())
        .unwrap_or(0)
}
