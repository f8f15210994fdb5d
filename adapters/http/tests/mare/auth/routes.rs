//! Every route, for whoever has no token, the wrong scope, a token of another tenant, the right one.
//! The rows are held against the description of the API: a route without a row fails.

use std::collections::BTreeSet;

use axum::body::Body;
use conch_http::mare::auth;
use serde_json::{Value, json};

use super::mint::{ALL, good};
use super::{ask, by_secret, guarded, text, with};
use crate::edge::{Edge, edge};
use crate::support::{Answer, call, get, send};

/// A method of a path, and what is to come of it.
struct Row {
    method: &'static str,
    /// As it is described.
    path: &'static str,
    /// With the ids of a tenant's own records in it: `{}` stands for the tenant.
    own: &'static str,
    /// The same with ids of what isn't there.
    absent: &'static str,
    body: &'static str,
    needs: Needs,
    /// What the tenant itself is answered.
    status: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    AnyToken,
    Scope(&'static str),
}

const READ: Needs = Needs::Scope("jobs:read");
const WRITE: Needs = Needs::Scope("jobs:write");
const EVENTS: Needs = Needs::Scope("events:read");

/// `method path own absent body needs status`
const ROWS: &[Row] = &[
    row("GET", "/v1/triton/health", "", "", "", Needs::AnyToken, 200),
    row("GET", "/openapi.json", "", "", "", Needs::Nothing, 200),
    row("GET", "/livez", "", "", "", Needs::Nothing, 200),
    row("GET", "/readyz", "", "", "", Needs::Nothing, 200),
    row("GET", "/metrics", "", "", "", Needs::Nothing, 404),
    row("GET", "/v1/triton/clients", "", "", "", READ, 200),
    row(
        "POST",
        "/v1/triton/clients",
        "",
        "",
        r#"{"name":"New"}"#,
        WRITE,
        403,
    ),
    row(
        "GET",
        "/v1/triton/clients/{client_id}",
        "/v1/triton/clients/{}",
        "/v1/triton/clients/ghost",
        "",
        READ,
        200,
    ),
    row(
        "GET",
        "/v1/triton/clients/{client_id}/value-propositions",
        "/v1/triton/clients/{}/value-propositions",
        "/v1/triton/clients/ghost/value-propositions",
        "",
        READ,
        200,
    ),
    row(
        "POST",
        "/v1/triton/clients/{client_id}/value-propositions",
        "/v1/triton/clients/{}/value-propositions",
        "/v1/triton/clients/ghost/value-propositions",
        r#"{"content":"we save you much"}"#,
        WRITE,
        201,
    ),
    row(
        "POST",
        "/v1/triton/clients/{client_id}/generate-templates",
        "/v1/triton/clients/{}/generate-templates",
        "/v1/triton/clients/ghost/generate-templates",
        "{}",
        WRITE,
        202,
    ),
    row(
        "GET",
        "/v1/triton/jobs",
        "/v1/triton/jobs?client_id={}",
        "/v1/triton/jobs?client_id=ghost",
        "",
        READ,
        200,
    ),
    row(
        "GET",
        "/v1/triton/jobs/{job_id}",
        "/v1/triton/jobs/{}-job",
        "/v1/triton/jobs/ghost-job",
        "",
        READ,
        200,
    ),
    row(
        "DELETE",
        "/v1/triton/jobs/{job_id}",
        "/v1/triton/jobs/{}-job",
        "/v1/triton/jobs/ghost-job",
        "",
        WRITE,
        409,
    ),
    row(
        "GET",
        "/v1/triton/jobs/{job_id}/events",
        "/v1/triton/jobs/{}-job/events",
        "/v1/triton/jobs/ghost-job/events",
        "",
        EVENTS,
        200,
    ),
    row(
        "GET",
        "/v1/triton/jobs/{job_id}/subscribe",
        "/v1/triton/jobs/{}-job/subscribe",
        "/v1/triton/jobs/ghost-job/subscribe",
        "",
        EVENTS,
        200,
    ),
    row(
        "GET",
        "/v1/triton/jobs/subscribe",
        "/v1/triton/jobs/subscribe?job_id={}-job",
        "/v1/triton/jobs/subscribe?job_id=ghost-job",
        "",
        EVENTS,
        200,
    ),
    row(
        "POST",
        "/v1/triton/jobs/{job_id}/ticket",
        "/v1/triton/jobs/{}-job/ticket",
        "/v1/triton/jobs/ghost-job/ticket",
        "",
        EVENTS,
        201,
    ),
    row(
        "POST",
        "/v1/triton/jobs/subscribe/ticket",
        "",
        "",
        "",
        EVENTS,
        201,
    ),
    row(
        "GET",
        "/v1/triton/templates",
        "/v1/triton/templates?client_id={}",
        "/v1/triton/templates?client_id=ghost",
        "",
        READ,
        200,
    ),
    row(
        "GET",
        "/v1/triton/templates/{template_id}",
        "/v1/triton/templates/{}-template",
        "/v1/triton/templates/ghost-template",
        "",
        READ,
        200,
    ),
    row(
        "POST",
        "/v1/triton/auth/session",
        "",
        "",
        "",
        Needs::AnyToken,
        404,
    ),
    row(
        "DELETE",
        "/v1/triton/auth/session",
        "",
        "",
        "",
        Needs::Nothing,
        404,
    ),
];

const fn row(
    method: &'static str,
    path: &'static str,
    own: &'static str,
    absent: &'static str,
    body: &'static str,
    needs: Needs,
    status: u16,
) -> Row {
    Row {
        method,
        path,
        own,
        absent,
        body,
        needs,
        status,
    }
}

impl Row {
    fn of(&self, tenant: &str) -> String {
        let path = if self.own.is_empty() {
            self.path
        } else {
            self.own
        };
        path.replace("{}", tenant)
    }
}

async fn send_to(edge: &Edge, row: &Row, path: &str, token: Option<&str>) -> Answer {
    let mut request = with("", row.method, path);
    let headers = request.headers_mut().unwrap();
    headers.remove("authorization");
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        headers.insert("authorization", value);
    }
    headers.insert("content-type", "application/json".parse().unwrap());
    send(&edge.router, request.body(Body::from(row.body)).unwrap()).await
}

