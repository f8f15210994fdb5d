//! Cache first, then the log, then Triton; one question under way per job.

use std::time::Duration;

use conch_domain::{Clients, Job, JobRecord, JobStatus};
use conch_doubles::When;
use conch_ports::ErrorKind;
use conch_services::mare::lookup::Events;

use crate::world::{POSITION_CHECK, World, job_id};

fn told(id: &str, status: JobStatus) -> Job {
    let initial = Job::initial(job_id(id), "00000000".parse().expect("an epoch"), false);
    Job::restore(JobRecord {
        status,
        ..(*initial).clone()
    })
}

async fn status(world: &World, id: &str) -> Option<String> {
    let bytes = world.lookup.job(&job_id(id)).await.expect("an answer")?;
    let job: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(job["job_id"], id);
    Some(job["status"].as_str().expect("a status").to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_finished_jobs_lookup_makes_no_call_to_triton() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    assert_eq!(status(&world, "j").await.as_deref(), Some("running"));
    job.complete().await;
    for _ in 0..3 {
        assert_eq!(status(&world, "j").await.as_deref(), Some("completed"));
    }
    assert_eq!(world.triton.total_calls(), 0);
    assert_eq!(
        world.faults.calls("result_cache.get"),
        2,
        "then it is kept in the process"
    );
}

#[tokio::test(start_paused = true)]
async fn what_triton_alone_knows_is_cached_once_it_has_ended() {
    let world = World::new();
    world.triton.set_job(told("t", JobStatus::Running));
    assert_eq!(status(&world, "t").await.as_deref(), Some("running"));
    world.triton.set_job(told("t", JobStatus::Failed));
    for _ in 0..3 {
        assert_eq!(status(&world, "t").await.as_deref(), Some("failed"));
    }
    assert_eq!(world.triton.calls("job"), 2);
    assert!(
        world
            .memory
            .cache()
            .get(&job_id("t"))
            .await
            .expect("memory")
            .is_some()
    );
    assert_eq!(status(&world, "nobody").await, None);
}

#[tokio::test(start_paused = true)]
async fn one_question_however_many_ask() {
    let world = World::new();
    world.triton.set_job(told("t", JobStatus::Running));
    let answers = (0..50).map(|_| status(&world, "t"));
    let answers = futures::future::join_all(answers).await;
    assert!(answers.iter().all(|a| a.as_deref() == Some("running")));
    assert_eq!(world.triton.calls("job"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unusable_cached_blob_is_a_miss() {
    for blob in [
        &br#"{"job_id":"j","sta"#[..],
        br#"{"job_id":"other","status":"completed"}"#,
        br#"{"job_id":"j","status":"done"}"#,
        br#"{"job_id":"j","status":"running"}"#,
        b"\xff",
        b"null",
    ] {
        let world = World::new();
        let mut job = world.job("j");
        job.start().await;
        world
            .memory
            .cache()
            .put(&job_id("j"), blob.into())
            .await
            .expect("memory");
        assert_eq!(
            status(&world, "j").await.as_deref(),
            Some("running"),
            "{blob:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn five_fields_of_another_program_are_a_result() {
    let world = World::new();
    let blob = br#"{"job_id":"j","status":"completed","template_ids":["t1"],"template_count":1,
        "generation_duration_ms":5}"#;
    world
        .memory
        .cache()
        .put(&job_id("j"), blob[..].into())
        .await
        .expect("memory");
    let bytes = world
        .lookup
        .job(&job_id("j"))
        .await
        .expect("an answer")
        .expect("found");
    let job: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(job["template_ids"][0], "t1");
    assert_eq!(job["id"], "j");
    assert!(job["error_message"].is_null() && job["created_at"].is_null());
}

#[tokio::test(start_paused = true)]
async fn an_error_is_the_answer_only_when_nobody_knows() {
    let world = World::new();
    world.triton.fail(ErrorKind::Timeout);
    let error = world
        .lookup
        .job(&job_id("j"))
        .await
        .expect_err("Triton is too slow");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    world.triton.heal();
    assert_eq!(status(&world, "j").await, None, "and it is asked again");
}

#[tokio::test(start_paused = true)]
async fn a_job_is_unknown_only_if_its_log_could_be_read() {
    let world = World::new();
    let fail = |kind| {
        world
            .faults
            .fail_next("job_log.read", 1, kind, When::Before);
    };
    fail(ErrorKind::Unavailable);
    let error = world.lookup.job(&job_id("j")).await;
    let error = error.expect_err("Triton alone can't know");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.operation(), "job_log.read");
    assert_eq!(status(&world, "j").await, None);
    world.triton.set_job(told("j", JobStatus::Running));
    fail(ErrorKind::BadResponse);
    assert_eq!(status(&world, "j").await.as_deref(), Some("running"));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_panicked_is_not_the_answer_to_later_ones() {
    let world = World::new();
    world.job("j").start().await;
    world.faults.panic_next("result_cache.get", 1);
    let id = job_id("j");
    // All who asked at that time are told.
    let answers = futures::future::join_all((0..3).map(|_| world.lookup.job(&id))).await;
    for answer in answers {
        assert_eq!(answer.expect_err("a defect").kind(), ErrorKind::Internal);
    }
    assert_eq!(status(&world, "j").await.as_deref(), Some("running"));
}

#[tokio::test(start_paused = true)]
async fn histories() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let events = |after| {
        let lookup = world.lookup.clone();
        async move {
            lookup
                .events_seen_by(&Clients::ALL, &job_id("j"), after)
                .await
                .expect("an answer")
        }
    };
    let Events::Kept(lines) = events(0).await else {
        panic!("the log is there");
    };
    assert_eq!(lines.len(), 2);
    assert_eq!(events(2).await, Events::Kept(Vec::new()));
    world.faults.wipe();
    assert_eq!(events(0).await, Events::Unknown);
    world.triton.set_job(told("j", JobStatus::Completed));
    assert_eq!(events(0).await, Events::Expired);
}

/// A foreign publisher's job whose end nobody heard: whoever polls learns of it from Triton.
#[tokio::test(start_paused = true)]
async fn the_end_that_a_foreign_log_missed_is_learned_from_triton() {
    let world = World::new();
    tokio::time::sleep(Duration::from_millis(10)).await;
    world
        .faults
        .announce_raw(r#"{"event_type":"job:started","job_id":"f"}"#);
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.triton.set_job(told("f", JobStatus::Running));
    let asked = world.triton.calls("job");
    for _ in 0..5 {
        assert_eq!(status(&world, "f").await.as_deref(), Some("running"));
    }
    let again = world.triton.calls("job") - asked;
    assert_eq!(again, 1, "not at every lookup");
    world.triton.set_job(told("f", JobStatus::Completed));
    world.triton.hang();
    tokio::time::sleep(POSITION_CHECK).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(status(&world, "f").await.as_deref(), Some("running"));
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "what the log says is worth more than a long wait"
    );
    world.triton.heal();
    assert_eq!(status(&world, "f").await.as_deref(), Some("completed"));
    let log = world.memory.log().read(&job_id("f"), 0, 9).await;
    let log = log.expect("memory answers").expect("it has a log");
    assert_eq!(
        log.job.status,
        JobStatus::Completed,
        "watchers hear of it, too"
    );
}

/// A Python edge heard an end that the log has missed: Triton can't tell of it, and the log's word is older.
#[tokio::test(start_paused = true)]
async fn a_cached_end_is_worth_more_than_a_log_without_one() {
    for (cached, expected) in [("completed", "completed"), ("failed", "running")] {
        let world = World::new();
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.faults.announce_raw(
            r#"{"event_type":"job:started","job_id":"f","client_id":"c1"}"#.to_owned(),
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
        let blob = format!(r#"{{"job_id":"f","status":"{cached}","template_ids":["t1"]}}"#);
        let put = world.memory.cache().put(&job_id("f"), blob.into()).await;
        put.expect("memory");
        world.triton.fail(ErrorKind::Unavailable);
        // What is answered first must not change what is answered next.
        for _ in 0..2 {
            let found = world.lookup.job(&job_id("f")).await.expect("an answer");
            let job: serde_json::Value = serde_json::from_slice(&found.unwrap()).expect("JSON");
            assert_eq!(job["status"], expected, "{cached} is cached");
            assert_eq!(job["client_id"], "c1", "the log knows");
        }
    }
}

/// It may have been cached by another program after the job had gone on.
#[tokio::test(start_paused = true)]
async fn a_cached_failure_with_all_fields_is_not_believed_while_the_log_goes_on() {
    let world = World::new();
    let mut job = world.external_job_of("f", "c1");
    job.start().await;
    let failed = Job::restore(JobRecord {
        created_at: job.job.created_at,
        ..(*told("f", JobStatus::Failed)).clone()
    });
    assert!(failed.created_at.is_some(), "it lacks nothing");
    let blob = conch_wire::job::encode(&failed);
    let put = world.memory.cache().put(&job_id("f"), blob).await;
    put.expect("memory");
    for _ in 0..2 {
        assert_eq!(status(&world, "f").await.as_deref(), Some("running"));
    }
}

/// The Python edge caches five fields, of our own jobs, too.
#[tokio::test(start_paused = true)]
async fn a_result_that_lacks_fields_is_completed_from_the_log() {
    for own in [true, false] {
        let world = World::new();
        let mut job = if own {
            world.job_of("j", "c1")
        } else {
            world.external_job_of("j", "c1")
        };
        job.start().await;
        job.complete().await;
        let whole = conch_wire::job::encode(&job.job);
        let blob = r#"{"job_id":"j","status":"completed","template_ids":["t1"],"template_count":1,
            "generation_duration_ms":5}"#;
        let cache = world.memory.cache();
        cache.put(&job_id("j"), blob.into()).await.expect("memory");
        let found = world.lookup.job(&job_id("j")).await.expect("an answer");
        assert_eq!(found.as_ref(), Some(&whole), "own: {own}");
        let cached = cache.get(&job_id("j")).await.expect("memory");
        assert_eq!(cached, Some(whole), "for all who ask later");
    }
}

/// It is not known when the job was accepted, so its result never has all fields.
#[tokio::test(start_paused = true)]
async fn a_result_that_stays_incomplete_is_not_put_again_at_each_lookup() {
    for ends_in_its_log in [false, true] {
        for client_id in [Some("c1"), None] {
            let world = World::new();
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut kinds = vec!["job:started"];
            if ends_in_its_log {
                kinds.push("job:completed");
            }
            for kind in kinds {
                let event = serde_json::json!({"event_type": kind, "job_id": "f",
                    "client_id": client_id, "template_ids": ["t1"]});
                world.faults.announce_raw(event.to_string());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let blob = r#"{"job_id":"f","status":"completed","template_ids":["t1"]}"#;
            let put = world.memory.cache().put(&job_id("f"), blob.into()).await;
            put.expect("memory");
            assert_eq!(status(&world, "f").await.as_deref(), Some("completed"));
            // What the log knows was added.
            let puts = world.faults.calls("result_cache.put");
            assert!(puts <= 2, "{puts}");
            for _ in 0..5 {
                world.lookup.lapsed();
                tokio::time::sleep(Duration::from_mins(1)).await;
                assert_eq!(status(&world, "f").await.as_deref(), Some("completed"));
            }
            let again = world.faults.calls("result_cache.put");
            assert_eq!(
                again, puts,
                "ends in its log: {ends_in_its_log}, {client_id:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cached_end_waits_half_a_second_for_triton() {
    let world = World::new();
    world.external_job_of("f", "c1").start().await;
    let blob = r#"{"job_id":"f","status":"completed","template_ids":["t1"]}"#;
    let put = world.memory.cache().put(&job_id("f"), blob.into()).await;
    put.expect("memory");
    world.triton.hang();
    let begun = tokio::time::Instant::now();
    assert_eq!(status(&world, "f").await.as_deref(), Some("completed"));
    assert!(begun.elapsed() < Duration::from_secs(1));
}
