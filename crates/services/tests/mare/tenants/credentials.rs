//! Streams end when their credentials do, never later than a second after.

use std::time::Duration;

use conch_services::mare::hub::{Next, Selection};
use futures::FutureExt;

use super::{CLOSING, many_as, watch_as};
use crate::world::{World, caller, clock, ids, named};

#[tokio::test(start_paused = true)]
async fn a_stream_ends_within_a_second_of_its_credentials() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    world.triton.set_job(job.job.clone());
    let begun = clock()();
    let since = tokio::time::Instant::now();
    for (lives, cursor) in [(7000, None), (7001, Some("0000abcd-2")), (100_400, None)] {
        let caller = caller(&["c1"], begun.plus_millis(lives));
        let one = watch_as(&world, &caller, "j", cursor).await;
        let many = many_as(&world, &caller, named(&["j"])).await;
        let open_ended = many_as(&world, &caller, Selection::default()).await;
        for mut eyes in [one, many, open_ended] {
            let mut last = Vec::new();
            loop {
                let (frames, next) = eyes.frames().await;
                last.extend(frames);
                if next == Next::End {
                    break;
                }
            }
            let last = last.pop().expect("it says why");
            assert_eq!(last, conch_wire::sse::AUTH_EXPIRED);
            let late = since.elapsed().as_millis() as i64 - lives;
            assert!((0..=1100).contains(&late), "{lives}: {late} ms late");
        }
        assert_eq!(world.hub.watchers(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_end_before_or_after_their_stream_are_no_trouble() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let now = clock()();
    // Gone before its time.
    let early = watch_as(&world, &caller(&["c1"], now.plus_millis(500)), "j", None).await;
    drop(early);
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Its time was over before it came.
    let mut late = watch_as(&world, &caller(&["c1"], now.plus_millis(500)), "j", None).await;
    let told = loop {
        let (frames, next) = late.frames().await;
        if next == Next::End {
            break frames;
        }
    };
    assert_eq!(told.last(), Some(&conch_wire::sse::AUTH_EXPIRED));
    // Who needs no credentials goes on.
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(eyes.frames().now_or_never().is_some(), "a heartbeat");
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
}
