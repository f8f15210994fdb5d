//! A user's program as generator: what it is told, and what is told of it.

use conch_harness::conch::Plan;
use conch_harness::{Persistence, Redis};
use serde_json::json;

/// Every setting that may hold a secret, with one that each works with.
fn secrets(redis: &Redis) -> [(&'static str, String); 6] {
    [
        (
            "TRITON_BASE_URL",
            "http://ann:s3cret@127.0.0.1:1".to_owned(),
        ),
        ("TRITON_TOKEN", "s3cret-token".to_owned()),
        ("REDIS_URL", redis.url()),
        ("REDIS_PASSWORD", "s3cret".to_owned()),
        ("CACHE_REDIS_URL", redis.url()),
        ("AUTH_JWT_SECRET", "s3cret".repeat(8)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_generator_complains_of_is_for_the_log_and_it_knows_no_secret() {
    let redis = Redis::start(Persistence::None);
    let complains = "sh -c 'env >&2; echo at /srv/generator >&2; exit 3'";
    let plan = Plan::worker(&redis)
        .env("GENERATOR", "command")
        .env("GENERATOR_COMMAND", complains)
        .env("MAX_ATTEMPTS", "1");
    let secrets = secrets(&redis);
    let plan = secrets
        .iter()
        .fold(plan, |plan, (name, value)| plan.env(name, value));
    let worker = plan.start().await;
    let api = Plan::api(&redis, &worker.triton_url())
        .env("TRITON_TOKEN", "s3cret-token")
        .start()
        .await;
    let mare = api.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;

    let events = mare.subscribe(&job_id).await.read_to_end().await;
    let why = "the generator failed (exit status: 3)";
    let failed = events.iter().filter(|e| e.kind() == "job:template_failed");
    assert_eq!(failed.clone().count(), 7);
    for event in failed {
        assert_eq!(event.json()["error_message"], why);
    }
    let end = mare.job(&job_id).await;
    assert_eq!(end["status"], "failed");
    assert_eq!(
        end["error_message"],
        json!(format!("no template could be made: {why}"))
    );

    let log = worker.log();
    let line = log.lines().find(|line| line.contains("template failed"));
    let line = line.expect("the log tells of it");
    assert!(
        line.contains("PATH=") && line.contains("at /srv/generator"),
        "{line}"
    );
    for (name, _) in secrets {
        assert!(!line.contains(&format!("{name}=")), "{name}: {line}");
    }
}
