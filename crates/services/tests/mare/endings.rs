//! Streams that are told to come back: no room, the shutdown, a task of the hub that panicked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conch_services::Clock;
use conch_services::mare::hub::{Attached, Next, Settings};
use futures::FutureExt;

use crate::world::{Eyes, POSITION_CHECK, World, clock, ids, job_id, name, retry};

const CLOSING: &str = ": Connection closing - job completed";

#[tokio::test(start_paused = true)]
async fn too_many_are_turned_away_with_a_long_retry() {
    let settings = Settings {
        max_watchers: 1,
        ..Settings::default()
    };
    let world = World::with(conch_memory::Settings::default(), settings);
    let mut job = world.job("j");
    job.start().await;
    let _first = world.watch("j", None).await;
    let Attached::Full(watcher) = world.hub.watch(&job_id("j"), None).await else {
        panic!("the second must be turned away");
    };
    let (frames, next) = Eyes(watcher).frames().await;
    assert_eq!(next, Next::End);
    let millis = retry(&frames[0]);
    assert!((30_000..=60_000).contains(&millis), "{millis}");
}

#[tokio::test(start_paused = true)]
async fn each_stream_is_told_another_retry_spread_around_the_setting() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut told = Vec::new();
    for _ in 0..200 {
        let (frames, _) = world.watch("j", None).await.frames().await;
        assert!(
            frames[1].starts_with(b"id: "),
            "its next line is the event's: {frames:?}"
        );
        told.push(retry(&frames[0]));
    }
    told.sort_unstable();
    assert!(told[0] >= 1000 && told[199] <= 4000, "{told:?}");
    let most_at_once = |window| {
        let from = |i: usize| {
            told[i..]
                .iter()
                .take_while(|ms| **ms < told[i] + window)
                .count()
        };
        (0..told.len()).map(from).max().unwrap()
    };
    // Spread evenly over the doubling it is 36 of 200 within a quarter of a second.
    assert!(most_at_once(250) <= 70, "{told:?}");
    let below = told.iter().filter(|ms| **ms < 2000).count();
    assert!(
        (60..=140).contains(&below),
        "{below} of 200 wait for less than the setting"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_every_stream_with_a_retry() {
    let (world, _job, mut eyes) = World::watched().await;
    world.shutdown.cancel();
    let (frames, next) = eyes.frames().await;
    assert_eq!(next, Next::End);
    assert!((1000..=4000).contains(&retry(&frames[0])), "{frames:?}");
    assert!(frames[0].ends_with(b"\n: reconnect later\n"), "{frames:?}");
    world.hub.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_hub_whose_own_task_panicked_says_so_and_still_ends_its_streams() {
    let world = World::new();
    let panics = Arc::new(AtomicBool::new(false));
    let broken: Clock = {
        let (time, panics) = (clock(), Arc::clone(&panics));
        Arc::new(move || {
            assert!(!panics.load(Ordering::Relaxed), "a clock that is broken");
            time()
        })
    };
    let hub = world.hub_with(broken);
    let well = tokio::time::timeout(POSITION_CHECK * 3, hub.failed()).await;
    assert!(well.is_err(), "it says so though all is well");
    let mut eyes = match hub.watch(&job_id("j"), Some("0000abcd-1")).await {
        Attached::Stream(watcher) => Eyes(watcher),
        other => panic!("expected a stream, got {}", name(&other)),
    };
    panics.store(true, Ordering::Relaxed);
    hub.failed().await;
    // Whoever hears of it ends the process, and with it the streams.
    let stream = tokio::spawn(async move { eyes.rest().await });
    tokio::task::yield_now().await;
    world.shutdown.cancel();
    let rest = tokio::time::timeout(Duration::from_secs(1), stream).await;
    assert_eq!(rest.expect("it is woken").expect("and well"), []);
    hub.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_no_failure_of_the_hub() {
    let world = World::new();
    tokio::task::yield_now().await;
    world.shutdown.cancel();
    world.hub.stopped().await;
    assert!(world.hub.failed().now_or_never().is_none());
}

/// The frames of a stream that says when to come back, and ends.
async fn farewell(eyes: &mut Eyes) {
    let (frames, next) = eyes.frames().await;
    assert_eq!(next, Next::End, "{frames:?}");
    let last = frames.last().expect("a farewell");
    assert!(last.starts_with(b"retry: "), "{frames:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pump_that_panicked_sends_its_watchers_to_a_fresh_topic() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = [world.watch("j", None).await, world.watch("j", None).await];
    for eyes in &mut eyes {
        eyes.events(2).await;
    }
    world.faults.panic_next("job_log.read", 1);
    world.forge("j", 9);
    world.has_heard().await;
    let begun = tokio::time::Instant::now();
    job.progress(50).await;
    for eyes in &mut eyes {
        farewell(eyes).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "at once");
    // With a cursor, as an EventSource does.
    let mut again = world.watch("j", Some("0000abcd-2")).await;
    assert_eq!(ids(&again.events(1).await), ["0000abcd-3"]);
    job.complete().await;
    assert_eq!(ids(&again.rest().await), ["0000abcd-4", CLOSING]);
    assert_eq!(world.hub.topics(), 1, "and the old one is gone");
}

#[tokio::test(start_paused = true)]
async fn a_pump_that_panics_at_once_keeps_nobody_waiting() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let begun = tokio::time::Instant::now();
    for cursor in [None, Some("0000abcd-1")] {
        // A cursor makes the attaching watcher read as well.
        world.faults.panic_next("job_log.read", 1);
        farewell(&mut world.watch("j", cursor).await).await;
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(world.hub.topics(), 0);
    assert_eq!(
        ids(&world.watch("j", None).await.events(2).await),
        ["0000abcd-1", "0000abcd-2"]
    );
}
