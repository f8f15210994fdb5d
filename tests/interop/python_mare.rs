//! Our worker behind the Python Mare, played by a stub with its habits, and our Mare beside it.

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::foreign::{python, script};
use conch_harness::http::{Answer, client};
use conch_harness::{Persistence, Process, Redis, port};
use serde_json::{Value, json};

async fn post(url: &str, body: Value) -> Value {
    Answer::to(client().post(url).json(&body)).await.json(201)
}

#[tokio::test(flavor = "multi_thread")]
async fn our_worker_serves_the_python_mare() {
    let redis = Redis::start(Persistence::None);
    let worker = Plan::worker(&redis).start().await;
    let triton = worker.triton_url();
    let port = port::free();
    let mut command = script(python(), "python_mare.py");
    command.args([&port.to_string(), &redis.port().to_string(), &triton]);
    let mare = Process::start("python_mare.py", &mut command);
    let url = format!("http://127.0.0.1:{port}");
    eventually("the Python Mare answers", async || {
        let health = client().get(format!("{url}/health"));
        Answer::attempt(health).await.ok().map(|_| ())
    })
    .await;

    let new_client = json!({"name": "Contoso Care"});
    let client_id = post(&format!("{triton}/clients/"), new_client).await["id"].clone();
    let id = client_id.as_str().expect("text");
    let content = json!({"content": "Fewer surgeries and faster recovery."});
    let path = format!("{triton}/clients/{id}/value-propositions");
    let proposition = post(&path, content).await;
    let job = post(&format!("{triton}/jobs/"), json!({"client_id": client_id})).await;
    let job_id = job["id"].as_str().expect("text");

    // It hears of the end, and caches what it knows of it.
    eventually("the end is cached by the Python Mare", async || {
        mare.stdout()
            .lines()
            .any(|line| line == job_id)
            .then_some(())
    })
    .await;
    let key = format!("triton:job:result:{job_id}");
    let cached: Value = serde_json::from_str(&redis.cli(&["GET", &key])).expect("JSON");
    assert_eq!(cached.as_object().expect("an object").len(), 5, "{cached}");
    assert_eq!(cached["status"], "completed");
    assert_eq!(cached["template_count"], 7);
    assert!(cached["generation_duration_ms"].is_u64(), "{cached}");
    let asked = client().get(format!("{url}/v1/triton/jobs/{job_id}"));
    assert_eq!(Answer::to(asked).await.json(200), cached);
    // Without its cache it reads the job over Triton's HTTP.
    redis.cli(&["DEL", &key]);
    let asked = client().get(format!("{url}/v1/triton/jobs/{job_id}"));
    let read = Answer::to(asked).await.json(200);
    assert_eq!(
        (&read["id"], &read["status"]),
        (&json!(job_id), &json!("completed"))
    );
    assert_eq!(read["client_id"], client_id);

    // Our Mare beside it makes a whole job of its five fields.
    redis.cli(&["SETEX", &key, "3600", &cached.to_string()]);
    let api = Plan::api(&redis, &triton).start().await;
    let whole = api.mare().job(job_id).await;
    assert_eq!(whole["status"], "completed");
    assert_eq!(whole["template_ids"], cached["template_ids"]);
    assert_eq!(whole["client_id"], client_id);
    assert_eq!(whole["value_proposition_id"], proposition["id"]);
    assert!(whole["created_at"].is_string(), "{whole}");
}
