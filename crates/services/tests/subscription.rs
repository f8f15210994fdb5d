//! One subscription, several listeners: each is promised what the port promises, and none pays for
//! another.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_conformance::{Cannot, ForeignBlob, Limits, Loss, Subject, event_bus};
use conch_domain::{JobId, Position, Timestamp};
use conch_memory::Memory;
use conch_ports::{
    Catalogue, Commit, EventBus, Guarantees, JobQueue, Log, Published, Result, ResultCache, Signal,
    Signals, TicketStore,
};
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
    Signal::Message(Bytes::copy_from_slice(text.as_bytes()))
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
    let said = [Signal::Lapsed, message("a"), Signal::Lapsed, message("b")];
    for signal in said.clone() {
        say(&bus, signal);
    }
    for mut listener in listeners {
        assert_eq!(waiting(&mut listener).await, said);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_lags_gets_a_gap_and_then_one_lapsed_and_the_other_gets_all() {
    let (bus, [mut slow, mut quick], _task) = two();
    say(&bus, Signal::Lapsed);
    assert_eq!(quick.next().await, Some(Signal::Lapsed));
    for n in 0..100 {
        let said = message(&n.to_string());
        say(&bus, said.clone());
        // In the midst of what it misses something is lost for everybody.
        if n == 50 {
            say(&bus, Signal::Lapsed);
        }
        assert_eq!(quick.next().await, Some(said));
        if n == 50 {
            assert_eq!(quick.next().await, Some(Signal::Lapsed));
        }
    }
    assert_eq!(slow.next().await, Some(Signal::Lapsed));
    // There is room again, but what comes after the gap must not come before the `Lapsed`.
    say(&bus, message("after the gap"));
    assert_eq!(quick.next().await, Some(message("after the gap")));
    let kept = ["0", "1", "2"].map(message);
    let kept = [&kept[..], &[Signal::Lapsed]].concat();
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
    let kept = [half.clone(), half.clone(), Signal::Lapsed];
    assert_eq!(waiting(&mut slow).await, kept);
    // What was taken gives its room back, and what can never fit is a gap like any other.
    say(&bus, half.clone());
    say(&bus, message(&"x".repeat(101)));
    assert_eq!(waiting(&mut slow).await, [half, Signal::Lapsed]);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_lapses_over_and_over_takes_no_room() {
    let (bus, [mut slow, _], _task) = two();
    for _ in 0..10 {
        say(&bus, Signal::Lapsed);
    }
    say(&bus, message("a"));
    assert_eq!(waiting(&mut slow).await, [Signal::Lapsed, message("a")]);
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_listeners() {
    let (bus, [one, mut another], task) = two();
    drop(one);
    say(&bus, Signal::Lapsed);
    assert_eq!(another.next().await, Some(Signal::Lapsed));
    drop(another);
    assert_eq!(task.await.expect("it doesn't panic"), Ended::WithListeners);
    assert!(bus.is_closed(), "and lets go of the bus");
}

#[tokio::test(start_paused = true)]
async fn its_listeners_end_with_it() {
    let (bus, [mut one, another], task) = two();
    say(&bus, Signal::Lapsed);
    drop(bus);
    assert_eq!(task.await.expect("it doesn't panic"), Ended::WithBus);
    assert_eq!(one.next().await, Some(Signal::Lapsed), "what waits is kept");
    assert_eq!(one.next().await, None);
    assert_eq!(another.collect::<Vec<_>>().await, [Signal::Lapsed]);

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
    fn guarantees(&self) -> Guarantees {
        self.0.guarantees()
    }

    async fn publish(&self, commit: Commit) -> Result<Published> {
        self.0.publish(commit).await
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        self.0.read(job_id, after, limit).await
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        self.0.positions(job_ids).await
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

    async fn now(&self) -> Result<Timestamp> {
        self.0.now().await
    }

    async fn ping(&self) -> Result<()> {
        self.0.ping().await
    }
}

/// A store in memory, heard of through [`Shared`].
struct Heard(Memory);

#[async_trait]
impl Subject for Heard {
    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(Shared(self.0.bus()))
    }

    fn cache(&self) -> Arc<dyn ResultCache> {
        self.0.cache()
    }

    fn queue(&self) -> Arc<dyn JobQueue> {
        self.0.queue()
    }

    fn catalogue(&self) -> Arc<dyn Catalogue> {
        self.0.catalogue()
    }

    fn tickets(&self) -> Arc<dyn TicketStore> {
        self.0.tickets()
    }

    fn limits(&self) -> Limits {
        let store = conch_memory::Settings::default();
        Limits {
            history_limit: store.history_limit,
            result_ttl: store.result_ttl,
            ended_log_ttl: store.ended_log_ttl,
            quotas: store.quotas,
            tickets: store.max_tickets,
            tickets_per_caller: store.max_tickets_per_caller,
        }
    }

    fn cannot(&self) -> &'static [Cannot] {
        &[]
    }

    fn elsewhere(&self) -> Option<Arc<dyn EventBus>> {
        None
    }

    fn tickets_elsewhere(&self) -> Option<Arc<dyn TicketStore>> {
        None
    }

    async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }

    async fn outlive(&self) -> bool {
        false
    }

    async fn restart_from_a_copy(&self) -> bool {
        false
    }

    async fn interrupt_subscription(&self) {
        self.0.faults().interrupt_subscription();
    }

    async fn lose_from_queue(&self, _: &JobId, _: Loss) {
        unreachable!("only the laws of announcements run here");
    }

    async fn break_entry(&self, _: &JobId) -> bool {
        false
    }

    async fn write_foreign_result(&self, _: &JobId, _: ForeignBlob) -> bool {
        false
    }
}

fn heard() -> Heard {
    Heard(conch_memory::Settings::default().build())
}

#[tokio::test(start_paused = true)]
async fn subscription_starts_with_lapsed() {
    event_bus::subscription_starts_with_lapsed(&heard()).await;
}

#[tokio::test(start_paused = true)]
async fn announce_follows_append() {
    event_bus::announce_follows_append(&heard()).await;
}

#[tokio::test(start_paused = true)]
async fn announcements_keep_their_order() {
    event_bus::announcements_keep_their_order(&heard()).await;
}
