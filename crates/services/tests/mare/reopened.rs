//! External jobs that go on after their end, as publishers on Celery do: `job:failed`, then
//! `job:started` and `job:completed` of the same job.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{Job, JobId, JobRecord, JobStatus};
use conch_memory::When;
use conch_ports::{Commit, ErrorKind, Fence, Published, QueueEffect, ResultCache};
use conch_services::ingest::{self, Listeners};
use conch_services::lookup;
use conch_services::reconcile::Reconcile;
use conch_wire::event::{decode, encode};
use serde_json::{Value, json};

use crate::world::{Eyes, Seen, World, accept, data, job_id, name, named, told};

/// The id at which a stream of named jobs ended.
const END: &str = "m-253402300799999";
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
    // Nobody reads the log between the failure and what comes after it.
    for (kind, second) in [("job:failed", 10), ("job:started", 20)] {
        world.faults.announce_raw(event(kind, second).to_string());
    }
    say(&world, &event("job:progress", 30)).await;
    say(&world, &event("job:completed", 40)).await;
    let seen = open.rest().await;
    // Nobody took its events one by one: it is given the state, and told that nothing was lost.
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
    let log = world.memory.bus().read(&job_id("f"), 0, 9).await;
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
    let log = world.memory.bus().read(&job_id("f"), 0, 9).await;
    let log = log.expect("memory answers").expect("there is a log");
    assert_eq!(log.job.past.len(), 2, "one for each retry");
    for hub in others {
        let attached = hub.watch(&job_id("f"), None).await;
        let conch_services::hub::Attached::Stream(watcher) = attached else {
            panic!("{}", name(&attached));
        };
        assert_eq!(kinds(&Eyes(watcher).rest().await), ["job:completed"]);
    }
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

/// A stream of many jobs is about states: a job that has failed has ended, and one that goes on while
/// others still run is told of and waited for.
#[tokio::test(start_paused = true)]
async fn a_stream_of_named_jobs_waits_for_one_that_goes_on_before_its_close() {
    let world = failed().await;
    let mut other = world.job("j");
    other.start().await;
    let names = || named(&["f", "j"]);
    let mut early = world.watch_many(names(), None).await;
    assert_eq!(
        told(&early.until_idle().await),
        ["f job:snapshot 2", "j job:snapshot 2"]
    );
    say(&world, &event("job:started", 20)).await;
    let seen = early.events(1).await;
    assert_eq!(data(&seen[0])["reopened"], true, "{seen:?}");
    assert_eq!(data(&seen[0])["status"], "running");

    // Another one was there when it failed, and hears that it goes on.
    say(&world, &event("job:failed", 30)).await;
    assert_eq!(told(&early.events(1).await), ["f job:failed 2"]);
    say(&world, &event("job:started", 40)).await;
    assert_eq!(told(&early.events(1).await), ["f job:snapshot 1"]);

    // The other one's end isn't the stream's.
    other.complete().await;
    assert_eq!(told(&early.until_idle().await), ["j job:completed 3"]);
    say(&world, &event("job:completed", 50)).await;
    let rest = early.rest().await;
    assert_eq!(kinds(&rest), ["job:completed"]);
    assert_eq!(last_id(&rest), END);
    let at_the_end = world.hub.watch_many(names(), Some(END)).await;
    assert_eq!(name(&at_the_end), "Ended");
}

/// Another instance hears of it and appends it, and this one hears nothing.
async fn go_on_unheard(world: &World, event: &Value) {
    let bus = world.memory.bus();
    let log = bus.read(&job_id("f"), 0, 0).await;
    let before = log.expect("memory answers").expect("there is a log").job;
    let line = event.to_string();
    let incoming = decode(line.as_bytes(), before.updated_at.expect("it was told"));
    let event = incoming.expect("an event").event;
    let epoch = "0000ffff".parse().expect("an epoch");
    let mut job = before.reopen(&event, epoch).expect("it may go on");
    let position = job.position.next();
    job.apply(position, &event).expect("a legal event");
    let commit = Commit {
        line: encode(&event, &job),
        event_id: event.event_id.clone(),
        fence: Fence::Foreign,
        effect: QueueEffect::Keep,
        announce: false,
        replaces: Some(before.position),
        base: None,
        job,
    };
    let published = bus.publish(commit).await;
    assert_eq!(published.expect("memory answers"), Published::Appended);
}