#[tokio::test]
async fn every_route_has_a_row() {
    // Each describes what it serves itself: an open one has no sessions, a guarded one shows no metrics.
    let cookie = auth::Settings {
        cookie: Some("conch".parse().unwrap()),
        ..by_secret()
    };
    let mut described = BTreeSet::new();
    for edge in [edge(), guarded(cookie).await] {
        let document = get(&edge.router, "/openapi.json").await.json();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                if method != "parameters" {
                    described.insert((method.to_uppercase(), path.clone()));
                }
            }
        }
    }
    let rows: BTreeSet<_> = ROWS
        .iter()
        .map(|row| (row.method.to_owned(), row.path.to_owned()))
        .collect();
    assert_eq!(rows, described);
    assert_eq!(rows.len(), ROWS.len());
}

#[tokio::test]
async fn who_may_what() {
    let edge = guarded(by_secret()).await;
    for (i, row) in ROWS.iter().enumerate() {
        let what = format!("{} {}", row.method, row.path);
        for path in [row.of("acme"), with_slash(&row.of("acme"))] {
            // No token, and one that is none.
            for (token, code) in [(None, "unauthorized"), (Some("x"), "invalid-token")] {
                let answer = send_to(&edge, row, &path, token).await;
                if row.needs == Needs::Nothing {
                    assert_eq!(answer.status, row.status, "{what}");
                } else {
                    answer.is_problem(401, code);
                    assert!(
                        answer
                            .header("www-authenticate")
                            .unwrap()
                            .starts_with("Bearer"),
                        "{what}"
                    );
                }
            }
            // Every scope but the one.
            if let Needs::Scope(scope) = row.needs {
                let others = ALL.replace(scope, "jobs:all");
                let token = good(&json!("*"), &others);
                let answer = send_to(&edge, row, &path, Some(&token)).await;
                let problem = answer.is_problem(403, "insufficient-scope");
                assert!(
                    text(&problem, "detail").contains(scope),
                    "{what}: {problem}"
                );
                let challenge = answer.header("www-authenticate").unwrap();
                assert!(
                    challenge.contains(&format!("scope=\"{scope}\"")),
                    "{challenge}"
                );
            }
            // That one alone, for its own records.
            let scope = match row.needs {
                Needs::Scope(scope) => scope,
                _ => "",
            };
            let token = good(&json!(["acme"]), scope);
            let answer = send_to(&edge, row, &path, Some(&token)).await;
            assert_eq!(answer.status, row.status, "{what}: {answer:?}");
            // Who sees all may as well.
            if row.status != 403 {
                let token = good(&json!("*"), scope);
                let answer = send_to(&edge, row, &path, Some(&token)).await;
                assert_eq!(answer.status, row.status, "{what}: {answer:?}");
            }
        }
        // Another tenant's is as what isn't there, to the byte.
        let token = good(&json!(["acme"]), ALL);
        let before = edge.triton.total_calls();
        let foreign = send_to(&edge, row, &row.of("rival"), Some(&token)).await;
        let asked = edge.triton.total_calls() - before;
        if row.absent.is_empty() {
            continue;
        }
        let before = edge.triton.total_calls();
        // Each time another one: what was just asked for may still be known not to be there.
        let ghost = format!("gh{i:03}");
        let path = row.absent.replace("ghost", &ghost);
        let absent = send_to(&edge, row, &path, Some(&token)).await;
        let asked_for_absent = edge.triton.total_calls() - before;
        assert_eq!(asked, asked_for_absent, "{what}: questions to Triton");
        let plain = |answer: &Answer| {
            let mut text = answer.text.replace("rival", &ghost);
            if let Some(at) = text.find(r#""ticket":"#) {
                text.truncate(at);
            }
            (answer.status, answer.headers.clone(), text)
        };
        assert_eq!(plain(&foreign), plain(&absent), "{what}");
        let expected = match row.path {
            "/v1/triton/jobs" | "/v1/triton/templates" => 200,
            "/v1/triton/jobs/{job_id}/ticket" => 201,
            _ => 404,
        };
        assert_eq!(foreign.status, expected, "{what}");
    }
}

