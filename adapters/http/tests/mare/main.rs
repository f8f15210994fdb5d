//! Mare's routes: every path of the contract's table.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod auth;
#[path = "../support/counters.rs"]
mod counters;
mod edge;
mod limits;
mod refusals;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use conch_conformance::build::Script;
use conch_domain::{JobStatus, TemplateId};
use conch_doubles::When;
use conch_http::mare;
use conch_ports::{Document, ErrorKind, Requested};

use edge::{CLIENT, edge, edge_with, finish, id, known};
use support::{Answer, call, check_ops, get, post, send};

#[tokio::test]
async fn operations() {
    check_ops(|ops| edge_with(mare::Settings::default(), ops).router).await;
}

#[tokio::test]
async fn the_description_is_true() {
    let edge = edge();
    let document = get(&edge.router, "/openapi.json").await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut described: Vec<String> = item
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "parameters")
            .map(|method| method.to_uppercase())
            .collect();
        described.push("HEAD".to_owned());
        described.retain(|method| method != "HEAD" || item.get("get").is_some());
        described.sort();
        let path = path.replace(['{', '}'], "");
        for path in [path.clone(), format!("{path}/")] {
            let answer = call(&edge.router, "PUT", &path).await;
            answer.is_problem(405, "method-not-allowed");
            let mut allowed: Vec<_> = answer.header("allow").unwrap().split(',').collect();
            allowed.sort_unstable();
            assert_eq!(allowed, described, "{path}");
        }
    }
    // Whatever is referred to is there.
    let text = document.to_string();
    for reference in text.split(r##""$ref":"#"##).skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    // The schemas of a template are those of its types.
    for name in ["ComposedTemplate", "GeneratedTemplate", "Widget"] {
        let served = &document["components"]["schemas"][name];
        assert_eq!(served, &conch_wire::schema::components()[name], "{name}");
    }
}