/// After its close there is no stream to tell of it; who comes back is told that not all have ended.
#[tokio::test(start_paused = true)]
async fn who_comes_back_to_named_jobs_is_not_told_to_stop_while_one_goes_on() {
    for announced in [true, false] {
        let world = failed().await;
        let rest = world.watch_many(named(&["f"]), None).await.rest().await;
        assert_eq!(last_id(&rest), END, "it had ended");
        if announced {
            say(&world, &event("job:started", 20)).await;
        } else {
            // It goes on, and this instance doesn't hear of it.
            go_on_unheard(&world, &event("job:started", 20)).await;
        }
        let mut back = world.watch_many(named(&["f"]), Some(END)).await;
        let seen = back.events(1).await;
        assert_eq!(told(&seen), ["f job:snapshot 1"]);
        assert_eq!(data(&seen[0])["status"], "running");
        say(&world, &event("job:completed", 40)).await;
        assert_eq!(kinds(&back.rest().await), ["job:completed"]);
    }
}

/// A stream waits for another job that it names, and nobody announces that the failed one goes on.
#[tokio::test(start_paused = true)]
async fn a_failed_job_that_a_stream_waits_beside_is_looked_at_again() {
    let world = failed().await;
    let mut other = world.job("j");
    other.start().await;
    let mut eyes = world.watch_many(named(&["f", "j"]), None).await;
    eyes.until_idle().await;
    go_on_unheard(&world, &event("job:started", 20)).await;
    let begun = tokio::time::Instant::now();
    let seen = eyes.events(1).await;
    assert_eq!(data(&seen[0])["reopened"], true, "{seen:?}");
    assert!(begun.elapsed() <= crate::world::POSITION_CHECK);
    other.complete().await;
    assert_eq!(told(&eyes.until_idle().await), ["j job:completed 3"]);
    say(&world, &event("job:completed", 50)).await;
    assert_eq!(last_id(&eyes.rest().await), END);
    // Nobody waits any more, and it has ended for good: no further reads.
    tokio::time::sleep(Duration::from_mins(1)).await;
    let reads = world.faults.calls("event_bus.read");
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.faults.calls("event_bus.read"), reads);
}

/// However many failed jobs a stream names beside one that never ends, they cost a question for 500 of
/// them; only the log of one that goes on is read.
#[tokio::test(start_paused = true)]
async fn failed_jobs_that_a_stream_waits_beside_are_checked_together() {
    let world = failed().await;
    let mut names = named(&["f", "j"]);
    for n in 0..600 {
        for (kind, second) in [("job:started", 0), ("job:failed", 10)] {
            let mut event = event(kind, second);
            event["job_id"] = json!(format!("f-{n}"));
            world.faults.announce_raw(event.to_string());
        }
        world.has_heard().await;
        names.job_ids.push(job_id(&format!("f-{n}")));
    }
    world.job("j").start().await;
    let mut eyes = world.watch_many(names, None).await;
    assert_eq!(eyes.until_idle().await.len(), 602);
    let count = |what| world.faults.calls(what);
    let (reads, checks) = (count("event_bus.read"), count("event_bus.positions"));
    tokio::time::sleep(crate::world::POSITION_CHECK * 10).await;
    // Of the one that isn't over, whose silence lasts from half a check to a whole one.
    let read = count("event_bus.read") - reads;
    assert!((10..=20).contains(&read), "{read} reads");
    let checked = count("event_bus.positions") - checks;
    assert!((18..=22).contains(&checked), "{checked} checks");
    let (reads, checks) = (count("event_bus.read"), count("event_bus.positions"));
    go_on_unheard(&world, &event("job:started", 20)).await;
    let seen = eyes.events(1).await;
    assert_eq!(data(&seen[0])["reopened"], true, "{seen:?}");
    // The test's own, that of the job, and at most two of the other one.
    let read = count("event_bus.read") - reads;
    assert!((2..=6).contains(&read), "{read} reads");
    let checked = count("event_bus.positions") - checks;
    assert!((1..=2).contains(&checked), "{checked} checks");
    // Once such a log is gone there is nothing to read.
    world.faults.wipe();
    tokio::time::sleep(crate::world::POSITION_CHECK).await;
    let reads = count("event_bus.read");
    tokio::time::sleep(crate::world::POSITION_CHECK).await;
    let read = count("event_bus.read") - reads;
    assert!(read <= 10, "{read} reads");
}

/// 204 would have the client never come back: not while nobody can say whether the job has gone on.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_failed_job_is_no_reason_to_stop_while_its_log_is_out_of_reach() {
    let world = failed().await;
    let end = last_id(&all(&world, None).await);
    world.watch_many(named(&["f"]), None).await.rest().await;
    let fail = || {
        let (operation, kind) = ("event_bus.read", ErrorKind::Unavailable);
        world.faults.fail_next(operation, 1, kind, When::Before);
    };
    fail();
    let rest = world.watch("f", Some(&end)).await.rest().await;
    assert_eq!(rest.len(), 1, "the close alone: {rest:?}");
    fail();
    let mut back = world.watch_many(named(&["f"]), Some(END)).await;
    assert_eq!(last_id(&back.rest().await), END);
    // It can be read again.
    let attached = world.hub.watch(&job_id("f"), Some(&end)).await;
    assert_eq!(name(&attached), "Ended");
    let attached = world.hub.watch_many(named(&["f"]), Some(END)).await;
    assert_eq!(name(&attached), "Ended");
}

