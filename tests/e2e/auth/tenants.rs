//! Tenants over real processes: whatever a tenant requests of another's is answered like what doesn't
//! exist, to the byte.

use std::collections::BTreeSet;

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::http::{Answer, client};
use conch_harness::raw::{exchange, status};
use conch_harness::{Conch, Stream};
use serde_json::{Value, json};

use super::{get, new_client, read_until, submit, text, watch_as};
use crate::tokens::{guarded, token};

async fn ended(conch: &Conch, token: &str, job: &str) -> Value {
    eventually("the job has ended", async || {
        let job = get(conch, token, &format!("/jobs/{job}")).await.json(200);
        (job["status"] == "completed").then_some(job)
    })
    .await
}

/// Everything that can be asked: method and path as they are described, the path with `<client>`,
/// `<job>` and `<template>` for ids, and a body.
const WALK: &[(&str, &str, &str, &str)] = &[
    ("GET", "/v1/triton/health", "", ""),
    ("GET", "/openapi.json", "", ""),
    ("GET", "/livez", "", ""),
    ("GET", "/readyz", "", ""),
    ("GET", "/metrics", "", ""),
    ("GET", "/v1/triton/clients", "", ""),
    (
        "GET",
        "/v1/triton/clients",
        "/v1/triton/clients?industry=<client>",
        "",
    ),
    ("POST", "/v1/triton/clients", "", r#"{"name":"Mine"}"#),
    (
        "GET",
        "/v1/triton/clients/{client_id}",
        "/v1/triton/clients/<client>",
        "",
    ),
    (
        "GET",
        "/v1/triton/clients/{client_id}/value-propositions",
        "/v1/triton/clients/<client>/value-propositions",
        "",
    ),
    (
        "POST",
        "/v1/triton/clients/{client_id}/value-propositions",
        "/v1/triton/clients/<client>/value-propositions",
        r#"{"content":"we save you much"}"#,
    ),
    (
        "POST",
        "/v1/triton/clients/{client_id}/generate-templates",
        "/v1/triton/clients/<client>/generate-templates",
        "{}",
    ),
    (
        "GET",
        "/v1/triton/jobs",
        "/v1/triton/jobs?client_id=<client>",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs",
        "/v1/triton/jobs?client_id=<client>&status=completed",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs/{job_id}",
        "/v1/triton/jobs/<job>",
        "",
    ),
    (
        "DELETE",
        "/v1/triton/jobs/{job_id}",
        "/v1/triton/jobs/<job>",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs/{job_id}/events",
        "/v1/triton/jobs/<job>/events",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs/{job_id}/events",
        "/v1/triton/jobs/<job>/events?after=3",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs/{job_id}/subscribe",
        "/v1/triton/jobs/<job>/subscribe",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs/{job_id}/subscribe",
        "/v1/triton/jobs/<job>/subscribe?after=nonsense",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs/{job_id}/subscribe",
        "/v1/triton/jobs/<job>/subscribe?after=0123abcd-1",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs/{job_id}/subscribe",
        "/v1/triton/jobs/<job>/subscribe?after=<cursor>",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs/{job_id}/subscribe",
        "/v1/triton/jobs/<job>/subscribe?after=lost-0",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs/subscribe",
        "/v1/triton/jobs/subscribe?job_id=<job>",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs/subscribe",
        "/v1/triton/jobs/subscribe?job_id=<job>&client_id=<client>",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs/subscribe",
        "/v1/triton/jobs/subscribe?job_id=<job>&after=m-1",
        "",
    ),
    (
        "GET",
        "/v1/triton/jobs/subscribe",
        "/v1/triton/jobs/subscribe?job_id=<job>&after=m-253402300799999",
        "",
    ),
    (
        "POST",
        "/v1/triton/jobs/{job_id}/ticket",
        "/v1/triton/jobs/<job>/ticket",
        "",
    ),
    ("POST", "/v1/triton/jobs/subscribe/ticket", "", ""),
    (
        "GET",
        "/v1/triton/templates",
        "/v1/triton/templates?client_id=<client>",
        "",
    ),
    (
        "GET",
        "/v1/triton/templates",
        "/v1/triton/templates?job_id=<job>",
        "",
    ),
    (
        "GET",
        "/v1/triton/templates/{template_id}",
        "/v1/triton/templates/<template>",
        "",
    ),
    ("POST", "/v1/triton/auth/session", "", ""),
    ("DELETE", "/v1/triton/auth/session", "", ""),
];

/// The bytes of an answer, less what no two answers share: the date, the moments, a fresh ticket, the
/// `retry:` of a stream, and where it was cut into chunks.
fn comparable(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let head: Vec<&str> = head.lines().filter(|l| !l.starts_with("date: ")).collect();
    let body = if head.contains(&"transfer-encoding: chunked") {
        joined(body)
    } else {
        body.to_owned()
    };
    // Heartbeats come to all streams at the same moment, whenever each began.
    let body = body.replace(": keep-alive\n", "");
    let mut text = format!("{}\n\n{body}", head.join("\n"));
    // Each stream is told another one.
    if let Some(at) = text.find("\n\nretry: ") {
        let from = at + "\n\nretry: ".len();
        let line = text[from..].lines().next().unwrap_or_default();
        let digits = line.len();
        let millis: u64 = text[from..from + digits].parse().expect("milliseconds");
        assert!((1000..=4000).contains(&millis), "{text}");
        text.replace_range(from..from + digits, "");
    }
    for name in ["timestamp", "ticket", "expires_at"] {
        let begins = format!("\"{name}\":\"");
        if let Some(at) = text.find(&begins) {
            let from = at + begins.len();
            let to = from + text[from..].find('"').expect("the text ends");
            text.replace_range(from..to, "");
        }
    }
    text
}

/// What chunks hold.
fn joined(mut chunked: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = chunked.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        if size == 0 {
            break;
        }
        whole += &rest[..size];
        chunked = &rest[size + 2..];
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_s_is_what_is_not_there_to_the_byte() {
    let conch = guarded(Plan::all_in_one().pace(10))
        .env("RECORD_LOST_SECONDS", "1")
        .start()
        .await;
    let admin = token(&json!("*"), 600);
    let theirs = new_client(&conch, &admin, "Contoso Care").await;
    let ours = new_client(&conch, &admin, "Fabrikam Health").await;
    let their_token = token(&json!([theirs]), 600);
    let our_token = token(&json!([ours]), 600);

    // A stream of all that we may see, open from the beginning.
    let everything = conch.mare().url("/jobs/subscribe");
    let mut watched = watch_as(&everything, &our_token).await;
    let their_job = submit(&conch, &their_token, &theirs).await;
    let job = ended(&conch, &their_token, &their_job).await;
    let their_template = job["template_ids"][0].as_str().expect("an id").to_owned();
    let events = get(&conch, &their_token, &format!("/jobs/{their_job}/events"))
        .await
        .json(200);
    let last = events["events"]
        .as_array()
        .and_then(|all| all.last())
        .expect("an end");
    let cursor = format!("{}-{}", text(last, "epoch"), last["sequence"]);

    // Not a method of the API is left out.
    let document = Answer::to(client().get(format!(
        "http://127.0.0.1:{}/openapi.json",
        conch.mare_port()
    )))
    .await
    .json(200);
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("methods").keys();
            let methods = methods.filter(|method| *method != "parameters");
            methods.map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let walked: BTreeSet<(String, String)> = WALK
        .iter()
        .map(|(method, path, ..)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert!(described.is_subset(&walked), "{described:?}");
    // What an instance without a cookie doesn't have, and what is on another listener, isn't described.
    let beyond: Vec<&str> = walked
        .difference(&described)
        .map(|(_, path)| &**path)
        .collect();
    let session = "/v1/triton/auth/session";
    assert_eq!(beyond, [session, "/metrics", session]);

    // As long as the ids of what is there, and like them the same on the whole walk: what is remembered of
    // an earlier question is the same, too.
    let ghost = "01980000-0000-7000-8000-000000000000";
    for (method, path, filled, body) in WALK {
        let path = if filled.is_empty() { path } else { filled };
        let mut answers = Vec::new();
        for (client, job, template) in [
            (theirs.as_str(), their_job.as_str(), their_template.as_str()),
            (ghost, ghost, ghost),
        ] {
            let path = path
                .replace("<client>", client)
                .replace("<job>", job)
                .replace("<template>", template)
                .replace("<cursor>", &cursor);
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {our_token}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let answer = exchange(conch.mare_port(), head.as_bytes()).await;
            assert!(status(&answer) > 0, "{method} {path}: {answer}");
            let answer = comparable(&answer);
            let ids = [client, job, template];
            answers.push(
                ids.iter()
                    .fold(answer, |answer, id| answer.replace(id, "<id>")),
            );
        }
        assert_eq!(answers[0], answers[1], "{method} {path}");
    }
    // It wasn't for nothing: it is all there, for its own.
    for path in [
        format!("/jobs/{their_job}"),
        format!("/jobs/{their_job}/events"),
        format!("/clients/{theirs}"),
        format!("/templates/{their_template}"),
    ] {
        get(&conch, &their_token, &path).await.json(200);
        let refused = get(&conch, &our_token, &path).await;
        assert_eq!(refused.status, 404, "{path}");
    }
    let lost = Stream::attempt(&conch.mare().subscribe_url(&their_job), None).await;
    assert!(lost.is_err(), "without a token there is no stream");

    // The stream that was open all the time saw our own job, and nothing of theirs.
    let our_job = submit(&conch, &our_token, &ours).await;
    let seen = read_until(&mut watched, "\"status\":\"completed\"").await;
    assert!(seen.contains(&our_job), "{seen}");
    for id in [&their_job, &theirs, &their_template] {
        assert!(!seen.contains(id.as_str()), "{id} in {seen}");
    }
    // Nor is what they made in our lists.
    for (path, name) in [
        ("/jobs", "jobs"),
        ("/templates", "templates"),
        ("/clients", "clients"),
    ] {
        let page = get(&conch, &our_token, path).await;
        assert!(!page.body.contains(&theirs), "{}", page.body);
        assert!(page.json(200)["total"].as_u64() > Some(0), "{name}");
    }
    // Of no token was anything written down.
    let log = conch.log();
    for token in [&admin, &our_token, &their_token] {
        let sign = token.rsplit('.').next().expect("a token has parts");
        assert!(!log.contains(sign), "a token was logged");
    }
}
