//! A program that knows only the old contract, as a full publisher: streamed under the same ids by every
//! API, cached, served, with nothing but Redis behind them.

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::foreign::OldPublisher;
use conch_harness::sse::assert_whole;
use conch_harness::{Persistence, Redis, Stream, port};
use serde_json::{Value, json};

/// Two APIs on one Redis, with nobody where Triton should be.
async fn two_apis(redis: &Redis) -> [conch_harness::Conch; 2] {
    let nobody = format!("http://127.0.0.1:{}", port::free());
    [
        Plan::api(redis, &nobody).start().await,
        Plan::api(redis, &nobody).start().await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_publisher_drives_a_job_from_start_to_cached_result() {
    let redis = Redis::start(Persistence::None);
    let [one, other] = two_apis(&redis).await;
    let mut publisher = OldPublisher::start(&redis, "legacy_1", "client-9");

    publisher.publish("started");
    let mut first = one.mare().subscribe_once_known("legacy_1").await;
    let mut second = other.mare().subscribe_once_known("legacy_1").await;
    let started = first.next_event().await.expect("it has started");
    assert_eq!(second.next_event().await.as_ref(), Some(&started));
    publisher.publish("data");
    publisher.publish("completed");
    let mut seen = vec![started];
    seen.extend(first.read_to_end().await);
    assert_eq!(
        second.read_to_end().await,
        seen[1..],
        "two APIs, two streams"
    );
    assert_whole(&seen, 1);
    assert_eq!(
        first.comments().last().map(String::as_str),
        Some("Connection closing - job completed")
    );

    // Every field as it came, and those that it lacked.
    let [started, data, completed] = &seen[..] else {
        panic!("{seen:#?}")
    };
    let started = started.json();
    assert_eq!(started["event_type"], "job:started");
    assert_eq!(started["host"], json!({"name": "prüf-3", "slots": [1, 2]}));
    assert_eq!(started["client_id"], "client-9");
    let data = data.json();
    assert_eq!(data["event_type"], "data:generated");
    assert_eq!(data["status"], "running", "the job's present one: {data}");
    assert_eq!(data["rows"], 42);
    let completed = completed.json();
    assert_eq!(completed["template_ids"], json!(["t-1", "t-2", "t-3"]));

    // Cached, with a time to live, and served by both without a Triton.
    let key = "triton:job:result:legacy_1";
    let cached = eventually("the result is cached", async || {
        serde_json::from_str::<Value>(&redis.cli(&["GET", key])).ok()
    })
    .await;
    let ttl: u32 = redis.cli(&["TTL", key]).parse().expect("a number");
    assert!((3500..=3600).contains(&ttl), "{ttl}");
    assert_eq!(cached["status"], "completed");
    assert_eq!(cached["template_ids"], completed["template_ids"]);
    assert_eq!(
        cached["generation_duration_ms"],
        completed["generation_duration_ms"]
    );
    assert!(
        cached["started_at"].as_str().expect("text").ends_with('Z'),
        "{cached}"
    );
    for api in [&one, &other] {
        assert_eq!(api.mare().job("legacy_1").await, cached);
    }

    // A resume at the end is over; one in the middle gets the rest, on either API.
    let url = other.mare().subscribe_url("legacy_1");
    let rest = Stream::open(&url, Some(&seen[0].id))
        .await
        .read_to_end()
        .await;
    assert_eq!(rest, seen[1..]);
    let over = other
        .mare()
        .get(&format!("/jobs/legacy_1/subscribe?after={}", seen[2].id))
        .await;
    assert_eq!(over.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_short_forms_are_filled_in() {
    let redis = Redis::start(Persistence::None);
    let [one, other] = two_apis(&redis).await;
    for (job_id, last, status) in [
        ("short-1", "short-completed", "completed"),
        ("short-2", "failed", "failed"),
    ] {
        let mut publisher = OldPublisher::start(&redis, job_id, "client-9");
        publisher.publish("started");
        publisher.publish(last);
        let events = one
            .mare()
            .subscribe_once_known(job_id)
            .await
            .read_to_end()
            .await;
        assert_whole(&events, 1);
        let end = events[1].json();
        assert_eq!(end["status"], status);
        assert!(end["generation_duration_ms"].is_u64(), "{end}");
        assert!(end["completed_at"].is_string(), "{end}");
        let job = other.mare().job(job_id).await;
        assert_eq!(job["status"], status);
        assert_eq!(job["generation_duration_ms"], end["generation_duration_ms"]);
    }
    assert_eq!(
        other.mare().job("short-2").await["error_message"],
        "the model gave no answer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_on_the_channel_changes_nothing() {
    let redis = Redis::start(Persistence::None);
    let [one, _other] = two_apis(&redis).await;
    let mut publisher = OldPublisher::start(&redis, "sober", "client-9");
    publisher.publish("started");
    let mut stream = one.mare().subscribe_once_known("sober").await;

    let huge = format!(
        r#"{{"event_type":"x","job_id":"sober","pad":"{}"}}"#,
        "x".repeat(100_000)
    );
    for rubbish in [
        "",
        "not JSON",
        "[]",
        "null",
        r#"{"event_type":"job:completed"}"#,
        r#"{"event_type":"job:completed","job_id":"all"}"#,
        r#"{"event_type":"job:completed","job_id":"../sober"}"#,
        r#"{"event_type":7,"job_id":"sober"}"#,
        r#"{"event_type":"job:started","status":"running","job_id":"sober"}"#,
        &huge.replace('x', "\u{1}"),
    ] {
        redis.cli(&["PUBLISH", "triton:jobs:all", rubbish]);
    }
    publisher.publish("completed");
    let events = stream.read_to_end().await;
    assert_whole(&events, 1);
    let kinds: Vec<String> = events.iter().map(conch_harness::Event::kind).collect();
    assert_eq!(kinds, ["job:started", "job:completed"]);
}
