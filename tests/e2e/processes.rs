//! Several processes on one Redis.

use std::time::Duration;

use conch_harness::conch::Plan;
use conch_harness::http::until_streams;
use conch_harness::sse::assert_whole;
use conch_harness::{Mare, Pair, Persistence, Proxy, Redis, Watcher};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_says_which_setting_and_when_to_come_back() {
    let redis = Redis::start(Persistence::None);
    let worker = Plan::worker(&redis)
        .pace(60_000)
        .env("MAX_QUEUED_JOBS", "1")
        .start()
        .await;
    let api = Plan::api(&redis, &worker.triton_url()).start().await;
    let mare = api.mare();
    let client_id = mare.new_client("Fabrikam Health").await;
    let job_id = mare.submit(&client_id).await;
    let path = format!("/clients/{client_id}/generate-templates");
    let submit = async || mare.post(&path, &json!({})).await;
    let refused = submit().await;
    let problem = refused.expect_problem(429, "too-many-requests");
    assert!(problem.to_string().contains("MAX_QUEUED_JOBS"), "{problem}");
    assert_eq!(refused.header("retry-after"), "5");
    // Its end makes room.
    mare.delete(&format!("/jobs/{job_id}")).await.json(202);
    mare.until_status(&job_id, "cancelled").await;
    submit().await.json(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_one_process_listens_once() {
    let redis = Redis::start(Persistence::None);
    let conch = Plan::all_in_one()
        .env("EVENT_BUS", "redis")
        .env("REDIS_URL", redis.url())
        .pace(20)
        .start()
        .await;
    let mare = conch.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let events = mare.subscribe(&job_id).await.read_to_end().await;
    assert_whole(&events, 1);
    // The edge and the worker both hear of a job by now.
    let listening = redis.cli(&["PUBSUB", "NUMSUB", "triton:jobs:all"]);
    assert_eq!(listening, "triton:jobs:all\n1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_is_looked_up_without_triton() {
    let mut pair = Pair::start(Redis::start(Persistence::None), 20).await;
    let mare = pair.api.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let events = mare.subscribe(&job_id).await.read_to_end().await;
    let job = mare.job(&job_id).await;

    pair.worker.stop();
    // An API that has never seen the job, and a Triton that is gone: the cache is enough.
    let newcomer = Plan::api(&pair.redis, &pair.worker.triton_url())
        .start()
        .await;
    for api in [&pair.api, &newcomer] {
        assert_eq!(api.mare().job(&job_id).await, job);
        assert_eq!(
            api.mare().subscribe(&job_id).await.read_to_end().await,
            events
        );
    }
    let log = newcomer.log();
    assert!(
        log.contains(&format!("Cache hit for job {job_id}")),
        "{log}"
    );
    // Without the cache it is the log that answers.
    pair.redis
        .cli(&["DEL", &format!("triton:job:result:{job_id}")]);
    let third = Plan::api(&pair.redis, &pair.worker.triton_url())
        .start()
        .await;
    assert_eq!(third.mare().job(&job_id).await, job);
    assert!(
        third
            .log()
            .contains(&format!("Cache miss for job {job_id}")),
        "{}",
        third.log()
    );
    // What needs Triton says that it is gone.
    mare.get("/clients")
        .await
        .expect_problem(502, "upstream-unavailable");
    mare.get("/jobs/never-heard-of")
        .await
        .expect_problem(502, "upstream-unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_gives_its_job_back() {
    let redis = Redis::start(Persistence::None);
    let mut first = Plan::worker(&redis)
        .pace(400)
        .env("DRAIN_SECONDS", "1")
        .start()
        .await;
    let api = Plan::api(&redis, &first.triton_url()).start().await;
    let mare = api.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let mut stream = mare.subscribe(&job_id).await;
    let mut all = stream
        .read_until(|e| e.kind() == "job:template_completed")
        .await;

    first.stop();
    let _second = Plan::silent_worker(&redis).pace(50).start().await;
    all.extend(stream.read_to_end().await);
    assert_whole(&all, 1);
    let end = all.last().expect("it ended").json();
    assert_eq!(end["event_type"], "job:completed");
    let kept = all[..]
        .iter()
        .find(|e| e.kind() == "job:template_completed")
        .expect("one");
    let ids = end["template_ids"].as_array().expect("a list");
    assert!(ids.contains(&kept.json()["template_id"]), "{end}");
    assert_eq!(ids.len(), 7, "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_stops_lets_its_watchers_go_on_elsewhere() {
    let pair = Pair::start(Redis::start(Persistence::None), 250).await;
    let mut leaving = Plan::api(&pair.redis, &pair.worker.triton_url())
        .start()
        .await;
    let mare = leaving.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let mut stream = mare.subscribe(&job_id).await;
    let mut all = stream
        .read_until(|e| e.kind() == "job:template_completed")
        .await;

    leaving.stop();
    while let Some(event) = stream.next_event().await {
        all.push(event);
    }
    assert_eq!(
        stream.broken(),
        None,
        "a drain ends a stream, it does not cut it"
    );
    let last = all.last().expect("it has seen some").id.clone();
    let url = pair.api.mare().subscribe_url(&job_id);
    all.extend(
        conch_harness::Stream::open(&url, Some(&last))
            .await
            .read_to_end()
            .await,
    );
    assert_whole(&all, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_watchers_of_a_killed_api_go_on_elsewhere() {
    const WATCHERS: u64 = 200;
    let pair = Pair::start(Redis::start(Persistence::None), 500).await;
    let mut killed = Plan::api(&pair.redis, &pair.worker.triton_url())
        .start()
        .await;
    let balancer = Proxy::to(killed.mare_port()).await;
    let mare = killed.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let url = Mare::on(balancer.port()).subscribe_url(&job_id);
    let watchers: Vec<_> = (0..WATCHERS).map(|_| Watcher::start(url.clone())).collect();
    until_streams(killed.mare_port(), WATCHERS).await;

    killed.kill();
    balancer.turn_to(pair.api.mare_port());
    // All are back before the job ends.
    until_streams(pair.api.mare_port(), WATCHERS).await;
    assert_eq!(pair.api.mare().job(&job_id).await["status"], "running");
    let mut seen = Vec::new();
    for watcher in watchers {
        seen.push(watcher.all(Duration::from_mins(1)).await);
    }
    for events in &seen {
        assert_whole(events, 1);
        assert_eq!(*events, seen[0]);
    }
}
