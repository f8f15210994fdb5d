//! Whoever's clock is wrong stamps by the store's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use conch_domain::Timestamp;
use conch_ports::ErrorKind;
use conch_services::Clock;
use conch_services::store_clock::StoreClock;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;

#[tokio::test]
async fn clocks_an_hour_apart_tell_one_time() {
    let memory = conch_memory::Settings::default().build();
    let bus = memory.bus();
    let truth = || async { bus.now().await.expect("memory answers").as_micros() };
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
        store_clock.set(&*bus).await.expect("memory answers");
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
    let memory = conch_memory::Settings::default().build();
    let when = conch_memory::When::Before;
    memory
        .faults()
        .fail_next("event_bus.now", 1, ErrorKind::Unavailable, when);
    let told: Clock = Arc::new(|| Timestamp::from_micros(HOUR));
    let store_clock = StoreClock::new(told);
    let error = store_clock
        .set(&*memory.bus())
        .await
        .expect_err("it is away");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(store_clock.clock()().as_micros(), HOUR);
}
