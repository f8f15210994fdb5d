//! One job on one stream, everything in one process: attach, resume, reset, the end.

use conch_harness::conch::Plan;
use conch_harness::http::Answer;
use conch_harness::sse::{Stream, assert_whole, position};
use conch_harness::{Conch, Event};
use serde_json::{Value, json};

async fn start(pace: u32) -> (Conch, String) {
    let conch = Plan::all_in_one().pace(pace).start().await;
    let client_id = conch.mare().new_client("Fabrikam Health").await;
    (conch, client_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_watched_from_its_submission_to_its_end() {
    let (conch, client_id) = start(50).await;
    let mare = conch.mare();
    let path = format!("/clients/{client_id}/generate-templates");
    let answer = Answer::to(mare.request(reqwest::Method::POST, &path)).await;
    let job = answer.json(202);
    let job_id = job["job_id"].as_str().expect("text");
    assert!(
        answer
            .header("location")
            .ends_with(&format!("/v1/triton/jobs/{job_id}")),
        "{:?}",
        answer.headers
    );

    let mut stream = mare.subscribe(job_id).await;
    let events = stream.read_to_end().await;
    assert_whole(&events, 1);
    let retry = stream.retry().expect("the stream begins with it");
    assert!((1000..=4000).contains(&retry), "{retry}");
    let beginning = format!("retry: {retry}\nid: ");
    assert!(stream.raw().starts_with(&beginning), "{}", stream.raw());
    assert!(
        stream
            .raw()
            .ends_with("\n\n: Connection closing - job completed\n"),
        "{}",
        stream.raw()
    );

    let kinds: Vec<String> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds[..2], ["job:queued", "job:started"]);
    assert_eq!(kinds.iter().filter(|k| *k == "job:started").count(), 1);
    let made: Vec<Value> = events
        .iter()
        .filter(|e| e.kind() == "job:template_completed")
        .map(Event::json)
        .collect();
    let plan: Vec<String> = made
        .iter()
        .map(|t| format!("{} {}", t["category"], t["target_audience"]).replace('"', ""))
        .collect();
    assert_eq!(
        plan,
        [
            "roi-focused Health Plan",
            "roi-focused Broker",
            "clinical-outcomes Health Plan",
            "clinical-outcomes Medical Management",
            "operational-efficiency Medical Management",
            "competitive-positioning Broker",
            "comprehensive TPA",
        ]
    );
    let progress: Vec<u64> = events
        .iter()
        .filter_map(|e| e.json()["progress"].as_u64())
        .collect();
    for quarter in [25, 50, 75] {
        assert!(progress.iter().any(|p| *p >= quarter), "{progress:?}");
    }
    assert!(progress.is_sorted(), "{progress:?}");
    let times: Vec<String> = events.iter().map(|e| e.text("timestamp")).collect();
    assert!(
        times.is_sorted() && times.iter().all(|t| t.ends_with('Z')),
        "{times:?}"
    );

    let end = events.last().expect("it ended").json();
    let ids: Vec<Value> = made.iter().map(|t| t["template_id"].clone()).collect();
    assert_eq!(end["template_ids"], json!(ids));
    assert_eq!(end["template_count"], 7);
    let job = mare.job(job_id).await;
    for field in [
        "status",
        "template_ids",
        "template_count",
        "generation_duration_ms",
        "completed_at",
    ] {
        assert_eq!(job[field], end[field], "{field} of {job}");
    }
    let templates = mare
        .get(&format!("/templates?job_id={job_id}"))
        .await
        .json(200);
    assert_eq!(templates["total"], 7);
    for id in &ids {
        let id = id.as_str().expect("text");
        let template = mare.get(&format!("/templates/{id}")).await.json(200);
        assert_eq!(template["job_id"], job_id);
        let widgets = template["widgets"].as_array().expect("a list").len();
        assert!((6..=12).contains(&widgets), "{template}");
        assert_eq!(template["widget_count"], widgets);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_attaches_when_gets_the_same_history() {
    let (conch, client_id) = start(120).await;
    let mare = conch.mare();
    let job_id = mare.submit(&client_id).await;

    let mut early = mare.subscribe(&job_id).await;
    let seen = early
        .read_until(|e| e.kind() == "job:template_completed")
        .await;
    // In mid-job: the history, then live, with neither gap nor duplicate.
    let middle = mare.subscribe(&job_id).await.read_to_end().await;
    let mut whole = seen;
    whole.extend(early.read_to_end().await);
    assert_whole(&whole, 1);
    assert_eq!(middle, whole);
    // After the end: the history, then the close.
    let mut late = mare.subscribe(&job_id).await;
    assert_eq!(late.read_to_end().await, whole);
    assert_eq!(late.comments(), ["Connection closing - job completed"]);

    let history = mare.get(&format!("/jobs/{job_id}/events")).await.json(200);
    let lines: Vec<Value> = whole.iter().map(Event::json).collect();
    assert_eq!(history["events"], json!(lines));
    let history = mare
        .get(&format!("/jobs/{job_id}/events?after=3"))
        .await
        .json(200);
    assert_eq!(history["events"], json!(lines[3..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_gets_what_comes_after_and_nothing_else() {
    let (conch, client_id) = start(60).await;
    let mare = conch.mare();
    let job_id = mare.submit(&client_id).await;
    let url = mare.subscribe_url(&job_id);

    // Cut in mid-job and resumed, again and again: one event per connection.
    let mut pieces: Vec<Event> = Vec::new();
    loop {
        let last = pieces.last().map(|e| e.id.clone());
        let mut stream = Stream::open(&url, last.as_deref()).await;
        let event = stream.next_event().await.expect("there is more");
        let is_last = event.is_terminal();
        pieces.push(event);
        if is_last {
            break;
        }
    }
    assert_whole(&pieces, 1);

    let whole = mare.subscribe(&job_id).await.read_to_end().await;
    assert_eq!(pieces, whole);
    for (n, event) in whole.iter().enumerate() {
        for parameter in ["after", "last_event_id", "lastEventId"] {
            let path = format!("/jobs/{job_id}/subscribe?{parameter}={}", event.id);
            if event.is_terminal() {
                assert_eq!(mare.get(&path).await.status, 204, "{path}");
            } else {
                let rest = Stream::open(&mare.url(&path), None)
                    .await
                    .read_to_end()
                    .await;
                assert_eq!(rest, whole[n + 1..], "{path}");
            }
        }
    }
    // The header is the newer of the two: a reconnect repeats the address of the first connect.
    let first = format!("{url}?after={}", whole[0].id);
    let rest = Stream::open(&first, Some(&whole[3].id))
        .await
        .read_to_end()
        .await;
    assert_eq!(rest, whole[4..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_in_mid_job_goes_on_with_the_next_event() {
    let (conch, client_id) = start(150).await;
    let mare = conch.mare();
    let job_id = mare.submit(&client_id).await;
    mare.subscribe(&job_id)
        .await
        .read_until(|e| e.kind() == "job:template_completed")
        .await;

    let mut stream = Stream::open(&mare.subscribe_url(&job_id), Some("garbage")).await;
    let snapshot = stream.next_event().await.expect("a snapshot");
    assert_eq!(snapshot.json()["reset"], true);
    assert_eq!(snapshot.json()["status"], "running");
    let (_, at) = position(&snapshot.id);
    let rest = stream.read_to_end().await;
    assert_whole(&rest, at + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trimmed_history_begins_with_a_snapshot_that_is_no_reset() {
    let conch = Plan::all_in_one().env("HISTORY_LIMIT", "5").start().await;
    let mare = conch.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    mare.until_status(&job_id, "completed").await;
    let events = mare.subscribe(&job_id).await.read_to_end().await;
    let snapshot = events[0].json();
    assert_eq!(snapshot["event_type"], "job:snapshot", "{events:#?}");
    assert_eq!(snapshot["reset"], false);
    let (_, at) = position(&events[0].id);
    if events.len() > 1 {
        assert_whole(&events[1..], at + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_is_one_line_and_no_event() {
    let conch = Plan::all_in_one()
        .pace(60_000)
        .env("HEARTBEAT_SECONDS", "0.2")
        .start()
        .await;
    let mare = conch.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let mut stream = mare.subscribe(&job_id).await;
    stream.read_until(|e| e.kind() == "job:started").await;
    // The parser takes a blank line after a comment for a violation.
    for _ in 0..3 {
        assert_eq!(stream.until_comment("keep-alive").await, []);
    }
    assert!(
        stream.raw().contains("\n: keep-alive\n: keep-alive\n"),
        "{}",
        stream.raw()
    );
    assert_eq!(mare.delete(&format!("/jobs/{job_id}")).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_ends_a_running_job() {
    let (conch, client_id) = start(300).await;
    let mare = conch.mare();
    let job_id = mare.submit(&client_id).await;
    let mut stream = mare.subscribe(&job_id).await;
    let mut all = stream
        .read_until(|e| e.kind() == "job:template_completed")
        .await;
    assert_eq!(mare.delete(&format!("/jobs/{job_id}")).await.status, 202);
    all.extend(stream.read_to_end().await);
    assert_whole(&all, 1);
    assert_eq!(
        stream.comments().last().map(String::as_str),
        Some("Connection closing - job cancelled")
    );
    assert!(
        all.iter().any(|e| e.kind() == "job:cancel_requested"),
        "{all:#?}"
    );
    let end = all.last().expect("it ended").json();
    assert_eq!(end["event_type"], "job:cancelled");
    let kept = end["template_ids"].as_array().expect("a list").len();
    assert!((1..7).contains(&kept), "{end}");
    let job = mare.job(&job_id).await;
    assert_eq!(job["status"], "cancelled");
    assert_eq!(job["template_ids"], end["template_ids"]);
    mare.delete(&format!("/jobs/{job_id}"))
        .await
        .expect_problem(409, "job-ended");
    mare.delete("/jobs/unknown")
        .await
        .expect_problem(404, "job-not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_with_a_key_happens_once() {
    let (conch, client_id) = start(0).await;
    let mare = conch.mare();
    let path = format!("/clients/{client_id}/generate-templates");
    let submit = async |body: &Value| {
        let request = mare.request(reqwest::Method::POST, &path);
        Answer::to(request.header("idempotency-key", "k-1").json(body)).await
    };
    let first = submit(&json!({})).await.json(202);
    let again = submit(&json!({})).await.json(202);
    assert_eq!(first["job_id"], again["job_id"]);
    let propositions = mare
        .get(&format!("/clients/{client_id}/value-propositions"))
        .await;
    let propositions: Value = serde_json::from_str(&propositions.body).expect("JSON");
    let list = propositions
        .as_array()
        .or(propositions["value_propositions"].as_array());
    let id = &list.expect("a list")[0]["id"];
    submit(&json!({ "value_proposition_id": id }))
        .await
        .expect_problem(422, "idempotency-key-reused");
    let jobs = mare
        .get(&format!("/jobs?client_id={client_id}"))
        .await
        .json(200);
    assert_eq!(jobs["total"], 1, "{jobs}");
}
