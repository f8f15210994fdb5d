//! Memory that a flood of events took goes back to the system once it is over.

use conch_harness::conch::{Conch, Plan};
use conch_harness::eventually::eventually;
use conch_harness::{Persistence, Redis};
use serde_json::json;

const JOBS: usize = 100;
const EVENTS_PER_JOB: usize = 10;
const EVENT_BYTES: usize = 60_000;
/// How much more than before the flood a process may hold, in KiB.
const LEFT: u64 = 10 * 1024;

/// In KiB, as the kernel counts it.
fn resident(conch: &Conch) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", conch.pid()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let digits = line.expect("it is told").trim().trim_end_matches(" kB");
    digits.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_flood_took_is_given_back() {
    let redis = Redis::start(Persistence::None);
    let api = Plan::api(&redis, "http://127.0.0.1:1")
        .env("RUST_LOG", "warn")
        .start()
        .await;
    let before = resident(&api);
    let padding = "x".repeat(EVENT_BYTES);
    for number in 0..EVENTS_PER_JOB {
        for job in 0..JOBS {
            let event = json!({
                "event_type": "data:generated",
                "job_id": format!("flood-{job}"),
                "status": "running",
                "number": number,
                "padding": padding,
            });
            let event = event.to_string();
            redis.send(&[b"PUBLISH", b"triton:jobs:all", event.as_bytes()]);
        }
    }
    // Events of one job are taken in their order, those of all jobs in sixteen lanes.
    for job in 0..JOBS {
        let log = format!("triton:log:flood-{job}");
        eventually("the flood is over", async || {
            let events: usize = redis.cli(&["XLEN", &log]).parse().expect("a number");
            (events == EVENTS_PER_JOB).then_some(())
        })
        .await;
    }
    eventually("the memory is given back", async || {
        (resident(&api) <= before + LEFT).then_some(())
    })
    .await;
    let peak = api.peak_memory();
    assert!(
        peak > before + 2 * LEFT,
        "no flood: {before} KiB, then {peak}"
    );
}
