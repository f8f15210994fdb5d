//! External publishers as they are: one that chatters, and one that tells less than Triton knows.

use std::time::Duration;

use conch_domain::{Job, JobRecord, JobStatus};
use conch_ports::ErrorKind;
use serde_json::{Value, json};

use crate::world::{POSITION_CHECK, World, data, job_id, told};

async fn job(world: &World) -> Value {
    let found = world
        .lookup
        .job(&job_id("f"))
        .await
        .expect("memory answers");
    serde_json::from_slice(&found.expect("it is known")).expect("JSON")
}

#[tokio::test(start_paused = true)]
async fn an_end_after_thousands_of_progress_events_is_not_dropped_with_them() {
    let memory = conch_memory::Settings {
        subscriber_queue: 8192,
        ..conch_memory::Settings::default()
    };
    let world = World::with(memory, conch_services::mare::hub::Settings::default());
    tokio::time::sleep(Duration::from_millis(10)).await;
    let say = |event: Value| world.faults.announce_raw(event.to_string());
    say(json!({"event_type":"job:started","job_id":"f","client_id":"c1"}));
    for number in 0..3000 {
        say(
            json!({"event_type":"job:progress","job_id":"f","progress":number / 30,
            "message":format!("step {number}")}),
        );
    }
    // What a neighbour says meanwhile is not held up, and not dropped.
    say(json!({"event_type":"job:started","job_id":"g","client_id":"c1"}));
    say(json!({"event_type":"job:completed","job_id":"g","template_ids":["t"]}));
    say(json!({"event_type":"job:completed","job_id":"f","template_ids":["t"]}));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = world.watch("g", None).await.rest().await;
    assert_eq!(told(&seen[..2]), ["g job:started 1", "g job:completed 2"]);
    let seen = world.watch("f", None).await.rest().await;
    let kinds: Vec<&str> = seen[..seen.len() - 1]
        .iter()
        .filter_map(|seen| data(seen)["event_type"].as_str())
        .collect();
    assert_eq!(kinds.first(), Some(&"job:started"));
    assert_eq!(kinds.last(), Some(&"job:completed"));
    assert!(kinds.len() < 100, "{} events were kept", kinds.len());
    assert_eq!(job(&world).await["status"], "completed");
}

