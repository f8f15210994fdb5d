//! What the edge refuses, and how.

use axum::body::Body;
use axum::http::Request;
use conch_doubles::When;
use conch_http::mare;
use conch_ports::ErrorKind;

use crate::edge::{edge, edge_with};
use crate::support::{self, Answer, NO_IDS, call, endless, get, malformed_bodies, post, send};

#[tokio::test]
async fn ids_that_are_none() {
    let edge = edge();
    let router = &edge.router;
    for bad in NO_IDS.iter().chain(&["all"]) {
        for rest in ["", "/", "/events", "/subscribe", "/subscribe/"] {
            let path = format!("/v1/triton/jobs/{bad}{rest}");
            get(router, &path).await.is_problem(400, "invalid-job-id");
        }
        let path = format!("/v1/triton/jobs/{bad}");
        call(router, "DELETE", &path)
            .await
            .is_problem(400, "invalid-job-id");
    }
    for bad in NO_IDS {
        for rest in ["", "/value-propositions"] {
            let path = format!("/v1/triton/clients/{bad}{rest}");
            assert_eq!(get(router, &path).await.status, 400, "{path}");
        }
        let path = format!("/v1/triton/clients/{bad}/generate-templates");
        assert_eq!(post(router, &path, "").await.status, 400, "{path}");
        let path = format!("/v1/triton/templates/{bad}");
        assert_eq!(get(router, &path).await.status, 400, "{path}");
        // In a query a star and a colon stand for themselves just as well.
        let path = format!("/v1/triton/jobs/subscribe?job_id=good&job_id={bad}");
        get(router, &path).await.is_problem(400, "invalid-job-id");
        for list in ["jobs", "templates", "jobs/subscribe"] {
            let path = format!("/v1/triton/{list}?client_id={bad}");
            assert_eq!(get(router, &path).await.status, 400, "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there() {
    let edge = edge();
    let router = &edge.router;
    for (path, code) in [
        ("/v1/triton/jobs/unknown", "job-not-found"),
        ("/v1/triton/jobs/unknown/events", "job-not-found"),
        ("/v1/triton/jobs/unknown/subscribe", "job-not-found"),
        ("/v1/triton/jobs/subscribe?job_id=unknown", "job-not-found"),
        ("/v1/triton/clients/unknown", "client-not-found"),
        (
            "/v1/triton/clients/unknown/value-propositions",
            "client-not-found",
        ),
        ("/v1/triton/templates/unknown", "template-not-found"),
        ("/", "not-found"),
        ("/v1/triton", "not-found"),
        ("/v1/triton/jobs/known/nothing", "not-found"),
        ("/v1/triton/jobs/subscribe/nothing", "not-found"),
    ] {
        let answer = get(router, path).await;
        assert_eq!(answer.status, 404, "{path}");
        answer.is_problem(404, code);
    }
    call(router, "DELETE", "/v1/triton/jobs/unknown")
        .await
        .is_problem(404, "job-not-found");
    post(
        router,
        "/v1/triton/clients/unknown/value-propositions",
        r#"{"content":"long enough for one"}"#,
    )
    .await
    .is_problem(404, "client-not-found");
    let path = "/v1/triton/clients/unknown/generate-templates";
    post(router, path, "")
        .await
        .is_problem(404, "client-not-found");
}

#[tokio::test]
async fn query_parameters() {
    let edge = edge();
    let router = &edge.router;
    for (path, name) in [
        ("clients?page=0", "page"),
        ("clients?page=-1", "page"),
        ("jobs?page=x", "page"),
        ("jobs?page_size=0", "page_size"),
        ("templates?page_size=101", "page_size"),
        ("templates?page_size=99999999999999999999", "page_size"),
        ("jobs?status=done", "status"),
        ("jobs?updated_since=yesterday", "updated_since"),
        // What is empty may be a variable that a script left unset.
        ("jobs?client_id=", "client_id"),
        ("templates?job_id=", "job_id"),
        ("templates?job_id=a&client_id", "client_id"),
        ("jobs/subscribe?job_id=", "job_id"),
        ("jobs/subscribe?job_id=a&job_id=", "job_id"),
        ("jobs/subscribe?client_id=&job_id=a", "client_id"),
        ("templates?category=other", "category"),
        ("templates?target_audience=health%20plan", "target_audience"),
        ("jobs/some/events?after=-1", "after"),
        ("jobs/some/events?after=18446744073709551616", "after"),
    ] {
        get(router, &format!("/v1/triton/{path}"))
            .await
            .names_field(name);
    }
    let page = get(
        router,
        "/v1/triton/clients?page=2&page_size=7&surplus=%ff&page&industry=",
    )
    .await;
    assert_eq!(
        page.text,
        r#"{"total":1,"page":2,"page_size":7,"clients":[]}"#
    );
    let many = "job_id=a&".repeat(1001);
    get(router, &format!("/v1/triton/jobs/subscribe?{many}"))
        .await
        .names_field("job_id");
}

#[tokio::test]
async fn a_compressed_body_is_refused_as_such() {
    let edge = edge();
    for (codings, status) in [
        (&["gzip"][..], 415),
        (&["br"], 415),
        (&["x"], 415),
        (&["identity, gzip"], 415),
        (&["identity", "deflate"], 415),
        (&["identity"], 201),
        (&["Identity"], 201),
    ] {
        let mut request =
            Request::post("/v1/triton/clients").header("content-type", "application/json");
        for coding in codings {
            request = request.header("content-encoding", *coding);
        }
        let request = request.body(Body::from(r#"{"name":"Acme"}"#)).unwrap();
        let answer = send(&edge.router, request).await;
        assert_eq!(answer.status, status, "{codings:?}: {}", answer.text);
        if status == 415 {
            answer.is_problem(415, "unsupported-media-type");
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
    }
}

#[tokio::test]
async fn what_a_submission_asks_for_and_cannot_have_is_refused() {
    let edge = edge();
    let path = "/v1/triton/clients/acme/generate-templates";
    for (field, value) in [
        ("webhook_url", r#""https://a.example""#),
        ("priority", "10"),
        ("run_at", r#""tomorrow""#),
        ("template_indexes", "[1]"),
        ("stop_when_unwatched_seconds", "60"),
    ] {
        let body = format!(r#"{{"{field}":{value}}}"#);
        post(&edge.router, path, body).await.names_field(field);
        let body = format!(r#"{{"{field}":null,"unknown":1}}"#);
        assert_eq!(post(&edge.router, path, body).await.status, 202, "{field}");
    }
}

#[tokio::test]
async fn bodies() {
    let edge = edge();
    let router = &edge.router;
    let clients = "/v1/triton/clients";
    for (what, body) in malformed_bodies() {
        let answer = post(router, clients, body).await;
        assert_eq!(answer.status, 400, "{what}");
        answer.is_problem(400, "malformed-json");
    }
    for (path, body, field) in [
        (clients, "{}", "name"),
        (clients, r#"{"name":7}"#, "name"),
        (clients, r#"{"name":"  "}"#, "name"),
        (clients, r#"{"name":"a","meta_data":[]}"#, "meta_data"),
        (
            "/v1/triton/clients/acme/value-propositions",
            r#"{"content":"short"}"#,
            "content",
        ),
        (
            "/v1/triton/clients/acme/generate-templates",
            r#"{"value_proposition_id":"a b"}"#,
            "value_proposition_id",
        ),
    ] {
        post(router, path, body).await.names_field(field);
    }
    for content_type in [
        Some("text/plain"),
        Some("application/jsonp"),
        Some("json"),
        None,
    ] {
        let mut request = Request::post(clients);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let request = request.body(Body::from(r#"{"name":"a"}"#)).unwrap();
        send(router, request)
            .await
            .is_problem(415, "unsupported-media-type");
    }
    for content_type in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/x+json",
    ] {
        let request = Request::post(clients).header("content-type", content_type);
        let request = request.body(Body::from(r#"{"name":"a"}"#)).unwrap();
        assert_eq!(send(router, request).await.status, 201, "{content_type}");
    }
    let over = vec![b' '; 256 * 1024 + 1];
    post(router, clients, over.clone())
        .await
        .is_problem(413, "body-too-large");
    let chunks = over
        .chunks(9999)
        .map(|c| Ok::<_, std::io::Error>(c.to_vec()));
    let chunked = Body::from_stream(futures::stream::iter(chunks.collect::<Vec<_>>()));
    post(router, clients, chunked)
        .await
        .is_problem(413, "body-too-large");
    let fits = format!(r#"{{"name":"a"{}}}"#, " ".repeat(256 * 1024 - 12));
    assert_eq!(post(router, clients, fits).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips() {
    let edge = edge();
    let router = &edge.router;
    let since = tokio::time::Instant::now();
    post(router, "/v1/triton/clients", endless())
        .await
        .is_problem(408, "body-timeout");
    assert_eq!(since.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn failures_of_triton_and_of_the_store() {
    let edge = edge();
    for (kind, status, code) in [
        (ErrorKind::Unavailable, 502, "upstream-unavailable"),
        (ErrorKind::BadResponse, 502, "upstream-bad-response"),
        (ErrorKind::Timeout, 504, "upstream-timeout"),
        (ErrorKind::Internal, 500, "internal"),
    ] {
        edge.triton.fail(kind);
        for path in ["clients", "clients/acme", "templates", "jobs", "jobs/x"] {
            let path = format!("/v1/triton/{path}");
            get(&edge.router, &path).await.is_problem(status, code);
        }
        call(&edge.router, "DELETE", "/v1/triton/jobs/x")
            .await
            .is_problem(status, code);
    }
    edge.triton.heal();
    edge.memory
        .faults()
        .fail_next("job_log.read", 1, ErrorKind::Unavailable, When::Before);
    get(&edge.router, "/v1/triton/jobs/x/events")
        .await
        .is_problem(503, "store-unavailable");
}

#[tokio::test]
async fn cross_origin() {
    async fn preflight(settings: mare::Settings, origin: &str) -> Answer {
        let request = Request::builder()
            .method("OPTIONS")
            .uri("/v1/triton/jobs/x/subscribe")
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "last-event-id");
        let router = edge_with(settings, support::ops()).router;
        send(&router, request.body(Body::empty()).unwrap()).await
    }
    let default = mare::Settings::default;
    let allowed = preflight(default(), "http://localhost:3000").await;
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some("http://localhost:3000")
    );
    let headers = allowed.header("access-control-allow-headers").unwrap();
    for name in [
        "last-event-id",
        "authorization",
        "idempotency-key",
        "content-type",
    ] {
        assert!(headers.contains(name), "{headers}");
    }
    assert!(allowed.header("vary").unwrap().contains("origin"));
    let refused = preflight(default(), "https://evil.example").await;
    assert_eq!(refused.header("access-control-allow-origin"), None);

    let any = mare::Settings {
        cors_origins: "*".parse().unwrap(),
        ..default()
    };
    let answer = preflight(any, "https://evil.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);

    let edge = edge();
    let router = &edge.router;
    let request = Request::get("/v1/triton/jobs/unknown").header("origin", "http://[::1]:8080");
    let problem = send(router, request.body(Body::empty()).unwrap()).await;
    problem.is_problem(404, "job-not-found");
    assert_eq!(
        problem.header("access-control-allow-origin"),
        Some("http://[::1]:8080")
    );
}
