//! External jobs that go on after their end, as publishers on Celery do: `job:failed`, then
//! `job:started` and `job:completed` of the same job.

mod lookups;
mod named_jobs;

use std::time::Duration;

use conch_domain::{Job, JobRecord, JobStatus};
use conch_ports::{Appended, Commit, Fence, NewEvent, QueueEffect};
use conch_wire::event::{decode, encode};
use serde_json::{Value, json};

use crate::world::{Eyes, Seen, World, data, job_id, name};

const TIME: &str = "2025-12-01T08:55:";

/// An event at a second of one minute.
fn event(kind: &str, second: u32) -> Value {
    let at = format!("{TIME}{second:02}.5");
    json!({"event_type": kind, "timestamp": at, "job_id": "f", "client_id": "c1",
        "error_message": "no answer", "template_ids": ["t1"]})
}

async fn say(world: &World, event: &Value) {
    world.faults.announce_raw(event.to_string());
    tokio::time::sleep(Duration::from_millis(10)).await;
}

async fn failed() -> World {
    let world = World::new();
    tokio::time::sleep(Duration::from_millis(10)).await;
    say(&world, &event("job:started", 0)).await;
    say(&world, &event("job:failed", 10)).await;
    world
}

async fn status(world: &World) -> String {
    let found = world
        .lookup
        .job(&job_id("f"))
        .await
        .expect("memory answers");
    let job: Value = serde_json::from_slice(&found.expect("it is known")).expect("JSON");
    job["status"].as_str().expect("text").to_owned()
}

/// What a stream says up to its end.
async fn all(world: &World, cursor: Option<&str>) -> Vec<Seen> {
    world.watch("f", cursor).await.rest().await
}

fn events(seen: &[Seen]) -> impl Iterator<Item = (&String, &Value)> {
    seen.iter().filter_map(|seen| match seen {
        Seen::Event(id, data) => Some((id, data)),
        Seen::Line(_) => None,
    })
}

fn kinds(seen: &[Seen]) -> Vec<String> {
    let kind = |data: &Value| data["event_type"].as_str().expect("text").to_owned();
    events(seen).map(|(_, data)| kind(data)).collect()
}

fn last_id(seen: &[Seen]) -> String {
    events(seen).last().expect("an event").0.clone()
}

/// What Triton tells of the job, which ended in that minute if it did.
fn known(status: JobStatus, minute: u32) -> Job {
    let initial = Job::initial(job_id("f"), "00000000".parse().expect("an epoch"), false);
    Job::restore(JobRecord {
        status,
        template_count: 2,
        completed_at: conch_wire::time::parse(&format!("2025-12-01T09:{minute:02}:30Z")),
        ..(*initial).clone()
    })
}