fn with_slash(path: &str) -> String {
    match path.split_once('?') {
        Some((path, query)) => format!("{path}/?{query}"),
        None => format!("{path}/"),
    }
}

#[tokio::test]
async fn a_browser_may_ask_first_and_read_the_refusal() {
    let edge = guarded(by_secret()).await;
    let origin = "http://localhost:3000";
    for path in ["/v1/triton/jobs", "/v1/triton/jobs/acme-job/subscribe"] {
        let ask = |method: &str| {
            axum::http::Request::builder()
                .method(method)
                .uri(path)
                .header("origin", origin)
        };
        let preflight = ask("OPTIONS")
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization");
        let answer = send(&edge.router, preflight.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 200, "no browser sends a token with it");
        let refused = send(&edge.router, ask("GET").body(Body::empty()).unwrap()).await;
        refused.is_problem(401, "unauthorized");
        assert_eq!(refused.header("access-control-allow-origin"), Some(origin));
        // A method that there isn't tells nothing, and needs nothing.
        let answer = send(&edge.router, ask("PATCH").body(Body::empty()).unwrap()).await;
        answer.is_problem(405, "method-not-allowed");
    }
    get(&edge.router, "/v1/triton/nothing")
        .await
        .is_problem(404, "not-found");
    // Whatever the path holds, it is asked for the token first.
    get(&edge.router, "/v1/triton/jobs/a.b")
        .await
        .is_problem(401, "unauthorized");
}

