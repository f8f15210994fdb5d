//! A store forgot a job of ours, and somebody spoke of it before its worker put it back: who watches it,
//! or asks for it, is told the truth as soon as there is one.

use std::time::Duration;

use conch_conformance::build;
use conch_domain::{EventKind, JobRecord, JobStatus};
use conch_ports::Lease;
use serde_json::json;

use crate::world::{World, Writer, data, ids, job_id, name};

const LEASE: Duration = Duration::from_secs(30);

/// A job of ours that runs, and a store that has forgotten it and taken `lie` for its story.
async fn lied_about(lie: &serde_json::Value) -> (World, Writer, crate::world::Eyes) {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    assert_eq!(ids(&eyes.events(2).await), ["0000abcd-1", "0000abcd-2"]);
    world.faults.wipe();
    world.has_heard().await;
    world.faults.announce_raw(lie.to_string());
    world.has_heard().await;
    (world, job, eyes)
}

fn lie(kind: &str, status: &str) -> serde_json::Value {
    json!({"event_type": kind, "timestamp": "2025-12-01T08:55:49", "job_id": "j",
        "client_id": "c1", "status": status, "error_message": "forged"})
}

/// What the job's worker does, which holds it still.
async fn put_back(world: &World, job: &Writer) {
    let lease = Lease {
        job_id: job.job.id.clone(),
        attempt: 1,
        token: build::token(),
    };
    let restored = world.memory.queue().restore(&lease, &job.job, LEASE).await;
    assert!(restored.expect("memory answers"), "it is ours");
}

fn half() -> EventKind {
    EventKind::Progress {
        progress: 50,
        completed_templates: 3,
        total_templates: 7,
        message: None,
    }
}

async fn status(world: &World) -> String {
    let answer = world.lookup.job(&job_id("j")).await.expect("an answer");
    let bytes = answer.expect("it is known");
    let job: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    job["status"].as_str().expect("a status").to_owned()
}

#[tokio::test(start_paused = true)]
async fn who_was_reset_into_a_forged_log_is_reset_out_of_it() {
    let (world, mut job, mut eyes) = lied_about(&lie("job:progress", "running")).await;
    let seen = eyes.events(1).await;
    let told = data(&seen[0]);
    assert_eq!(
        (&told["reset"], &told["sequence"]),
        (&json!(true), &json!(1))
    );
    let forged = ids(&seen)[0].clone();
    assert!(!forged.starts_with("0000abcd"));

    put_back(&world, &job).await;
    job.begin_again("0000bcde", half()).await;
    let seen = eyes.events(1).await;
    let told = data(&seen[0]);
    assert_eq!(ids(&seen), ["0000bcde-1"]);
    assert_eq!(told["event_type"], "job:snapshot");
    assert_eq!(told["reset"], true);
    assert_eq!(told["requested"], forged.as_str());
    assert_eq!(told["progress"], 50);
    job.complete().await;
    assert_eq!(
        ids(&eyes.rest().await),
        ["0000bcde-2", ": Connection closing - job completed"]
    );
}

/// Those whose stream the forged end closed are gone; whoever comes again, with whichever cursor, is
/// given the job as it is.
#[tokio::test(start_paused = true)]
async fn a_forged_end_holds_only_until_the_job_is_back() {
    let (world, mut job, mut eyes) = lied_about(&lie("job:failed", "failed")).await;
    let seen = eyes.rest().await;
    let end = ids(&seen)[0].clone();
    assert_eq!(
        data(&seen[0])["status"],
        "failed",
        "nobody knows better yet"
    );
    assert_eq!(status(&world).await, "failed");

    put_back(&world, &job).await;
    job.begin_again("0000bcde", half()).await;
    world.has_heard().await;
    let seen = world.watch("j", None).await.events(1).await;
    assert_eq!(ids(&seen), ["0000bcde-1"]);
    assert_eq!(data(&seen[0])["event_type"], "job:progress");
    for cursor in [Some("0000abcd-2"), Some(&*end)] {
        let seen = world.watch("j", cursor).await.events(1).await;
        assert_eq!(ids(&seen), ["0000bcde-1"], "{cursor:?}");
        assert_eq!(data(&seen[0])["reset"], true);
    }
    assert_eq!(status(&world).await, "running");
    job.complete().await;
    world.has_heard().await;
    assert_eq!(status(&world).await, "completed");
    let attached = world.hub.watch(&job_id("j"), Some("0000bcde-2")).await;
    assert_eq!(name(&attached), "Ended");
}

/// What a process keeps of jobs that have ended is doubted when it may have missed something, and
/// believed where nobody knows better.
#[tokio::test(start_paused = true)]
async fn a_forged_result_is_not_kept_though_no_announcement_came() {
    let (world, mut job, mut eyes) = lied_about(&lie("job:cancelled", "cancelled")).await;
    eyes.rest().await;
    assert_eq!(status(&world).await, "cancelled");
    world.faults.disconnect_subscribers();
    put_back(&world, &job).await;
    job.begin_again("0000bcde", half()).await;
    job.complete().await;
    assert_eq!(status(&world).await, "cancelled", "nothing was heard");
    world.faults.reconnect_subscribers();
    world.has_heard().await;
    assert_eq!(status(&world).await, "completed");
    let asked = world.faults.calls("result_cache.get");
    assert_eq!(status(&world).await, "completed");
    assert_eq!(world.faults.calls("result_cache.get"), asked, "kept again");
    world.faults.wipe();
    world.has_heard().await;
    assert_eq!(status(&world).await, "completed", "nobody knows better");
}

/// Triton's word that a job of ours runs is not lent to what a forger began: the job's worker alone
/// goes on with it.
#[tokio::test(start_paused = true)]
async fn nothing_is_derived_into_a_forged_log() {
    let (world, job, mut eyes) = lied_about(&lie("job:progress", "running")).await;
    eyes.events(1).await;
    let ours = JobRecord {
        status: JobStatus::Running,
        ..(*job.job).clone()
    };
    world.triton.set_job(conch_domain::Job::restore(ours));
    let before = world.memory.log().read(&job_id("j"), 0, 9).await;
    let before = before.expect("memory answers").expect("it was forged").job;
    assert_eq!(status(&world).await, "running");
    tokio::time::sleep(2 * crate::world::POSITION_CHECK).await;
    assert!(world.triton.calls("job") > 0, "it was asked");
    let after = world.memory.log().read(&job_id("j"), 0, 9).await;
    assert_eq!(after.expect("memory answers").expect("still").job, before);
}
