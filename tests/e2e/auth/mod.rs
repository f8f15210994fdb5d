//! Authentication and tenants over real processes: whatever one tenant asks of another's is answered as
//! what isn't there, to the byte; streams end with their tokens; tickets open on every API.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::foreign::{node, script};
use conch_harness::http::{Answer, client};
use conch_harness::raw::{exchange, status};
use conch_harness::{Conch, Persistence, Process, Redis, Stream};
use reqwest::Method;
use serde_json::{Value, json};

use crate::rights::{make_users, url};
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
async fn a_ticket_of_one_api_opens_on_another() {
    let redis = Redis::start(Persistence::None);
    let worker = Plan::worker(&redis)
        .pace(20)
        .env("DEMO_CLIENT", "false")
        .start()
        .await;
    // With the rights that are documented, and no more.
    make_users(&redis);
    let as_api = url(&redis, "conch-api");
    let api = || guarded(Plan::api(&redis, &worker.triton_url())).env("REDIS_URL", &as_api);
    let (here, there) = (api().start().await, api().start().await);
    let admin = token(&json!("*"), 600);
    let client_id = new_client(&here, &admin, "Fabrikam Health").await;
    let ours = token(&json!([client_id]), 600);
    let job = submit(&here, &ours, &client_id).await;

    let answer = ask(
        &here,
        &ours,
        Method::POST,
        &format!("/jobs/{job}/ticket"),
        None,
    )
    .await;
    let ticket = text(&answer.json(201), "ticket");
    let url = format!("{}?ticket={ticket}", there.mare().subscribe_url(&job));
    let events = Stream::open(&url, None).await.read_to_end().await;
    conch_harness::sse::assert_whole(&events, 1);
    // As an EventSource comes again, and is told to stop.
    let end = &events[events.len() - 1].id;
    let over = client().get(&url).header("last-event-id", end).send().await;
    assert_eq!(over.expect("it answers").status(), 204);
    // The other job is none of its business.
    let other = submit(&there, &ours, &client_id).await;
    let url = format!("{}?ticket={ticket}", here.mare().subscribe_url(&other));
    let refused = Answer::to(client().get(&url)).await;
    refused.expect_problem(401, "invalid-ticket");

    // What is kept of it is no ticket, and goes by itself.
    let keys = redis.cli(&["KEYS", "*ticket*"]);
    assert_eq!(keys.lines().count(), 3, "{keys}");
    for key in keys.lines() {
        assert!(!key.contains(&ticket), "{key}");
        let lives: i64 = redis.cli(&["PTTL", key]).parse().expect("a number");
        // The job has ended, and with it soon the ticket; what counts it lasts as long as the token may.
        let most = if key.starts_with("triton:ticket:") {
            60_000
        } else {
            24 * 3_600_000
        };
        assert!((1..=most).contains(&lives), "{key}: {lives}");
    }
    assert!(!redis.cli(&["--scan", "--pattern", "*"]).contains(&ticket));
    for api in [&here, &there] {
        assert!(!api.log().contains(&ticket), "a ticket was logged");
    }
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

/// A real EventSource: with a ticket it goes on to the 204; when its token runs out it is told so, comes
/// again, and the 401 ends it.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_source_with_a_ticket() {
    let conch = guarded(Plan::all_in_one().pace(20)).start().await;
    let admin = token(&json!("*"), 600);
    let client_id = new_client(&conch, &admin, "Fabrikam Health").await;
    let job = submit(&conch, &admin, &client_id).await;
    let path = format!("/jobs/{job}/ticket");
    let answer = ask(&conch, &admin, Method::POST, &path, None).await;
    let ticket = text(&answer.json(201), "ticket");
    let url = format!("{}?ticket={ticket}", conch.mare().subscribe_url(&job));
    let printed = event_source(&url).await;
    assert!(printed.contains("job:completed"), "{printed}");
    assert!(printed.ends_with("closed\n"), "{printed}");

    let short = token(&json!("*"), -3);
    let answer = ask(&conch, &short, Method::POST, "/jobs/subscribe/ticket", None).await;
    let ticket = text(&answer.json(201), "ticket");
    let url = conch
        .mare()
        .url(&format!("/jobs/subscribe?ticket={ticket}"));
    let printed = event_source(&url).await;
    assert!(printed.ends_with("closed\n"), "{printed}");
    // `onmessage` has nothing to know of it.
    assert!(!printed.contains("auth_expired"), "{printed}");
}

/// Only the ticket's hash in Redis joins the process that made it and the one that honours it.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_source_with_a_ticket_outlives_a_kill_of_its_api() {
    let redis = Redis::start(Persistence::None);
    let worker = Plan::worker(&redis)
        .pace(600)
        .env("DEMO_CLIENT", "false")
        .start()
        .await;
    let mut api = guarded(Plan::api(&redis, &worker.triton_url()))
        .start()
        .await;
    let admin = token(&json!("*"), 600);
    let client_id = new_client(&api, &admin, "Fabrikam Health").await;
    let job = submit(&api, &admin, &client_id).await;
    let path = format!("/jobs/{job}/ticket");
    let answer = ask(&api, &admin, Method::POST, &path, None).await;
    let ticket = text(&answer.json(201), "ticket");
    let url = format!("{}?ticket={ticket}", api.mare().subscribe_url(&job));
    let mut command = script(node(), "event_source_until_told.mjs");
    command.arg(&url);
    let mut page = Process::start("event_source_until_told.mjs", &mut command);
    eventually("the page has an event", async || {
        page.stdout().contains("job:started").then_some(())
    })
    .await;

    let before = api.pid();
    // `kill -9`, and another process on the same ports.
    api.restart().await;
    assert_ne!(api.pid(), before);
    let status = page.wait(Duration::from_secs(30));
    assert!(status.success(), "{}", page.last_words());
    let printed = page.stdout();
    let ids: Vec<_> = printed.lines().filter_map(|l| l.split_once(' ')).collect();
    let (last, kind) = ids.last().expect("events");
    assert_eq!(*kind, "job:completed", "{printed}");
    let (epoch, count) = last.rsplit_once('-').expect("an id");
    let all: Vec<_> = (1..=ids.len()).map(|n| format!("{epoch}-{n}")).collect();
    assert_eq!(count, ids.len().to_string(), "{printed}");
    assert!(ids.iter().map(|(id, _)| *id).eq(&all), "{printed}");
    assert!(printed.ends_with("closed\n"), "{printed}");
    // What was seen after the kill was let in by the new process.
    let log = api.log();
    assert!(!log.contains(&ticket), "a ticket was logged");
    let counted = api.metrics().await;
    assert!(!counted.contains("conch_auth_refused_total{"), "{counted}");
}

/// What a page with an EventSource on that address prints until it is closed for good.
async fn event_source(url: &str) -> String {
    let mut page = script(node(), "event_source_until_told.mjs");
    page.arg(url);
    let output = tokio::task::spawn_blocking(move || page.output());
    let limit = Duration::from_secs(30);
    let output = tokio::time::timeout(limit, output).await.expect("it ends");
    let output = output.expect("no panic").expect("node starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
