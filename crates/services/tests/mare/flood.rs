//! Announcements of jobs that nobody has, by the thousands: counted is what they make the store and
//! Triton be asked.

use std::sync::Arc;
use std::time::Duration;

use conch_services::hub::Selection;
use conch_services::ingest::{self, ForeignEvents, Listeners};

use crate::world::{World, told};

/// Questions that the store and Triton were asked so far: reads of logs, looks at many at once, and
/// all of Triton.
fn questions(world: &World) -> (u64, u64, u64) {
    (
        world.faults.calls("event_bus.read"),
        world.faults.calls("event_bus.positions"),
        world.triton.total_calls(),
    )
}

const FORGED: usize = 20_000;

/// Announces the end of so many jobs that nobody has, not faster than they are heard.
async fn flood(world: &World) {
    for n in 0..FORGED {
        world.forge(&format!("made-up-{n}"), 3);
        if n % 100 == 0 {
            world.has_heard().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[tokio::test(start_paused = true)]
async fn a_forged_announcement_of_an_unwatched_job_costs_no_question() {
    let world = World::ignoring_foreign_events();
    world.job("j").start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    let before = questions(&world);
    flood(&world).await;
    assert_eq!(questions(&world), before);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_forged_announcements_costs_a_stream_that_names_no_jobs_few_questions() {
    let world = World::ignoring_foreign_events();
    let mut eyes = world.watch_many(Selection::default(), None).await;
    world.has_heard().await;
    let (reads, looks, asked) = questions(&world);
    flood(&world).await;
    let (reads_after, looks_after, asked_after) = questions(&world);
    assert_eq!((reads_after, asked_after), (reads, asked));
    let looks = looks_after - looks;
    assert!((1..=100).contains(&looks), "{looks} looks for {FORGED}");
    assert_eq!(world.hub.topics(), 0);
    // What is true is told at once, in the midst of it.
    let begun = tokio::time::Instant::now();
    for n in 0..1000 {
        world.forge(&format!("more-{n}"), 3);
    }
    let mut job = world.job("real");
    job.append(crate::world::queued()).await;
    assert_eq!(told(&eyes.events(1).await), ["real job:queued 1"]);
    assert!(begun.elapsed() < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn forged_ends_cost_few_questions_where_results_are_cached_elsewhere() {
    let world = World::ignoring_foreign_events();
    tokio::spawn(ingest::run(
        world.memory.bus(),
        world.memory.bus().subscribe(),
        Listeners {
            hub: world.hub.clone(),
            lookup: world.lookup.clone(),
            cache_results: true,
        },
        ForeignEvents::Ignore,
        Arc::clone(&world.clock),
        world.shutdown.clone(),
    ));
    world.has_heard().await;
    let (reads, looks, asked) = questions(&world);
    flood(&world).await;
    let (reads_after, looks_after, asked_after) = questions(&world);
    assert_eq!((reads_after, asked_after), (reads, asked));
    let looks = looks_after - looks;
    assert!((1..=300).contains(&looks), "{looks} looks for {FORGED}");
    // A true end is cached.
    let mut job = world.job("real");
    job.start().await;
    job.complete().await;
    let puts = world.faults.calls("result_cache.put");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.faults.calls("result_cache.put"), puts + 1);
}
