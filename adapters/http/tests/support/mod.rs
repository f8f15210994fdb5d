//! Requests to a router without a socket, and their answers read whole.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use conch_http::ops;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// Checks that it is a problem with this status and code, as RFC 9457 wants it.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{member}: {problem}");
        }
        problem
    }

    /// Checks that it is a 422 that names the field.
    #[track_caller]
    pub(crate) fn names_field(&self, path: &str) {
        let problem = self.is_problem(422, "invalid-field");
        assert_eq!(problem["errors"][0]["path"], path, "{problem}");
    }
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let header = |name| parts.headers.get(name).map(|v| v.to_str().unwrap());
    assert_eq!(header("x-content-type-options"), Some("nosniff"));
    let is_stream = header("content-type") == Some("text/event-stream");
    let cached = if is_stream {
        "no-store, no-transform"
    } else {
        "no-store"
    };
    assert_eq!(header("cache-control"), Some(cached));
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub(crate) async fn call(router: &Router, method: &str, path: &str) -> Answer {
    let method: Method = method.parse().unwrap();
    let request = Request::builder().method(method).uri(path);
    send(router, request.body(Body::empty()).unwrap()).await
}

pub(crate) async fn get(router: &Router, path: &str) -> Answer {
    call(router, "GET", path).await
}

pub(crate) async fn post(router: &Router, path: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post(path).header("content-type", "application/json");
    send(router, request.body(body.into()).unwrap()).await
}

/// A body that never comes to its end.
pub(crate) fn endless() -> Body {
    Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>())
}

/// What is to be refused wherever the path has an id.
pub(crate) const NO_IDS: &[&str] = &[
    "12345678901234567890123456789012345678901234567890123456789012345",
    "../x",
    "..",
    "%2e%2e%2f",
    "%00",
    "a%0d%0aX",
    "*",
    "a.b",
    "a%20b",
    "a:b",
    "%7Bt%7D",
    "%E2%80%AEabc",
    "%ff",
];

/// Bodies that no POST takes, and the problem of each.
pub(crate) fn malformed_bodies() -> Vec<(&'static str, String)> {
    vec![
        ("empty", String::new()),
        ("broken", r#"{"name":"#.to_owned()),
        ("trailing bytes", r#"{"name":"a"} x"#.to_owned()),
        ("depth 10,000", "[".repeat(10_000)),
        (
            "nested field",
            format!(r#"{{"name":"a","x":{}"#, "[".repeat(10_000)),
        ),
        ("duplicate keys", r#"{"name":"a","name":"b"}"#.to_owned()),
        ("a lone surrogate", r#"{"name":"\ud800"}"#.to_owned()),
        ("no object", r#"["name"]"#.to_owned()),
    ]
}

/// A process that is ready, and counts nothing.
pub(crate) fn ops() -> ops::Dependencies {
    ops::Dependencies {
        metrics: Arc::new(|| "conch_test 1\n".to_owned()),
        readiness: Arc::new(|| Ok(())),
    }
}

/// What a service must say of itself on `/livez`, `/readyz` and `/metrics`.
pub(crate) async fn check_ops(build: impl Fn(ops::Dependencies) -> Router) {
    let router = build(ops());
    for path in ["/livez", "/readyz", "/livez/", "/readyz/"] {
        assert_eq!(get(&router, path).await.status, 200, "{path}");
    }
    let metrics = get(&router, "/metrics").await;
    assert_eq!(metrics.text, "conch_test 1\n");
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );

    let wrong = call(&router, "POST", "/livez").await;
    wrong.is_problem(405, "method-not-allowed");

    let draining = build(ops::Dependencies {
        readiness: Arc::new(|| Err("draining".to_owned())),
        ..ops()
    });
    let answer = get(&draining, "/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["detail"], "draining");
    assert_eq!(get(&draining, "/livez").await.status, 200);

    let broken = build(ops::Dependencies {
        metrics: Arc::new(|| panic!("planted")),
        ..ops()
    });
    let problem = get(&broken, "/metrics").await.is_problem(500, "internal");
    assert!(!problem.to_string().contains("planted"));
}
