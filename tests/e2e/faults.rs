//! Something is killed in mid-job, and every watcher still gets the end.

use std::time::Duration;

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::http::{Answer, client};
use conch_harness::sse::assert_whole;
use conch_harness::{Conch, Event, Mare, Pair, Persistence, Redis, Stream};
use futures::future::join_all;

/// Lease, position check, backoff and the rest of the job, many times over.
const LIMIT: Duration = Duration::from_mins(1);

/// The gauge of open streams.
const OPEN_STREAMS: &str = "conch_streams";

/// Submits a job and waits until its first template is done, so that a fault comes in the middle. The
/// stream that saw it stays open: it is one of those that are counted.
async fn in_mid_job(mare: &Mare) -> (String, Stream) {
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let mut stream = mare.subscribe(&job_id).await;
    stream
        .read_until(|e| e.kind() == "job:template_completed")
        .await;
    (job_id, stream)
}

/// Waits until so many streams are open at an API, as its metrics tell.
async fn until_watched(api: &Conch, streams: u64) {
    let url = format!("http://127.0.0.1:{}/metrics", api.mare_port());
    eventually("the watchers are attached", async || {
        let metrics = Answer::to(client().get(&url)).await.body;
        let line = metrics.lines().find(|l| l.starts_with(OPEN_STREAMS))?;
        let open: f64 = line.rsplit(' ').next()?.parse().ok()?;
        (open as u64 >= streams).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_s_job_goes_on_elsewhere() {
    let redis = Redis::start(Persistence::None);
    let mut first = Plan::worker(&redis).pace(250).start().await;
    let api = Plan::api(&redis, &first.triton_url()).start().await;
    let mare = api.mare();
    let client_id = mare.new_client("Fabrikam Health").await;
    let job_id = mare.submit(&client_id).await;
    let mut stream = mare.subscribe(&job_id).await;
    let mut all = stream
        .read_until(|e| e.kind() == "job:template_completed")
        .await;

    first.kill();
    let _second = Plan::silent_worker(&redis).pace(50).start().await;
    all.extend(stream.read_to_end().await);
    assert_whole(&all, 1);
    let kinds: Vec<String> = all.iter().map(Event::kind).collect();
    assert_eq!(
        kinds.iter().filter(|k| *k == "job:started").count(),
        1,
        "{kinds:?}"
    );
    let retrying = all.iter().find(|e| e.kind() == "job:retrying");
    let retrying = retrying.unwrap_or_else(|| panic!("no job:retrying in {kinds:?}"));
    assert_eq!(retrying.json()["reason"], "lease_expired");
    let end = all.last().expect("it ended").json();
    assert_eq!(end["event_type"], "job:completed");
    assert_eq!(end["attempt"], 2);
    // Each template was made once: those of the first attempt are kept.
    let mut made: Vec<String> = all
        .iter()
        .filter(|e| e.kind() == "job:template_completed")
        .map(|e| e.text("template_id"))
        .collect();
    assert_eq!(end["template_ids"], serde_json::json!(made));
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 7, "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_api_s_watchers_resume() {
    let mut pair = Pair::start(Redis::start(Persistence::None), 250).await;
    let mare = pair.api.mare();
    let (job_id, _first) = in_mid_job(&mare).await;
    let watchers: Vec<_> = (0..5).map(|_| mare.watch(&job_id)).collect();
    until_watched(&pair.api, 6).await;

    pair.api.restart().await;
    for watcher in watchers {
        assert_whole(&watcher.all(LIMIT).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_keeps_its_log_loses_nobody_anything() {
    let mut pair = Pair::start(Redis::start(Persistence::EverySec), 300).await;
    let mare = pair.api.mare();
    let (job_id, _first) = in_mid_job(&mare).await;
    let watchers: Vec<_> = (0..5).map(|_| mare.watch(&job_id)).collect();
    until_watched(&pair.api, 6).await;

    pair.redis.kill();
    pair.redis.restart();
    for events in join_all(watchers.into_iter().map(|w| w.all(LIMIT))).await {
        // From the first event on, without a reset.
        assert_whole(&events, 1);
        assert_eq!(events.last().expect("it ended").kind(), "job:completed");
    }
    assert_eq!(mare.job(&job_id).await["template_count"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_everything_still_lets_every_watch_end() {
    let mut pair = Pair::start(Redis::start(Persistence::None), 300).await;
    let mare = pair.api.mare();
    let (job_id, _first) = in_mid_job(&mare).await;
    let watchers: Vec<_> = (0..5).map(|_| mare.watch(&job_id)).collect();
    // One that only dials now, without a cursor, would find nothing: each must be attached.
    until_watched(&pair.api, 6).await;

    pair.redis.kill();
    pair.redis.restart();
    for events in join_all(watchers.into_iter().map(|w| w.all(LIMIT))).await {
        let last = events.last().expect("something was seen");
        let data = last.json();
        let ended = matches!(
            data["status"].as_str(),
            Some("completed" | "failed" | "cancelled")
        );
        assert!(ended, "{events:#?}");
        // Lost history is said, or the worker that still runs it went on under another epoch.
        let said = events
            .iter()
            .any(|e| e.kind() == "job:snapshot" && e.json()["reset"] == true);
        let whole = events.iter().all(|e| e.id[..8] == events[0].id[..8]);
        assert!(said || whole, "{events:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_redis_cuts_leaves_no_gap() {
    let pair = Pair::start(Redis::start(Persistence::None), 200).await;
    let mare = pair.api.mare();
    let (job_id, mut first) = in_mid_job(&mare).await;
    let mut late = mare.subscribe(&job_id).await;
    // With every event that arrives, the subscription goes: what is announced meanwhile reaches nobody.
    let mut cuts = 0;
    while let Some(event) = first.next_event().await {
        let cut = pair.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        cuts += cut.parse::<u32>().expect("a number");
        if event.is_terminal() {
            break;
        }
    }
    assert!(cuts >= 2, "the subscription was cut {cuts} times");
    let events = late.read_to_end().await;
    assert_whole(&events, 1);
    assert_eq!(mare.subscribe(&job_id).await.read_to_end().await, events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stands_still_is_waited_for() {
    let mut pair = Pair::start(Redis::start(Persistence::None), 300).await;
    let mare = pair.api.mare();
    let (job_id, _first) = in_mid_job(&mare).await;
    let mut stream = mare.subscribe(&job_id).await;
    let first = stream.next_event().await.expect("its history");

    pair.redis.freeze();
    // Heartbeats go on meanwhile: twice, so that one of them was due after the stop.
    let mut all = vec![first];
    for _ in 0..2 {
        all.extend(stream.until_comment("keep-alive").await);
    }
    pair.redis.thaw();
    // The worker may have lost its lease by then: the job goes on all the same.
    let _other = Plan::silent_worker(&pair.redis).pace(50).start().await;
    all.extend(stream.read_to_end().await);
    assert_whole(&all, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_paused_beyond_its_lease_changes_nothing_any_more() {
    let redis = Redis::start(Persistence::None);
    let mut first = Plan::worker(&redis).pace(250).start().await;
    // Triton's HTTP stays up in the second one: the first is about to stand still.
    let second_plan = Plan::worker(&redis).pace(50);
    let api = Plan::api(&redis, &first.triton_url()).start().await;
    let mare = api.mare();
    let (job_id, _first) = in_mid_job(&mare).await;
    let mut stream = mare.subscribe(&job_id).await;

    first.signal(nix::sys::signal::Signal::SIGSTOP);
    let _second = second_plan.start().await;
    let events = stream.read_to_end().await;
    assert_whole(&events, 1);
    first.signal(nix::sys::signal::Signal::SIGCONT);
    // It is alive again when it stops in good order, and it has changed nothing.
    first.stop();
    assert_eq!(mare.subscribe(&job_id).await.read_to_end().await, events);
    let history = mare.get(&format!("/jobs/{job_id}/events")).await.json(200);
    assert_eq!(
        history["events"].as_array().map(Vec::len),
        Some(events.len())
    );
}
