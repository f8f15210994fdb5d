//! What an external event costs once its job's fold is kept, and that a fold that is behind does no harm.

use std::time::Duration;

use serde_json::json;

use crate::world::{World, data, ids, job_id};

async fn listening() -> World {
    let world = World::new();
    world.has_heard().await;
    world
}

async fn say(world: &World, kind: &str, more: &serde_json::Value) {
    let mut event = json!({"event_type": kind, "job_id": "f", "client_id": "c1",
        "timestamp": "2025-12-01T08:55:49"});
    let fields = event.as_object_mut().expect("an object");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    world.faults.announce_raw(event.to_string());
    tokio::time::sleep(Duration::from_millis(10)).await;
}

fn calls(world: &World) -> (u64, u64) {
    let count = |operation| world.faults.calls(operation);
    (count("job_log.read"), count("job_log.append"))
}

async fn head(world: &World) -> u64 {
    let log = world.memory.log().read(&job_id("f"), 0, 0).await;
    let log = log.expect("memory answers").expect("there is a log");
    log.job.position.sequence
}

#[tokio::test(start_paused = true)]
async fn a_further_event_costs_an_append_alone_watched_or_not() {
    for is_watched in [false, true] {
        let world = listening().await;
        say(&world, "job:started", &json!({})).await;
        let mut eyes = world.watch("f", None).await;
        eyes.events(1).await;
        let mut eyes = is_watched.then_some(eyes);
        let before = calls(&world);
        for n in 1..=20 {
            say(&world, "data:generated", &json!({"rows": n})).await;
            if let Some(eyes) = &mut eyes {
                let seen = eyes.events(1).await;
                assert_eq!(data(&seen[0])["rows"], n);
            }
        }
        let after = calls(&world);
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            (0, 20),
            "{is_watched}"
        );
        assert_eq!(head(&world).await, 21);
    }
}

/// Both offer each event; what one has appended brings the other's fold up to it.
#[tokio::test(start_paused = true)]
async fn two_instances_read_a_job_once_each() {
    let world = listening().await;
    let _other = world.another_instance();
    world.has_heard().await;
    say(&world, "job:started", &json!({})).await;
    say(&world, "data:generated", &json!({"rows": 0})).await;
    let before = calls(&world);
    for n in 1..=20 {
        say(&world, "data:generated", &json!({"rows": n})).await;
    }
    assert_eq!(calls(&world).0 - before.0, 0);
    assert_eq!(head(&world).await, 22);
}

#[tokio::test(start_paused = true)]
async fn a_fold_that_is_behind_is_read_anew() {
    let world = listening().await;
    say(&world, "job:started", &json!({})).await;
    let log = world.memory.log().read(&job_id("f"), 0, 0).await;
    let kept = log.expect("memory answers").expect("there is a log").job;
    // Another instance appends, and this one doesn't hear of it.
    world.faults.lose_announcements(|_, _| true);
    let mut elsewhere = world.external_job("f");
    elsewhere.job = kept;
    elsewhere.progress(10).await;
    say(&world, "data:generated", &json!({"rows": 1})).await;
    assert_eq!(head(&world).await, 3);
}

/// By the fold that is kept the job has started already; its log says that nothing has happened.
#[tokio::test(start_paused = true)]
async fn that_an_event_is_illegal_is_only_said_after_a_read() {
    let world = listening().await;
    say(&world, "job:started", &json!({})).await;
    world.faults.wipe();
    world.has_heard().await;
    say(&world, "job:started", &json!({"again": true})).await;
    assert_eq!(head(&world).await, 1);
    let mut eyes = world.watch("f", None).await;
    assert_eq!(data(&eyes.events(1).await[0])["again"], true);
}

/// A job that went on elsewhere after a failure that this instance appended, and ended there.
#[tokio::test(start_paused = true)]
async fn after_an_end_the_log_is_read_anew() {
    let world = listening().await;
    say(&world, "job:started", &json!({})).await;
    let end = json!({"error_message": "tired", "timestamp": "2025-12-01T08:56:00"});
    say(&world, "job:failed", &end).await;
    let again = json!({"timestamp": "2025-12-01T08:57:00"});
    say(&world, "job:started", &again).await;
    say(
        &world,
        "data:generated",
        &json!({"rows": 1, "timestamp": "2025-12-01T08:57:01"}),
    )
    .await;
    let end = json!({"template_ids": ["t1"], "timestamp": "2025-12-01T08:57:02"});
    say(&world, "job:completed", &end).await;
    let mut eyes = world.watch("f", None).await;
    let seen = eyes.rest().await;
    assert_eq!(ids(&seen).len(), 4, "{seen:?}");
    assert_eq!(data(&seen[2])["event_type"], "job:completed");
}
