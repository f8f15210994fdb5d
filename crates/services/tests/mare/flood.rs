//! Announcements of jobs that nobody has, by the thousands: counted is what they make the store and
//! Triton be asked.

use std::sync::Arc;
use std::time::Duration;

use conch_services::mare::hub::{Selection, Settings};
use conch_services::mare::ingest::{self, ForeignEvents, Listeners};

use crate::world::{World, job_id, queued, started, told};

/// Questions that the store and Triton were asked so far: reads of logs, looks at many at once, and
/// all of Triton.
fn questions(world: &World) -> (u64, u64, u64) {
    (
        world.faults.calls("job_log.read"),
        world.faults.calls("job_log.positions"),
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
    let world = World::ignoring_external_events();
    world.job("j").start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    // Until its next turn in the position check is far away.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = questions(&world);
    flood(&world).await;
    assert_eq!(questions(&world), before);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_forged_announcements_costs_a_stream_that_names_no_jobs_few_questions() {
    let world = World::ignoring_external_events();
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
    job.append(queued()).await;
    assert_eq!(told(&eyes.events(1).await), ["real job:queued 1"]);
    assert!(begun.elapsed() < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn forged_ends_cost_few_questions_where_results_are_cached_elsewhere() {
    let world = World::ignoring_external_events();
    tokio::spawn(ingest::run(
        world.memory.log(),
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

/// A job that finds no room to be followed is told of by its announcements, be there ever so many others.
#[tokio::test(start_paused = true)]
async fn a_flood_that_fills_all_places_keeps_no_job_that_was_told_of_from_its_end() {
    let settings = Settings {
        max_held: 0,
        ..Settings::default()
    };
    let world = World::with(conch_memory::Settings::default(), settings);
    let mut eyes = world.watch_many(Selection::default(), None).await;
    let mut job = world.job("real");
    job.append(queued()).await;
    assert_eq!(told(&eyes.events(1).await), ["real job:queued 1"]);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.hub.topics(), 0, "nothing follows it");
    for n in 0..FORGED {
        let made_up = format!("made-up-{n}");
        world.hub.hint(&job_id(&made_up), Some(3));
    }
    let begun = tokio::time::Instant::now();
    job.append(started()).await;
    assert_eq!(told(&eyes.events(1).await), ["real job:started 2"]);
    assert!(begun.elapsed() < Duration::from_millis(100));
}
