//! The laws of a bus whose backend is gone, or hangs.

use std::time::Duration;

use conch_ports::{EventBus, Signal, Signals};
use futures::StreamExt;
use tokio::time::timeout;

use super::of_length;
use crate::build::{Script, announcement};
use crate::observe::{flowing, soon, until};
use crate::{BusSubject, Outcome};

/// While there is no backend, calls fail, each within seconds; when it is back, they work.
pub async fn outages_are_told(subject: &dyn BusSubject) -> Outcome {
    let bus = subject.bus();
    let mut signals = flowing(&*bus).await;
    if !subject.take_away(true).await {
        return Outcome::Skipped;
    }
    let announcement = announcement(&Script::foreign().queued());
    // A call that was under way may still be done.
    until("that nothing can be announced", || async {
        bus.announce(&announcement).await.is_err()
    })
    .await;
    until("that nothing answers", || async {
        bus.ping().await.is_err()
    })
    .await;
    subject.take_away(false).await;
    soon("a gap after the outage", async {
        while signals.next().await != Some(Signal::Gap) {}
    })
    .await;
    until("that announcing works again", || async {
        bus.announce(&announcement).await.is_ok()
    })
    .await;
    soon("the announcement", async {
        loop {
            // What could not be announced before may come as its place alone.
            match signals.next().await {
                Some(Signal::Message(message)) if message.bytes == announcement.line => break,
                Some(_) => {}
                None => panic!("a subscription must not end"),
            }
        }
    })
    .await;
    until("an answer", || async { bus.ping().await.is_ok() }).await;
    Outcome::Held
}

/// While the backend hangs, every announcement ends, and a thousand of them take no longer than a few; once it
/// goes on, announcements get through again.
pub async fn announcing_is_bounded(subject: &dyn BusSubject) -> Outcome {
    // More than the buffers on the way there hold.
    const BURST: usize = 3000;
    const LENGTH: usize = 16 * 1024;
    let bus = subject.bus();
    let mut signals = flowing(&*bus).await;
    if !subject.freeze(true).await {
        return Outcome::Skipped;
    }
    let mut script = Script::foreign();
    let length = bus.carries().max_bytes.min(LENGTH);
    let long = of_length(announcement(&script.queued()), length);
    soon("an end of announcing while the backend hangs", async {
        for _ in 0..BURST {
            // Handed over or not: a bus may have room for some.
            drop(bus.announce(&long).await);
        }
    })
    .await;
    subject.freeze(false).await;
    let after = announcement(&script.started());
    soon("an announcement after the backend has gone on", async {
        while !gets_through(&*bus, &mut signals, &after).await {}
    })
    .await;
    Outcome::Held
}

/// Announces, and hears whether it arrives within a moment: the subscriber may be behind, or cut off.
async fn gets_through(
    bus: &dyn EventBus,
    signals: &mut Signals,
    announcement: &conch_ports::Announcement,
) -> bool {
    const MOMENT: Duration = Duration::from_millis(100);
    if bus.announce(announcement).await.is_err() {
        tokio::time::sleep(MOMENT).await;
        return false;
    }
    let heard = async {
        loop {
            match signals.next().await {
                Some(Signal::Message(message)) if message.bytes == announcement.line => break,
                Some(_) => {}
                None => panic!("a subscription must not end"),
            }
        }
    };
    timeout(MOMENT, heard).await.is_ok()
}

/// Ping answers whether the backend does, without a subscriber too; one that hangs doesn't.
pub async fn ping_tells(subject: &dyn BusSubject) -> Outcome {
    let bus = subject.bus();
    // The backend may be starting.
    until("an answer without a subscriber", || async {
        bus.ping().await.is_ok()
    })
    .await;
    if !subject.freeze(true).await {
        return Outcome::Skipped;
    }
    let hangs = soon("an end of ping while the backend hangs", bus.ping()).await;
    assert!(hangs.is_err(), "a backend that hangs is said to answer");
    subject.freeze(false).await;
    until("an answer again", || async { bus.ping().await.is_ok() }).await;
    Outcome::Held
}
