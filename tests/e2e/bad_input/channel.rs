//! Messages on the channel that any program may publish to: what is no event is dropped and counted, what
//! is one is streamed once and in order with every field it came with, and a job of ours is changed by none.

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::sse::{Stream, assert_whole};
use conch_harness::{Conch, Pair, Persistence, Redis, Table, port};
use serde_json::{Value, json};

use super::messages::{event, malformed, odd};
use super::{counted, until_it_listens};

const REASONS: [&str; 8] = [
    "malformed",
    "ignored",
    "overflow",
    "oversize",
    "illegal",
    "own_job",
    "quota",
    "store_unreachable",
];

/// How many messages were dropped, for each reason; at the subscription itself, too.
async fn dropped(conch: &Conch) -> Vec<u64> {
    let metrics = conch.metrics().await;
    let by_reason = REASONS.map(|reason| {
        let counter = format!("conch_channel_events_dropped_total{{reason=\"{reason}\"}}");
        counted(&metrics, &counter)
    });
    let at_once = "conch_redis_messages_dropped_total{reason=\"oversize\"}";
    [&by_reason[..], &[counted(&metrics, at_once)]].concat()
}

fn publish(redis: &Redis, message: &[u8]) {
    redis.send(&[b"PUBLISH", b"triton:jobs:all", message]);
}

/// Publishes it and waits until it was dropped, for that reason and no other.
async fn is_dropped(redis: &Redis, conch: &Conch, message: &[u8], reason: &str) {
    let mut expected = dropped(conch).await;
    let place = REASONS.iter().position(|known| *known == reason);
    expected[place.unwrap_or(REASONS.len())] += 1;
    publish(redis, message);
    let found = eventually("it is dropped", async || {
        let found = dropped(conch).await;
        (found.iter().sum::<u64>() >= expected.iter().sum()).then_some(found)
    })
    .await;
    assert_eq!(found, expected);
}

