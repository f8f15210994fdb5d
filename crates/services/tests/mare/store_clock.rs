//! Whoever's clock is wrong stamps by the store's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use conch_domain::Timestamp;
use conch_doubles::FaultyMemory;
use conch_ports::ErrorKind;
use conch_services::Clock;
use conch_services::store_clock::StoreClock;
use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;

#[tokio::test]
async fn clocks_an_hour_apart_tell_one_time() {
    let memory = FaultyMemory::new(conch_memory::Settings::default());
    let log = memory.log();
    let truth = || async { log.now().await.expect("memory answers").as_micros() };
    let base = truth().await;
    for wrong_by in [0, HOUR, -HOUR] {
        let local = Arc::new(AtomicI64::new(base + wrong_by));
        let told: Clock = {
            let local = Arc::clone(&local);
            Arc::new(move || Timestamp::from_micros(local.load(Ordering::Relaxed)))
        };
        let store_clock = StoreClock::new(told);
        let clock = store_clock.clock();
        assert_eq!(clock().as_micros(), base + wrong_by, "not asked yet");
        store_clock.set(&*log).await.expect("memory answers");
        let off = (clock().as_micros() - truth().await).abs();
        assert!(off < 10 * SECOND, "off by {off} µs");
        let before = clock();
        local.fetch_add(SECOND, Ordering::Relaxed);
        assert_eq!(
            clock(),
            before.plus_millis(1000),
            "it goes on between two looks"
        );
    }
}

#[tokio::test]
async fn a_store_that_is_away_leaves_the_time_as_it_was() {
    let memory = FaultyMemory::new(conch_memory::Settings::default());
    let when = conch_doubles::When::Before;
    memory
        .faults()
        .fail_next("job_log.now", 1, ErrorKind::Unavailable, when);
    let told: Clock = Arc::new(|| Timestamp::from_micros(HOUR));
    let store_clock = StoreClock::new(told);
    let error = store_clock
        .set(&*memory.log())
        .await
        .expect_err("it is away");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(store_clock.clock()().as_micros(), HOUR);
}

/// A program that starts while the store is away, with a clock that is an hour behind.
#[tokio::test(start_paused = true)]
async fn a_first_look_that_failed_is_made_up_for_as_soon_as_the_store_is_back() {
    let memory = FaultyMemory::new(conch_memory::Settings::default());
    let (log, faults) = (memory.log(), memory.faults());
    let now = log.now().await.expect("memory answers");
    let told: Clock = Arc::new(move || now.plus_millis(-3_600_000));
    let when = conch_doubles::When::Before;
    let store_clock = StoreClock::new(Arc::clone(&told));
    faults.fail_next("job_log.now", 3, ErrorKind::Timeout, when);
    store_clock.begin(&*log, Duration::from_secs(1)).await;
    let off = |clock: &StoreClock| clock.clock()().millis_since(now);
    assert!(off(&store_clock) < 60_000, "asked until it answered");
    assert!(store_clock.known().now_or_never().is_some());

    let store_clock = StoreClock::new(told);
    faults.fail_next("job_log.now", 1000, ErrorKind::Unavailable, when);
    let began = Instant::now();
    store_clock.begin(&*log, Duration::from_secs(1)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    assert!(store_clock.known().now_or_never().is_none());
    faults.fail_no_more();
    let shutdown = CancellationToken::new();
    tokio::spawn(store_clock.clone().keep(log, shutdown.clone()));
    store_clock.known().await;
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    assert!(store_clock.clock()() >= now, "and not an hour before");
    shutdown.cancel();
}
