//! What announcements are sealed with stands in the store, and in nothing that a program answers, streams,
//! announces to others, or logs.

use conch_harness::conch::Pair;
use conch_harness::redis::{Persistence, Redis};
use serde_json::{Value, json};

/// What a job's announcements are sealed with.
fn secret_of(redis: &Redis, job: &str) -> String {
    let fold = redis.cli(&["HGET", &format!("triton:state:{job}"), "fold"]);
    let fold: Value = serde_json::from_str(&fold).expect("a fold");
    let secret = fold["_fold"]["secret"].as_str().expect("a secret");
    assert_eq!(secret.len(), 32);
    secret.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_log_is_nowhere_but_in_the_store() {
    let pair = Pair::start(Redis::start(Persistence::None), 20).await;
    let mare = pair.api.mare();
    let client_id = mare.new_client("Fabrikam Health").await;
    let own = mare.submit(&client_id).await;
    let streamed = mare.subscribe(&own).await.read_to_end().await;
    let started =
        json!({"event_type": "job:started", "job_id": "external-1", "client_id": client_id});
    pair.redis
        .cli(&["PUBLISH", "triton:jobs:all", &started.to_string()]);
    mare.until_status("external-1", "running").await;
    let secrets = [&*own, "external-1"].map(|job| secret_of(&pair.redis, job));
    assert_ne!(secrets[0], secrets[1]);

    let mut said = vec![format!("{streamed:?}"), pair.api.log(), pair.worker.log()];
    said.push(
        pair.redis
            .cli(&["GET", &format!("triton:job:result:{own}")]),
    );
    for process in [&pair.api, &pair.worker] {
        said.push(process.metrics().await);
    }
    let triton = pair.worker.triton_url();
    for url in [
        mare.url("/jobs"),
        mare.url(&format!("/jobs/{own}")),
        mare.url(&format!("/jobs/{own}/events?after=")),
        mare.url("/jobs/external-1"),
        mare.url("/jobs/external-1/events?after="),
        format!("{triton}/jobs"),
        format!("{triton}/jobs/{own}"),
    ] {
        let answer = conch_harness::http::client().get(&url).send().await;
        let answer = answer.expect("it answers").text().await;
        said.push(answer.expect("text"));
    }
    let told_of = said.iter().filter(|text| text.contains(&own)).count();
    assert!(told_of >= 6, "the job is in what was looked through");
    for secret in &secrets {
        for text in &said {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