/// Publishes it and waits for the history of its job to have that many events; all of them.
async fn is_taken(
    redis: &Redis,
    conch: &Conch,
    message: &[u8],
    job_id: &str,
    n: usize,
) -> Vec<Value> {
    publish(redis, message);
    let mare = conch.mare();
    eventually("it is in the history", async || {
        let answer = mare.get(&format!("/jobs/{job_id}/events")).await;
        let history: Value = serde_json::from_str(&answer.body).ok()?;
        history["events"]
            .as_array()
            .filter(|events| events.len() >= n)
            .cloned()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_nobody_in_particular() {
    let redis = Redis::start(Persistence::None);
    let nobody = format!("http://127.0.0.1:{}", port::free());
    let api = Plan::api(&redis, &nobody).start().await;
    until_it_listens(&api).await;
    let mut table = Table::of("channel messages");

    for (name, message) in malformed() {
        let claim = is_dropped(&redis, &api, &message, "malformed");
        table.row(name, claim).await;
    }
    let sized = |size: usize| event("long", "job:started", &json!({"x": "x".repeat(size)}));
    for (name, size, reason) in [
        ("64 KiB and more", 65_536, "oversize"),
        ("300 KiB", 300_000, "oversize"),
        ("10 MB", 10_000_000, "at the subscription"),
    ] {
        let message = sized(size);
        table
            .row(name, is_dropped(&redis, &api, &message, reason))
            .await;
    }
    let claim = async {
        // Far more than may wait: memory is bounded, and what comes after it is heard.
        for _ in 0..4 {
            publish(&redis, &sized(10_000_000));
        }
        let last = event("after-the-flood", "job:failed", &json!({}));
        is_taken(&redis, &api, &last, "after-the-flood", 1).await;
    };
    table.row("40 MB in 4 pieces", claim).await;

    for (n, (name, kind, more)) in odd().into_iter().enumerate() {
        let job_id = format!("odd-{n}");
        let claim = async {
            let message = event(&job_id, kind, &more);
            let events = is_taken(&redis, &api, &message, &job_id, 1).await;
            // Every field as it came, but for the place that the log gave it, and the status that its
            // type says.
            for (field, value) in more.as_object().expect("an object") {
                let replaced = ["sequence", "epoch", "status"].contains(&field.as_str());
                if !(replaced || value.is_null()) {
                    assert_eq!(&events[0][field], value, "{field}");
                }
            }
            assert_eq!(events[0]["sequence"], 1);
            let status = kind.strip_prefix("job:").expect("a kind of ours");
            assert_eq!(events[0]["status"], status, "the type decides");
            let mare = api.mare();
            let streamed = mare.subscribe(&job_id).await.read_to_end().await;
            assert_whole(&streamed, 1);
            assert_eq!(streamed[0].json(), events[0]);
            let job = mare.job(&job_id).await;
            assert_eq!(job["status"], status, "{job}");
            assert_eq!(job["job_id"], job_id.as_str(), "{job}");
            // It is over: nothing more is taken, and the very same is the same.
            publish(&redis, &message);
            let late = event(&job_id, "job:progress", &json!({}));
            is_dropped(&redis, &api, &late, "illegal").await;
        };
        table.row(name, claim).await;
    }
    sequences(&mut table, &redis, &api).await;
    table.end(&[&api]).await;
}

/// What more than one message is needed for.
async fn sequences(table: &mut Table, redis: &Redis, api: &Conch) {
    let mare = api.mare();
    let claim = async {
        let twice =
            br#"{"event_type":"job:queued","job_id":"keys","event_type":"job:failed","x":1,"x":2}"#;
        let events = is_taken(redis, api, twice, "keys", 1).await;
        assert_eq!(events[0]["event_type"], "job:failed", "the last one counts");
        assert_eq!(events[0]["x"], 2);
        let events = mare.subscribe("keys").await.read_to_end().await;
        assert_eq!(
            events[0].data.matches("event_type").count(),
            1,
            "{}",
            events[0].data
        );
    };
    table.row("the same key twice", claim).await;
    let claim = async {
        // An attempt that nothing can follow, and what follows it.
        let max = json!({"attempt": u32::MAX});
        is_taken(
            redis,
            api,
            &event("last-attempt", "job:progress", &max),
            "last-attempt",
            1,
        )
        .await;
        let retry = event("last-attempt", "job:retrying", &max);
        is_taken(redis, api, &retry, "last-attempt", 2).await;
        let end = event(
            "last-attempt",
            "job:completed",
            &json!({"template_ids": ["t"]}),
        );
        is_taken(redis, api, &end, "last-attempt", 3).await;
    };
    table.row("the last attempt that there can be", claim).await;
    let claim = async {
        let started = event("order", "job:started", &json!({}));
        is_taken(redis, api, &started, "order", 1).await;
        is_dropped(redis, api, &started, "illegal").await;
        let again = event("order", "job:started", &json!({"x": 1}));
        is_dropped(redis, api, &again, "illegal").await;
        let queued = event("order", "job:queued", &json!({}));
        is_dropped(redis, api, &queued, "illegal").await;
        let end = event("order", "job:completed", &json!({"template_ids": ["t"]}));
        is_taken(redis, api, &end, "order", 2).await;
        let mut stream = mare.subscribe("order").await;
        assert_eq!(stream.read_to_end().await.len(), 2);
    };
    table.row("repeated, and out of order", claim).await;
    let claim = async {
        for n in 0..1002 {
            publish(
                redis,
                &event("talkative", "data:generated", &json!({"n": n})),
            );
        }
        let end = event(
            "talkative",
            "job:completed",
            &json!({"template_ids": ["t"]}),
        );
        publish(redis, &end);
        let job = mare.until_status("talkative", "completed").await;
        assert_eq!(job["template_count"], 1);
        let metrics = api.metrics().await;
        let illegal = "conch_channel_events_dropped_total{reason=\"illegal\"}";
        assert!(
            counted(&metrics, illegal) >= 2,
            "the events beyond a job's cap"
        );
    };
    table.row("more events than a job may have", claim).await;
    let claim = async {
        let text = br#"{"event_type":"job:failed","job_id":"large","sequence":18446744073709551616,"epoch":"5f3a9c1e","x":-18446744073709551616}"#;
        let events = is_taken(redis, api, text, "large", 1).await;
        assert_eq!(events[0]["sequence"], 1);
    };
    table.row("2^64 as a whole number", claim).await;
    let claim = async {
        let numbered = json!({"sequence": 1, "epoch": "5f3a9c1e", "template_ids": ["t"]});
        publish(redis, &event("announced", "job:completed", &numbered));
        publish(
            redis,
            &event(
                "announced",
                "job:completed",
                &json!({"sequence": u64::MAX, "epoch": "5f3a9c1e"}),
            ),
        );
        let marker = event("marker", "job:failed", &json!({}));
        is_taken(redis, api, &marker, "marker", 1).await;
        // An announcement of what no log has begins none: with Triton down nobody can say more.
        let answer = mare.get("/jobs/announced").await;
        answer.expect_problem(502, "upstream-unavailable");
        assert_eq!(redis.cli(&["EXISTS", "triton:log:announced"]), "0");
    };
    table.row("an announcement of what no log has", claim).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_job_of_ours() {
    let system = Pair::start(Redis::start(Persistence::None), 1000).await;
    let (api, redis) = (&system.api, &system.redis);
    until_it_listens(api).await;
    let mare = api.mare();
    let client_id = mare.new_client("Fabrikam Health").await;
    let job_id = mare.submit(&client_id).await;
    let mut stream = mare.subscribe(&job_id).await;
    let mut seen = stream.read_until(|e| e.kind() == "job:started").await;
    let epoch = seen[0].text("epoch");
    let mut table = Table::of("forged messages");
    for (name, kind, more) in [
        (
            "an end",
            "job:completed",
            json!({"template_ids": ["forged"]}),
        ),
        (
            "a failure",
            "job:failed",
            json!({"error_message": "forged"}),
        ),
        ("a cancellation", "job:cancelled", json!({})),
        (
            "progress",
            "job:progress",
            json!({"progress": 99, "attempt": 1}),
        ),
        (
            "of our own making",
            "job:completed",
            json!({"own": true, "derived": true, "event_id": "derived-job-completed"}),
        ),
        (
            "under no number that there is",
            "job:completed",
            json!({"sequence": -1, "epoch": epoch}),
        ),
        (
            "under number 2^64",
            "job:completed",
            json!({"sequence": 2_f64.powi(64), "epoch": epoch}),
        ),
        (
            "under a number, of no epoch",
            "job:completed",
            json!({"sequence": 3}),
        ),
        (
            "of a kind that nobody knows",
            "data:forged",
            json!({"x": "y"}),
        ),
    ] {
        let message = event(&job_id, kind, &more);
        table
            .row(name, is_dropped(redis, api, &message, "own_job"))
            .await;
    }
    for (name, sequence, epoch) in [
        ("the next number", 3, epoch.as_str()),
        ("a number that is taken", 1, &epoch),
        ("the largest number", u64::MAX, &epoch),
        ("number 0", 0, &epoch),
        ("another epoch", 3, "00000000"),
    ] {
        let claim = async {
            let before = dropped(api).await;
            let forged = json!({"sequence": sequence, "epoch": epoch, "template_ids": ["forged"]});
            publish(redis, &event(&job_id, "job:completed", &forged));
            publish(redis, b"marker");
            eventually("it was heard", async || {
                let after = dropped(api).await;
                (after[0] == before[0] + 1).then_some(())
            })
            .await;
            assert_eq!(mare.job(&job_id).await["status"], "running");
        };
        table.row(name, claim).await;
    }
    assert_eq!(mare.delete(&format!("/jobs/{job_id}")).await.status, 202);
    seen.extend(stream.read_to_end().await);
    let claim = async {
        assert_whole(&seen, 1);
        assert_eq!(seen.last().expect("it ended").kind(), "job:cancelled");
        for event in &seen {
            assert!(!event.data.contains("forged"), "{}", event.data);
        }
        let again = Stream::open(&mare.subscribe_url(&job_id), None)
            .await
            .read_to_end()
            .await;
        assert_eq!(again, seen);
    };
    table.row("nothing of it was seen", claim).await;
    table.end(&[&system.api, &system.worker]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_jobs_that_are_made_up() {
    let redis = Redis::start(Persistence::None);
    let nobody = format!("http://127.0.0.1:{}", port::free());
    let api = Plan::api(&redis, &nobody)
        .env("MAX_FOREIGN_JOBS", "2")
        .env("MAX_EVENT_BYTES", "2048")
        .start()
        .await;
    until_it_listens(&api).await;
    let mut table = Table::of("made-up jobs");
    let long = event("long", "job:started", &json!({"filler": "x".repeat(2048)}));
    table
        .row(
            "longer than is wanted",
            is_dropped(&redis, &api, &long, "oversize"),
        )
        .await;
    for n in 0..6 {
        let job_id = format!("made-up-{n}");
        let message = event(&job_id, "job:started", &json!({}));
        let claim = async {
            if n < 2 {
                is_taken(&redis, &api, &message, &job_id, 1).await;
            } else {
                is_dropped(&redis, &api, &message, "quota").await;
            }
        };
        table.row(&job_id, claim).await;
    }
    let claim = async {
        let logs = redis.cli(&["KEYS", "triton:log:made-up-*"]);
        assert_eq!(logs.lines().count(), 2, "{logs}");
        let log = api.log();
        let told = log.matches("further foreign jobs are dropped").count();
        assert_eq!(told, 1, "once, however many: {log}");
        assert!(log.contains("MAX_FOREIGN_JOBS"), "{log}");
    };
    table.row("all of it is told of once", claim).await;
    table.end(&[&api]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_none_is_taken() {
    let redis = Redis::start(Persistence::None);
    let nobody = format!("http://127.0.0.1:{}", port::free());
    let api = Plan::api(&redis, &nobody)
        .env("FOREIGN_EVENTS", "ignore")
        .start()
        .await;
    until_it_listens(&api).await;
    let mut table = Table::of("messages where foreign ones are ignored");
    let message = event("ignored", "job:completed", &json!({"template_ids": ["t"]}));
    for (name, message, reason) in [
        ("an event", message, "ignored"),
        ("no event", b"hello".to_vec(), "malformed"),
        ("nothing", Vec::new(), "malformed"),
    ] {
        table
            .row(name, is_dropped(&redis, &api, &message, reason))
            .await;
    }
    let claim = async {
        assert_eq!(redis.cli(&["KEYS", "triton:log:*"]), "");
    };
    table.row("no log began", claim).await;
    table.end(&[&api]).await;
}