/// Another instance hears of it and appends it, and this one hears nothing.
async fn go_on_unheard(world: &World, event: &Value) {
    let log = world.memory.log();
    let found = log.read(&job_id("f"), 0, 0).await;
    let before = found.expect("memory answers").expect("there is a log").job;
    let line = event.to_string();
    let incoming = decode(line.as_bytes(), before.updated_at.expect("it was told"));
    let event = incoming.expect("an event").event;
    let epoch = "0000ffff".parse().expect("an epoch");
    let mut job = before.reopen(&event, epoch).expect("it may go on");
    let position = job.position.next();
    job.apply(position, &event).expect("a legal event");
    let commit = Commit {
        events: vec![NewEvent {
            line: encode(&event, &job),
            event_id: event.event_id.clone(),
        }],
        templates: Vec::new(),
        fence: Fence::Foreign,
        effect: QueueEffect::Keep,
        announce: false,
        replaces: Some(before.position),
        base: None,
        job,
    };
    let appended = log.append(commit).await;
    assert_eq!(appended.expect("memory answers"), Appended::Appended);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_a_failure_is_a_new_epoch_for_whoever_comes_then() {
    let world = failed().await;
    let first = all(&world, None).await;
    assert_eq!(
        kinds(&first),
        ["job:started", "job:failed"],
        "it ended, as it always did"
    );
    let old_end = last_id(&first);
    assert_eq!(status(&world).await, "failed");

    say(&world, &event("job:started", 20)).await;
    assert_eq!(
        status(&world).await,
        "running",
        "the result of the first end is gone"
    );
    let mut live = world.watch("f", None).await;
    assert_eq!(kinds(&live.events(1).await), ["job:started"]);
    let mut resumed = world.watch("f", Some(&old_end)).await;
    let first = resumed.events(1).await;
    let snapshot = data(&first[0]);
    assert_eq!(snapshot["event_type"], "job:snapshot");
    assert_eq!(
        (&snapshot["reset"], &snapshot["reopened"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(snapshot["status"], "running");

    say(&world, &event("job:completed", 40)).await;
    assert_eq!(kinds(&live.rest().await), ["job:completed"]);
    assert_eq!(kinds(&resumed.rest().await), ["job:completed"]);
    let late = all(&world, None).await;
    assert_eq!(kinds(&late), ["job:started", "job:completed"]);
    assert_eq!(
        data(&late[1])["generation_duration_ms"],
        20_000,
        "of the second run"
    );
    assert_eq!(status(&world).await, "completed");

    // 204 at the newest end alone.
    let new_end = last_id(&late);
    let at = |cursor: String| {
        let world = &world;
        async move { name(&world.hub.watch(&job_id("f"), Some(&cursor)).await) }
    };
    assert_eq!(at(new_end).await, "Ended");
    assert_eq!(at(old_end.clone()).await, "Stream");
    let again = all(&world, Some(&old_end)).await;
    assert_eq!(data(&again[0])["reopened"], true);
    assert_eq!(data(&again[0])["status"], "completed");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_open_goes_from_one_epoch_to_the_next_without_a_loss() {
    let world = World::new();
    tokio::time::sleep(Duration::from_millis(10)).await;
    say(&world, &event("job:started", 0)).await;
    let mut open = world.watch("f", None).await;
    open.events(1).await;
    // The log is not read between the failure and what comes after it.
    for (kind, second) in [("job:failed", 10), ("job:started", 20)] {
        world.faults.announce_raw(event(kind, second).to_string());
    }
    say(&world, &event("job:progress", 30)).await;
    say(&world, &event("job:completed", 40)).await;
    let seen = open.rest().await;
    // Its events were not read one by one: the stream is given the state, and told that nothing was lost.
    assert_eq!(kinds(&seen), ["job:snapshot"]);
    assert_eq!(data(&seen[0])["reopened"], true);
    assert_eq!(data(&seen[0])["status"], "completed");
}

#[tokio::test(start_paused = true)]
async fn what_is_repeated_or_late_belongs_to_the_epoch_in_which_it_was() {
    let world = failed().await;
    say(&world, &event("job:started", 20)).await;
    // What an instance that lags behind offers now, and what it would take for another failure.
    say(&world, &event("job:failed", 10)).await;
    say(&world, &event("job:started", 0)).await;
    say(&world, &event("job:failed", 15)).await;
    assert_eq!(status(&world).await, "running");
    say(&world, &event("job:completed", 40)).await;
    for (kind, second) in [("job:started", 0), ("job:failed", 10), ("job:started", 50)] {
        say(&world, &event(kind, second)).await;
    }
    assert_eq!(status(&world).await, "completed", "nothing follows it");
    let log = world.memory.log().read(&job_id("f"), 0, 9).await;
    let log = log.expect("memory answers").expect("there is a log");
    assert_eq!((log.job.past.len(), log.entries.len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn several_instances_that_offer_the_same_retry_begin_one_epoch() {
    let world = World::new();
    let others: Vec<_> = (0..4).map(|_| world.another_instance()).collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    for (kind, second) in [
        ("job:started", 0),
        ("job:failed", 10),
        ("job:started", 20),
        ("job:failed", 30),
        ("job:completed", 40),
    ] {
        say(&world, &event(kind, second)).await;
    }
    let log = world.memory.log().read(&job_id("f"), 0, 9).await;
    let log = log.expect("memory answers").expect("there is a log");
    assert_eq!(log.job.past.len(), 2, "one for each retry");
    for hub in others {
        let attached = hub.watch(&job_id("f"), None).await;
        let conch_services::mare::hub::Attached::Stream(watcher) = attached else {
            panic!("{}", name(&attached));
        };
        assert_eq!(kinds(&Eyes(watcher).rest().await), ["job:completed"]);
    }
}

/// Publishers lose events: how a run ended is learned from Triton, in each epoch.
#[tokio::test(start_paused = true)]
async fn ends_are_derived_in_every_epoch() {
    let world = World::new();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let start = |minute: u32| {
        let mut event = event("job:started", 0);
        event["timestamp"] = json!(format!("2025-12-01T09:{minute:02}:00"));
        event
    };
    for minute in [10, 20] {
        // Its answer is of the run before until it notes that of this one.
        say(&world, &start(minute)).await;
        let mut eyes = world.watch("f", None).await;
        assert_eq!(kinds(&eyes.events(1).await), ["job:started"]);
        tokio::time::sleep(2 * crate::world::POSITION_CHECK).await;
        world.triton.set_job(known(JobStatus::Failed, minute));
        let seen = eyes.rest().await;
        assert_eq!(kinds(&seen), ["job:failed"], "of the run from {minute}");
        assert_eq!(data(&seen[0])["derived"], true);
    }
    world.triton.set_job(known(JobStatus::Completed, 30));
    say(&world, &start(30)).await;
    let seen = all(&world, None).await;
    assert_eq!(kinds(&seen), ["job:started", "job:completed"]);
    assert_eq!(status(&world).await, "completed");
}

/// Triton's row shows the failure until the run that goes on notes something there, and another worker's
/// clock wrote it.
#[tokio::test(start_paused = true)]
async fn a_failure_that_the_job_went_on_from_is_not_derived_again() {
    let ended_at = |time: &str| conch_wire::time::parse(&format!("{TIME}{time}Z"));
    // When the row says that the job ended, and when it was changed.
    for (ended, updated) in [
        (ended_at("20.9"), ended_at("20.9")),
        (None, ended_at("30")),
        (None, None),
    ] {
        let world = failed().await;
        world.triton.set_job(Job::restore(JobRecord {
            completed_at: ended,
            updated_at: updated,
            ..(*known(JobStatus::Failed, 0)).clone()
        }));
        say(&world, &event("job:started", 20)).await;
        let mut eyes = world.watch("f", None).await;
        assert_eq!(kinds(&eyes.events(1).await), ["job:started"]);
        tokio::time::sleep(2 * crate::world::POSITION_CHECK).await;
        assert!(world.triton.calls("job") > 1, "it was asked");
        assert_eq!(status(&world).await, "running", "{ended:?} {updated:?}");
        world.triton.set_job(known(JobStatus::Failed, 10));
        assert_eq!(kinds(&eyes.rest().await), ["job:failed"], "of this run");
    }
}
