//! A stream of a job whose end is known, but not to its log: it is told at once whatever a lookup
//! would answer, and closed.

use std::time::Duration;

use conch_domain::{Job, JobRecord, JobStatus, Timestamp};
use conch_ports::{ErrorKind, Quotas};
use tokio::time::Instant;

use crate::world::{POSITION_CHECK, Seen, World, caller, data, ids, job_id, name, named, started};

/// How soon the end of a job is told that has ended already, with Triton up.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A job as Triton knows it.
fn known_to_triton(id: &str, status: JobStatus, own: bool) -> Job {
    let job = Job::initial(job_id(id), "00000000".parse().expect("an epoch"), own);
    Job::restore(JobRecord {
        status,
        client_id: Some("c1".parse().expect("an id")),
        template_ids: vec!["t1".parse().expect("an id")],
        template_count: 1,
        started_at: Some(Timestamp::from_micros(1_700_000_000_000_000)),
        ..(*job).clone()
    })
}

/// The types of events.
fn kinds(seen: &[Seen]) -> Vec<&str> {
    seen.iter()
        .map(|seen| data(seen)["event_type"].as_str().expect("a type"))
        .collect()
}

fn closing(status: &str) -> Seen {
    Seen::Line(format!(": Connection closing - job {status}"))
}

/// A world whose store isn't in the process: between a question and its answer other things happen.
fn world() -> World {
    World::with_a_distant_store(conch_memory::Settings::default())
}

/// Everything that a stream tells of a job that has ended, which it must do at once.
async fn told_at_once(world: &World, id: &str, cursor: Option<&str>) -> Vec<Seen> {
    let begun = Instant::now();
    let seen = world.watch(id, cursor).await.rest().await;
    assert!(begun.elapsed() <= AT_ONCE, "after {:?}", begun.elapsed());
    seen
}

async fn attached(world: &World, id: &str, cursor: &str) -> &'static str {
    name(&world.hub.watch(&job_id(id), Some(cursor)).await)
}

#[tokio::test(start_paused = true)]
async fn all_derived_events_of_a_finished_job_without_a_log_come_at_once() {
    for own in [true, false] {
        let world = world();
        world
            .triton
            .set_job(known_to_triton("j", JobStatus::Completed, own));
        let seen = told_at_once(&world, "j", None).await;
        let (end, events) = seen.split_last().expect("something is told");
        assert_eq!(
            kinds(events),
            ["job:queued", "job:started", "job:completed"],
            "own: {own}"
        );
        assert!(events.iter().all(|seen| data(seen)["derived"] == true));
        assert_eq!(*end, closing("completed"));
        // Whoever comes back with the last id is told to stop.
        assert_eq!(attached(&world, "j", &ids(&seen)[2]).await, "Ended");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ended_while_nobody_listened_has_its_end_told_at_once() {
    let world = world();
    world.external_job("j").append(started()).await;
    let mut early = world.watch("j", None).await;
    assert_eq!(kinds(&early.until_idle().await), ["job:started"]);
    drop(early);
    // Long enough for what followed the job to be gone.
    tokio::time::sleep(POSITION_CHECK * 2).await;
    world
        .triton
        .set_job(known_to_triton("j", JobStatus::Completed, false));
    let seen = told_at_once(&world, "j", None).await;
    assert_eq!(kinds(&seen[..2]), ["job:started", "job:completed"]);
    assert_eq!(seen[2..], [closing("completed")]);
}

#[tokio::test(start_paused = true)]
async fn one_who_comes_while_others_watch_learns_of_the_end_at_once() {
    let world = world();
    let mut job = world.external_job("j");
    job.append(started()).await;
    let mut early = world.watch("j", None).await;
    assert_eq!(kinds(&early.events(1).await), ["job:started"]);
    // It is never silent for as long as the position check takes, so Triton isn't asked for it.
    for progress in 1..=7 {
        tokio::time::sleep(POSITION_CHECK / 4).await;
        job.progress(progress).await;
    }
    world
        .triton
        .set_job(known_to_triton("j", JobStatus::Failed, false));
    let seen = told_at_once(&world, "j", None).await;
    assert_eq!(seen.last(), Some(&closing("failed")));
    assert_eq!(early.rest().await.last(), Some(&closing("failed")));
    let asked = world.triton.calls("job");
    // For the next hundred who come nothing is asked: the answer was given a moment ago.
    let mut other = world.external_job("k");
    other.append(started()).await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(world.watch("k", None).await);
    }
    crowd[99].events(1).await;
    world.has_heard().await;
    assert_eq!(world.triton.calls("job"), asked + 1);
}

/// What the Python edge writes.
const FIVE_FIELDS: &str = r#"{"job_id":"j","status":"completed","template_ids":["t1","t2"],"template_count":2,"generation_duration_ms":99}"#;

#[tokio::test(start_paused = true)]
async fn a_job_of_which_only_the_result_is_left_is_told_by_it() {
    for triton_is_up in [true, false] {
        let world = world();
        let cache = world.memory.cache();
        cache
            .put(&job_id("j"), FIVE_FIELDS.into())
            .await
            .expect("memory takes it");
        if !triton_is_up {
            world.triton.fail(ErrorKind::Unavailable);
        }
        for cursor in [None, Some("0000abcd-3"), Some("nonsense")] {
            let seen = told_at_once(&world, "j", cursor).await;
            assert_eq!(ids(&seen[..1]), ["ended-0"]);
            let told = data(&seen[0]);
            assert_eq!(told["event_type"], "job:snapshot");
            assert_eq!(told["status"], "completed");
            assert_eq!(told["template_ids"], serde_json::json!(["t1", "t2"]));
            assert_eq!(told["reset"], cursor.is_some());
            assert_eq!(told["requested"].as_str(), cursor);
            assert!(told.get("error_code").is_none() && told.get("sequence").is_none());
            assert_eq!(seen[1..], [closing("completed")]);
            // So that an EventSource stops.
            assert_eq!(attached(&world, "j", "ended-0").await, "Ended");
        }
        // What a lookup says, the streams over many jobs say, too.
        let seen = world.watch_many(named(&["j"]), None).await.rest().await;
        assert_eq!(data(&seen[0])["status"], "completed");
        assert_eq!(ids(&seen)[0], "m-253402300799999");
    }
}

/// Its result is kept back for Triton's better word, and not for long.
#[tokio::test(start_paused = true)]
async fn a_result_is_told_at_once_while_triton_is_silent() {
    let whole = conch_wire::job::encode(&known_to_triton("j", JobStatus::Completed, false));
    for result in [whole, FIVE_FIELDS.into()] {
        let world = world();
        let put = world.memory.cache().put(&job_id("j"), result).await;
        put.expect("memory takes it");
        world.triton.hang();
        let seen = told_at_once(&world, "j", None).await;
        assert_eq!(data(&seen[0])["status"], "completed");
        assert_eq!(seen[1..], [closing("completed")]);
    }
}

/// A publisher may go on with a job of which only the result of a failure was left.
#[tokio::test(start_paused = true)]
async fn a_result_is_no_end_of_a_log_that_begins_while_triton_is_asked() {
    let world = world();
    let failed = FIVE_FIELDS.replace("completed", "failed");
    let cache = world.memory.cache();
    let put = cache.put(&job_id("j"), failed.into()).await;
    put.expect("memory takes it");
    world.triton.hang();
    let goes_on = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut job = world.external_job("j");
        job.append(started()).await;
        // Longer than a result is kept back for Triton's answer.
        tokio::time::sleep(Duration::from_secs(1)).await;
        job.complete().await;
    };
    let seen = async { world.watch("j", None).await.rest().await };
    let (seen, ()) = tokio::join!(seen, goes_on);
    assert_eq!(kinds(&seen[..2]), ["job:started", "job:completed"]);
    assert_eq!(seen[2..], [closing("completed")]);
}

