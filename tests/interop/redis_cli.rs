//! What an operator sees with nothing but redis-cli.

use conch_harness::eventually::eventually;
use conch_harness::sse::assert_whole;
use conch_harness::{Pair, Persistence, Redis};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn redis_cli_sees_every_event_and_the_cached_result() {
    let pair = Pair::start(Redis::start(Persistence::None), 50).await;
    let mare = pair.api.mare();
    let client_id = mare.new_client("Fabrikam Health").await;
    let all = pair.redis.subscribe("triton:jobs:all");

    let job_id = mare.submit(&client_id).await;
    let one = pair.redis.subscribe(&format!("triton:jobs:{job_id}"));
    let streamed = mare.subscribe(&job_id).await.read_to_end().await;
    assert_whole(&streamed, 1);

    // The same bytes on the channel as in the stream, one line each, in order.
    let lines: Vec<String> = streamed.iter().map(|e| e.data.clone()).collect();
    let on_all = eventually("the end is on triton:jobs:all", async || {
        Some(all.messages()).filter(|m| m.len() >= lines.len())
    })
    .await;
    assert_eq!(on_all, lines);
    // That subscription began when the job had, so it has the rest of them.
    let on_one = eventually("the end is on the job's channel", async || {
        Some(one.messages()).filter(|m| m.last() == lines.last())
    })
    .await;
    assert!(
        lines.ends_with(&on_one),
        "{on_one:#?} is no end of {lines:#?}"
    );

    // The cached result.
    let key = format!("triton:job:result:{job_id}");
    assert_eq!(pair.redis.cli(&["KEYS", "triton:job:result:*"]), key);
    assert_eq!(pair.redis.cli(&["EXISTS", &key]), "1");
    let ttl: u32 = pair.redis.cli(&["TTL", &key]).parse().expect("a number");
    assert!((3500..=3600).contains(&ttl), "{ttl}");
    let cached: Value = serde_json::from_str(&pair.redis.cli(&["GET", &key])).expect("JSON");
    assert_eq!(cached, mare.job(&job_id).await);
    for field in [
        "job_id",
        "status",
        "template_ids",
        "template_count",
        "generation_duration_ms",
    ] {
        assert!(!cached[field].is_null(), "{field} in {cached}");
    }
    assert_eq!(cached["status"], "completed");
    assert_eq!(cached["template_count"], 7);

    // The lines that operators grep for.
    let keys = pair.redis.cli(&["--scan", "--pattern", "*"]);
    assert!(keys.lines().all(|k| k.starts_with("triton:")), "{keys}");
    for line in [
        "Published event 'job:completed' for job ",
        "Event publisher connected to Redis",
    ] {
        let log = pair.worker.log();
        assert!(log.contains(line), "{line:?} is not in\n{log}");
    }
    let log = pair.api.log();
    assert!(
        log.contains("Triton event subscriber started successfully"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_the_python_edge_cached_is_served() {
    let pair = Pair::start(Redis::start(Persistence::None), 50).await;
    let five = r#"{"job_id":"py-7","status":"completed","template_ids":["a","b"],"template_count":2,"generation_duration_ms":1200}"#;
    pair.redis
        .cli(&["SET", "triton:job:result:py-7", five, "EX", "600"]);
    let job = pair.api.mare().job("py-7").await;
    assert_eq!(job["id"], "py-7");
    assert_eq!(job["status"], "completed");
    assert_eq!(job["template_ids"], serde_json::json!(["a", "b"]));
    assert_eq!(job["generation_duration_ms"], 1200);
    assert!(job["started_at"].is_null(), "{job}");

    // What is no such result is a miss, never an error of ours.
    for blob in ["{\"job_id\":\"py-8\",\"sta", five, "[]", "\u{fffd}"] {
        pair.redis.cli(&["SET", "triton:job:result:py-8", blob]);
        pair.api
            .mare()
            .get("/jobs/py-8")
            .await
            .expect_problem(404, "job-not-found");
    }
    pair.redis.cli(&["DEL", "triton:job:result:py-8"]);
    pair.redis
        .cli(&["LPUSH", "triton:job:result:py-8", "a list"]);
    pair.api
        .mare()
        .get("/jobs/py-8")
        .await
        .expect_problem(404, "job-not-found");
}
