//! A Redis user each for workers, APIs and foreign publishers, with the rights that the documentation
//! names: all works, and nothing else can be done.

use conch_harness::conch::Plan;
use conch_harness::process::repository;
use conch_harness::sse::assert_whole;
use conch_harness::{Persistence, Redis};
use serde_json::json;

/// Makes the users that the documentation names; answers for how many it did.
pub(crate) fn make_users(redis: &Redis) -> usize {
    let text = std::fs::read_to_string(repository().join("docs/operations.md"));
    let text = text.expect("the documentation is there");
    let lines = text.lines().filter(|l| l.starts_with("ACL SETUSER "));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(redis.cli(&words), "OK", "{line}");
        })
        .count()
}

pub(crate) fn url(redis: &Redis, user: &str) -> String {
    format!("redis://{user}:secret@127.0.0.1:{}/0", redis.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_works_with_the_rights_that_are_documented() {
    let redis = Redis::start(Persistence::None);
    assert_eq!(make_users(&redis), 3);
    redis.cli(&["ACL", "SETUSER", "default", "-@all", "+acl"]);
    let as_worker = url(&redis, "conch-worker");
    let worker = Plan::worker(&redis).env("REDIS_URL", &as_worker).pace(50);
    let worker = worker.start().await;
    let api = Plan::api(&redis, &worker.triton_url());
    let api = api.env("REDIS_URL", url(&redis, "conch-api")).start().await;
    let mare = api.mare();

    let client_id = mare.new_client("Fabrikam Health").await;
    let job_id = mare.submit(&client_id).await;
    assert_whole(&mare.subscribe(&job_id).await.read_to_end().await, 1);
    assert_eq!(mare.job(&job_id).await["status"], "completed");
    let cancelled = mare.submit(&client_id).await;
    mare.delete(&format!("/jobs/{cancelled}")).await.json(202);
    mare.until_status(&cancelled, "cancelled").await;

    for (kind, more) in [
        ("job:started", json!({})),
        ("data:generated", json!({"rows": 3})),
        ("job:completed", json!({"template_ids": ["t-1"]})),
    ] {
        let mut event = json!({"event_type": kind, "job_id": "foreign-1", "client_id": "c-1"});
        event
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        let publish = ["--user", "publisher", "--pass", "secret", "PUBLISH"];
        let event = event.to_string();
        let words = [&publish[..], &["triton:jobs:all", &event]].concat();
        assert!(!redis.cli(&words).contains("NOPERM"));
    }
    mare.until_status("foreign-1", "completed").await;
    let events = mare.subscribe("foreign-1").await.read_to_end().await;
    assert_whole(&events, 1);

    let health = mare.get("/health").await.json(200);
    assert_eq!(health["status"], "ok", "{health}");
    for process in [&worker, &api] {
        let log = process.log();
        assert!(!log.contains("refuses this user"), "{log}");
    }
}

/// An API with its documented rights shows where jobs wait; one without the right to look says so once.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_shows_where_jobs_wait() {
    let redis = Redis::start(Persistence::None);
    make_users(&redis);
    let worker = Plan::worker(&redis).env("REDIS_URL", url(&redis, "conch-worker"));
    let worker = worker.env("WORKER_CONCURRENCY", "1").pace(600_000);
    let worker = worker.start().await;
    let api = Plan::api(&redis, &worker.triton_url());
    let api = api.env("REDIS_URL", url(&redis, "conch-api")).start().await;
    let mare = api.mare();
    let busy = mare.new_client("Fabrikam Health").await;
    let running = mare.submit(&busy).await;
    mare.until_status(&running, "running").await;
    let waiting = [mare.submit(&busy).await, mare.submit(&busy).await];
    let other = mare.submit(&mare.new_client("Contoso Health").await).await;
    for (job, place) in [(&waiting[0], 1), (&other, 2), (&waiting[1], 3)] {
        assert_eq!(mare.job(job).await["queue_position"], place);
    }
    assert!(mare.job(&running).await.get("queue_position").is_none());
    let page = mare.get("/jobs?status=pending").await.json(200);
    let listed = page["jobs"].as_array().expect("a list");
    let mut places: Vec<_> = listed
        .iter()
        .map(|job| job["queue_position"].as_u64())
        .collect();
    places.sort_unstable();
    assert_eq!(places, [Some(1), Some(2), Some(3)], "{page}");

    assert_eq!(redis.cli(&["ACL", "SETUSER", "conch-api", "-zrank"]), "OK");
    for _ in 0..2 {
        let job = mare.job(&other).await;
        assert_eq!(job["status"], "pending");
        assert!(job.get("queue_position").is_none(), "{job}");
    }
    let warnings = api.log().matches("queue positions can't be read").count();
    assert_eq!(warnings, 1, "{}", api.log());
}

#[test]
fn nobody_can_do_more() {
    let redis = Redis::start(Persistence::None);
    make_users(&redis);
    for (user, refused) in [
        (
            "conch-api",
            &[
                "ZADD triton:queue:ready 1 j",
                "DEL triton:queue:leases",
                "HSET triton:queue:entry:j token t",
                "HSET triton:catalogue:job:j body {}",
                "HGET triton:catalogue:client:c body",
                "SET triton:anything x",
                "SET other:job:result:j x",
                "PUBLISH elsewhere x",
                "SUBSCRIBE other:jobs:all",
                "KEYS *",
                "FLUSHALL",
                "CONFIG GET requirepass",
                "EVAL return 0",
                "ACL LIST",
            ][..],
        ),
        (
            "conch-worker",
            &[
                "GETRANGE other:job:result:j 0 1",
                "PUBLISH elsewhere x",
                "KEYS *",
                "FLUSHALL",
                "CONFIG GET requirepass",
                "SHUTDOWN",
                "DEBUG SLEEP 1",
            ],
        ),
        (
            "publisher",
            &[
                "GETRANGE triton:job:result:j 0 1",
                "PUBLISH triton:probe:x y",
                "SUBSCRIBE triton:jobs:all",
                "EVALSHA x 0",
            ],
        ),
    ] {
        for command in refused {
            let words: Vec<&str> = ["ACL", "DRYRUN", user]
                .into_iter()
                .chain(command.split(' '))
                .collect();
            let answer = redis.cli(&words);
            assert!(
                answer.contains("has no permissions"),
                "{user}: {command}: {answer}"
            );
        }
    }
}
