//! One job, many watchers: history and what follows it, threads, silence, heartbeats, the end.

use std::time::Duration;

use conch_ports::ErrorKind;
use conch_services::mare::hub::{Attached, Settings};

use crate::world::{Eyes, World, data, ids, is_greeting, job_id, name};

const CLOSING: &str = ": Connection closing - job completed";

#[tokio::test(start_paused = true)]
async fn a_late_watcher_gets_the_whole_history_and_then_what_comes() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    assert_eq!(ids(&eyes.events(2).await), ["0000abcd-1", "0000abcd-2"]);
    job.progress(50).await;
    job.complete().await;
    let rest = eyes.rest().await;
    assert_eq!(ids(&rest), ["0000abcd-3", "0000abcd-4", CLOSING]);
    assert_eq!(data(&rest[1])["status"], "completed");
}

/// As from a thread that answers requests.
#[tokio::test]
async fn a_watcher_outlives_the_runtime_that_it_attached_on() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let elsewhere = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a thread");
    let hub = world.hub.clone();
    let attach = async move { hub.watch(&job_id("j"), None).await };
    let Attached::Stream(watcher) = elsewhere.spawn(attach).await.expect("no panic") else {
        panic!("expected a stream");
    };
    let mut eyes = Eyes(watcher);
    assert_eq!(ids(&eyes.events(2).await), ["0000abcd-1", "0000abcd-2"]);
    elsewhere.shutdown_background();
    job.complete().await;
    let rest = tokio::time::timeout(Duration::from_secs(10), eyes.rest()).await;
    assert_eq!(ids(&rest.expect("it is told")), ["0000abcd-3", CLOSING]);
}

#[tokio::test(start_paused = true)]
async fn a_finished_job_is_its_history_and_the_close() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    job.complete().await;
    let seen = world.watch("j", None).await.rest().await;
    assert_eq!(
        ids(&seen),
        ["0000abcd-1", "0000abcd-2", "0000abcd-3", CLOSING]
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_jobs() {
    let world = World::new();
    for cursor in [None, Some("garbage")] {
        let attached = world.hub.watch(&job_id("nobody"), cursor).await;
        assert_eq!(name(&attached), "Unknown", "{cursor:?}");
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.hub.topics(), 0, "what was never found is not kept");
}

#[tokio::test(start_paused = true)]
async fn while_store_and_triton_are_out_of_reach_the_stream_lives_on_heartbeats() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    world.fail_reads(20);
    world.triton.fail(ErrorKind::Unavailable);
    let mut eyes = world.watch("j", None).await;
    let (greeting, _) = eyes.frames().await;
    is_greeting(&greeting);
    let (beat, _) = eyes.frames().await;
    assert_eq!(beat, [": keep-alive\n"]);
    world.faults.fail_no_more();
    job.complete().await;
    let seen = eyes.rest().await;
    assert_eq!(
        ids(&seen),
        ["0000abcd-1", "0000abcd-2", "0000abcd-3", CLOSING]
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_watcher_gets_one_heartbeat_per_interval() {
    let (_world, _job, mut eyes) = World::watched().await;
    let begun = tokio::time::Instant::now();
    for _ in 0..4 {
        assert_eq!(eyes.frames().await.0, [": keep-alive\n"]);
    }
    let took = begun.elapsed();
    let interval = Settings::default().heartbeat;
    assert!(
        took > interval * 3 && took <= interval * 4 + Duration::from_secs(1),
        "{took:?}"
    );
}