#[tokio::test(start_paused = true)]
async fn progress_that_is_behind_is_not_told() {
    let world = World::new();
    tokio::time::sleep(Duration::from_millis(10)).await;
    for (kind, progress) in [
        ("job:started", 0),
        ("job:progress", 50),
        ("job:progress", 20),
        ("job:progress", 50),
        ("job:progress", 60),
    ] {
        let event = json!({"event_type":kind,"job_id":"f","progress":progress,"message":kind});
        world.faults.announce_raw(event.to_string());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let seen = world.watch("f", None).await.events(3).await;
    let progress: Vec<&Value> = seen[1..]
        .iter()
        .map(|seen| &data(seen)["progress"])
        .collect();
    assert_eq!(progress, [50, 60], "the same again is the same event");
}

fn known_to_triton(status: JobStatus) -> Job {
    let initial = Job::initial(job_id("f"), "00000000".parse().expect("an epoch"), false);
    Job::restore(JobRecord {
        client_id: Some("c1".parse().expect("an id")),
        value_proposition_id: Some("v1".parse().expect("an id")),
        created_at: conch_wire::time::parse("2025-12-01T08:55:00"),
        status,
        template_count: 1,
        ..(*initial).clone()
    })
}

/// The Python service's events name neither the value proposition nor when the job was accepted.
#[tokio::test(start_paused = true)]
async fn what_triton_knew_of_a_job_stays_known_once_its_publisher_speaks() {
    let world = World::new();
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.triton.set_job(known_to_triton(JobStatus::Pending));
    let before = job(&world).await;
    assert_eq!(before["value_proposition_id"], "v1");
    world.triton.set_job(known_to_triton(JobStatus::Running));
    for (kind, status) in [
        ("job:started", "running"),
        ("job:progress", "running"),
        ("job:completed", "completed"),
    ] {
        let event = json!({"event_type":kind,"job_id":"f","template_ids":["t"]});
        world.faults.announce_raw(event.to_string());
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = job(&world).await;
        assert_eq!(now["status"], status);
        for name in ["client_id", "value_proposition_id", "created_at"] {
            assert_eq!(now[name], before[name], "{name} after {kind}");
        }
    }
    let asked = world.triton.calls("job");
    assert!(asked <= 4, "Triton was asked {asked} times");
    // The cached result and a snapshot have them, too.
    let cached = world.memory.cache().get(&job_id("f")).await;
    let cached: Value =
        serde_json::from_slice(&cached.expect("memory answers").expect("cached")).expect("JSON");
    assert_eq!(cached["value_proposition_id"], "v1");
    let seen = world.watch("f", Some("00000001-7")).await.rest().await;
    assert_eq!(data(&seen[0])["created_at"], before["created_at"]);
}

/// What comes of a job is not held up by a Triton that doesn't answer.
#[tokio::test(start_paused = true)]
async fn a_silent_triton_delays_no_event() {
    let world = World::new();
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.triton.hang();
    for number in 0..40 {
        let event = json!({"event_type":"job:started","job_id":format!("f{number}")});
        world.faults.announce_raw(event.to_string());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in 0..40 {
        let id = job_id(&format!("f{number}"));
        let log = world
            .memory
            .log()
            .read(&id, 0, 0)
            .await
            .expect("memory answers");
        assert!(log.is_some(), "f{number} has begun");
    }
    assert!(
        world.triton.calls("job") < 20,
        "nobody is asked again and again"
    );
    tokio::time::sleep(POSITION_CHECK).await;
}

/// Says one event of a job of its own; whether its log knows then whose the job is.
async fn is_origin_known(world: &World, id: &str, kind: &str) -> bool {
    let event = json!({"event_type":kind,"job_id":id});
    world.faults.announce_raw(event.to_string());
    tokio::time::sleep(Duration::from_millis(10)).await;
    let log = world.memory.log().read(&job_id(id), 0, 0).await;
    let log = log.expect("memory answers").expect("it has a log");
    log.job.client_id.is_some()
}

fn named(id: &str) -> Job {
    let known = known_to_triton(JobStatus::Running);
    Job::restore(JobRecord {
        id: job_id(id),
        ..(*known).clone()
    })
}

#[tokio::test(start_paused = true)]
async fn what_triton_says_of_one_job_is_no_reason_not_to_ask_for_another() {
    for (kind, is_asked) in [
        (ErrorKind::BadResponse, true),
        (ErrorKind::Refused, true),
        (ErrorKind::Unavailable, false),
        (ErrorKind::Timeout, false),
    ] {
        let world = World::new();
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.triton.fail(kind);
        assert!(!is_origin_known(&world, "bad", "job:started").await);
        world.triton.heal();
        world.triton.set_job(named("f"));
        let known = is_origin_known(&world, "f", "job:started").await;
        assert_eq!(known, is_asked, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_triton_comes_to_know_later_has_its_origin_at_its_end() {
    let world = World::new();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!is_origin_known(&world, "f", "job:started").await);
    world.triton.set_job(named("f"));
    assert!(is_origin_known(&world, "f", "job:completed").await);
}

/// No stream watches the job: the process that dropped its end has to ask.
#[tokio::test(start_paused = true)]
async fn an_end_that_found_no_room_is_learned_from_triton() {
    let world = World::with_a_distant_store(conch_memory::Settings::default());
    world.has_heard().await;
    world.triton.set_job(known_to_triton(JobStatus::Completed));
    // The store takes its time, so that all of them wait at once: more than 1 MiB of one job's.
    let words = "no answer ".repeat(6000);
    let retrying = json!({"event_type":"job:retrying","job_id":"f"});
    let end = json!({"event_type":"job:completed","job_id":"f"});
    for (event, times) in [(retrying, 20), (end, 1)] {
        for number in 0..times {
            let mut event = event.clone();
            event["error_message"] = json!(format!("{number} {words}"));
            world.faults.announce_raw(event.to_string());
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let log = world.memory.log().read(&job_id("f"), 0, 100).await;
    let log = log.expect("memory answers").expect("it has a log");
    assert!(log.entries.len() < 21, "not all of them found room");
    assert_eq!(log.job.status, JobStatus::Completed);
    let last = log.entries.last().expect("an event");
    let last: Value = serde_json::from_slice(&last.line).expect("JSON");
    assert_eq!(last["derived"], true, "Triton told of it");
}

/// Its log says nothing of its origin until its end, and lookups know it all the same.
#[tokio::test(start_paused = true)]
async fn what_triton_tells_of_a_running_job_later_is_known_to_lookups() {
    let world = World::new();
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.triton.fail(ErrorKind::Unavailable);
    assert!(!is_origin_known(&world, "f", "job:started").await);
    world.triton.heal();
    world.triton.set_job(known_to_triton(JobStatus::Running));
    for _ in 0..2 {
        let found = job(&world).await;
        assert_eq!(found["value_proposition_id"], "v1");
        assert_eq!(found["client_id"], "c1");
    }
}
