//! What comes in on the channels: foreign programs are full citizens, forgers change nothing.

use std::time::Duration;

use conch_domain::{Job, JobRecord, JobStatus, MAX_TEXT_CHARS};
use conch_ports::Announcement;
use serde_json::json;

use crate::lines;
use crate::world::{MAX_EVENT_BYTES, World, data, ids, job_id};

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
async fn what_our_own_programs_say_without_a_log_is_no_external_event() {
    let world = listening().await;
    let event = |id: &str| json!({"event_type":"data:generated","job_id":id});
    let ephemeral = Announcement {
        job_id: job_id("own"),
        position: None,
        line: event("own").to_string().into(),
        secret: None,
    };
    let announced = world.memory.bus().announce(&ephemeral).await;
    announced.expect("memory carries it");
    say(&world, &event("external"));
    // What came after it has been taken in.
    world.watch("external", None).await.events(1).await;
    let log = world.memory.log().read(&job_id("own"), 0, 1).await;
    assert!(log.expect("memory answers").is_none(), "it was adopted");
}

/// Else a forger could take the id of the end that is derived from Triton's answer.
#[tokio::test(start_paused = true)]
async fn the_id_that_a_foreign_event_claims_counts_for_nothing() {
    let world = listening().await;
    let claim = "derived-job-completed";
    let event = |kind: &str| json!({"event_type":kind,"job_id":"f","event_id":claim});
    say(&world, &event("data:generated"));
    // A number without an incarnation is none.
    let mut half = event("data:generated");
    half["sequence"] = json!(7);
    say(&world, &half);
    say(&world, &event("job:completed"));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let all = world.watch("f", None).await.rest().await;
    assert_eq!(all.len(), 4, "{all:?}");
    assert_eq!(data(&all[2])["event_type"], "job:completed");
}

