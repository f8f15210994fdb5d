//! One subscription, several listeners: each is promised what the port promises, and none pays for
//! another.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_conformance::{BusSubject, Cannot};
use conch_memory::Memory;
use conch_ports::{Announcement, BusId, Carries, EventBus, Message, Result, Signal, Signals};
use conch_services::subscription::{Ended, Settings};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{FutureExt, StreamExt};
use tokio::task::JoinHandle;

/// Far fewer than the default, so that a test can count them.
const SETTINGS: Settings = Settings {
    signals: 4,
    bytes: 100,
};

fn message(text: &str) -> Signal {
    Signal::Message(Message::public(text.to_owned()))
}

/// Two listeners, what they listen to, and the task that passes it on.
fn two() -> (UnboundedSender<Signal>, [Signals; 2], JoinHandle<Ended>) {
    let (bus, signals) = unbounded();
    let mut subscription = SETTINGS.build(signals.boxed());
    let listeners = ["one", "another"].map(|name| subscription.listener(name));
    (bus, listeners, tokio::spawn(subscription.run()))
}

fn say(bus: &UnboundedSender<Signal>, signal: Signal) {
    bus.unbounded_send(signal).expect("somebody listens");
}

/// Everything that waits for a listener, once what was said has been passed on.
async fn waiting(listener: &mut Signals) -> Vec<Signal> {
    // On a clock that is paused: ends when every task waits.
    tokio::time::sleep(Duration::from_millis(1)).await;
    std::iter::from_fn(|| listener.next().now_or_never().flatten()).collect()
}

