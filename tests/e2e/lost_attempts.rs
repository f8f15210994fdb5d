//! What becomes of a job whose attempts, or whose place in the queue, are lost: over real processes and a
//! real Redis.

use std::time::Duration;

use conch_harness::conch::{Conch, Plan};
use conch_harness::{Event, Persistence, Redis, Stream};
use serde_json::{Value, json};
use tokio::time::timeout;

/// No job of these needs as long.
const LIMIT: Duration = Duration::from_secs(30);

/// A worker that takes lost jobs back soon.
fn worker(redis: &Redis) -> Plan {
    Plan::worker(redis)
        .env("LEASE_SECONDS", "1")
        .env("QUEUE_SWEEP_SECONDS", "0.3")
        .env("RETRY_BACKOFF_SECONDS", "0.1")
        .env("MAX_ATTEMPTS", "2")
}

/// A generator that kills its worker, its parent, instead of making the third template.
fn killer() -> String {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/generator.py");
    let script = format!(
        r#"brief=$(cat); case "$brief" in *'"template_index":3,'*) kill -9 $PPID; exit 1;; esac; printf %s "$brief" | exec python3 {example}"#
    );
    format!("sh -c '{}'", script.replace('\'', r"'\''"))
}

/// Reads the stream to its end, and starts the worker again whenever it has died. Answers how often.
async fn restarted_until_the_end(worker: &mut Conch, stream: &mut Stream) -> (Vec<Value>, u32) {
    let mut deaths = 0;
    let mut told = Vec::new();
    loop {
        tokio::select! {
            event = stream.next_event() => match event {
                Some(event) => told.push(event.json()),
                None => return (told, deaths),
            },
            () = tokio::time::sleep(Duration::from_millis(20)) => if !worker.runs() {
                deaths += 1;
                worker.restart().await;
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_kills_its_worker_in_each_attempt_costs_no_other() {
    let redis = Redis::start(Persistence::None);
    let mut worker = worker(&redis)
        .env("GENERATOR", "command")
        .env("GENERATOR_COMMAND", killer())
        .start()
        .await;
    let api = Plan::api(&redis, &worker.triton_url()).start().await;
    let mare = api.mare();
    let job = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let mut stream = mare.subscribe(&job).await;
    let watched = restarted_until_the_end(&mut worker, &mut stream);
    let (told, deaths) = timeout(LIMIT, watched).await.expect("the job ends");
    assert_eq!(deaths, 2, "as many as there are attempts: {told:#?}");

    let of = |kind: &str| -> Vec<&Value> {
        let fits = told.iter().filter(|event| event["event_type"] == kind);
        fits.map(|event| &event["template_index"]).collect()
    };
    assert_eq!(of("job:template_completed"), [1, 2, 4, 5, 6, 7]);
    assert_eq!(of("job:template_failed"), [3]);
    let why = "its worker fell silent in each of 2 attempts";
    let missing = format!("1 of 7 templates is missing: 3 ({why})");
    let result = mare.job(&job).await;
    for end in [told.last().expect("it has an end"), &result] {
        assert_eq!(end["status"], "completed", "{end}");
        assert_eq!(end["template_count"], 6, "{end}");
        assert_eq!(end["failed_templates"], json!([3]), "{end}");
        assert_eq!(end["error_message"], json!(missing), "{end}");
    }
}

/// Deletes what `keys` names in the midst of a job, which ends all the same, with all of its templates.
async fn ends_without(
    keys: impl Fn(&str) -> String,
    worker_of: impl Fn(&Redis) -> Plan,
) -> (Vec<Event>, String) {
    let redis = Redis::start(Persistence::None);
    let worker = worker_of(&redis).pace(200).start().await;
    let api = Plan::api(&redis, &worker.triton_url()).start().await;
    let mare = api.mare();
    let job = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let mut stream = mare.subscribe(&job).await;
    let first = stream.read_until(|event| event.kind() == "job:template_completed");
    timeout(LIMIT, first).await.expect("it begins");
    assert_eq!(redis.cli(&["DEL", &keys(&job)]).trim(), "1");
    let rest = timeout(LIMIT, stream.read_to_end()).await;
    let told = rest.expect("the job ends");
    let end = told.last().expect("it has an end").json();
    assert_eq!(end["event_type"], "job:completed", "{end}");
    assert_eq!(end["template_count"], 7, "{end}");
    (told, worker.log())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_though_all_leases_were_deleted() {
    // Long before a sweep: its worker's renewal puts the lease back.
    let seldom = |redis: &Redis| worker(redis).env("QUEUE_SWEEP_SECONDS", "60");
    let (told, log) = ends_without(|_| "triton:queue:leases".to_owned(), seldom).await;
    let again = told.iter().find(|event| event.kind() == "job:retrying");
    assert!(again.is_none(), "one attempt makes all of them");
    assert!(!log.contains("the lease is lost"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_though_its_entry_was_deleted() {
    let entry = |job: &str| format!("triton:queue:entry:{job}");
    let (told, log) = ends_without(entry, worker).await;
    assert!(log.contains("the queue had lost this job"), "{log}");
    let retrying = told.iter().find(|event| event.kind() == "job:retrying");
    let retrying = retrying.expect("another attempt makes the rest").json();
    assert_eq!(retrying["reason"], "lease_expired");
}