/// A cache in which what is put is there a second later.
struct Late(Arc<dyn ResultCache>);

#[async_trait]
impl ResultCache for Late {
    async fn get(&self, job_id: &JobId) -> conch_ports::Result<Option<Bytes>> {
        self.0.get(job_id).await
    }

    async fn put(&self, job_id: &JobId, result: Bytes) -> conch_ports::Result<()> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.0.put(job_id, result).await
    }

    async fn remove(&self, job_id: &JobId) -> conch_ports::Result<()> {
        self.0.remove(job_id).await
    }

    async fn ping(&self) -> conch_ports::Result<()> {
        self.0.ping().await
    }
}

/// A lookup whose results are in that cache.
fn lookup_on(world: &World, cache: Arc<dyn ResultCache>) -> lookup::Lookup {
    let (bus, gateway) = (world.memory.bus(), world.triton.clone());
    let reconcile = Reconcile::new(bus.clone(), gateway.clone(), world.clock.clone());
    lookup::Settings {
        local_bytes: 0,
        ask_again_after: Duration::from_secs(10),
    }
    .build(lookup::Dependencies {
        cache,
        bus,
        gateway,
        reconcile,
    })
}

async fn cached_status(cache: &dyn ResultCache) -> Option<Value> {
    let result = cache.get(&job_id("f")).await.expect("memory answers");
    let result: Option<Value> = result.map(|r| serde_json::from_slice(&r).expect("JSON"));
    result.map(|mut result| result["status"].take())
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_overlaps_with_a_retry_leaves_no_old_failure_in_the_cache() {
    for (then, cached) in [
        ("job:started", None),
        ("job:completed", Some("completed")),
        // Nothing: the failure is the result.
        ("data:other", Some("failed")),
    ] {
        let world = failed().await;
        let cache = world.memory.cache();
        cache.remove(&job_id("f")).await.expect("memory answers");
        let lookup = lookup_on(&world, Arc::new(Late(Arc::clone(&cache))));
        let id = job_id("f");
        let (found, ()) = tokio::join!(lookup.job(&id), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            say(&world, &event(then, 20)).await;
        });
        assert!(found.expect("memory answers").is_some());
        assert_eq!(
            cached_status(&*cache).await,
            cached.map(Value::from),
            "{then}"
        );
    }
}

/// Results that aren't in the log's own store have to be taken away from there.
#[tokio::test(start_paused = true)]
async fn a_cache_elsewhere_loses_the_failure_when_the_job_goes_on() {
    let world = World::ignoring_foreign_events();
    let elsewhere = conch_memory::Settings::default().build().cache();
    let listeners = Listeners {
        hub: world.hub.clone(),
        lookup: lookup_on(&world, Arc::clone(&elsewhere)),
        cache_results: true,
    };
    let bus = world.memory.bus();
    let (clock, shutdown) = (world.clock.clone(), world.shutdown.clone());
    let signals = bus.subscribe();
    tokio::spawn(ingest::run(
        bus,
        signals,
        listeners,
        accept(),
        clock,
        shutdown,
    ));
    tokio::time::sleep(Duration::from_millis(10)).await;
    for (kind, second, cached) in [
        ("job:started", 0, None),
        ("job:failed", 10, Some("failed")),
        ("job:started", 20, None),
        ("job:completed", 40, Some("completed")),
    ] {
        say(&world, &event(kind, second)).await;
        let found = cached_status(&*elsewhere).await;
        assert_eq!(found, cached.map(Value::from), "after {kind} at {second}");
    }
}

/// Whether its result lacks anything or not, a failure is asked for anew by each lookup.
#[tokio::test(start_paused = true)]
async fn a_retry_that_nobody_announced_is_seen_by_the_next_lookup() {
    for triton_knows in [true, false] {
        let world = World::new();
        tokio::time::sleep(Duration::from_millis(10)).await;
        if triton_knows {
            world.triton.set_job(Job::restore(JobRecord {
                created_at: conch_wire::time::parse(&format!("{TIME}00Z")),
                ..(*known(JobStatus::Running, 0)).clone()
            }));
        }
        say(&world, &event("job:started", 0)).await;
        say(&world, &event("job:failed", 10)).await;
        for _ in 0..3 {
            assert_eq!(status(&world).await, "failed");
        }
        go_on_unheard(&world, &event("job:started", 20)).await;
        assert_eq!(status(&world).await, "running", "{triton_knows}");
    }
}
