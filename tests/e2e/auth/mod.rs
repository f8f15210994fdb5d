//! Authentication over real processes: streams end with their tokens, and a guarded process serves its
//! metrics apart. Requests as a tenant, for the other files here and for `limits.rs`.

mod tenants;
mod tickets;

use std::time::{Duration, Instant};

use conch_harness::Conch;
use conch_harness::conch::Plan;
use conch_harness::http::{Answer, client};
use reqwest::Method;
use serde_json::{Value, json};

use crate::tokens::{guarded, token};

pub(crate) async fn ask(
    conch: &Conch,
    token: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    let request = conch.mare().request(method, path).bearer_auth(token);
    Answer::to(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

async fn get(conch: &Conch, token: &str, path: &str) -> Answer {
    ask(conch, token, Method::GET, path, None).await
}

fn text(value: &Value, name: &str) -> String {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {value}"))
        .to_owned()
}

/// A client with a value proposition; its id.
pub(crate) async fn new_client(conch: &Conch, admin: &str, name: &str) -> String {
    let made = ask(
        conch,
        admin,
        Method::POST,
        "/clients",
        Some(&json!({"name": name})),
    )
    .await;
    let id = text(&made.json(201), "id");
    let path = format!("/clients/{id}/value-propositions");
    let body = json!({"content": "Cuts surgery costs by 30 % and brings members back sooner."});
    ask(conch, admin, Method::POST, &path, Some(&body))
        .await
        .json(201);
    id
}

pub(crate) async fn submit(conch: &Conch, token: &str, client: &str) -> String {
    let path = format!("/clients/{client}/generate-templates");
    let job = ask(conch, token, Method::POST, &path, None).await.json(202);
    text(&job, "job_id")
}

/// A stream that was opened with a token, as it comes.
pub(crate) async fn watch_as(url: &str, token: &str) -> reqwest::Response {
    let request = client().get(url).bearer_auth(token);
    let response = request.send().await.expect("it answers");
    assert_eq!(response.status(), 200);
    response
}

/// The text of a stream up to where `end` has come, or to its own end.
pub(crate) async fn read_until(stream: &mut reqwest::Response, end: &str) -> String {
    let mut seen = String::new();
    let read = async {
        while !seen.contains(end) {
            let Some(piece) = stream.chunk().await.expect("it isn't cut") else {
                break;
            };
            seen += &String::from_utf8_lossy(&piece);
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(20), read).await;
    assert!(read.is_ok(), "{end} did not come: {seen}");
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token() {
    let conch = guarded(Plan::all_in_one().pace(60_000)).start().await;
    let admin = token(&json!("*"), 600);
    let client_id = new_client(&conch, &admin, "Fabrikam Health").await;
    let job = submit(&conch, &admin, &client_id).await;
    // Two of the five seconds of leeway are left.
    let short = token(&json!([client_id]), -3);
    let begun = Instant::now();
    let url = conch.mare().subscribe_url(&job);
    let mut one = watch_as(&url, &short).await;
    let mut many = watch_as(&conch.mare().url("/jobs/subscribe"), &short).await;
    for stream in [&mut one, &mut many] {
        let seen = read_until(stream, "never said").await;
        let (_, last) = seen
            .rsplit_once("event: ")
            .unwrap_or_else(|| panic!("{seen}"));
        let data = last
            .strip_prefix("auth_expired\ndata: ")
            .unwrap_or_else(|| panic!("{seen}"));
        let data: Value = serde_json::from_str(data.trim_end()).expect("a line of JSON");
        assert_eq!(data["code"], "expired-token", "{data}");
        assert!(!last.contains("id:"), "it moves no cursor: {seen}");
        let elapsed = begun.elapsed();
        assert!(elapsed > Duration::from_millis(900), "{elapsed:?}");
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    }
    let again = Answer::to(client().get(&url).bearer_auth(&short)).await;
    again.expect_problem(401, "expired-token");
    assert_eq!(
        again.header("www-authenticate"),
        "Bearer error=\"invalid_token\""
    );
    // Whose token is fresh goes on from there.
    let mut fresh = watch_as(&url, &admin).await;
    read_until(&mut fresh, "job:started").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guarded_process_counts_is_served_apart() {
    let ops = conch_harness::port::free();
    let conch = guarded(Plan::all_in_one())
        .env("MARE_OPS_ADDR", format!("127.0.0.1:{ops}"))
        .start()
        .await;
    let apart = |path: &str| client().get(format!("http://127.0.0.1:{ops}{path}"));
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(Answer::to(apart(path)).await.status, 200, "{path}");
    }
    let mare = format!("http://127.0.0.1:{}", conch.mare_port());
    let answer = Answer::to(client().get(format!("{mare}/metrics"))).await;
    answer.expect_problem(404, "not-found");
    let refused = conch.mare().get("/jobs").await;
    refused.expect_problem(401, "unauthorized");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    let counted = Answer::to(apart("/metrics")).await.body;
    assert!(
        counted.contains(r#"conch_auth_refused_total{reason="missing"} 1"#),
        "{counted}"
    );
}
