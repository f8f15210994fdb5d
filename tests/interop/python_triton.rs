//! The Python Triton behind the gateway, played by a stub with its habits.

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::foreign::{OldPublisher, PythonTriton};
use conch_harness::sse::assert_whole;
use conch_harness::{Conch, Persistence, Redis, Stream};
use serde_json::json;

/// The stub's own job that waits.
const PENDING: &str = "0a000000-0000-4000-8000-000000000001";
const CLIENT: &str = "0c000000-0000-4000-8000-000000000001";

struct System {
    api: Conch,
    triton: PythonTriton,
    redis: Redis,
}

async fn start() -> System {
    let redis = Redis::start(Persistence::None);
    let triton = PythonTriton::start().await;
    let api = Plan::api(&redis, &triton.url()).start().await;
    System { api, triton, redis }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_records_are_read_in_its_shapes() {
    let system = start().await;
    let mare = system.api.mare();

    let clients = mare.get("/clients").await.json(200);
    assert_eq!(
        clients["clients"][0]["id"], "0c000000-0000-4000-8000-000000000001",
        "{clients}"
    );
    assert!(clients["total"].as_u64() >= Some(1), "{clients}");
    assert_eq!(
        mare.get("/clients/0c000000-0000-4000-8000-000000000001/")
            .await
            .json(200)["name"],
        "Contoso Care"
    );
    mare.get("/clients/nobody")
        .await
        .expect_problem(404, "client-not-found");
    let client_id = mare.new_client("Fabrikam Health").await;
    let found = mare.get(&format!("/clients/{client_id}")).await.json(200);
    assert_eq!(found["name"], "Fabrikam Health");

    let job = mare.job("0d000000-0000-4000-8000-000000000001").await;
    assert_eq!(job["job_id"], "0d000000-0000-4000-8000-000000000001");
    assert_eq!(job["id"], "0d000000-0000-4000-8000-000000000001");
    assert_eq!(job["status"], "completed");
    assert_eq!(
        job["template_ids"],
        json!([
            "0d000000-0000-4000-8000-0000000000e1",
            "0d000000-0000-4000-8000-0000000000e2"
        ])
    );
    assert_eq!(job["template_count"], 2);
    assert!(
        job["completed_at"].as_str().expect("text").ends_with('Z'),
        "{job}"
    );
    assert_eq!(
        mare.job("0a000000-0000-4000-8000-000000000001").await["status"],
        "pending"
    );

    let jobs = mare
        .get("/jobs?client_id=0c000000-0000-4000-8000-000000000001&status=failed")
        .await
        .json(200);
    assert_eq!(
        jobs["jobs"][0]["job_id"], "0f000000-0000-4000-8000-000000000001",
        "{jobs}"
    );
    let templates = mare
        .get("/templates?job_id=0d000000-0000-4000-8000-000000000001")
        .await
        .json(200);
    assert_eq!(templates["total"], 2, "{templates}");
    assert!(
        templates
            .to_string()
            .contains(r#""id":"0d000000-0000-4000-8000-0000000000e2""#),
        "{templates}"
    );
    assert_eq!(
        mare.get("/templates/0d000000-0000-4000-8000-0000000000e1")
            .await
            .json(200)["job_id"],
        "0d000000-0000-4000-8000-000000000001"
    );
    mare.get("/jobs/nothing")
        .await
        .expect_problem(404, "job-not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_is_asked_for_once() {
    let mut system = start().await;
    let mare = system.api.mare();
    let first = mare.job("0d000000-0000-4000-8000-000000000001").await;
    system.triton.kill();
    assert_eq!(
        mare.job("0d000000-0000-4000-8000-000000000001").await,
        first
    );
    mare.get("/jobs/0a000000-0000-4000-8000-000000000001")
        .await
        .expect_problem(502, "upstream-unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_only_triton_knows_has_a_stream_with_ids_and_an_end() {
    let system = start().await;
    let mare = system.api.mare();

    // Finished before anybody asked.
    let events = mare
        .subscribe("0d000000-0000-4000-8000-000000000001")
        .await
        .read_to_end()
        .await;
    assert_whole(&events, 1);
    let end = events.last().expect("there is an end").json();
    assert_eq!(end["derived"], true);
    assert_eq!(end["status"], "completed");
    assert_eq!(
        end["template_ids"],
        json!([
            "0d000000-0000-4000-8000-0000000000e1",
            "0d000000-0000-4000-8000-0000000000e2"
        ])
    );

    // It ends while somebody watches, and nobody tells.
    let mut stream = mare.subscribe("0b000000-0000-4000-8000-000000000001").await;
    let seen = stream.read_until(|e| e.text("status") == "running").await;
    system
        .triton
        .set("0b000000-0000-4000-8000-000000000001", "failed")
        .await;
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
        streams.push(mare.subscribe("0b000000-0000-4000-8000-000000000001").await);
    }
    for stream in &mut streams {
        stream.next_event().await.expect("its present state");
    }
    system
        .triton
        .set("0b000000-0000-4000-8000-000000000001", "completed")
        .await;
    for stream in &mut streams {
        let events = stream.read_to_end().await;
        assert_eq!(events.last().expect("its end").kind(), "job:completed");
    }
    let requests = system.triton.requests().await;
    let asked = requests
        .iter()
        .filter(|r| *r == "GET /jobs/0b000000-0000-4000-8000-000000000001")
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
    let job_id = mare.submit("0c000000-0000-4000-8000-000000000001").await;
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
    mare.delete("/jobs/0d000000-0000-4000-8000-000000000001")
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

/// It refuses an id that is no UUID with 422: such a job doesn't exist.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_it_cannot_have_is_absent_everywhere() {
    let system = start().await;
    let mare = system.api.mare();
    for (path, code) in [
        ("/jobs/no-uuid", "job-not-found"),
        ("/jobs/no-uuid/subscribe", "job-not-found"),
        ("/jobs/no-uuid/events", "job-not-found"),
        ("/clients/no-uuid", "client-not-found"),
        ("/clients/no-uuid/value-propositions", "client-not-found"),
        ("/templates/no-uuid", "template-not-found"),
    ] {
        mare.get(path).await.expect_problem(404, code);
    }
    mare.delete("/jobs/no-uuid")
        .await
        .expect_problem(404, "job-not-found");
    for list in ["jobs?client_id=no-uuid", "templates?job_id=no-uuid"] {
        assert_eq!(mare.get(&format!("/{list}")).await.json(200)["total"], 0);
    }
    // A publisher may use any id all the same.
    let mut publisher = OldPublisher::start(&system.redis, "no-uuid", CLIENT);
    publisher.publish("started");
    publisher.publish("completed");
    let mut stream = mare.subscribe_once_known("no-uuid").await;
    assert_whole(&stream.read_to_end().await, 1);
}

/// Celery tries again by itself: the job goes on after its failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_celery_ends_as_its_last_run_did() {
    let system = start().await;
    let mare = system.api.mare();
    let mut publisher = OldPublisher::start(&system.redis, PENDING, CLIENT);
    publisher.publish("started");
    let mut first = mare.subscribe(PENDING).await;
    publisher.publish("failed");
    let seen = first.read_to_end().await;
    assert_eq!(seen.last().expect("an end").kind(), "job:failed");
    let old_end = seen.last().expect("an end").id.clone();
    assert_eq!(mare.job(PENDING).await["status"], "failed");

    publisher.publish("restarted");
    let url = mare.subscribe_url(PENDING);
    let mut resumed = Stream::open(&url, Some(&old_end)).await;
    let snapshot = resumed.next_event().await.expect("a snapshot").json();
    assert_eq!(snapshot["event_type"], "job:snapshot");
    assert_eq!(
        (&snapshot["reset"], &snapshot["reopened"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(mare.job(PENDING).await["status"], "running");
    publisher.publish("completed");
    let rest = resumed.read_to_end().await;
    assert_eq!(rest.last().expect("an end").kind(), "job:completed");
    assert_eq!(mare.job(PENDING).await["status"], "completed");
    let late = mare.subscribe(PENDING).await.read_to_end().await;
    assert_whole(&late, 1);
    let kinds: Vec<String> = late.iter().map(conch_harness::Event::kind).collect();
    assert_eq!(kinds, ["job:started", "job:completed"]);
    let cached = system
        .redis
        .cli(&["GET", &format!("triton:job:result:{PENDING}")]);
    assert!(cached.contains(r#""status":"completed""#), "{cached}");
}

/// Celery delivers a task twice: it starts again in the middle, and tells less than it told before.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_delivered_twice_is_one_job_that_started_once() {
    let system = start().await;
    let mare = system.api.mare();
    let mut publisher = OldPublisher::start(&system.redis, PENDING, CLIENT);
    for what in ["started", "data", "restarted", "completed"] {
        publisher.publish(what);
    }
    let seen = mare.subscribe_once_known(PENDING).await.read_to_end().await;
    assert_whole(&seen, 1);
    let kinds: Vec<String> = seen.iter().map(conch_harness::Event::kind).collect();
    assert_eq!(kinds, ["job:started", "data:generated", "job:completed"]);
}

/// Its events name neither the value proposition nor when the job was accepted.
#[tokio::test(flavor = "multi_thread")]
async fn what_it_knows_of_a_job_is_not_lost_once_its_worker_speaks() {
    let system = start().await;
    let mare = system.api.mare();
    let before = mare.job(PENDING).await;
    assert!(before["value_proposition_id"].is_string(), "{before}");
    let mut publisher = OldPublisher::start(&system.redis, PENDING, CLIENT);
    for (what, status) in [("started", "running"), ("completed", "completed")] {
        publisher.publish(what);
        let job = eventually("its event has been heard", async || {
            let job = mare.job(PENDING).await;
            (job["status"] == status).then_some(job)
        })
        .await;
        for name in ["value_proposition_id", "created_at", "client_id"] {
            assert_eq!(job[name], before[name], "{name} after {what}");
        }
    }
}