#[tokio::test(start_paused = true)]
async fn each_listener_hears_all_in_order() {
    let (bus, listeners, _task) = two();
    let said = [Signal::Gap, message("a"), Signal::Gap, message("b")];
    for signal in said.clone() {
        say(&bus, signal);
    }
    for mut listener in listeners {
        assert_eq!(waiting(&mut listener).await, said);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_lags_misses_some_and_gets_one_gap_and_the_other_gets_all() {
    let (bus, [mut slow, mut quick], _task) = two();
    say(&bus, Signal::Gap);
    assert_eq!(quick.next().await, Some(Signal::Gap));
    for n in 0..100 {
        let said = message(&n.to_string());
        say(&bus, said.clone());
        // In the midst of what it misses something is lost for everybody.
        if n == 50 {
            say(&bus, Signal::Gap);
        }
        assert_eq!(quick.next().await, Some(said));
        if n == 50 {
            assert_eq!(quick.next().await, Some(Signal::Gap));
        }
    }
    assert_eq!(slow.next().await, Some(Signal::Gap));
    // There is room again, but what comes after the gap must not come before the `Gap`.
    say(&bus, message("after the gap"));
    assert_eq!(quick.next().await, Some(message("after the gap")));
    let kept = ["0", "1", "2"].map(message);
    let kept = [&kept[..], &[Signal::Gap]].concat();
    assert_eq!(waiting(&mut slow).await, kept);
    for listener in [&mut slow, &mut quick] {
        say(&bus, message("later"));
        assert_eq!(listener.next().await, Some(message("later")));
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_in_bytes_too() {
    let (bus, [mut slow, _], _task) = two();
    let half = message(&"x".repeat(50));
    for _ in 0..3 {
        say(&bus, half.clone());
    }
    let kept = [half.clone(), half.clone(), Signal::Gap];
    assert_eq!(waiting(&mut slow).await, kept);
    // What was taken gives its room back, and what can never fit is a gap like any other.
    say(&bus, half.clone());
    say(&bus, message(&"x".repeat(101)));
    assert_eq!(waiting(&mut slow).await, [half, Signal::Gap]);
}

#[tokio::test(start_paused = true)]
async fn gaps_one_after_the_other_take_no_room() {
    let (bus, [mut slow, _], _task) = two();
    for _ in 0..10 {
        say(&bus, Signal::Gap);
    }
    say(&bus, message("a"));
    assert_eq!(waiting(&mut slow).await, [Signal::Gap, message("a")]);
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_listeners() {
    let (bus, [one, mut another], task) = two();
    drop(one);
    say(&bus, Signal::Gap);
    assert_eq!(another.next().await, Some(Signal::Gap));
    drop(another);
    assert_eq!(task.await.expect("it doesn't panic"), Ended::WithListeners);
    assert!(bus.is_closed(), "and lets go of the bus");
}

#[tokio::test(start_paused = true)]
async fn its_listeners_end_with_it() {
    let (bus, [mut one, another], task) = two();
    say(&bus, Signal::Gap);
    drop(bus);
    assert_eq!(task.await.expect("it doesn't panic"), Ended::WithBus);
    assert_eq!(one.next().await, Some(Signal::Gap), "what waits is kept");
    assert_eq!(one.next().await, None);
    assert_eq!(another.collect::<Vec<_>>().await, [Signal::Gap]);

    let broken = futures::stream::poll_fn(|_| -> std::task::Poll<Option<Signal>> {
        panic!("a defect in an adapter");
    });
    let mut subscription = SETTINGS.build(broken.boxed());
    let mut listener = subscription.listener("one");
    let task = tokio::spawn(subscription.run());
    assert_eq!(listener.next().await, None, "nobody waits for ever");
    assert!(task.await.expect_err("it panicked").is_panic());
}

/// A bus whose subscribers each share a subscription with one who never takes anything.
struct Shared(Arc<dyn EventBus>);

#[async_trait]
impl EventBus for Shared {
    fn id(&self) -> BusId {
        self.0.id()
    }

    fn carries(&self) -> Carries {
        self.0.carries()
    }

    async fn announce(&self, announcement: &Announcement) -> Result<()> {
        self.0.announce(announcement).await
    }

    fn subscribe(&self) -> Signals {
        let settings = Settings {
            signals: 128,
            ..Settings::default()
        };
        let mut subscription = settings.build(self.0.subscribe());
        let stuck = subscription.listener("stuck");
        let signals = subscription.listener("one");
        tokio::spawn(subscription.run());
        // Both live as long as what is given away.
        futures::stream::unfold((signals, stuck), |(mut signals, stuck)| async move {
            Some((signals.next().await?, (signals, stuck)))
        })
        .boxed()
    }

    async fn ping(&self) -> Result<()> {
        self.0.ping().await
    }
}

/// A bus in memory, heard through [`Shared`].
struct Heard(Memory);

#[async_trait]
impl BusSubject for Heard {
    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(Shared(self.0.bus()))
    }

    fn cannot(&self) -> &'static [Cannot] {
        const fn cannot(law: &'static str, why: &'static str) -> Cannot {
            Cannot { law, why }
        }
        &[
            const {
                cannot(
                    "event_bus::others_hear",
                    "no other process sees this memory",
                )
            },
            const { cannot("event_bus::outages_are_told", "there is no server") },
            const { cannot("event_bus::announcing_is_bounded", "there is no server") },
            const { cannot("event_bus::ping_tells", "there is no server that hangs") },
        ]
    }

    fn elsewhere(&self) -> Option<Arc<dyn EventBus>> {
        None
    }

    async fn interrupt(&self) {
        self.0.faults().interrupt_subscription();
    }

    async fn send_external(&self, bytes: Bytes) -> bool {
        self.0.faults().announce_raw(bytes);
        true
    }

    async fn take_away(&self, _: bool) -> bool {
        false
    }

    async fn freeze(&self, _: bool) -> bool {
        false
    }
}

#[allow(clippy::unused_async)] // the suite awaits it
async fn heard() -> Heard {
    Heard(conch_memory::Settings::default().build())
}

conch_conformance::bus_conformance! { #[tokio::test(start_paused = true)] heard }
