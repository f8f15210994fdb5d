//! Memory that a flood of events took goes back to the system once it is over.

use std::collections::HashSet;

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
    // What finds no room on its way is dropped, so the events can't be counted. A job's end comes after
    // all that is left of its others, and is said again until it has come.
    eventually("the flood is over", async || {
        let results = redis.cli(&["KEYS", "triton:job:result:flood-*"]);
        let results: HashSet<_> = results.lines().collect();
        let is_missing = |job: &usize| {
            let result = format!("triton:job:result:flood-{job}");
            !results.contains(result.as_str())
        };
        let missing: Vec<_> = (0..JOBS).filter(is_missing).collect();
        for job in &missing {
            let event = json!({ "event_type": "job:completed", "job_id": format!("flood-{job}") });
            redis.send(&[b"PUBLISH", b"triton:jobs:all", event.to_string().as_bytes()]);
        }
        missing.is_empty().then_some(())
    })
    .await;
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