#[tokio::test(start_paused = true)]
async fn the_end_without_a_log_is_an_end_only_where_the_job_does_not_go_on() {
    let world = world();
    assert_eq!(attached(&world, "gone", "ended-0").await, "Ended");
    let mut job = world.job("j");
    job.start().await;
    let seen = world.watch("j", Some("ended-0")).await.events(1).await;
    assert_eq!(data(&seen[0])["reset"], true);
    assert_eq!(data(&seen[0])["requested"], "ended-0");
    job.complete().await;
    tokio::time::sleep(AT_ONCE).await;
    assert_eq!(attached(&world, "j", "ended-0").await, "Ended");
}

#[tokio::test(start_paused = true)]
async fn another_tenant_s_result_is_as_absent() {
    let world = world();
    let whole = conch_wire::job::encode(&known_to_triton("j", JobStatus::Completed, true));
    let cache = world.memory.cache();
    cache
        .put(&job_id("j"), whole)
        .await
        .expect("memory takes it");
    let until = (world.clock)().plus_millis(3_600_000);
    for (client, told) in [("c1", "Stream"), ("c2", "Unknown")] {
        let caller = caller(&[client], until);
        let attached = world.hub.watch_as(&caller, &job_id("j"), None).await;
        assert_eq!(name(&attached), told, "{client}");
    }
}

/// A store that holds one unfinished job of other publishers, and has it.
async fn full() -> World {
    let world = World::with_a_distant_store(conch_memory::Settings {
        quotas: Quotas {
            foreign_jobs: 1,
            ..Quotas::default()
        },
        ..conch_memory::Settings::default()
    });
    world.external_job("theirs").append(started()).await;
    world
}

#[tokio::test(start_paused = true)]
async fn an_external_job_that_finds_no_room_has_its_end_told_all_the_same() {
    let world = full().await;
    let told = known_to_triton("j", JobStatus::Failed, false);
    world.triton.set_job(told.clone());
    for cursor in [None, Some("0000abcd-3")] {
        let seen = told_at_once(&world, "j", cursor).await;
        assert_eq!(ids(&seen[..1]), ["ended-0"]);
        assert_eq!(data(&seen[0])["status"], "failed");
        assert_eq!(seen[1..], [closing("failed")]);
    }
    // One that still runs is waited for: its end is told when Triton knows of it.
    world
        .triton
        .set_job(known_to_triton("k", JobStatus::Running, false));
    let mut eyes = world.watch("k", None).await;
    assert!(eyes.until_idle().await.is_empty());
    world
        .triton
        .set_job(known_to_triton("k", JobStatus::Completed, false));
    let seen = eyes.rest().await;
    assert_eq!(data(&seen[0])["status"], "completed");
    assert_eq!(seen[1..], [closing("completed")]);
}

#[tokio::test(start_paused = true)]
async fn what_is_derived_of_our_own_jobs_is_under_no_quota_of_others() {
    let world = full().await;
    let mut job = world.job("j");
    job.start().await;
    job.complete().await;
    tokio::time::sleep(conch_memory::Settings::default().ended_log_ttl * 2).await;
    assert!(
        world
            .memory
            .log()
            .read(&job.job.id, 0, 0)
            .await
            .expect("it answers")
            .is_none()
    );
    world
        .triton
        .set_job(known_to_triton("j", JobStatus::Completed, true));
    let seen = told_at_once(&world, "j", None).await;
    assert_eq!(
        kinds(&seen[..3]),
        ["job:queued", "job:started", "job:completed"]
    );
    assert_eq!(seen[3..], [closing("completed")]);
}
