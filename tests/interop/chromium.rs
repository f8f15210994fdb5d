//! Chromium's EventSource, on a page that another origin serves: what no imitation of a browser can show,
//! CORS, cookies and its own way of coming back included.

use conch_harness::conch::Plan;
use conch_harness::http::Answer;
use conch_harness::sse::assert_whole;
use conch_harness::{Browser, Conch, Event, Persistence, Redis};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clients::demo_client;
use crate::tokens::{guarded, token};

fn is(said: &Value, what: &str) -> bool {
    said["what"] == what
}

/// All that a page says of a stream, until the browser has given it up.
async fn until_closed(browser: &mut Browser) -> Vec<Value> {
    browser.hear_until(|said| is(said, "closed")).await
}

/// What `onmessage` fired for.
fn events(said: &[Value]) -> Vec<Event> {
    let messages = said.iter().filter(|said| is(said, "message"));
    let text = |said: &Value, name: &str| said[name].as_str().expect("text").to_owned();
    messages
        .map(|said| Event {
            id: text(said, "id"),
            data: text(said, "data"),
        })
        .collect()
}

/// What else it said.
fn but_events(said: &[Value]) -> Vec<&str> {
    let what = said.iter().filter_map(|said| said["what"].as_str());
    what.filter(|what| *what != "message").collect()
}

/// The statuses that requests for that job's stream were answered, in order. Needs `RUST_LOG=debug`.
fn answered(api: &Conch, job_id: &str) -> Vec<String> {
    let path = format!("http.path=\"/v1/triton/jobs/{job_id}/subscribe\" ");
    let log = api.log();
    let lines = log.lines().filter(|line| line.contains(&path));
    let status = |line: &str| {
        line.split_once("http.status=")?
            .1
            .get(..3)
            .map(str::to_owned)
    };
    lines.filter_map(status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_each_event_once_and_stops_for_good() {
    let plan = Plan::all_in_one().pace(100).env("RUST_LOG", "debug");
    let conch = plan.env("STREAM_RETRY_SECONDS", "1").start().await;
    let mare = conch.mare();
    let client_id = demo_client(&conch).await;
    let mut browser = Browser::start().await;

    let job_id = mare.submit(&client_id).await;
    let watch = json!(["watch", mare.subscribe_url(&job_id)]);
    browser.tell(watch.clone());
    let said = until_closed(&mut browser).await;
    let seen = events(&said);
    assert_whole(&seen, 1);
    assert_eq!(but_events(&said), ["open", "reconnecting", "closed"]);
    assert_eq!(answered(&conch, &job_id), ["200", "204"]);

    // While another one of the same page waits as long as this one did and comes back, nothing more is
    // heard of this one.
    browser.tell(watch);
    let said = until_closed(&mut browser).await;
    assert_eq!(events(&said), seen);
    assert_eq!(but_events(&said), ["open", "reconnecting", "closed"]);
    assert_eq!(answered(&conch, &job_id), ["200", "204", "200", "204"]);

    let ours = mare.subscribe(&job_id).await.read_to_end().await;
    assert_eq!(seen, ours);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_misses_nothing_of_a_job_whose_api_is_killed() {
    let redis = Redis::start(Persistence::None);
    let worker = Plan::worker(&redis).pace(400).start().await;
    let plan = Plan::api(&redis, &worker.triton_url()).env("RUST_LOG", "debug");
    let mut api = plan.env("STREAM_RETRY_SECONDS", "1").start().await;
    let mare = api.mare();
    let client_id = demo_client(&worker).await;
    let mut browser = Browser::start().await;

    let job_id = mare.submit(&client_id).await;
    browser.tell(json!(["watch", mare.subscribe_url(&job_id)]));
    let is_template = |said: &Value| {
        let data = said["data"].as_str();
        data.is_some_and(|data| data.contains("job:template_completed"))
    };
    let mut said = browser.hear_until(is_template).await;
    assert_eq!(but_events(&said), ["open"]);
    api.kill();
    said.extend(browser.hear_until(|said| is(said, "reconnecting")).await);
    let before = events(&said);
    assert!(!before.iter().any(Event::is_terminal), "{before:#?}");
    api.restart().await;
    said.extend(until_closed(&mut browser).await);

    let seen = events(&said);
    assert_whole(&seen, 1);
    assert_eq!(seen, mare.subscribe(&job_id).await.read_to_end().await);
    let mut steps = but_events(&said);
    // As often as it found nobody there.
    steps.dedup();
    let resumed = ["open", "reconnecting", "open", "reconnecting", "closed"];
    assert_eq!(steps, resumed);
    // Of the API that came after: the resume, the end; then our own.
    assert_eq!(answered(&api, &job_id), ["200", "204", "200"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_let_in_by_its_cookie_until_the_token_ends() {
    let mut browser = Browser::start().await;
    let conch = guarded(Plan::all_in_one().pace(20))
        .env("DEMO_CLIENT", "true")
        .env("AUTH_COOKIE", "conch_token")
        .env("CORS_ORIGINS", browser.origin())
        .env("STREAM_RETRY_SECONDS", "1")
        .start()
        .await;
    let mare = conch.mare();
    let client_id = demo_client(&conch).await;
    let path = format!("/clients/{client_id}/generate-templates");
    let long = token(&json!([client_id]), 600);
    let submitted = mare.request(Method::POST, &path).bearer_auth(&long);
    let job = Answer::to(submitted).await.json(202);
    let job_id = job["job_id"].as_str().expect("a job has an id");

    let url = mare.subscribe_url(job_id);
    let watch = |url: &str, cookies: bool| json!(["watch", url, { "withCredentials": cookies }]);
    let session = |token: &str| json!(["session", mare.url("/auth/session"), token]);
    browser.tell(watch(&url, true));
    assert_eq!(but_events(&until_closed(&mut browser).await), ["closed"]);

    browser.tell(session(&long));
    let said = browser.hear().await;
    assert_eq!(said, json!({ "what": "session", "status": 204 }));
    browser.tell(watch(&url, true));
    let said = until_closed(&mut browser).await;
    assert_whole(&events(&said), 1);
    assert_eq!(but_events(&said), ["open", "reconnecting", "closed"]);
    // It is the cookie, and not that somebody was here before.
    browser.tell(watch(&url, false));
    let said = until_closed(&mut browser).await;
    assert_eq!(said, [json!({ "what": "closed" })]);

    // Four of the five seconds of leeway are left.
    browser.tell(session(&token(&json!([client_id]), -1)));
    browser.tell(watch(&mare.url("/jobs/subscribe"), true));
    let said = until_closed(&mut browser).await;
    assert_eq!(
        but_events(&said),
        ["session", "open", "auth_expired", "reconnecting", "closed"]
    );
    assert_eq!(said[0]["status"], 204);
    let expired = said.iter().find(|said| is(said, "auth_expired"));
    let expired = expired.and_then(|said| said["data"].as_str());
    let expired = expired.expect("it was among them");
    let expired: Value = serde_json::from_str(expired).expect("a line of JSON");
    assert_eq!(expired["code"], "expired-token", "{expired}");
}
