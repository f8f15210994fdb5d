//! Streams over many jobs while something of theirs can't be learnt: they begin without it, and are
//! told once it can.

use std::time::Duration;

use conch_domain::{Job, JobRecord, JobStatus};
use conch_doubles::When;
use conch_ports::ErrorKind;
use conch_services::mare::hub::{Next, Selection, Settings};

use crate::world::{
    Eyes, POSITION_CHECK, Seen, World, client_id, data, ids, is_greeting, name, named,
    only_triton_knows, told,
};

const END: &str = "m-253402300799999";
const CLOSING: &str = ": Connection closing - all jobs ended";

/// One job that has ended, one that runs, and a Triton that can't be asked.
async fn cut_off() -> (World, crate::world::Writer) {
    let world = World::new();
    let (mut finished, mut running) = (world.job("finished"), world.job("running"));
    finished.start().await;
    finished.complete().await;
    running.start().await;
    world.triton.fail(ErrorKind::Unavailable);
    (world, running)
}

/// What a stream tells that ends: its events, and that it was closed properly.
fn closed(seen: &[Seen]) -> Vec<String> {
    assert_eq!(
        ids(seen).last().map(String::as_str),
        Some(CLOSING),
        "{seen:?}"
    );
    assert_eq!(ids(seen)[seen.len() - 2], END);
    told(&seen[..seen.len() - 1])
}

