//! A part of a running process panics: the process ends by itself with exit code 70 within the drain time,
//! and once it has been started again nothing is lost.

use conch_harness::conch::{Conch, Plan, SABOTAGE};
use conch_harness::eventually::eventually;
use conch_harness::sse::assert_whole;
use conch_harness::{Persistence, Redis};
use serde_json::json;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Api,
    Worker,
}

/// The part panics in the midst of a job that is watched. `task` is the name under which it is reported.
async fn nothing_is_lost_with(victim: Victim, part: &str, task: &str) {
    let redis = Redis::start(Persistence::None);
    let hurt = |plan: Plan, which| {
        if victim == which {
            plan.env(SABOTAGE, "panics")
        } else {
            plan
        }
    };
    let plan = Plan::worker(&redis).pace(400);
    let mut worker = hurt(plan, Victim::Worker).start().await;
    let plan = Plan::api(&redis, &worker.triton_url());
    let mut api = hurt(plan, Victim::Api).start().await;
    let mare = api.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let mut stream = mare.subscribe(&job_id).await;
    let mut all = stream
        .read_until(|e| e.kind() == "job:template_completed")
        .await;

    let ask = json!({ "event_type": "job:started", "job_id": format!("panic-{part}") });
    redis.cli(&["PUBLISH", "triton:jobs:all", &ask.to_string()]);
    let process = match victim {
        Victim::Api => &mut api,
        Victim::Worker => &mut worker,
    };
    ends_by_itself(process, task).await;
    process.restart().await;

    // The watcher comes back with its cursor where its stream has ended; else it just goes on.
    while let Some(event) = stream.next_event().await {
        all.push(event);
    }
    assert_eq!(stream.broken(), None, "its stream is ended, not cut");
    if !all.last().expect("it has seen some").is_terminal() {
        let last = all.last().map(|event| event.id.clone());
        let url = mare.subscribe_url(&job_id);
        let mut again = conch_harness::Stream::open(&url, last.as_deref()).await;
        all.extend(again.read_to_end().await);
    }
    assert_whole(&all, 1);
    let end = all.last().expect("it ended").json();
    assert_eq!(end["event_type"], "job:completed");
    assert_eq!(end["template_count"], 7);
    assert_eq!(mare.job(&job_id).await["status"], "completed");
}

async fn ends_by_itself(process: &mut Conch, task: &str) {
    // Requests go on meanwhile: one of them may be what the part panics in.
    eventually("it ends by itself", async || {
        if process.runs() {
            process.answers().await;
            return None;
        }
        Some(())
    })
    .await;
    let status = process.end();
    let log = process.log();
    assert_eq!(status.code(), Some(70), "{log}");
    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    let reason = format!("the task '{task}' ended before its time: draining");
    assert_eq!(count(&reason), 1, "{log}");
    assert!(count("ERROR conch::panic: thread '") >= 1, "{log}");
    assert_eq!(count("took longer than DRAIN_SECONDS"), 0, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_s_own_task() {
    nothing_is_lost_with(Victim::Worker, "worker", "worker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_s_subscription() {
    nothing_is_lost_with(Victim::Worker, "subscription", "subscription").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_s_subscription() {
    nothing_is_lost_with(Victim::Api, "subscription", "subscription").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest() {
    nothing_is_lost_with(Victim::Api, "ingest", "ingest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub() {
    nothing_is_lost_with(Victim::Api, "hub", "hub").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_for_requests() {
    nothing_is_lost_with(Victim::Api, "http", "http threads").await;
}
