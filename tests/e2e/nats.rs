//! Redis keeps, NATS announces: jobs and external events go over it, and nothing is lost when it fails.

use std::time::{Duration, Instant};

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::nats::{Nats, Outsider, RIGHTS};
use conch_harness::sse::assert_whole;
use conch_harness::{Conch, Event, Persistence, Redis};
use serde_json::{Value, json};

const INTERRUPTED: &str = "event subscription interrupted";

/// A worker with Triton, and an API: on a Redis that keeps, and on that NATS.
struct System {
    redis: Redis,
    worker: Conch,
    api: Conch,
}

impl System {
    /// `position_check` is in seconds.
    async fn start(nats: &Nats, position_check: u32) -> Self {
        let redis = Redis::start(Persistence::None);
        let check = position_check.to_string();
        let worker = Plan::worker(&redis).on_nats(nats).pace(50).start().await;
        let api = Plan::api(&redis, &worker.triton_url()).on_nats(nats);
        let api = api.env("POSITION_CHECK_SECONDS", check).start().await;
        Self { redis, worker, api }
    }

    fn both(&self) -> [&Conch; 2] {
        [&self.worker, &self.api]
    }

    /// A job from its submission to its end, on a stream. Answers how long it took.
    async fn runs_a_job(&self) -> Duration {
        let mare = self.api.mare();
        let begun = Instant::now();
        let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
        let events = mare.subscribe(&job_id).await.read_to_end().await;
        assert_whole(&events, 1);
        assert_eq!(events.last().expect("an end").kind(), "job:completed");
        begun.elapsed()
    }

    async fn check(&self, name: &str) -> String {
        let health = self.api.mare().get("/health").await.json(200);
        let status = &health["checks"][name]["status"];
        status.as_str().expect("a word").to_owned()
    }

    /// Waits until both have a subscription, for the `nth` time.
    async fn listens(&self, nth: usize) {
        for process in self.both() {
            eventually("it listens", async || {
                let log = process.log();
                let times = ["event subscriber started", "event subscription restored"]
                    .map(|words| log.matches(words).count());
                (times.iter().sum::<usize>() == nth).then_some(())
            })
            .await;
        }
    }

    /// How often each says so in its log.
    fn say(&self, words: &str) -> [usize; 2] {
        self.both()
            .map(|process| process.log().matches(words).count())
    }
}

fn external(kind: &str, more: &Value) -> Vec<u8> {
    let mut event = json!({"event_type": kind, "job_id": "f-1", "client_id": "c-1"});
    let fields = event.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    event.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_and_external_events_go_over_nats_alone() {
    let nats = Nats::start(RIGHTS);
    // No position check makes up for what isn't announced.
    let system = System::start(&nats, 600).await;
    system.listens(1).await;
    let mut reader = Outsider::open(nats.port(), "reader").await.unwrap();
    reader.subscribe("triton.own.*").await.unwrap();
    let took = system.runs_a_job().await;
    assert!(took < Duration::from_secs(30), "{took:?}");
    let heard = eventually("a reader hears the end", async || {
        let (subject, bytes) = reader.next().await.expect("it stays connected");
        let event: Value = serde_json::from_slice(&bytes).expect("JSON");
        (event["event_type"] == "job:completed").then_some((subject, event))
    });
    let (subject, event) = heard.await;
    let job_id = event["job_id"].as_str().expect("an id");
    assert_eq!(subject, format!("triton.own.{job_id}"));

    let mare = system.api.mare();
    let mut publisher = Outsider::open(nats.port(), "publisher").await.unwrap();
    let started = external("job:started", &json!({}));
    publisher
        .publish("triton.jobs.f-1", &started)
        .await
        .unwrap();
    let mut stream = mare.subscribe_once_known("f-1").await;
    for (kind, more) in [
        ("data:generated", json!({"rows": 3})),
        ("job:completed", json!({"template_ids": ["t-1"]})),
    ] {
        let event = external(kind, &more);
        publisher.publish("triton.jobs.f-1", &event).await.unwrap();
    }
    let events = stream.read_to_end().await;
    assert_whole(&events, 1);
    let kinds: Vec<_> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["job:started", "data:generated", "job:completed"]);

    for name in ["store", "bus", "cache", "triton"] {
        assert_eq!(system.check(name).await, "ok", "{name}");
    }
    let statistics = system.redis.cli(&["INFO", "commandstats"]);
    assert!(statistics.contains("cmdstat_xadd"), "{statistics}");
    for command in ["cmdstat_publish:", "cmdstat_subscribe:"] {
        assert!(!statistics.contains(command), "{statistics}");
    }
    assert_eq!(system.say(INTERRUPTED), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_may_be_away_at_the_start_and_later() {
    let mut nats = Nats::start(RIGHTS);
    nats.kill();
    // Both are ready.
    let system = System::start(&nats, 1).await;
    eventually("both say so", async || {
        (system.say(INTERRUPTED) == [1, 1]).then_some(())
    })
    .await;
    assert_eq!(system.check("bus").await, "unreachable");
    assert_eq!(system.check("store").await, "ok");
    system.runs_a_job().await;

    nats.restart();
    system.listens(1).await;
    assert_eq!(system.check("bus").await, "ok");
    system.runs_a_job().await;

    nats.kill();
    eventually("both notice", async || {
        (system.say(INTERRUPTED) == [2, 2]).then_some(())
    })
    .await;
    system.runs_a_job().await;
    nats.restart();
    system.listens(2).await;
    system.runs_a_job().await;
    assert_eq!(system.say(INTERRUPTED), [2, 2], "once for each outage");
    for process in system.both() {
        assert!(!process.log().contains("async_nats"), "{}", process.log());
    }
}

/// Users whose rights don't suffice: the log says which once, and every job is seen to its end.
#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_said_once_and_lose_nothing() {
    let deaf = RIGHTS.replace(
        r#"subscribe: ["triton.*.*"]"#,
        r#"subscribe: { deny: ">" }"#,
    );
    let mute = RIGHTS.replace(r#""triton.own.*", "triton.probe.*""#, r#""triton.probe.*""#);
    for (rights, said, times) in [
        (&deaf, INTERRUPTED, [1, 1]),
        (&mute, "NATS refuses something", [1, 0]),
    ] {
        let nats = Nats::start(rights);
        let system = System::start(&nats, 1).await;
        for _ in 0..2 {
            system.runs_a_job().await;
        }
        eventually("it is said", async || {
            (system.say(said) == times).then_some(())
        })
        .await;
        for (process, times) in system.both().into_iter().zip(times) {
            let log = process.log();
            let violations = log.matches("Permissions Violation").count();
            assert_eq!(violations > 0, times > 0, "{log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_longer_than_the_server_takes_is_read_from_the_log() {
    let nats = Nats::start(&format!("{RIGHTS}max_payload: 512\n"));
    let system = System::start(&nats, 600).await;
    system.listens(1).await;
    let took = system.runs_a_job().await;
    assert!(took < Duration::from_secs(30), "{took:?}");
    let said = "long events are announced without their content";
    assert_eq!(system.say(said), [1, 1]);
    assert_eq!(system.say(INTERRUPTED), [0, 0]);
}
