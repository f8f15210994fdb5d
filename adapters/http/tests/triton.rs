//! Triton's routes: every path of the contract's table, and what must be refused.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use conch_conformance::build;
use conch_domain::{Audience, Category, TemplateId, Timestamp};
use conch_doubles::{FaultyMemory, When};
use conch_http::{ops, triton};
use conch_memory::Settings;
use conch_ports::ErrorKind;
use conch_services::Clock;
use conch_services::places::Places;
use conch_services::triton::cancel::Cancel;
use conch_services::triton::records::Records;
use conch_services::triton::submit::Submit;
use conch_wire::record::{self, Heading};
use serde_json::Value;
use support::{Answer, NO_IDS, call, check_ops, endless, get, malformed_bodies, post, send};

struct Service {
    router: Router,
    memory: FaultyMemory,
}

fn service() -> Service {
    service_with(triton::Settings::default(), support::ops())
}

fn service_with(settings: triton::Settings, ops: ops::Dependencies) -> Service {
    let memory = FaultyMemory::new(Settings::default());
    let ticks = AtomicI64::new(1_764_579_349_123_456);
    let clock: Clock =
        Arc::new(move || Timestamp::from_micros(ticks.fetch_add(1000, Ordering::Relaxed)));
    let router = settings.build(triton::Dependencies {
        submit: Submit::new(memory.queue(), memory.catalogue(), clock.clone()),
        cancel: Cancel::new(memory.log(), memory.catalogue(), clock.clone()),
        records: Records::new(memory.catalogue(), clock),
        places: Places::new(memory.queue()),
        catalogue: memory.catalogue(),
        log: memory.log(),
        bus: memory.bus(),
        ops,
    });
    Service { router, memory }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A client with an active value proposition: their ids.
async fn client(router: &Router) -> (String, String) {
    let client = post(
        router,
        "/clients/",
        r#"{"name":"Acme","industry":"Health"}"#,
    )
    .await;
    assert_eq!(client.status, 201);
    let id = text(&client.json()["id"]);
    assert_eq!(
        client.header("location"),
        Some(format!("/clients/{id}").as_str())
    );
    let path = format!("/clients/{id}/value-propositions");
    let added = post(
        router,
        &path,
        r#"{"content":"we save you much","meta_data":{"a":1}}"#,
    )
    .await;
    assert_eq!(added.status, 201);
    (id, text(&added.json()["id"]))
}

async fn submit(router: &Router, key: Option<&str>, body: String) -> Answer {
    let mut request = Request::post("/jobs/").header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    send(router, request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn operations() {
    check_ops(|ops| service_with(triton::Settings::default(), ops).router).await;
    // A worker without the service has these, and nothing else.
    check_ops(ops::router).await;
    let answer = get(&ops::router(support::ops()), "/jobs").await;
    answer.is_problem(404, "not-found");
}

#[tokio::test]
async fn clients() {
    let router = service().router;
    let (id, value_proposition_id) = client(&router).await;
    let one = get(&router, &format!("/clients/{id}")).await;
    assert_eq!(one.json()["name"], "Acme");
    let page = get(&router, "/clients/?industry=Health").await;
    assert_eq!(
        page.text,
        format!(
            r#"{{"total":1,"page":1,"page_size":20,"clients":[{}]}}"#,
            one.text
        )
    );
    assert_eq!(
        get(&router, "/clients?industry=Other").await.json()["total"],
        0
    );

    let path = format!("/clients/{id}/value-propositions");
    let all = get(&router, &path).await;
    assert_eq!(all.json()[0]["meta_data"]["a"], 1);
    let whole = get(&router, &format!("/clients/{id}/with-value-props/"))
        .await
        .json();
    assert_eq!(whole["client"], one.json());
    assert_eq!(whole["name"], "Acme", "and beside it, as it was");
    assert_eq!(whole["value_propositions"], all.json());
    let active = |query: &'static str| {
        let path = format!("/clients/{id}/with-value-props{query}");
        let router = &router;
        async move {
            let whole = get(router, &path).await.json();
            let propositions = whole["value_propositions"].as_array().cloned();
            let is_active = |one: &Value| one["is_active"].as_bool().expect("a flag");
            let all = propositions.expect("a list");
            all.iter().map(is_active).collect::<Vec<_>>()
        }
    };
    assert_eq!(active("?active_only=true").await, [true]);
    get(
        &router,
        &format!("/clients/{id}/with-value-props?active_only=maybe"),
    )
    .await
    .names_field("active_only");

    let path = format!("{path}/{value_proposition_id}");
    for (value, expected) in [("false", false), ("true", true)] {
        let path = format!("{path}?is_active={value}");
        let switched = call(&router, "PATCH", &path).await;
        assert_eq!(switched.json()["is_active"], expected, "{value}");
        let shown: &[bool] = if expected { &[true] } else { &[] };
        assert_eq!(active("?active_only=true").await, shown, "{value}");
        assert_eq!(active("?active_only=0").await, [expected], "{value}");
    }
    for query in ["", "?is_active=", "?is_active=maybe"] {
        call(&router, "PATCH", &format!("{path}{query}"))
            .await
            .names_field("is_active");
    }
}

#[tokio::test]
async fn jobs() {
    let router = service().router;
    let (client_id, value_proposition_id) = client(&router).await;
    let body = format!(r#"{{"client_id":"{client_id}"}}"#);
    let made = submit(&router, None, body.clone()).await;
    assert_eq!(made.status, 201);
    let job = made.json();
    let id = text(&job["job_id"]);
    assert_eq!(
        (&job["id"], &job["status"]),
        (&job["job_id"], &"pending".into())
    );
    assert_eq!(job["value_proposition_id"], value_proposition_id);
    assert_eq!(
        made.header("location"),
        Some(format!("/jobs/{id}").as_str())
    );
    for path in [format!("/jobs/{id}"), format!("/jobs/{id}/")] {
        let mut found = get(&router, &path).await.json();
        let place = found.as_object_mut().unwrap().remove("queue_position");
        assert_eq!((place, found), (Some(1.into()), job.clone()));
    }
    let since = text(&job["updated_at"]);
    for (query, total) in [
        (String::new(), 1),
        (format!("?client_id={client_id}&status=pending"), 1),
        ("?client_id=other".to_owned(), 0),
        ("?status=running".to_owned(), 0),
        (format!("?updated_since={since}"), 1),
        ("?updated_since=2099-01-01T00:00:00".to_owned(), 0),
    ] {
        let page = get(&router, &format!("/jobs/{query}")).await.json();
        assert_eq!(page["total"], total, "{query}");
        assert_eq!(page["jobs"].as_array().unwrap().len(), total, "{query}");
    }

    let cancelled = call(&router, "DELETE", &format!("/jobs/{id}/")).await;
    assert_eq!(
        (cancelled.status.as_u16(), cancelled.text.as_str()),
        (204, "")
    );
    // Nobody held it, so that ended it.
    assert_eq!(
        get(&router, &format!("/jobs/{id}")).await.json()["status"],
        "cancelled"
    );
    call(&router, "DELETE", &format!("/jobs/{id}"))
        .await
        .is_problem(409, "job-ended");
}

#[tokio::test]
async fn submissions_that_find_nothing() {
    let router = service().router;
    let none = r#"{"client_id":"unknown"}"#.to_owned();
    submit(&router, None, none)
        .await
        .is_problem(404, "client-not-found");
    let (client_id, value_proposition_id) = client(&router).await;
    let other = format!(r#"{{"client_id":"{client_id}","value_proposition_id":"other"}}"#);
    submit(&router, None, other)
        .await
        .is_problem(404, "value-proposition-not-found");
    let path =
        format!("/clients/{client_id}/value-propositions/{value_proposition_id}?is_active=false");
    assert_eq!(call(&router, "PATCH", &path).await.status, 200);
    let body = format!(r#"{{"client_id":"{client_id}"}}"#);
    submit(&router, None, body)
        .await
        .is_problem(404, "value-proposition-not-found");
}

/// By priority, and not before its time; the places say the same.
#[tokio::test]
async fn scheduled_jobs() {
    let service = service();
    let router = &service.router;
    let (client_id, _) = client(router).await;
    let scheduled = async |fields: &str| {
        let body = format!(r#"{{"client_id":"{client_id}"{fields}}}"#);
        let made = submit(router, None, body).await;
        assert_eq!(made.status, 201, "{fields}: {}", made.text);
        made.json()
    };
    let default = scheduled("").await;
    assert!(default.get("priority").is_none() && default.get("run_at").is_none());
    let urgent = scheduled(r#","priority":9"#).await;
    assert_eq!(urgent["priority"], 9);
    let modest = scheduled(r#","priority":0,"run_at":"2025-12-01T08:00:00""#).await;
    assert_eq!(modest["run_at"], "2025-12-01T08:00:00.000000Z");
    for (job, place) in [(&default, 2), (&urgent, 1), (&modest, 3)] {
        let path = format!("/jobs/{}", text(&job["id"]));
        assert_eq!(get(router, &path).await.json()["queue_position"], place);
    }
    let page = get(router, "/jobs/?status=pending").await.json();
    let mut places: Vec<_> = page["jobs"].as_array().unwrap().iter().collect();
    places.sort_by_key(|job| job["queue_position"].as_u64());
    let ids: Vec<_> = places.iter().map(|job| &job["id"]).collect();
    assert_eq!(ids, [&urgent["id"], &default["id"], &modest["id"]]);

    for (fields, path) in [
        (r#","priority":10"#, "priority"),
        (r#","priority":-1"#, "priority"),
        (r#","priority":5.5"#, "priority"),
        (r#","priority":"9""#, "priority"),
        (r#","run_at":"soon""#, "run_at"),
        (r#","run_at":1764579349"#, "run_at"),
        (r#","run_at":"2025-12-09T00:00:00Z""#, "run_at"),
    ] {
        let body = format!(r#"{{"client_id":"{client_id}"{fields}}}"#);
        submit(router, None, body).await.names_field(path);
    }
    assert_eq!(get(router, "/jobs/").await.json()["total"], 3);
}

#[tokio::test]
async fn idempotency() {
    let router = service().router;
    let (client_id, value_proposition_id) = client(&router).await;
    let body = format!(r#"{{"client_id":"{client_id}"}}"#);
    let first = submit(&router, Some("key"), body.clone()).await;
    assert_eq!(first.header("idempotency-replayed"), None);
    let first = first.json();
    let again = submit(&router, Some("key"), body.clone()).await;
    assert_eq!(again.status, 201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json()["id"], first["id"]);
    let other = submit(&router, Some("other"), body).await.json();
    assert_ne!(other["id"], first["id"]);
    let named =
        format!(r#"{{"client_id":"{client_id}","value_proposition_id":"{value_proposition_id}"}}"#);
    submit(&router, Some("key"), named)
        .await
        .is_problem(422, "idempotency-key-reused");
    for field in [
        "webhook_url",
        "template_indexes",
        "stop_when_unwatched_seconds",
        // It is a text.
        "run_at",
    ] {
        let body = format!(r#"{{"client_id":"{client_id}","{field}":1}}"#);
        submit(&router, None, body).await.names_field(field);
    }
    submit(&router, Some("a b"), "{}".to_owned())
        .await
        .names_field("Idempotency-Key");
}

#[tokio::test]
async fn templates() {
    let service = service();
    let router = &service.router;
    let (client_id, _) = client(router).await;
    let job = submit(router, None, format!(r#"{{"client_id":"{client_id}"}}"#))
        .await
        .json();
    let queue = service.memory.queue();
    let lease = queue
        .claim(
            "test",
            &"test-1".parse().unwrap(),
            std::time::Duration::from_secs(30),
        )
        .await
        .unwrap()
        .unwrap()
        .lease;
    let at = Timestamp::from_micros(0);
    let heading = Heading {
        id: TemplateId::parse("t1").unwrap(),
        job_id: lease.job_id.clone(),
        client_id: client_id.parse().unwrap(),
        index: 1,
        created_at: at,
    };
    let draft = build::draft(Category::RoiFocused, Audience::HealthPlan);
    let template = record::template(heading, &conch_wire::draft::written(draft));
    let catalogue = service.memory.catalogue();
    catalogue.put_template(&template, &lease).await.unwrap();

    let one = get(router, "/templates/t1/").await;
    assert_eq!(one.json()["job_id"], job["id"]);
    for (query, total) in [
        ("", 1),
        ("?category=roi-focused&target_audience=Health%20Plan", 1),
        ("?category=comprehensive", 0),
        ("?job_id=other", 0),
    ] {
        let page = get(router, &format!("/templates/{query}")).await.json();
        assert_eq!(page["total"], total, "{query}");
    }
    let categories = get(router, "/templates/categories/list").await.json();
    assert_eq!(categories.as_array().unwrap().len(), 5);
    assert_eq!(categories[0], "roi-focused");
    let audiences = get(router, "/templates/audiences/list/").await.json();
    assert_eq!(audiences[4], "Medical Management");
}

#[tokio::test]
async fn what_is_refused() {
    let router = service().router;
    for bad in NO_IDS {
        let path = format!("/jobs/{bad}");
        get(&router, &path).await.is_problem(400, "invalid-job-id");
        call(&router, "DELETE", &path)
            .await
            .is_problem(400, "invalid-job-id");
        for path in [
            format!("/clients/{bad}"),
            format!("/clients/{bad}/with-value-props"),
            format!("/templates/{bad}"),
            format!("/jobs?client_id={bad}"),
        ] {
            assert_eq!(get(&router, &path).await.status, 400, "{path}");
        }
        for path in [
            format!("/clients/{bad}/value-propositions/v?is_active=true"),
            format!("/clients/c/value-propositions/{bad}?is_active=true"),
        ] {
            let status = call(&router, "PATCH", &path).await.status;
            // One with slashes in it leads nowhere.
            assert!(
                status == 400 || bad.contains('/') && status == 404,
                "{path}: {status}"
            );
        }
    }
    get(&router, "/jobs/all")
        .await
        .is_problem(400, "invalid-job-id");
    for (path, code) in [
        ("/jobs/unknown", "job-not-found"),
        ("/clients/unknown", "client-not-found"),
        ("/clients/unknown/with-value-props", "client-not-found"),
        ("/clients/unknown/value-propositions", "client-not-found"),
        ("/templates/unknown", "template-not-found"),
        ("/nothing", "not-found"),
        ("/templates/categories/nothing", "not-found"),
    ] {
        get(&router, path).await.is_problem(404, code);
    }
    call(&router, "DELETE", "/jobs/unknown")
        .await
        .is_problem(404, "job-not-found");
    let path = "/clients/c/value-propositions/v?is_active=true";
    call(&router, "PATCH", path)
        .await
        .is_problem(404, "value-proposition-not-found");
    let put = call(&router, "PUT", "/jobs/").await;
    put.is_problem(405, "method-not-allowed");
    assert_eq!(put.header("allow"), Some("POST,GET,HEAD"));
    for (query, name) in [
        ("jobs?page=0", "page"),
        ("clients?page_size=101", "page_size"),
        ("jobs?status=done", "status"),
        ("templates?category=x", "category"),
        ("templates?target_audience=x", "target_audience"),
    ] {
        get(&router, &format!("/{query}")).await.names_field(name);
    }
}

#[tokio::test(start_paused = true)]
async fn bodies() {
    let router = service().router;
    for path in ["/jobs/", "/clients/"] {
        for (what, body) in malformed_bodies() {
            let answer = post(&router, path, body).await;
            assert_eq!(answer.status, 400, "{path} {what}");
            answer.is_problem(400, "malformed-json");
        }
        let over = vec![b' '; 256 * 1024 + 1];
        post(&router, path, over)
            .await
            .is_problem(413, "body-too-large");
        post(&router, path, endless())
            .await
            .is_problem(408, "body-timeout");
        let request = Request::post(path).header("content-type", "text/plain");
        let request = request.body(Body::from("{}")).unwrap();
        send(&router, request)
            .await
            .is_problem(415, "unsupported-media-type");
    }
    post(&router, "/jobs/", "{}").await.names_field("client_id");
    post(&router, "/jobs/", r#"{"client_id":"a b"}"#)
        .await
        .names_field("client_id");
    post(&router, "/clients/", "{}").await.names_field("name");
}

#[tokio::test]
async fn the_token() {
    let settings = triton::Settings {
        token: Some("sesame".to_owned()),
        ..triton::Settings::default()
    };
    assert!(!format!("{settings:?}").contains("sesame"));
    let router = service_with(settings, support::ops()).router;
    for (authorization, status) in [
        (Some("Bearer sesame"), 200),
        (Some("bearer sesame"), 200),
        (Some("Bearer sesamE"), 401),
        (Some("Bearer sesame2"), 401),
        (Some("Bearer "), 401),
        (Some("Basic sesame"), 401),
        (Some("sesame"), 401),
        (None, 401),
    ] {
        for path in ["/health", "/jobs", "/clients/"] {
            let mut request = Request::get(path);
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let answer = send(&router, request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, status, "{authorization:?}");
            if status == 401 {
                answer.is_problem(401, "unauthorized");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            }
        }
    }
    get(&router, "/nothing")
        .await
        .is_problem(401, "unauthorized");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(&router, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn failures_of_the_store() {
    let service = service();
    for (kind, status, code) in [
        (ErrorKind::Unavailable, 503, "store-unavailable"),
        (ErrorKind::OutOfSpace, 503, "store-full"),
        (ErrorKind::Timeout, 504, "store-timeout"),
        (ErrorKind::Internal, 500, "internal"),
    ] {
        let faults = service.memory.faults();
        faults.fail_next("catalogue.clients", 1, kind, When::Before);
        get(&service.router, "/clients")
            .await
            .is_problem(status, code);
    }
    let faults = service.memory.faults();
    faults.fail_next(
        "catalogue.create_client",
        1,
        ErrorKind::QuotaExceeded,
        When::Before,
    );
    let refused = post(&service.router, "/clients", r#"{"name":"a"}"#).await;
    refused.is_problem(429, "too-many-requests");
    assert!(refused.header("retry-after").is_some());

    let health = get(&service.router, "/health").await.json();
    assert_eq!(health["status"], "ok");
    faults.fail_next("event_bus.ping", 1, ErrorKind::Unavailable, When::Before);
    let health = get(&service.router, "/health/").await.json();
    assert_eq!(health["checks"]["bus"]["status"], "unreachable");
    assert_eq!(health["checks"]["store"]["status"], "ok");
    faults.fail_next("job_log.ping", 1, ErrorKind::Unavailable, When::Before);
    let health = get(&service.router, "/health").await.json();
    assert_eq!(health["checks"]["store"]["status"], "unreachable");
    assert_eq!(health["checks"]["bus"]["status"], "ok");
}
