//! The cookie: set with a bearer, taken for reading, from our own pages only.

use axum::body::Body;
use axum::http::Request;
use conch_http::mare::{self, auth};
use serde_json::json;

use super::mint::{ALL, good};
use super::{by_secret, guarded, guarded_as, with};
use crate::edge::Edge;
use crate::support::{Answer, send};

const SESSION: &str = "/v1/triton/auth/session";
const JOBS: &str = "/v1/triton/jobs";

fn named(name: &str) -> auth::Settings {
    auth::Settings {
        cookie: Some(name.parse().unwrap()),
        ..by_secret()
    }
}

async fn request(edge: &Edge, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(&edge.router, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_session_sets_a_cookie_and_ends_it() {
    let edge = guarded(named("conch")).await;
    let token = good(&json!(["acme"]), ALL);
    for (host, origin, secure) in [
        ("api.example.com", None, true),
        (
            "api.example.com:8443",
            Some("https://app.example.com"),
            true,
        ),
        ("localhost.example.com", None, true),
        ("localhost:16000", None, false),
        ("127.0.0.1:16000", Some("http://localhost:3000"), false),
        ("[::1]:16000", None, false),
        // A proxy that speaks TLS and passes its own name for ours.
        ("127.0.0.1:16000", Some("https://app.example.com"), true),
    ] {
        let mut builder = with(&token, "POST", SESSION).header("host", host);
        if let Some(origin) = origin {
            builder = builder.header("origin", origin);
        }
        let answer = send(&edge.router, builder.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap();
        // It ends with the token, its leeway included: the clock stands 0.123 s after the second.
        let expected =
            format!("conch={token}; Path=/v1/triton; Max-Age=604; HttpOnly; SameSite=Strict");
        let expected = expected + if secure { "; Secure" } else { "" };
        assert_eq!(cookie, expected, "{host} {origin:?}");
    }
    let ended = request(&edge, "DELETE", SESSION, &[("host", "x")]).await;
    assert_eq!(ended.status, 204);
    assert_eq!(
        ended.header("set-cookie"),
        Some("conch=; Path=/v1/triton; Max-Age=0; HttpOnly; SameSite=Strict; Secure")
    );
    let whole_host = guarded(named("__Host-conch")).await;
    let answer = super::ask(&whole_host, &token, "POST", SESSION).await;
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.contains("; Path=/; "), "{cookie}");
    // One that a browser would drop without a word.
    let long = {
        let mut claims = super::mint::claims(&json!(["acme"]), ALL);
        claims["filler"] = "x".repeat(3000).into();
        let key = super::mint::Key::Hs256(super::mint::SECRET.as_bytes());
        super::mint::token(key, &json!({"alg": "HS256"}), &claims)
    };
    super::ask(&edge, &long, "POST", SESSION)
        .await
        .names_field("Authorization");
}

#[tokio::test]
async fn the_cookie_is_for_reading() {
    let edge = guarded(named("conch")).await;
    let token = good(&json!(["acme"]), ALL);
    let cookie = format!("theme=dark; conch={token}; x=y");
    let cookie = ("cookie", cookie.as_str());
    for path in [
        JOBS,
        "/v1/triton/jobs/acme-job",
        "/v1/triton/jobs/acme-job/subscribe",
        "/v1/triton/jobs/subscribe",
    ] {
        for method in ["GET", "HEAD"] {
            let answer = request(&edge, method, path, &[cookie]).await;
            assert_eq!(answer.status, 200, "{method} {path}");
        }
    }
    let foreign = "/v1/triton/jobs/rival-job/subscribe";
    let answer = request(&edge, "GET", foreign, &[cookie]).await;
    answer.is_problem(404, "job-not-found");
    // What changes something needs the header; so does another cookie.
    for (method, path) in [
        ("POST", "/v1/triton/clients"),
        ("POST", "/v1/triton/clients/acme/generate-templates"),
        ("DELETE", "/v1/triton/jobs/acme-job"),
        ("POST", "/v1/triton/jobs/acme-job/ticket"),
        ("POST", "/v1/triton/jobs/subscribe/ticket"),
        ("POST", SESSION),
    ] {
        let answer = request(&edge, method, path, &[cookie]).await;
        answer.is_problem(401, "unauthorized");
    }
    // Whoever is logged out elsewhere, or whose cookie is none of ours.
    for (value, code) in [
        ("conch=nonsense".to_owned(), "invalid-token"),
        ("conch=".to_owned(), "invalid-token"),
        (format!("Conch={token}"), "unauthorized"),
        (format!("conch2={token}"), "unauthorized"),
        ("x".to_owned(), "unauthorized"),
        // Somebody put one of their own beside it.
        (format!("conch={token}; conch={token}"), "invalid-token"),
    ] {
        let answer = request(&edge, "GET", JOBS, &[("cookie", &value)]).await;
        answer.is_problem(401, code);
    }
    // The header counts first.
    let headers = [cookie, ("authorization", "Bearer nonsense")];
    request(&edge, "GET", JOBS, &headers)
        .await
        .is_problem(401, "invalid-token");
    // Unless it is switched on there is none.
    let edge = guarded(by_secret()).await;
    request(&edge, "GET", JOBS, &[cookie])
        .await
        .is_problem(401, "unauthorized");
    super::ask(&edge, &token, "POST", SESSION)
        .await
        .is_problem(404, "not-found");
}

#[tokio::test]
async fn a_page_from_elsewhere_cannot_use_the_cookie() {
    let token = good(&json!(["acme"]), ALL);
    let cookie = format!("conch={token}");
    let jwt = || Some(named("conch").build().unwrap());
    for (origins, origin, taken) in [
        ("https://app.example.com", "https://app.example.com", true),
        ("https://app.example.com", "https://evil.example", false),
        ("https://app.example.com", "http://localhost:3000", false),
        ("https://app.example.com", "null", false),
        ("*", "https://app.example.com", false),
    ] {
        let edge = guarded_as(mare::Settings {
            auth: jwt(),
            cors_origins: origins.parse().unwrap(),
            ..mare::Settings::default()
        })
        .await;
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        let answer = request(&edge, "GET", JOBS, &headers).await;
        let allowed = answer.header("access-control-allow-origin");
        if taken {
            assert_eq!(answer.status, 200);
            assert_eq!(allowed, Some(origin));
            assert_eq!(
                answer.header("access-control-allow-credentials"),
                Some("true")
            );
        } else {
            answer.is_problem(401, "unauthorized");
            assert_ne!(allowed, Some(origin));
            assert_eq!(
                answer.header("access-control-allow-credentials").is_some(),
                origins != "*"
            );
        }
        // With the header it is no matter whose page it is: no browser adds that by itself.
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("origin", origin)];
        assert_eq!(request(&edge, "GET", JOBS, &headers).await.status, 200);
    }
    let edge = guarded_as(mare::Settings {
        auth: jwt(),
        ..mare::Settings::default()
    })
    .await;
    for (origin, status) in [
        ("http://localhost:5173", 200),
        ("https://evil.example", 401),
    ] {
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        assert_eq!(request(&edge, "GET", JOBS, &headers).await.status, status);
    }
}
