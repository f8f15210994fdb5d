//! Streams that name no jobs while there are more jobs than can be followed for them, made up by whoever
//! may announce: nobody's end is passed over for it, and who names a job finds room.

use std::time::Duration;

use conch_services::mare::hub::{Attached, Selection, Settings};

use crate::counters::Counters;
use crate::world::{Eyes, POSITION_CHECK, World, Writer, job_id, name, queued, told};

/// Two of these jobs may be held, and then two of our own.
fn crowded() -> World {
    let settings = Settings {
        max_held: 4,
        ..Settings::default()
    };
    World::with(conch_memory::Settings::default(), settings)
}

/// A stream over everything that has told of as many foreign jobs as are held, and of one more.
async fn three_foreign_jobs(world: &World) -> (Eyes, [Writer; 3]) {
    world.has_heard().await;
    let mut eyes = world.watch_many(Selection::default(), None).await;
    let mut jobs = ["f1", "f2", "f3"].map(|id| world.external_job(id));
    for job in &mut jobs {
        job.start().await;
        let started = format!("{} job:started 2", job.job.id);
        assert_eq!(told(&eyes.events(1).await), [started]);
    }
    (eyes, jobs)
}

/// Until no topics are left but those that are kept.
async fn only_these_are_left(world: &World, count: usize) {
    tokio::time::sleep(Settings::default().linger + Duration::from_secs(1)).await;
    assert_eq!(world.hub.topics(), count);
}

#[tokio::test(start_paused = true)]
async fn our_own_jobs_have_room_however_many_others_there_are() {
    let world = crowded();
    let (mut eyes, _foreign) = three_foreign_jobs(&world).await;
    let mut own = world.job("own");
    own.start().await;
    assert_eq!(told(&eyes.events(1).await), ["own job:started 2"]);
    only_these_are_left(&world, 3).await;
    own.progress(50).await;
    assert_eq!(told(&eyes.events(1).await), ["own job:progress 3"]);
    // It is followed, not only heard of.
    world.faults.lose_announcements(|_, _| true);
    let begun = tokio::time::Instant::now();
    own.complete().await;
    assert_eq!(told(&eyes.events(1).await), ["own job:completed 4"]);
    assert!(begun.elapsed() <= POSITION_CHECK, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_finds_no_room_is_told_of_by_its_announcements() {
    let counters = Counters::start();
    let world = crowded();
    let (mut eyes, [_, _, mut third]) = three_foreign_jobs(&world).await;
    assert!(counters.of("conch_feed_jobs_not_held_total") > 0);
    assert_eq!(counters.of("conch_feed_jobs_skipped_total"), 0);
    // While its topic lingers, and when that has gone.
    third.progress(50).await;
    assert_eq!(told(&eyes.events(1).await), ["f3 job:progress 3"]);
    only_these_are_left(&world, 2).await;
    third.progress(60).await;
    assert_eq!(told(&eyes.events(1).await), ["f3 job:progress 4"]);
    only_these_are_left(&world, 2).await;
    third.complete().await;
    assert_eq!(told(&eyes.events(1).await), ["f3 job:completed 5"]);
    assert!(eyes.until_idle().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_end_makes_room() {
    let world = crowded();
    let (mut eyes, [mut first, _, mut third]) = three_foreign_jobs(&world).await;
    first.complete().await;
    assert_eq!(told(&eyes.events(1).await), ["f1 job:completed 3"]);
    third.progress(50).await;
    assert_eq!(told(&eyes.events(1).await), ["f3 job:progress 3"]);
    only_these_are_left(&world, 2).await;
    world.faults.lose_announcements(|_, _| true);
    third.complete().await;
    assert_eq!(told(&eyes.events(1).await), ["f3 job:completed 4"]);
    drop(eyes);
    only_these_are_left(&world, 0).await;
}

#[tokio::test(start_paused = true)]
async fn who_names_a_job_finds_room_however_many_are_announced() {
    let settings = Settings {
        max_topics: 8,
        ..Settings::default()
    };
    let counters = Counters::start();
    let world = World::with(conch_memory::Settings::default(), settings);
    let mut eyes = world.watch_many(Selection::default(), None).await;
    eyes.until_idle().await;
    world.triton.hang();
    for number in 0..8 {
        let mut job = world.job(&format!("announced-{number}"));
        job.append(queued()).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.hub.topics(), 7);
    assert_eq!(counters.of("conch_feed_jobs_skipped_total"), 1);
    let mut named = world.job("named");
    named.start().await;
    let attached = world.hub.watch(&job_id("named"), None).await;
    let Attached::Stream(watcher) = attached else {
        panic!("expected a stream, got {}", name(&attached));
    };
    assert_eq!(Eyes(watcher).events(2).await.len(), 2);
}
