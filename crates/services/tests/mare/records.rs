//! Logs that begin anew, records that are gone, jobs that only Triton knows: what a stream of one job says.

use std::time::Duration;

use conch_domain::{EventKind, JobStatus};
use conch_services::mare::hub::Settings;

use crate::world::{
    Eyes, POSITION_CHECK, World, completed, data, ids, job_id, name, only_triton_knows,
};

const CLOSING: &str = ": Connection closing - job completed";

#[tokio::test(start_paused = true)]
async fn a_new_epoch_is_a_reset_never_a_renumbering() {
    let (_world, mut job, mut eyes) = World::watched().await;
    let progress = EventKind::Progress {
        progress: 40,
        completed_templates: 3,
        total_templates: 7,
        message: None,
    };
    job.begin_again("0000ffff", progress).await;
    let seen = eyes.events(1).await;
    assert_eq!(ids(&seen), ["0000ffff-1"]);
    assert_eq!(data(&seen[0])["event_type"], "job:snapshot");
    assert_eq!(data(&seen[0])["reset"], true);
    assert_eq!(data(&seen[0])["requested"], "0000abcd-2");
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000ffff-2", CLOSING]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_gone_everywhere_is_told_to_those_who_saw_it() {
    let (world, _job, mut eyes) = World::watched().await;
    world.faults.wipe();
    // One who comes back with a cursor waits with the others.
    let mut back: Eyes = world.watch("j", Some("0000abcd-2")).await;
    for seen in [eyes.rest().await, back.rest().await] {
        assert_eq!(ids(&seen), ["lost-0", ": Connection closing - job failed"]);
        assert_eq!(data(&seen[0])["error_code"], "record-lost");
        assert_eq!(data(&seen[0])["status"], "failed");
        assert_eq!(data(&seen[0])["reset"], true);
    }
    // One without was never promised anything.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let attached = world.hub.watch(&job_id("j"), None).await;
    assert_eq!(name(&attached), "Unknown");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_forgot_is_healed_by_the_writer() {
    let (world, mut job, mut eyes) = World::watched().await;
    world.faults.wipe();
    tokio::time::sleep(Duration::from_secs(8)).await;
    job.begin_again("0000ffff", completed()).await;
    let seen = eyes.rest().await;
    assert_eq!(ids(&seen), ["0000ffff-1", CLOSING]);
    assert_eq!(data(&seen[0])["status"], "completed");
}

/// A store that had forgotten the job holds its record again, from the worker that runs it, and not yet
/// its log. The worker must be able to begin that log and go on with it.
#[tokio::test(start_paused = true)]
async fn an_unfinished_job_of_our_own_is_put_back_by_its_worker_and_derived_by_nobody() {
    let (world, mut job, mut eyes) = World::watched().await;
    world.faults.wipe();
    world.triton.set_job(job.job.clone());
    tokio::time::sleep(POSITION_CHECK * 4).await;
    assert!(world.triton.calls("job") > 0, "it was asked for");
    let log = world.memory.log().read(&job_id("j"), 0, 0).await;
    assert!(log.expect("memory answers").is_none());
    job.begin_again("0000ffff", completed()).await;
    assert_eq!(ids(&eyes.rest().await), ["0000ffff-1", CLOSING]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_only_triton_knows_gets_its_events_and_its_end() {
    let world = World::new();
    world
        .triton
        .set_job(only_triton_knows("j", JobStatus::Running));
    let mut eyes = world.watch("j", None).await;
    let begun = eyes.events(2).await;
    assert_eq!(data(&begun[0])["event_type"], "job:queued");
    assert_eq!(data(&begun[1])["event_type"], "job:started");
    assert!(begun.iter().all(|e| data(e)["derived"] == true));
    // The end is never announced: the silence is noticed.
    world
        .triton
        .set_job(only_triton_knows("j", JobStatus::Completed));
    let rest = eyes.rest().await;
    assert_eq!(data(&rest[0])["event_type"], "job:completed");
    assert_eq!(data(&rest[0])["template_ids"][0], "t1");
    assert_eq!(ids(&rest)[1], CLOSING);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_only_triton_knows_waits_for_room_among_the_foreign_ones() {
    let mut memory = conch_memory::Settings::default();
    memory.quotas.foreign_jobs = 1;
    let world = World::with(memory, Settings::default());
    tokio::time::sleep(Duration::from_millis(10)).await;
    let say = |kind: &str| {
        let event = format!(r#"{{"event_type":"{kind}","job_id":"made-up"}}"#);
        world.faults.announce_raw(event);
    };
    say("job:started");
    tokio::time::sleep(Duration::from_millis(10)).await;
    world
        .triton
        .set_job(only_triton_knows("j", JobStatus::Running));
    let mut eyes = world.watch("j", None).await;
    // Silence, however long, is no end.
    let waiting = tokio::time::timeout(Duration::from_mins(10), eyes.events(1)).await;
    assert!(waiting.is_err(), "{waiting:?}");
    say("job:failed");
    let story = eyes.events(2).await;
    assert_eq!(data(&story[1])["event_type"], "job:started");
    world
        .triton
        .set_job(only_triton_knows("j", JobStatus::Completed));
    let story = eyes.rest().await;
    assert_eq!(data(&story[0])["event_type"], "job:completed");
    assert_eq!(ids(&story)[1], CLOSING);
}

#[tokio::test(start_paused = true)]
async fn a_silent_job_is_asked_of_triton_once_however_many_watch() {
    let world = World::new();
    let mut job = world.external_job("j");
    job.start().await;
    let mut eyes = Vec::new();
    for _ in 0..100 {
        eyes.push(world.watch("j", None).await);
    }
    tokio::time::sleep(POSITION_CHECK * 2).await;
    let calls = world.triton.calls("job");
    assert!(
        (1..=4).contains(&calls),
        "{calls} calls in two position checks"
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_to_triton_that_hangs_holds_no_event_up() {
    let world = World::new();
    let mut job = world.external_job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    world.triton.hang();
    tokio::time::sleep(POSITION_CHECK * 2).await;
    assert!(world.triton.calls("job") > 0, "Triton is being asked");
    job.complete().await;
    let rest = tokio::time::timeout(Duration::from_secs(1), eyes.rest()).await;
    assert_eq!(
        ids(&rest.expect("the log is enough")),
        ["0000abcd-3", CLOSING]
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_about_an_own_job_that_is_merely_silent() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    world
        .triton
        .set_job(only_triton_knows("j", JobStatus::Completed));
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    tokio::time::sleep(5 * POSITION_CHECK).await;
    assert_eq!(world.triton.calls("job"), 0);
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_goes_on_after_its_end_was_lost_is_followed_again() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let before_the_end = job.job.clone();
    job.complete().await;
    world.watch("j", None).await.rest().await;
    // The store forgets, its worker still runs the job, a watcher comes with the new epoch's cursor.
    world.faults.wipe();
    job.job = before_the_end;
    let kind = EventKind::CancelRequested { reason: None };
    job.begin_again("0000ffff", kind).await;
    let mut eyes = world.watch("j", Some("0000ffff-1")).await;
    job.complete().await;
    let rest = tokio::time::timeout(Duration::from_mins(1), eyes.rest()).await;
    assert_eq!(ids(&rest.expect("followed")), ["0000ffff-2", CLOSING]);
}