#[tokio::test]
async fn clients_and_templates_are_passed_on_as_they_are() {
    let edge = edge();
    let router = &edge.router;
    assert_eq!(get(router, "/v1/triton/clients/acme").await.text, CLIENT);
    assert_eq!(
        get(router, "/v1/triton/clients/").await.text,
        format!(r#"{{"total":1,"page":1,"page_size":20,"clients":[{CLIENT}]}}"#),
    );
    let made = post(router, "/v1/triton/clients/", r#"{"name":" New ","x":1}"#).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.json()["name"], "New");

    let path = "/v1/triton/clients/acme/value-propositions";
    assert_eq!(get(router, path).await.text, "[]");
    let added = post(router, path, r#"{"content":"we save you much"}"#).await;
    assert_eq!(added.status, 201);
    assert_eq!(get(router, path).await.text, format!("[{}]", added.text));

    let template = r#"{"id":"t1", "widgets":[]}"#;
    edge.triton
        .set_template(id::<TemplateId>("t1"), Document::from_json(template));
    assert_eq!(get(router, "/v1/triton/templates/t1/").await.text, template);
    assert_eq!(
        get(
            router,
            "/v1/triton/templates?category=roi-focused&target_audience=Health+Plan"
        )
        .await
        .text,
        format!(r#"{{"total":1,"page":1,"page_size":20,"templates":[{template}]}}"#),
    );
}

async fn submit(router: &Router, key: Option<&[u8]>, body: &str) -> Answer {
    let mut request = Request::post("/v1/triton/clients/acme/generate-templates/");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    send(router, request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn submissions() {
    let edge = edge();
    let job = submit(
        &edge.router,
        Some(b"key-1"),
        r#"{"value_proposition_id":"v1"}"#,
    )
    .await;
    assert_eq!(job.status, 202);
    let job_id = job.json()["job_id"].as_str().unwrap().to_owned();
    assert_eq!(
        job.header("location"),
        Some(format!("/v1/triton/jobs/{job_id}").as_str())
    );
    assert_eq!(submit(&edge.router, None, "").await.status, 202);
    let submitted = edge.triton.submitted();
    assert_eq!(submitted[0].idempotency_key.as_deref(), Some("key-1"));
    assert_eq!(submitted[0].value_proposition_id, Some(id("v1")));
    assert_eq!(submitted[1].idempotency_key, None);
    assert_eq!(submitted[1].value_proposition_id, None);

    for key in [&b""[..], b"a b", b"\xff", &[b'k'; 256]] {
        submit(&edge.router, Some(key), "")
            .await
            .names_field("Idempotency-Key");
    }
    assert_eq!(
        submit(&edge.router, Some(&[b'k'; 255]), "").await.status,
        202
    );

    assert_eq!(job.header("idempotency-replayed"), None);
    let known = conch_domain::Job::initial(id("known"), "abababab".parse().unwrap(), false);
    edge.triton
        .answer_next_submission(Requested::Repeated(Box::new(known)));
    let repeated = submit(&edge.router, Some(b"key-1"), "").await;
    assert_eq!(repeated.status, 202);
    assert_eq!(repeated.json()["job_id"], "known");
    assert_eq!(repeated.header("idempotency-replayed"), Some("true"));

    edge.triton.answer_next_submission(Requested::KeyReused);
    submit(&edge.router, Some(b"key-1"), "")
        .await
        .is_problem(422, "idempotency-key-reused");
    edge.triton
        .answer_next_submission(Requested::NotFound("it has none".to_owned()));
    let problem = submit(&edge.router, None, "")
        .await
        .is_problem(404, "value-proposition-not-found");
    assert_eq!(problem["detail"], "it has none");
}

/// What was asked for reaches Triton, and what Triton can't have is refused.
#[tokio::test]
async fn scheduled_jobs() {
    let edge = edge();
    let path = "/v1/triton/clients/acme/generate-templates";
    let body = r#"{"priority":9,"run_at":"2026-01-01T06:00:00Z"}"#;
    assert_eq!(post(&edge.router, path, body).await.status, 202);
    let asked = edge.triton.submitted();
    let schedule = asked.last().unwrap().schedule;
    assert_eq!(schedule.priority.get(), 9);
    let run_at = conch_wire::time::parse("2026-01-01T06:00:00Z");
    assert_eq!(schedule.run_at, run_at);
    edge.triton.answer_next_submission(Requested::Invalid {
        path: "run_at".to_owned(),
        detail: "must be at most 7 days ahead".to_owned(),
    });
    post(&edge.router, path, body).await.names_field("run_at");
}

/// Own jobs that wait are shown with their places, in lookups and lists; others without.
#[tokio::test]
async fn queue_positions() {
    let edge = edge();
    let mut ids = Vec::new();
    for n in 0..3 {
        let mut script = Script::own();
        let submitted = edge.memory.queue().submit(script.submission()).await;
        submitted.unwrap();
        edge.triton.set_job(script.job().clone());
        if n == 2 {
            let started = script.started();
            edge.memory.log().append(started).await.unwrap();
            edge.triton.set_job(script.job().clone());
        }
        ids.push(script.id().to_string());
    }
    let places = [Some(1), Some(2), None];
    for (id, place) in ids.iter().zip(places) {
        let job = get(&edge.router, &format!("/v1/triton/jobs/{id}"))
            .await
            .json();
        let found = job
            .get("queue_position")
            .and_then(serde_json::Value::as_u64);
        assert_eq!(found, place, "{job}");
    }
    let page = get(&edge.router, "/v1/triton/jobs").await.json();
    for (id, place) in ids.iter().zip(places) {
        let listed = page["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .find(|job| job["id"] == **id);
        let found = listed.unwrap().get("queue_position");
        assert_eq!(found.and_then(serde_json::Value::as_u64), place, "{page}");
    }
}

#[tokio::test]
async fn jobs() {
    let edge = edge();
    let router = &edge.router;
    edge.triton.set_job(known("running", JobStatus::Running));
    edge.triton.set_job(known("over", JobStatus::Failed));
    for path in ["/v1/triton/jobs/running", "/v1/triton/jobs/running/"] {
        let job = get(router, path).await.json();
        assert_eq!(
            (&job["id"], &job["status"]),
            (&"running".into(), &"running".into())
        );
    }
    let page = get(router, "/v1/triton/jobs?status=failed&client_id=acme")
        .await
        .json();
    assert_eq!(page["total"], 1);
    assert_eq!(page["jobs"][0]["job_id"], "over");
    assert_eq!(
        get(router, "/v1/triton/jobs?client_id=other").await.json()["total"],
        0
    );

    let cancelled = call(router, "DELETE", "/v1/triton/jobs/running").await;
    assert_eq!(cancelled.status, 202);
    assert_eq!(
        cancelled.text,
        r#"{"job_id":"running","status":"cancel_requested"}"#
    );
    call(router, "DELETE", "/v1/triton/jobs/over")
        .await
        .is_problem(409, "job-ended");

    get(router, "/v1/triton/jobs/over/events")
        .await
        .is_problem(410, "events-expired");
    finish(&edge.memory, "told").await;
    let events = get(router, "/v1/triton/jobs/told/events").await.json();
    assert_eq!(events["job_id"], "told");
    assert_eq!(events["events"][0]["event_type"], "job:started");
    assert_eq!(events["events"][1]["sequence"], 2);
    let rest = get(router, "/v1/triton/jobs/told/events?after=1")
        .await
        .json();
    assert_eq!(rest["events"].as_array().unwrap().len(), 1);
    let none = get(router, "/v1/triton/jobs/told/events?after=2").await;
    assert_eq!(none.text, r#"{"job_id":"told","events":[]}"#);
}

#[tokio::test(start_paused = true)]
async fn health() {
    let edge = edge();
    let health = get(&edge.router, "/v1/triton/health").await.json();
    assert_eq!(health["status"], "ok");
    for name in ["store", "bus", "cache", "triton"] {
        assert_eq!(health["checks"][name]["status"], "ok", "{health}");
    }
    edge.memory
        .faults()
        .fail_next("event_bus.ping", 1, ErrorKind::Unavailable, When::Before);
    edge.triton.hang();
    let answer = get(&edge.router, "/v1/triton/health/").await;
    assert_eq!(answer.status, 200);
    let health = answer.json();
    assert_eq!(health["status"], "degraded");
    let bus = &health["checks"]["bus"];
    assert_eq!(bus["status"], "unreachable");
    // Addresses and settings are for the log alone.
    assert_eq!(bus["detail"], "it can't be used now; the log says why");
    assert_eq!(health["checks"]["store"]["status"], "ok");
    assert_eq!(health["checks"]["cache"]["status"], "ok");
    assert_eq!(health["checks"]["triton"]["status"], "unreachable");
    edge.memory
        .faults()
        .fail_next("job_log.ping", 1, ErrorKind::Unavailable, When::Before);
    let health = get(&edge.router, "/v1/triton/health").await.json();
    assert_eq!(health["checks"]["store"]["status"], "unreachable");
    assert_eq!(health["checks"]["bus"]["status"], "ok");
}
