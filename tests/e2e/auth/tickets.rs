//! Tickets over real processes: one of any API opens a stream on every other, for a real EventSource too.
//! No process stores or logs a ticket.

use std::time::Duration;

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::foreign::{node, script};
use conch_harness::http::{Answer, client};
use conch_harness::{Persistence, Process, Redis, Stream};
use reqwest::Method;
use serde_json::json;

use super::{ask, new_client, submit, text};
use crate::rights::{make_users, url};
use crate::tokens::{guarded, token};

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