#[tokio::test(start_paused = true)]
async fn a_forged_event_changes_nothing_of_an_own_job() {
    let (world, mut job, mut eyes) = World::watched().await;
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
async fn a_foreign_event_of_too_many_bytes_is_dropped_and_an_announcement_is_not() {
    let world = listening().await;
    let sized = |job_id: &str, bytes: usize| {
        let empty = json!({"event_type":"x:y","job_id":job_id,"filler":""}).to_string();
        let filler = "x".repeat(bytes - empty.len());
        json!({"event_type":"x:y","job_id":job_id,"filler":filler})
    };
    say(&world, &sized("fits", MAX_EVENT_BYTES));
    say(&world, &sized("over", MAX_EVENT_BYTES + 1));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let log = async |id| world.memory.log().read(&job_id(id), 0, 0).await.unwrap();
    assert!(log("fits").await.is_some());
    assert!(log("over").await.is_none());

    // What our own announce is only a hint, however long.
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    let begun = tokio::time::Instant::now();
    world.faults.lose_announcements(|_, _| true);
    job.progress(50).await;
    let mut announced = sized("j", MAX_EVENT_BYTES + 1);
    announced["sequence"] = json!(3);
    announced["epoch"] = json!("0000abcd");
    say(&world, &announced);
    assert_eq!(data(&eyes.events(1).await[0])["progress"], 50);
    assert!(begun.elapsed() < Duration::from_secs(1), "at once");
}

#[tokio::test(start_paused = true)]
async fn events_of_more_foreign_jobs_than_there_may_be_are_dropped() {
    let mut memory = conch_memory::Settings::default();
    memory.quotas.foreign_jobs = 2;
    let world = World::with(memory, conch_services::mare::hub::Settings::default());
    tokio::time::sleep(Duration::from_millis(10)).await;
    let tell = async |kind: &str, id: &str| {
        say(&world, &json!({"event_type":kind,"job_id":id}));
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let sequence = async |id| {
        let log = world.memory.log().read(&job_id(id), 0, 0).await.unwrap();
        log.map(|log| log.job.position.sequence)
    };
    for id in ["a", "b", "c"] {
        tell("job:started", id).await;
    }
    assert_eq!(sequence("c").await, None, "a third one finds no room");
    tell("job:completed", "a").await;
    tell("data:generated", "b").await;
    assert_eq!(sequence("a").await, Some(2), "those that are there go on");
    assert_eq!(sequence("b").await, Some(2));
    tell("data:generated", "c").await;
    assert_eq!(sequence("c").await, Some(1), "an end makes room");
}

/// At a full quota forged events of ever new jobs cost Triton nothing.
#[tokio::test(start_paused = true)]
async fn triton_is_not_asked_about_jobs_that_find_no_room() {
    let world = with_quotas(|quotas| quotas.foreign_jobs = 1, &[]).await;
    tell(&world, "job:started", "first").await;
    assert_eq!(world.triton.calls("job"), 1);
    for n in 0..300 {
        tell(&world, "job:started", &format!("forged-{n}")).await;
    }
    assert_eq!(
        world.triton.calls("job"),
        2,
        "the first one that found no room"
    );
    // That holds for five seconds from the last one that found none.
    tokio::time::sleep(Duration::from_millis(4900)).await;
    tell(&world, "job:started", "forged-late").await;
    assert_eq!(world.triton.calls("job"), 2);
    // The end of the one that is there is asked about, and a job that begins once there is room.
    triton_knows(&world, "second");
    tell(&world, "job:completed", "first").await;
    tokio::time::sleep(Duration::from_millis(5100)).await;
    tell(&world, "job:started", "second").await;
    assert_eq!(client_of(&world, "second").await.as_deref(), Some("c1"));
}

/// A world with such quotas, in which Triton knows of these jobs, all of the client `c1`.
async fn with_quotas(set: impl FnOnce(&mut conch_ports::Quotas), known: &[&str]) -> World {
    let mut memory = conch_memory::Settings::default();
    set(&mut memory.quotas);
    let world = World::with(memory, conch_services::mare::hub::Settings::default());
    for id in known {
        triton_knows(&world, id);
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    world
}

fn triton_knows(world: &World, id: &str) {
    world.triton.set_job(Job::restore(JobRecord {
        client_id: Some("c1".parse().expect("an id")),
        ..(*ended(id)).clone()
    }));
}

async fn tell(world: &World, kind: &str, id: &str) {
    say(world, &json!({"event_type":kind,"job_id":id}));
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// The client in the job's log.
async fn client_of(world: &World, id: &str) -> Option<String> {
    let log = world.memory.log().read(&job_id(id), 0, 0).await;
    let job = log.expect("memory answers").expect("it has a log").job;
    job.client_id.as_ref().map(ToString::to_string)
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_too_large_keeps_no_other_jobs_origin_away() {
    let world = with_quotas(|quotas| quotas.foreign_job_kib = 2, &["next"]).await;
    let words = "x".repeat(3000);
    say(
        &world,
        &json!({"event_type":"data:generated","job_id":"large","words":words}),
    );
    tokio::time::sleep(Duration::from_millis(10)).await;
    let log = world.memory.log().read(&job_id("large"), 0, 0).await;
    assert!(log.expect("memory answers").is_none(), "it is refused");
    tell(&world, "job:started", "next").await;
    assert_eq!(client_of(&world, "next").await.as_deref(), Some("c1"));
}

#[tokio::test(start_paused = true)]
async fn a_known_origin_is_not_forgotten_while_there_is_no_room() {
    let known = ["second", "third"];
    let world = with_quotas(|quotas| quotas.foreign_jobs = 1, &known).await;
    tell(&world, "job:started", "first").await;
    // Asked about the one that finds no room.
    tell(&world, "job:started", "second").await;
    let asked = world.triton.calls("job");
    tell(&world, "job:failed", "first").await;
    let asked_at_the_end = world.triton.calls("job");
    assert_eq!(asked_at_the_end, asked + 1);
    tell(&world, "job:started", "second").await;
    assert_eq!(client_of(&world, "second").await.as_deref(), Some("c1"));
    tell(&world, "job:failed", "second").await;
    tell(&world, "job:started", "third").await;
    assert_eq!(client_of(&world, "third").await, None, "not asked");
    assert_eq!(world.triton.calls("job"), asked_at_the_end);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_goes_on_has_its_origin_asked_whether_there_is_room_or_not() {
    let world = with_quotas(|quotas| quotas.foreign_jobs = 1, &["late"]).await;
    tell(&world, "job:failed", "first").await;
    tell(&world, "job:started", "second").await;
    // Refused: this says nothing about new jobs.
    tell(&world, "job:started", "first").await;
    tell(&world, "job:failed", "second").await;
    tell(&world, "job:started", "late").await;
    assert_eq!(client_of(&world, "late").await.as_deref(), Some("c1"));
    // Refused: this says nothing about jobs that go on.
    tell(&world, "job:started", "no-room").await;
    tell(&world, "job:failed", "late").await;
    triton_knows(&world, "first");
    tell(&world, "job:started", "first").await;
    assert_eq!(client_of(&world, "first").await.as_deref(), Some("c1"));
}

/// What is kept beside the lines isn't counted among a job's bytes, and has to be small.
#[tokio::test(start_paused = true)]
async fn a_large_error_message_is_kept_in_its_event_alone() {
    let world = listening().await;
    let words = "no answer ".repeat(6000);
    for (kind, id) in [("job:retrying", "r"), ("job:failed", "f")] {
        say(
            &world,
            &json!({"event_type":kind,"job_id":id,"error_message":words}),
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
        let seen = world.watch(id, None).await.events(1).await;
        assert_eq!(data(&seen[0])["error_message"], words, "{kind}");
        let log = world.memory.log().read(&job_id(id), 0, 0).await;
        let job = log.expect("memory answers").expect("it is kept").job;
        let kept = job.error_message.as_ref().expect("a message");
        assert_eq!(kept.chars().count(), MAX_TEXT_CHARS, "{kind}");
        assert!(kept.starts_with("no answer no") && kept.ends_with('…'));
        let found = world.lookup.job(&job_id(id)).await;
        let found = found.expect("memory answers").expect("it is known");
        assert!(found.len() < 3000, "{} bytes", found.len());
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_ignores_foreign_events_still_hears_of_what_a_log_holds() {
    let world = World::ignoring_external_events();
    tokio::time::sleep(Duration::from_millis(10)).await;
    say(&world, &json!({"event_type":"job:started","job_id":"f"}));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let log = world.memory.log().read(&job_id("f"), 0, 0).await;
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
        conch_services::mare::hub::Attached::Stream(watcher) => crate::world::Eyes(watcher),
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

/// What watchers saw of a log that a restarted store may have lost the end of is never numbered anew.
#[tokio::test(start_paused = true)]
async fn a_log_that_may_have_lost_its_tail_goes_on_in_another_epoch() {
    let world = listening().await;
    let started = json!({"event_type":"job:started","job_id":"f","client_id":"c"});
    say(&world, &started);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut eyes = world.watch("f", None).await;
    let first = eyes.events(1).await;
    let before = data(&first[0]);
    world.faults.doubt_logs();
    say(
        &world,
        &json!({"event_type":"job:completed","job_id":"f","template_ids":["t1"]}),
    );
    let seen = eyes.rest().await;
    let reset = data(&seen[0]);
    assert_eq!(reset["event_type"], "job:snapshot");
    assert_eq!(
        (&reset["reset"], &reset["status"]),
        (&true.into(), &"completed".into())
    );
    assert_ne!(reset["epoch"], before["epoch"]);
    assert_eq!(reset["sequence"], 1);

    // Whoever comes late is told what the new log goes on from, and then the rest.
    let late = world.watch("f", None).await.rest().await;
    let base = data(&late[0]);
    assert_eq!(
        (&base["reset"], &base["status"]),
        (&false.into(), &"running".into())
    );
    assert_eq!(base["sequence"], 0);
    assert_eq!(data(&late[1])["event_type"], "job:completed");
    let epoch = reset["epoch"].as_str().expect("an epoch");
    let from_base = world.watch("f", Some(&format!("{epoch}-0"))).await;
    let from_base = { from_base }.rest().await;
    assert_eq!(ids(&from_base), ids(&late[1..]));
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
    world.faults.panic_next("job_log.read", 1);
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
    let initial = Job::initial(job_id(id), "00000000".parse().expect("an epoch"), false);
    Job::restore(JobRecord {
        status: JobStatus::Failed,
        ..(*initial).clone()
    })
}