#[tokio::test(start_paused = true)]
async fn an_unknown_id_holds_nobody_up_while_triton_is_out_of_reach() {
    let (world, mut running) = cut_off().await;
    let begun = tokio::time::Instant::now();
    // First in the list, so that waiting in order would wait for it.
    let names = named(&["nobody", "finished", "running"]);
    let mut eyes = world.watch_many(names, None).await;
    assert!(begun.elapsed() <= Settings::default().attach_patience);
    let seen = eyes.events(2).await;
    assert_eq!(
        told(&seen),
        ["finished job:snapshot 3", "running job:snapshot 2"]
    );
    assert!(
        begun.elapsed() <= Settings::default().attach_patience,
        "with the stream's beginning"
    );
    // Live, and with heartbeats.
    running.progress(50).await;
    assert_eq!(told(&eyes.until_idle().await), ["running job:progress 3"]);
    // That one proves unknown is no end of it: it may come yet.
    world.triton.heal();
    assert!(eyes.until_idle().await.is_empty());
    running.complete().await;
    assert_eq!(told(&eyes.until_idle().await), ["running job:completed 4"]);
    assert!(eyes.until_idle().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_jobs_have_ended_waits_for_the_unsettled_one_and_then_ends() {
    let (world, mut running) = cut_off().await;
    let names = Selection {
        client_ids: vec![client_id("c1")],
        ..named(&["finished", "running", "unsettled"])
    };
    // It turns out to be another client's: the stream isn't about it.
    let mut unsettled = (*only_triton_knows("unsettled", JobStatus::Running)).clone();
    unsettled.client_id = Some(client_id("c2"));
    world.triton.set_job(Job::restore(unsettled));
    let mut eyes = world.watch_many(names.clone(), None).await;
    eyes.events(2).await;
    running.complete().await;
    let seen = eyes.until_idle().await;
    assert_eq!(told(&seen), ["running job:completed 3"]);
    assert_ne!(ids(&seen), [END], "nobody knows that it is the end");
    // Not even a reconnect with the end's id is over.
    let mut back = world.watch_many(names.clone(), Some(END)).await;
    assert_eq!(back.until_idle().await.len(), 2);
    world.triton.heal();
    // What was told last is told again, as the end.
    assert_eq!(closed(&eyes.rest().await), ["running job:completed 3"]);
    assert_eq!(closed(&back.rest().await), ["running job:snapshot 3"]);
    let again = world.hub.watch_many(names, Some(END)).await;
    assert_eq!(name(&again), "Ended");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_found_late_gets_its_state_then_and_its_end() {
    let (world, mut running) = cut_off().await;
    world
        .triton
        .set_job(only_triton_knows("late", JobStatus::Running));
    let mut eyes = world.watch_many(named(&["late", "running"]), None).await;
    assert_eq!(told(&eyes.until_idle().await), ["running job:snapshot 2"]);
    running.complete().await;
    assert_eq!(told(&eyes.until_idle().await), ["running job:completed 3"]);
    world.triton.heal();
    assert_eq!(told(&eyes.events(1).await), ["late job:snapshot 2"]);
    assert!(eyes.until_idle().await.is_empty());
    world
        .triton
        .set_job(only_triton_knows("late", JobStatus::Completed));
    assert_eq!(closed(&eyes.rest().await), ["late job:completed 3"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_begins_while_it_is_waited_for_is_told_once() {
    let (world, _running) = cut_off().await;
    world.has_heard().await;
    // Somebody who wants to hear of everything makes the feed tell of it, too.
    let mut all = world.watch_many(Selection::default(), None).await;
    let mut eyes = world.watch_many(named(&["new", "running"]), None).await;
    assert_eq!(told(&eyes.until_idle().await), ["running job:snapshot 2"]);
    let mut new = world.job("new");
    new.start().await;
    assert_eq!(told(&eyes.until_idle().await), ["new job:snapshot 2"]);
    new.progress(50).await;
    assert_eq!(told(&eyes.until_idle().await), ["new job:progress 3"]);
    world.triton.heal();
    assert_eq!(
        told(&all.until_idle().await),
        ["new job:started 2", "new job:progress 3"]
    );
}

#[tokio::test(start_paused = true)]
async fn if_nothing_named_is_known_there_is_no_404_before_all_of_it_proved_unknown() {
    let (world, _running) = cut_off().await;
    let mut eyes = world.watch_many(named(&["nobody", "no-one"]), None).await;
    is_greeting(&eyes.frames().await.0);
    assert!(eyes.until_idle().await.is_empty());
    world.triton.heal();
    // The end of what never was has no id: the reconnect is told that there is nothing.
    assert_eq!(ids(&eyes.rest().await), [""; 0]);
    let again = world
        .hub
        .watch_many(named(&["nobody", "no-one"]), None)
        .await;
    assert_eq!(name(&again), "Unknown");
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_out_of_reach_a_stream_lives_on_heartbeats() {
    let (world, mut running) = cut_off().await;
    world
        .faults
        .fail_next("job_log.read", 1000, ErrorKind::Unavailable, When::Before);
    let mut eyes = world
        .watch_many(named(&["finished", "running"]), None)
        .await;
    assert!(eyes.until_idle().await.is_empty());
    world.faults.fail_no_more();
    let mut seen = told(&eyes.events(2).await);
    seen.sort();
    assert_eq!(seen, ["finished job:snapshot 3", "running job:snapshot 2"]);
    running.complete().await;
    assert_eq!(closed(&eyes.rest().await), ["running job:completed 3"]);
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_room_is_told_so_at_once() {
    let settings = Settings {
        max_topics: 1,
        ..Settings::default()
    };
    let world = World::with(conch_memory::Settings::default(), settings);
    world.triton.fail(ErrorKind::Unavailable);
    let begun = tokio::time::Instant::now();
    let names = named(&["nobody", "no-room"]);
    let attached = world.hub.watch_many(names, None).await;
    assert_eq!(name(&attached), "Full");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_stream_that_waits() {
    let (world, _running) = cut_off().await;
    let mut eyes = world.watch_many(named(&["nobody", "running"]), None).await;
    eyes.events(1).await;
    world.shutdown.cancel();
    let (frames, next) = eyes.frames().await;
    assert_eq!(next, Next::End);
    assert!(frames[0].starts_with(b"retry: "), "{frames:?}");
    world.hub.stopped().await;
}

/// A stream over everything that resumes.
async fn resumes(world: &World, cursor: &str) -> Eyes {
    world.watch_many(Selection::default(), Some(cursor)).await
}

#[tokio::test(start_paused = true)]
async fn whoever_is_cut_off_within_the_beginning_is_given_all_of_it_again() {
    let world = World::new();
    for id in ["a", "b", "c"] {
        let mut job = world.job(id);
        job.start().await;
        job.complete().await;
        world.triton.set_job(job.job.clone());
    }
    let cursor = "m-1800000000000";
    tokio::time::sleep(POSITION_CHECK * 6).await;
    let seen = resumes(&world, cursor).await.events(3).await;
    let given = ids(&seen);
    assert_eq!(given[..2], [cursor, cursor], "nothing is skipped");
    assert_ne!(given[2], cursor, "all is told");
    // Cut off after the second, and long gone.
    tokio::time::sleep(POSITION_CHECK * 6).await;
    let again = resumes(&world, &given[1]).await.events(3).await;
    assert_eq!(told(&again), told(&seen));
    let mut complete = resumes(&world, &given[2]).await;
    assert!(complete.until_idle().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_everything_goes_on_without_a_job_that_triton_fails_at() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    world.triton.set_job(job.job.clone());
    // In the list, but without a log, and then Triton goes.
    let lost_end = only_triton_knows("stuck", JobStatus::Completed);
    let record = JobRecord {
        updated_at: job.job.updated_at,
        ..(*lost_end).clone()
    };
    world.triton.set_job(Job::restore(record));
    world
        .triton
        .fail_at("triton_gateway.job", ErrorKind::BadResponse);
    let cursor = "m-1799999999000";
    let mut eyes = resumes(&world, cursor).await;
    assert_eq!(told(&eyes.until_idle().await), ["j job:snapshot 2"]);
    tokio::time::sleep(Duration::from_mins(1)).await;
    job.progress(50).await;
    let seen = eyes.events(1).await;
    assert_eq!(told(&seen), ["j job:progress 3"]);
    // The cursor stays where a resume is told of the other one, too.
    assert_eq!(ids(&seen), [cursor]);
    world.triton.heal();
    let seen = eyes.events(1).await;
    assert_eq!(data(&seen[0])["job_id"], "stuck");
    assert_eq!(data(&seen[0])["status"], "completed");
    assert_ne!(ids(&seen), [cursor]);
}
