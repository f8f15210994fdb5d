//! Ends that the log doesn't have, and ids that nobody has, over real processes and a real Redis.

use std::time::{Duration, Instant};

use conch_harness::conch::{Pair, Plan};
use conch_harness::redis::{Persistence, Redis};
use conch_harness::{Conch, Event, Stream};
use reqwest::Method;

/// How soon the end of a job is told that has ended already.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A job that has completed, and nothing but what it takes of the store is left but its records.
async fn completed_without_a_log(pair: &Pair) -> String {
    let mare = pair.api.mare();
    let client_id = mare.new_client("Fabrikam Health").await;
    let job = mare.submit(&client_id).await;
    Stream::open(&mare.subscribe_url(&job), None)
        .await
        .read_to_end()
        .await;
    for kind in ["log", "state", "seen"] {
        pair.redis.cli(&["DEL", &format!("triton:{kind}:{job}")]);
    }
    pair.redis
        .cli(&["DEL", &format!("triton:job:result:{job}")]);
    job
}

/// Another API on the same Redis, which remembers nothing.
async fn fresh_api(pair: &Pair) -> Conch {
    Plan::api(&pair.redis, &pair.worker.triton_url())
        .start()
        .await
}

async fn told_at_once(api: &Conch, job: &str, cursor: Option<&str>) -> Vec<Event> {
    let mut stream = Stream::open(&api.mare().subscribe_url(job), cursor).await;
    let begun = Instant::now();
    let events = stream.read_to_end().await;
    let closing = stream.comments().last().map(String::as_str);
    assert_eq!(closing, Some("Connection closing - job completed"));
    assert!(
        begun.elapsed() <= AT_ONCE,
        "{:?}: {events:#?}",
        begun.elapsed()
    );
    events
}

async fn is_over(api: &Conch, job: &str, cursor: &str) -> bool {
    let request = api
        .mare()
        .request(Method::GET, &format!("/jobs/{job}/subscribe"))
        .header("last-event-id", cursor);
    request.send().await.expect("it answers").status() == 204
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_whose_log_has_expired_is_told_at_once() {
    let pair = Pair::start(Redis::start(Persistence::None), 0).await;
    let job = completed_without_a_log(&pair).await;
    let api = fresh_api(&pair).await;
    let events = told_at_once(&api, &job, None).await;
    let kinds: Vec<_> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["job:queued", "job:started", "job:completed"]);
    assert!(events.iter().all(|event| event.json()["derived"] == true));
    assert!(is_over(&api, &job, &events[2].id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_which_only_a_result_is_left_is_told_by_it() {
    let pair = Pair::start(Redis::start(Persistence::None), 0).await;
    let job = "written-by-python";
    // What the Python edge writes.
    let result = format!(
        r#"{{"job_id":"{job}","status":"completed","template_ids":["t1"],"template_count":1,"generation_duration_ms":9}}"#
    );
    pair.redis
        .cli(&["SET", &format!("triton:job:result:{job}"), &result]);
    assert_eq!(pair.api.mare().job(job).await["status"], "completed");
    for cursor in [None, Some("5f3a9c1e-3")] {
        let events = told_at_once(&pair.api, job, cursor).await;
        assert_eq!(events.len(), 1, "{events:#?}");
        assert_eq!(events[0].kind(), "job:snapshot");
        assert_eq!(events[0].text("status"), "completed");
        assert_eq!(events[0].id, "ended-0");
    }
    assert!(is_over(&pair.api, job, "ended-0").await);
}

/// How often Redis has run one of these commands.
fn calls(redis: &Redis, commands: &[&str]) -> u64 {
    let stats = redis.cli(&["INFO", "commandstats"]);
    let calls = |line: &str| -> Option<u64> {
        let (command, counts) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let count = counts.split(',').next()?;
        commands
            .contains(&command)
            .then(|| count.parse().expect("a number"))
    };
    stats.lines().filter_map(calls).sum()
}

const SCRIPTS: [&str; 2] = ["eval", "evalsha"];
/// What the job service reads a job's record with.
const RECORDS: [&str; 1] = ["hget"];

#[tokio::test(flavor = "multi_thread")]
async fn forged_announcements_cost_the_store_next_to_nothing() {
    const FORGED: u64 = 20_000;
    let redis = Redis::start(Persistence::None);
    let worker = Plan::worker(&redis).start().await;
    let api = Plan::api(&redis, &worker.triton_url())
        .env("FOREIGN_EVENTS", "ignore")
        .start()
        .await;
    let mut everything = Stream::open(&api.mare().url("/jobs/subscribe"), None).await;
    let (scripts, records) = (calls(&redis, &SCRIPTS), calls(&redis, &RECORDS));
    let begun = Instant::now();
    // One script that publishes them all.
    let forge = "for n = 1, tonumber(ARGV[1]) do redis.call('PUBLISH', 'triton:jobs:all', \
        '{\"event_type\":\"job:failed\",\"timestamp\":\"2025-12-01T08:55:49\",\"job_id\":\"made-up-' .. n .. \
        '\",\"status\":\"failed\",\"error_message\":\"forged\",\"sequence\":3,\"epoch\":\"5f3a9c1e\"}') end";
    redis.cli(&["EVAL", forge, "0", &FORGED.to_string()]);
    // What is true comes through behind it: as its events, or, where the flood took all places and its
    // announcements found none, as its state after the next position check.
    let client_id = api.mare().new_client("Fabrikam Health").await;
    let job = api.mare().submit(&client_id).await;
    let says_the_end = |event: &Event| event.json()["status"] == "completed";
    let events = everything.read_until(says_the_end).await;
    assert!(
        events.iter().all(|event| event.text("job_id") == job),
        "{events:#?}"
    );
    // The job's own are among them, renewals of leases and looks for what is due.
    let most = 300 + begun.elapsed().as_secs() * 20;
    let scripts = calls(&redis, &SCRIPTS) - scripts;
    assert!(
        scripts < most,
        "{scripts} scripts for {FORGED} forged announcements"
    );
    let records = calls(&redis, &RECORDS) - records;
    assert!(records < most, "{records} questions to the job service");
}
