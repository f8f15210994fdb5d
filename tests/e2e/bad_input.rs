//! What no honest client sends: answered in words, nothing lost, nothing else disturbed.

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::http::{Answer, client};
use conch_harness::raw::{exchange, status};
use conch_harness::{Conch, Persistence, Redis, port};
use reqwest::Method;
use serde_json::json;

async fn start() -> Conch {
    Plan::all_in_one().start().await
}

/// One request by hand, and its status.
async fn raw(conch: &Conch, head: &str) -> u16 {
    let head = head.replace("{host}", &format!("127.0.0.1:{}", conch.mare_port()));
    status(&exchange(conch.mare_port(), head.as_bytes()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_holds_no_id() {
    let conch = start().await;
    let mare = conch.mare();
    let too_long = "x".repeat(65);
    for id in [
        too_long.as_str(),
        "%2e%2e%2f",
        "..%2fx",
        "%00",
        "a%0d%0aX",
        "*",
        "a.b",
        "a%20b",
        "a:b",
        "%7Bt%7D",
        "all",
        "%E2%80%AE",
        "%ff",
        "%C3%A9",
    ] {
        for path in [
            format!("/jobs/{id}"),
            format!("/jobs/{id}/subscribe"),
            format!("/jobs/{id}/events"),
        ] {
            mare.get(&path).await.expect_problem(400, "invalid-job-id");
        }
        mare.delete(&format!("/jobs/{id}"))
            .await
            .expect_problem(400, "invalid-job-id");
    }
    let longest = "x".repeat(64);
    for id in ["unknown", "ALL", longest.as_str()] {
        for path in [
            format!("/jobs/{id}"),
            format!("/jobs/{id}/subscribe"),
            format!("/jobs/{id}/events"),
        ] {
            mare.get(&path).await.expect_problem(404, "job-not-found");
        }
    }
    mare.get("/nothing").await.expect_problem(404, "not-found");
    mare.post("/health", &json!({}))
        .await
        .expect_problem(405, "method-not-allowed");
    // By hand, because an honest client tidies such a path away.
    let answer = raw(
        &conch,
        "GET /v1/triton/jobs/../x HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!([400, 404].contains(&answer), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_what_was_asked_for() {
    let conch = start().await;
    let mare = conch.mare();
    let send = async |content_type: &str, body: Vec<u8>| {
        let request = mare.request(Method::POST, "/clients");
        Answer::to(request.header("content-type", content_type).body(body)).await
    };
    let json = "application/json";
    let deep = format!("{{\"name\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for malformed in [
        "",
        "{",
        "nonsense",
        r#"{"name":"x"} trailing"#,
        &deep,
        r#"{"name":"x","name":"y"}"#,
        r#"{"name":"\ud800"}"#,
    ] {
        let answer = send(json, malformed.into()).await;
        if malformed.is_empty() {
            assert!([400, 422].contains(&answer.status.as_u16()), "{answer:?}");
        } else {
            answer.expect_problem(400, "malformed-json");
        }
    }
    send(json, vec![b'"', 0xff, b'"'])
        .await
        .expect_problem(400, "malformed-json");
    send("text/plain", br#"{"name":"x"}"#.to_vec())
        .await
        .expect_problem(415, "unsupported-media-type");
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(256 * 1024));
    send(json, large.into())
        .await
        .expect_problem(413, "body-too-large");
    for (body, field) in [
        (r"{}", "name"),
        (r#"{"name":7}"#, "name"),
        (r#"{"name":""}"#, "name"),
        (r#"{"name":"x","industry":[]}"#, "industry"),
    ] {
        let problem = send(json, body.into())
            .await
            .expect_problem(422, "invalid-field");
        assert!(problem.to_string().contains(field), "{problem}");
    }
    // What is unknown is ignored, and nothing of the above was kept.
    let client = mare
        .post("/clients", &json!({"name": "Fabrikam", "unknown": [1]}))
        .await
        .json(201);
    let id = client["id"].as_str().expect("text");
    let path = format!("/clients/{id}/value-propositions");
    let short = mare.post(&path, &json!({"content": "too short"})).await;
    let problem = short.expect_problem(422, "invalid-field");
    assert!(problem.to_string().contains("content"), "{problem}");
    let path = format!("/clients/{id}/generate-templates");
    mare.post(&path, &json!({}))
        .await
        .expect_problem(404, "value-proposition-not-found");
    mare.post("/clients/nobody/generate-templates", &json!({}))
        .await
        .expect_problem(404, "client-not-found");
    for query in [
        "page=0",
        "page=x",
        "page_size=0",
        "page_size=100000000",
        "status=done",
    ] {
        let problem = mare
            .get(&format!("/jobs?{query}"))
            .await
            .expect_problem(422, "invalid-field");
        let field = query.split('=').next().expect("it has a name");
        assert!(problem.to_string().contains(field), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_cannot_be_trusted() {
    let conch = start().await;
    let close = "connection: close\r\n\r\n";
    let get = "GET /v1/triton/health HTTP/1.1\r\nhost: {host}\r\n";
    assert_eq!(raw(&conch, &format!("{get}{close}")).await, 200);
    let big = format!("x-big: {}\r\n", "x".repeat(64 * 1024));
    assert_eq!(raw(&conch, &format!("{get}{big}{close}")).await, 431);
    let many = "x-many: 1\r\n".repeat(200);
    assert_eq!(raw(&conch, &format!("{get}{many}{close}")).await, 431);
    assert_eq!(
        raw(&conch, &format!("{get}host: elsewhere\r\n{close}")).await,
        400
    );
    let both = "POST /v1/triton/clients HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
                content-length: 5\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n";
    assert_eq!(raw(&conch, both).await, 400);
    // Something other than HTTP is hung up on, or told so.
    assert!([0, 400].contains(&raw(&conch, "\u{16}\u{3}\u{1}\u{2}\0\u{1}\r\n\r\n").await));

    let mare = conch.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let request = mare.request(Method::GET, &format!("/jobs/{job_id}/subscribe"));
    Answer::to(request.header("accept", "image/png"))
        .await
        .expect_problem(406, "not-acceptable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_hung_up_on() {
    let conch = start().await;
    let answer = exchange(
        conch.mare_port(),
        b"GET /v1/triton/health HTTP/1.1\r\nhost: x\r\n",
    )
    .await;
    assert!([0, 408].contains(&status(&answer)), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_jobs_and_long_events_on_the_channel() {
    let redis = Redis::start(Persistence::None);
    let nobody = format!("http://127.0.0.1:{}", port::free());
    let api = Plan::api(&redis, &nobody)
        .env("MAX_FOREIGN_JOBS", "2")
        .env("MAX_EVENT_BYTES", "2048")
        .start()
        .await;
    eventually("it listens", async || {
        let log = api.log();
        log.contains("Triton event subscriber started")
            .then_some(())
    })
    .await;
    let publish = |job_id: &str, filler: &str| {
        let event = json!({"event_type": "job:started", "job_id": job_id, "filler": filler});
        redis.cli(&["PUBLISH", "triton:jobs:all", &event.to_string()]);
    };
    publish("long", &"x".repeat(2048));
    for n in 0..6 {
        publish(&format!("made-up-{n}"), "");
    }
    for (reason, count) in [("oversize", 1), ("quota", 4)] {
        let line = format!("conch_channel_events_dropped_total{{reason=\"{reason}\"}} {count}");
        eventually(&line, async || {
            let url = format!("http://127.0.0.1:{}/metrics", api.mare_port());
            let metrics = Answer::to(client().get(&url)).await.body;
            metrics.lines().any(|l| l == line).then_some(())
        })
        .await;
    }
    let logs = redis.cli(&["KEYS", "triton:log:*"]);
    assert_eq!(logs.lines().count(), 2, "{logs}");
    let log = api.log();
    let told = log.matches("further foreign jobs are dropped").count();
    assert_eq!(told, 1, "once, however many: {log}");
    assert!(log.contains("MAX_FOREIGN_JOBS"), "{log}");
}