#[tokio::test]
async fn lists_show_the_caller_s_own() {
    let edge = guarded(by_secret()).await;
    let ids = async |clients: Value, path: &str, name: &str| {
        let answer = ask(&edge, &good(&clients, ALL), "GET", path).await.json();
        let ids = answer[name]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| text(r, "id"));
        let mut ids: Vec<_> = ids.collect();
        ids.sort();
        assert_eq!(answer["total"], ids.len(), "{answer}");
        ids.join(" ")
    };
    for (clients, jobs, templates, seen) in [
        (json!(["acme"]), "acme-job", "acme-template", "acme"),
        (json!(["rival"]), "rival-job", "rival-template", "rival"),
        (
            json!(["acme", "rival"]),
            "acme-job rival-job",
            "acme-template rival-template",
            "acme rival",
        ),
        (
            json!("*"),
            "acme-job rival-job",
            "acme-template rival-template",
            "acme rival",
        ),
        (json!([]), "", "", ""),
        (json!(["ghost"]), "", "", ""),
    ] {
        assert_eq!(ids(clients.clone(), "/v1/triton/jobs", "jobs").await, jobs);
        assert_eq!(
            ids(clients.clone(), "/v1/triton/templates", "templates").await,
            templates
        );
        assert_eq!(ids(clients, "/v1/triton/clients", "clients").await, seen);
    }
    let both = good(&json!(["acme", "rival"]), ALL);
    let deep = "/v1/triton/jobs?page=1001&page_size=1";
    ask(&edge, &both, "GET", deep).await.names_field("page");
    let deep = "/v1/triton/jobs?page=1001&page_size=1&client_id=acme";
    assert_eq!(ask(&edge, &both, "GET", deep).await.status, 200);
}

#[tokio::test]
async fn only_who_sees_all_clients_creates_one() {
    let edge = guarded(by_secret()).await;
    let create = async |clients: Value| {
        let request = with(&good(&clients, "jobs:write"), "POST", "/v1/triton/clients")
            .header("content-type", "application/json");
        let request = request.body(Body::from(r#"{"name":"New"}"#)).unwrap();
        send(&edge.router, request).await
    };
    create(json!(["acme"])).await.is_problem(403, "forbidden");
    create(json!([])).await.is_problem(403, "forbidden");
    assert_eq!(create(json!("*")).await.status, 201);
    assert_eq!(edge.triton.calls("create_client"), 1);
}

#[tokio::test]
async fn idempotency_keys_of_callers_are_apart() {
    let edge = guarded(by_secret()).await;
    for subject in ["one", "other", "one"] {
        let mut claims = super::mint::claims(&json!(["acme"]), ALL);
        claims["sub"] = subject.into();
        let key = super::mint::Key::Hs256(super::mint::SECRET.as_bytes());
        let token = super::mint::token(key, &json!({"alg": "HS256"}), &claims);
        let path = "/v1/triton/clients/acme/generate-templates";
        let request = with(&token, "POST", path).header("idempotency-key", "k".repeat(255));
        let answer = send(&edge.router, request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 202);
    }
    let keys: Vec<_> = edge
        .triton
        .submitted()
        .into_iter()
        .map(|new| new.idempotency_key)
        .collect();
    assert_eq!(keys[0], keys[2]);
    assert_ne!(keys[0], keys[1]);
    assert!(
        keys.iter()
            .flatten()
            .all(|key| key.len() <= 255 && key.is_ascii())
    );
}

#[tokio::test]
async fn without_authentication_everybody_may_do_all() {
    let edge = edge();
    for path in ["/v1/triton/clients", "/v1/triton/health", "/metrics"] {
        assert_eq!(get(&edge.router, path).await.status, 200);
        // A token that came along is ghost's business.
        assert_eq!(ask(&edge, "nonsense", "GET", path).await.status, 200);
    }
    // Pages that ask for tickets work all the same.
    let ticket = call(&edge.router, "POST", "/v1/triton/jobs/subscribe/ticket").await;
    assert_eq!(ticket.status, 201);
    let ticket = text(&ticket.json(), "ticket");
    let path = format!("/v1/triton/jobs/subscribe?ticket={ticket}");
    assert_eq!(get(&edge.router, &path).await.status, 200);
    call(&edge.router, "POST", "/v1/triton/auth/session")
        .await
        .is_problem(404, "not-found");
}
