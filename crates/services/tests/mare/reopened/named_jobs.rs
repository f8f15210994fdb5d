//! Streams of named jobs of which one goes on after its failure: none closes for good while it runs.

use std::time::Duration;

use serde_json::json;

use super::{all, event, failed, go_on_unheard, kinds, last_id, say};
use crate::world::{data, job_id, name, named, told};

/// The id at which a stream of named jobs ended.
const END: &str = "m-253402300799999";

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

/// After its close there is no stream to tell of it; a client that comes back is told that not all have ended.
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

/// A stream waits for another job that it names, and it is never announced that the failed one goes on.
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
    // No stream waits any more, and it has ended for good: no further reads.
    tokio::time::sleep(Duration::from_mins(1)).await;
    let reads = world.faults.calls("job_log.read");
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.faults.calls("job_log.read"), reads);
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
    let (reads, checks) = (count("job_log.read"), count("job_log.positions"));
    tokio::time::sleep(crate::world::POSITION_CHECK * 10).await;
    assert_eq!(count("job_log.read"), reads);
    let checked = count("job_log.positions") - checks;
    assert!((18..=22).contains(&checked), "{checked} checks");
    let (reads, checks) = (count("job_log.read"), count("job_log.positions"));
    go_on_unheard(&world, &event("job:started", 20)).await;
    let seen = eyes.events(1).await;
    assert_eq!(data(&seen[0])["reopened"], true, "{seen:?}");
    // The test's own, and that of the job, with what is read of it for those who watch many.
    let read = count("job_log.read") - reads;
    assert!((2..=4).contains(&read), "{read} reads");
    let checked = count("job_log.positions") - checks;
    assert!((1..=2).contains(&checked), "{checked} checks");
    // Once such a log is gone there is nothing to read.
    world.faults.wipe();
    tokio::time::sleep(crate::world::POSITION_CHECK).await;
    let reads = count("job_log.read");
    tokio::time::sleep(crate::world::POSITION_CHECK).await;
    let read = count("job_log.read") - reads;
    assert!(read <= 10, "{read} reads");
}

/// 204 would have the client never come back: not while it is unknown whether the job has gone on.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_failed_job_is_no_reason_to_stop_while_its_log_is_out_of_reach() {
    let world = failed().await;
    let end = last_id(&all(&world, None).await);
    world.watch_many(named(&["f"]), None).await.rest().await;
    world.fail_reads(1);
    let rest = world.watch("f", Some(&end)).await.rest().await;
    assert_eq!(rest.len(), 1, "the close alone: {rest:?}");
    world.fail_reads(1);
    let mut back = world.watch_many(named(&["f"]), Some(END)).await;
    assert_eq!(last_id(&back.rest().await), END);
    // It can be read again.
    let attached = world.hub.watch(&job_id("f"), Some(&end)).await;
    assert_eq!(name(&attached), "Ended");
    let attached = world.hub.watch_many(named(&["f"]), Some(END)).await;
    assert_eq!(name(&attached), "Ended");
}
