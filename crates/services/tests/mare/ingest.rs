//! What comes in on the channels: foreign programs are full citizens, forgers change nothing.

use std::time::Duration;

use conch_domain::{Job, JobRecord, JobStatus};
use serde_json::json;

use crate::lines;
use crate::world::{World, data, ids, job_id};

/// A world that listens already.
async fn listening() -> World {
    let world = World::new();
    tokio::time::sleep(Duration::from_millis(10)).await;
    world
}

fn say(world: &World, event: &serde_json::Value) {
    world.faults.announce_raw(event.to_string());
}

#[tokio::test(start_paused = true)]
async fn the_old_three_events_make_a_whole_stream_and_a_cached_result() {
    let world = listening().await;
    let time = "2025-12-01T08:55:49.123456";
    say(
        &world,
        &json!({"event_type":"job:started","timestamp":time,"job_id":"f","client_id":"c",
        "status":"running","started_at":time,"extra":{"kept":true}}),
    );
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut eyes = world.watch("f", None).await;
    let first = eyes.events(1).await;
    let started = data(&first[0]);
    assert_eq!(started["sequence"], 1);
    assert_eq!(started["extra"]["kept"], true);
    assert_eq!(started["timestamp"], time, "fields stay as they came");
    say(
        &world,
        &json!({"event_type":"data:generated","timestamp":time,"job_id":"f","rows":3}),
    );
    let end = json!({"event_type":"job:completed","timestamp":"2025-12-01T08:55:50.123456",
        "job_id":"f","client_id":"c","status":"completed","template_ids":["t1","t2"],"template_count":2});
    say(&world, &end);
    // The same message again: each instance hears it, and publishers repeat.
    say(&world, &end);
    let rest = eyes.rest().await;
    assert_eq!(rest.len(), 3, "{rest:?}");
    assert_eq!(data(&rest[0])["event_type"], "data:generated");
    assert_eq!(
        data(&rest[0])["status"],
        "running",
        "the present one is added"
    );
    assert_eq!(data(&rest[1])["generation_duration_ms"], 1000);
    assert_eq!(data(&rest[1])["sequence"], 3);
    let epoch = started["epoch"].as_str().expect("an epoch");
    assert_eq!(ids(&rest)[1], format!("{epoch}-3"));
    let cached = world
        .memory
        .cache()
        .get(&job_id("f"))
        .await
        .expect("memory answers");
    let cached: serde_json::Value = serde_json::from_slice(&cached.expect("cached")).expect("JSON");
    assert_eq!(cached["template_ids"], json!(["t1", "t2"]));
    assert_eq!(cached["status"], "completed");
}

#[tokio::test(start_paused = true)]
async fn a_forged_event_changes_nothing_of_an_own_job() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    let mut forged = json!({"event_type":"job:failed","timestamp":"2025-12-01T08:55:49","job_id":"j",
        "client_id":"c1","status":"failed","error_message":"forged"});
    say(&world, &forged);
    forged["sequence"] = json!(3);
    forged["epoch"] = json!("0000abcd");
    say(&world, &forged);
    forged["sequence"] = json!(u64::MAX);
    say(&world, &forged);
    tokio::time::sleep(Duration::from_millis(10)).await;
    job.complete().await;
    let seen = eyes.rest().await;
    assert_eq!(data(&seen[0])["event_type"], "job:completed");
    assert_eq!(ids(&seen)[0], "0000abcd-3");
}

#[tokio::test(start_paused = true)]
async fn rubbish_on_the_channel_is_passed_over() {
    let world = listening().await;
    for rubbish in [
        &b"not JSON"[..],
        b"",
        b"\xff\xfe",
        b"[]",
        br#"{"event_type":"job:started"}"#,
        br#"{"event_type":"job:started","job_id":"all"}"#,
        br#"{"event_type":"job:started","job_id":"a\r\nb"}"#,
        br#"{"job_id":"x"}"#,
    ] {
        world.faults.announce_raw(rubbish.to_vec());
    }
    world.faults.announce_raw(vec![b'x'; 10 << 20]);
    let multiline = "{\"event_type\":\"x:y\",\n\"job_id\":\"f\",\n\"text\":\"a\\r\\nb\"}";
    world.faults.announce_raw(multiline);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let seen = world.watch("f", None).await.events(1).await;
    assert_eq!(
        data(&seen[0])["text"],
        "a\r\nb",
        "on one line, whatever it says"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_ignores_foreign_events_still_hears_of_what_a_log_holds() {
    let world = World::ignoring_foreign_events();
    tokio::time::sleep(Duration::from_millis(10)).await;
    say(&world, &json!({"event_type":"job:started","job_id":"f"}));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let log = world.memory.bus().read(&job_id("f"), 0, 0).await;
    assert!(
        log.expect("memory answers").is_none(),
        "nothing begins a log"
    );
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    let begun = tokio::time::Instant::now();
    job.complete().await;
    eyes.rest().await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "by the announcement, not by the position check"
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_that_another_instance_appended_is_streamed_at_once() {
    let world = listening().await;
    let time = "2025-12-01T08:55:49.123456";
    say(
        &world,
        &json!({"event_type":"data:generated","timestamp":time,"job_id":"f"}),
    );
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut eyes = world.watch("f", None).await;
    eyes.events(1).await;
    let begun = tokio::time::Instant::now();
    let other = world.another_instance();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut theirs = match other.watch(&job_id("f"), None).await {
        conch_services::hub::Attached::Stream(watcher) => crate::world::Eyes(watcher),
        attached => panic!("expected a stream, got {}", crate::world::name(&attached)),
    };
    theirs.events(1).await;
    say(
        &world,
        &json!({"event_type":"job:started","timestamp":time,"job_id":"f","started_at":time}),
    );
    for eyes in [&mut eyes, &mut theirs] {
        assert_eq!(data(&eyes.events(1).await[0])["sequence"], 2);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "not by the position check"
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_that_its_publisher_announced_is_not_told_of_as_ours() {
    let (lines, _guard) = lines::listen();
    let world = listening().await;
    let time = "2025-12-01T08:55:49.123456";
    say(
        &world,
        &json!({"event_type":"job:started","timestamp":time,"job_id":"f","started_at":time}),
    );
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.watch("f", None).await.events(1).await;
    assert_eq!(lines.with("Published event"), [""; 0]);
    // Its end was announced to nobody: Triton tells, and it is announced from here.
    world.triton.set_job(ended("f"));
    let mut eyes = world.watch("f", None).await;
    eyes.rest().await;
    let told = lines.with("Published event");
    assert_eq!(told.len(), 1, "{told:#?}");
    let line = "Published event 'job:failed' for job f job.id=f job.sequence=2";
    assert!(told[0].ends_with(line), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn it_does_not_outlive_a_lane() {
    let world = listening().await;
    world.faults.panic_next("event_bus.read", 1);
    say(&world, &json!({"event_type":"job:started","job_id":"f"}));
    let ended = tokio::time::timeout(Duration::from_mins(1), world.ingest).await;
    let panic = ended.expect("it ends").expect_err("it is told of");
    assert!(panic.is_panic());
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_shutdown() {
    let world = listening().await;
    world.shutdown.cancel();
    world.ingest.await.expect("it doesn't panic");
}

fn ended(id: &str) -> Job {
    let unborn = Job::unborn(job_id(id), "00000000".parse().expect("an epoch"), false);
    Job::restore(JobRecord {
        status: JobStatus::Failed,
        ..(*unborn).clone()
    })
}
