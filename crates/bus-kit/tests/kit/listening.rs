//! A subscription under everything that can happen to its link.

use std::time::Duration;

use conch_bus_kit::Settings;
use conch_ports::{Channel, Signal};
use futures::StreamExt;
use tokio::time::{Instant, sleep};

use crate::fake::{Fake, Sending, message, next, nothing};
use crate::observed::{Lines, counts};

/// Longer than a test of the link and its time-out take.
const A_PROBE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn it_begins_with_a_gap_and_then_passes_on_whatever_comes() {
    let fake = Fake::new();
    let mut signals = fake.bus().subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    fake.publish(Channel::Public, "not even JSON");
    fake.publish(Channel::Own, "of our own");
    let expected = message(Channel::Public, "not even JSON");
    assert_eq!(next(&mut signals).await, expected);
    assert_eq!(
        next(&mut signals).await,
        message(Channel::Own, "of our own")
    );
    nothing(&mut signals, 10 * A_PROBE).await;
    assert_eq!(fake.listens(), 1, "a sound link is left alone");
}

#[tokio::test(start_paused = true)]
async fn it_says_nothing_before_messages_flow() {
    let fake = Fake::new();
    fake.probing(Sending::Hangs);
    let mut signals = fake.bus().subscribe();
    nothing(&mut signals, A_PROBE).await;
    assert!(fake.listens() > 1, "it tries again");
    fake.probing(Sending::Works);
    assert_eq!(next(&mut signals).await, Signal::Gap);
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_the_first_probe_is_covered_by_the_gap() {
    let fake = Fake::new();
    fake.probing(Sending::Swallowed);
    let mut signals = fake.bus().subscribe();
    sleep(Duration::from_millis(1)).await;
    fake.publish(Channel::Public, "early");
    nothing(&mut signals, Duration::from_millis(1)).await;
    fake.probing(Sending::Works);
    assert_eq!(next(&mut signals).await, Signal::Gap);
    fake.publish(Channel::Public, "late");
    assert_eq!(next(&mut signals).await, message(Channel::Public, "late"));
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_a_server_that_is_not_up_yet() {
    let fake = Fake::new();
    fake.go_down();
    let mut signals = fake.bus().subscribe();
    nothing(&mut signals, A_PROBE).await;
    fake.come_up();
    assert_eq!(next(&mut signals).await, Signal::Gap);
}

#[tokio::test(start_paused = true)]
async fn each_end_of_the_stream_is_a_gap() {
    let fake = Fake::new();
    let mut signals = fake.bus().subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    for text in ["a", "b", "c"] {
        fake.cut();
        assert_eq!(next(&mut signals).await, Signal::Gap);
        fake.publish(Channel::Public, text);
        assert_eq!(next(&mut signals).await, message(Channel::Public, text));
    }
    assert_eq!((fake.listens(), fake.listeners()), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_delivers_nothing_is_given_up() {
    let fake = Fake::new();
    let mut signals = fake.bus().subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    fake.probing(Sending::Swallowed);
    nothing(&mut signals, A_PROBE).await;
    fake.probing(Sending::Works);
    assert_eq!(next(&mut signals).await, Signal::Gap);
    fake.publish(Channel::Public, "a");
    assert_eq!(next(&mut signals).await, message(Channel::Public, "a"));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_comes_twice_hides_no_silence() {
    let fake = Fake::new();
    let mut signals = fake.bus().subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    fake.repeat_the_probes();
    fake.probing(Sending::Swallowed);
    let Settings {
        probe_interval,
        probe_timeout,
        ..
    } = Settings::default();
    // With the first pause.
    sleep(probe_interval + probe_timeout + Duration::from_millis(200)).await;
    assert_eq!(fake.listens(), 2, "the next probe of all is missed");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_refused_ends_in_a_gap_though_messages_flow() {
    let fake = Fake::new();
    let mut signals = fake.bus().subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    fake.probing(Sending::Refused);
    nothing(&mut signals, A_PROBE).await;
    fake.probing(Sending::Works);
    assert_eq!(next(&mut signals).await, Signal::Gap);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_hangs_is_given_up() {
    let (lines, _log) = Lines::record();
    let fake = Fake::new();
    fake.hang_listeners(true);
    let mut signals = fake.bus().subscribe();
    nothing(&mut signals, A_PROBE).await;
    fake.hang_listeners(false);
    assert_eq!(next(&mut signals).await, Signal::Gap);
    assert_eq!(lines.count("did not deliver"), 1, "{}", lines.text());
}

#[tokio::test(start_paused = true)]
async fn the_pauses_grow_to_the_cap() {
    let fake = Fake::new();
    fake.go_down();
    let settings = Settings {
        backoff_cap: Duration::from_secs(4),
        ..Settings::default()
    };
    let mut signals = settings.bus(fake.clone()).subscribe();
    nothing(&mut signals, Duration::from_secs(4)).await;
    let first = fake.listens();
    assert!((4..=10).contains(&first), "{first} attempts at first");
    // Each pause is one cap to two, by chance.
    nothing(&mut signals, Duration::from_secs(400)).await;
    let later = fake.listens() - first;
    assert!((55..=85).contains(&later), "{later} attempts later");
    // One that worked starts over.
    fake.come_up();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    fake.cut();
    let cut = Instant::now();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    assert!(cut.elapsed() <= Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_reported_once_with_what_the_server_said() {
    let (lines, _log) = Lines::record();
    let (recorder, counts) = counts();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let fake = Fake::new();
    let mut signals = fake.bus().subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    assert_eq!(lines.count("WARN"), 0);

    fake.complain("no right to listen");
    for outages in 1..=2 {
        fake.probing(Sending::Hangs);
        nothing(&mut signals, 10 * A_PROBE).await;
        fake.probing(Sending::Works);
        assert_eq!(next(&mut signals).await, Signal::Gap);
        let text = lines.text();
        assert_eq!(lines.count("WARN"), outages, "{text}");
        assert_eq!(
            lines.count("it says: no right to listen"),
            outages,
            "{text}"
        );
        assert_eq!(lines.count("event subscription restored"), outages);
        let counter = format!("conch_fake_subscription_interruptions_total {outages}\n");
        assert!(counts.render().contains(&counter), "{}", counts.render());
    }
    let started = "Triton event subscriber started successfully";
    assert_eq!(lines.count(started), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_cannot_carry_every_event_says_so_once() {
    for (limit, told) in [(1024, 1), (1024 * 1024, 0)] {
        let (lines, _log) = Lines::record();
        let fake = Fake::new();
        fake.carries(|carries| carries.max_bytes = limit);
        let mut signals = fake.bus().subscribe();
        assert_eq!(next(&mut signals).await, Signal::Gap);
        fake.cut();
        assert_eq!(next(&mut signals).await, Signal::Gap);
        assert_eq!(lines.count("without their content"), told, "{limit}");
    }
}

/// A bus whose consumer has room for two messages of 8 bytes, or three signals.
fn small() -> Settings {
    Settings {
        queue_signals: 3,
        queue_bytes: 16,
        max_message: 10,
        ..Settings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_lags_gets_what_fits_and_then_one_gap() {
    // In bytes, and in signals.
    for (text, fit) in [("12345678", 2), ("1", 3)] {
        let (recorder, counts) = counts();
        let _counting = metrics::set_default_local_recorder(&recorder);
        let fake = Fake::new();
        let mut signals = small().bus(fake.clone()).subscribe();
        assert_eq!(next(&mut signals).await, Signal::Gap);
        for _ in 0..fit + 5 {
            fake.publish(Channel::Public, text);
        }
        // Everything is read, though nothing is consumed.
        sleep(Duration::from_millis(1)).await;
        for _ in 0..fit {
            assert_eq!(next(&mut signals).await, message(Channel::Public, text));
        }
        assert_eq!(next(&mut signals).await, Signal::Gap);
        fake.publish(Channel::Public, "last");
        assert_eq!(next(&mut signals).await, message(Channel::Public, "last"));
        let counter = "conch_fake_messages_dropped_total{reason=\"overflow\"} 5\n";
        assert!(counts.render().contains(counter), "{}", counts.render());
    }
}

#[tokio::test(start_paused = true)]
async fn the_gap_waits_until_the_consumer_has_caught_up() {
    let fake = Fake::new();
    let mut signals = small().bus(fake.clone()).subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    for _ in 0..4 {
        fake.publish(Channel::Public, "1");
    }
    sleep(Duration::from_millis(1)).await;
    assert_eq!(next(&mut signals).await, message(Channel::Public, "1"));
    // There is room, but a `Gap` is owed that is to cover this one too.
    fake.publish(Channel::Public, "2");
    sleep(Duration::from_millis(1)).await;
    for expected in [
        message(Channel::Public, "1"),
        message(Channel::Public, "1"),
        Signal::Gap,
    ] {
        assert_eq!(next(&mut signals).await, expected);
    }
    nothing(&mut signals, A_PROBE).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_long_is_dropped_alone() {
    let (recorder, counts) = counts();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let fake = Fake::new();
    let mut signals = small().bus(fake.clone()).subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    fake.publish(Channel::Public, "12345678901");
    fake.publish(Channel::Public, "1234567890");
    assert_eq!(
        next(&mut signals).await,
        message(Channel::Public, "1234567890")
    );
    let counter = "conch_fake_messages_dropped_total{reason=\"oversize\"} 1\n";
    assert!(counts.render().contains(counter), "{}", counts.render());
}

#[tokio::test(start_paused = true)]
async fn subscriptions_do_not_take_each_others_probes() {
    let fake = Fake::new();
    let bus = fake.bus();
    let (mut first, mut second) = (bus.subscribe(), bus.subscribe());
    assert_eq!(next(&mut first).await, Signal::Gap);
    assert_eq!(next(&mut second).await, Signal::Gap);
    fake.publish(Channel::Public, "to both");
    assert_eq!(next(&mut first).await, message(Channel::Public, "to both"));
    assert_eq!(next(&mut second).await, message(Channel::Public, "to both"));
    nothing(&mut first, 3 * A_PROBE).await;
    assert_eq!(fake.listens(), 2);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_stream_ends_the_listening() {
    let fake = Fake::new();
    let bus = fake.bus();
    let mut signals = bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    assert_eq!(fake.listeners(), 1);
    drop(signals);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(fake.listeners(), 0);
    // The stream outlives the handle that it came from.
    let mut signals = bus.subscribe();
    drop(bus);
    assert_eq!(next(&mut signals).await, Signal::Gap);
    fake.publish(Channel::Public, "a");
    assert_eq!(signals.next().await, Some(message(Channel::Public, "a")));
}
