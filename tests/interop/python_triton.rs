//! The Python Triton behind the gateway, played by a stub with its habits.

use conch_harness::conch::Plan;
use conch_harness::foreign::PythonTriton;
use conch_harness::sse::assert_whole;
use conch_harness::{Conch, Persistence, Redis};
use serde_json::json;

struct System {
    api: Conch,
    triton: PythonTriton,
    _redis: Redis,
}

async fn start() -> System {
    let redis = Redis::start(Persistence::None);
    let triton = PythonTriton::start().await;
    let api = Plan::api(&redis, &triton.url()).start().await;
    System {
        api,
        triton,
        _redis: redis,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_records_are_read_in_its_shapes() {
    let system = start().await;
    let mare = system.api.mare();

    let clients = mare.get("/clients").await.json(200);
    assert_eq!(clients["clients"][0]["id"], "py-client", "{clients}");
    assert!(clients["total"].as_u64() >= Some(1), "{clients}");
    assert_eq!(
        mare.get("/clients/py-client/").await.json(200)["name"],
        "Contoso Care"
    );
    mare.get("/clients/nobody")
        .await
        .expect_problem(404, "client-not-found");
    let client_id = mare.new_client("Fabrikam Health").await;
    let found = mare.get(&format!("/clients/{client_id}")).await.json(200);
    assert_eq!(found["name"], "Fabrikam Health");

    let job = mare.job("py-done").await;
    assert_eq!(job["job_id"], "py-done");
    assert_eq!(job["id"], "py-done");
    assert_eq!(job["status"], "completed");
    assert_eq!(job["template_ids"], json!(["py-done-t1", "py-done-t2"]));
    assert_eq!(job["template_count"], 2);
    assert!(
        job["completed_at"].as_str().expect("text").ends_with('Z'),
        "{job}"
    );
    assert_eq!(mare.job("py-pending").await["status"], "pending");

    let jobs = mare
        .get("/jobs?client_id=py-client&status=failed")
        .await
        .json(200);
    assert_eq!(jobs["jobs"][0]["job_id"], "py-failed", "{jobs}");
    let templates = mare.get("/templates?job_id=py-done").await.json(200);
    assert_eq!(templates["total"], 2, "{templates}");
    assert!(
        templates.to_string().contains(r#""id":"py-done-t2""#),
        "{templates}"
    );
    assert_eq!(
        mare.get("/templates/py-done-t1").await.json(200)["job_id"],
        "py-done"
    );
    mare.get("/jobs/nothing")
        .await
        .expect_problem(404, "job-not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_is_asked_for_once() {
    let mut system = start().await;
    let mare = system.api.mare();
    let first = mare.job("py-done").await;
    system.triton.kill();
    assert_eq!(mare.job("py-done").await, first);
    mare.get("/jobs/py-pending")
        .await
        .expect_problem(502, "upstream-unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_only_triton_knows_has_a_stream_with_ids_and_an_end() {
    let system = start().await;
    let mare = system.api.mare();

    // Finished before anybody asked.
    let events = mare.subscribe("py-done").await.read_to_end().await;
    assert_whole(&events, 1);
    let end = events.last().expect("there is an end").json();
    assert_eq!(end["derived"], true);
    assert_eq!(end["status"], "completed");
    assert_eq!(end["template_ids"], json!(["py-done-t1", "py-done-t2"]));

    // It ends while somebody watches, and nobody tells.
    let mut stream = mare.subscribe("py-running").await;
    let seen = stream.read_until(|e| e.text("status") == "running").await;
    system.triton.set("py-running", "failed").await;
    let mut all = seen;
    all.extend(stream.read_to_end().await);
    assert_whole(&all, 1);
    let end = all.last().expect("there is an end").json();
    assert_eq!(end["event_type"], "job:failed");
    assert_eq!(end["derived"], true);
    assert_eq!(end["error_message"], "the model gave no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_watchers_of_a_silent_job_ask_triton_once_per_check() {
    let system = start().await;
    let mare = system.api.mare();
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(mare.subscribe("py-running").await);
    }
    for stream in &mut streams {
        stream.next_event().await.expect("its present state");
    }
    system.triton.set("py-running", "completed").await;
    for stream in &mut streams {
        let events = stream.read_to_end().await;
        assert_eq!(events.last().expect("its end").kind(), "job:completed");
    }
    let requests = system.triton.requests().await;
    let asked = requests
        .iter()
        .filter(|r| *r == "GET /jobs/py-running")
        .count();
    assert!(
        asked <= 15,
        "20 watchers asked {asked} times: {requests:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_and_its_cancellation_reach_the_stream() {
    let system = start().await;
    let mare = system.api.mare();
    let job_id = mare.submit("py-client").await;
    let mut stream = mare.subscribe(&job_id).await;
    let first = stream.next_event().await.expect("its present state");
    assert_eq!(first.text("status"), "pending");

    // Triton answers 204 and publishes nothing: the edge appends the end itself.
    assert_eq!(mare.delete(&format!("/jobs/{job_id}")).await.status, 202);
    let mut all = vec![first];
    all.extend(stream.read_to_end().await);
    assert_whole(&all, 1);
    let end = all.last().expect("there is an end").json();
    assert_eq!(end["event_type"], "job:cancelled");
    assert_eq!(end["derived"], true);
    assert_eq!(mare.job(&job_id).await["status"], "cancelled");

    // Its 400 for a job that has ended is a conflict.
    mare.delete("/jobs/py-done")
        .await
        .expect_problem(409, "job-ended");
    mare.delete("/jobs/nothing")
        .await
        .expect_problem(404, "job-not-found");

    let requests = system.triton.requests().await;
    let submissions = requests
        .iter()
        .filter(|r| r.starts_with("POST /jobs"))
        .count();
    assert_eq!(
        submissions, 1,
        "a submission is never retried: {requests:#?}"
    );
}
