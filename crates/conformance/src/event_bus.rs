//! The laws of [`EventBus`]. Nothing is in a log here: a bus doesn't know of logs.

mod outages;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use conch_domain::{JobId, Position};
use conch_ports::{Announcement, ErrorKind, EventBus, Message, Signal, Signals};
use futures::StreamExt;

use crate::build::{Script, announcement};
use crate::observe::{flowing, next_of, position_in, soon};
use crate::{BusSubject, Outcome};

pub use outages::{announcing_is_bounded, outages_are_told, ping_tells};

async fn announce_all(bus: &dyn EventBus, announcements: impl IntoIterator<Item = Announcement>) {
    for announcement in announcements {
        bus.announce(&announcement)
            .await
            .expect("the bus takes an announcement");
        tokio::task::yield_now().await;
    }
}

/// Announces in a task of its own, so that subscribers run in between.
fn announce_meanwhile(
    bus: Arc<dyn EventBus>,
    announcements: Vec<Announcement>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { announce_all(&*bus, announcements).await })
}

/// The announcement is the next one that is heard of its job, byte for byte.
async fn is_heard(signals: &mut Signals, announcement: &Announcement) {
    let position = announcement.position.expect("the event is in a log");
    let heard = next_of(signals, &announcement.job_id).await;
    assert_eq!(
        heard,
        (position, announcement.line.clone()),
        "other bytes were heard than announced"
    );
}

/// The first signal is a `Gap`, and what is announced after it arrives, however many subscribed before.
pub async fn subscription_starts_with_gap(subject: &dyn BusSubject) {
    let bus = subject.bus();
    let mut script = Script::foreign();
    let mut signals = flowing(&*bus).await;
    let first = announcement(&script.queued());
    announce_all(&*bus, [first.clone()]).await;
    is_heard(&mut signals, &first).await;

    let mut late = flowing(&*bus).await;
    let second = announcement(&script.started());
    announce_all(&*bus, [second.clone()]).await;
    for signals in [&mut signals, &mut late] {
        is_heard(signals, &second).await;
    }
}

/// Each subscription that was cut off is told so, and hears what is announced after that.
pub async fn an_interruption_is_a_gap(subject: &dyn BusSubject) {
    let bus = subject.bus();
    let mut signals = [flowing(&*bus).await, flowing(&*bus).await];
    let mut script = Script::foreign();
    subject.interrupt().await;
    for signals in &mut signals {
        soon("a gap after an interruption", async {
            while signals.next().await != Some(Signal::Gap) {}
        })
        .await;
    }
    let after = announcement(&script.queued());
    announce_all(&*bus, [after.clone()]).await;
    for signals in &mut signals {
        is_heard(signals, &after).await;
    }
}

/// A subscriber that reads nothing of a flood gets all of it, or is told that it missed some; and it hears what
/// follows.
pub async fn a_flood_is_heard_or_owed(subject: &dyn BusSubject) {
    const FLOOD: u64 = 300;
    let bus = subject.bus();
    let mut signals = flowing(&*bus).await;
    let mut script = Script::foreign();
    let flood: Vec<_> = (0..FLOOD)
        .map(|n| announcement(&script.progress((n % 100) as u8)))
        .collect();
    announce_all(&*bus, flood).await;
    let last = script.job().position.sequence;
    all_or_a_gap(&mut signals, script.id(), last, FLOOD).await;
    announce_all(&*bus, [announcement(&script.completed())]).await;
    let end = script.job().position;
    while next_of(&mut signals, script.id()).await.0 != end {}
}

/// Of the job's `count` announcements up to `last` all arrive, or a `Gap` does.
async fn all_or_a_gap(signals: &mut Signals, job_id: &JobId, last: u64, count: u64) {
    let mut expected = last - count;
    soon("the flood's end or a gap", async {
        while expected < last {
            match signals.next().await {
                Some(Signal::Message(Message { bytes, .. })) => {
                    let place = position_in(&bytes, job_id).expect("only one job speaks");
                    assert!(
                        place.sequence <= expected + 1,
                        "announcements were lost in silence"
                    );
                    expected = expected.max(place.sequence);
                }
                Some(Signal::Gap) => break,
                None => panic!("a subscription must not end"),
            }
        }
    })
    .await;
}

/// What is announced is heard by each subscriber, byte for byte.
pub async fn announced_is_heard(subject: &dyn BusSubject) {
    let bus = subject.bus();
    let mut signals = [flowing(&*bus).await, flowing(&*bus).await];
    let (mut script, mut other) = (Script::foreign(), Script::own());
    let announced = [
        script.queued(),
        script.progress(40),
        other.queued(),
        script.completed(),
    ]
    .map(|commit| announcement(&commit));
    announce_all(&*bus, announced.clone()).await;
    for signals in &mut signals {
        for announcement in &announced {
            is_heard(signals, announcement).await;
        }
    }
}

/// Longest line that this suite makes.
const LONGEST: usize = 4 * 1024 * 1024;

/// The announcement, of a line with so many bytes.
fn of_length(mut announcement: Announcement, length: usize) -> Announcement {
    let (line, before) = (&announcement.line[1..], &br#"{"padding":""#[..]);
    let padding = vec![b'x'; length - before.len() - 2 - line.len()];
    let line = [before, &padding, b"\",", line].concat();
    assert_eq!(line.len(), length);
    announcement.line = line.into();
    announcement
}

/// What the bus can't carry arrives as its short form, and nothing else suffers.
pub async fn long_lines_arrive_short(subject: &dyn BusSubject) -> Outcome {
    let bus = subject.bus();
    let mut signals = flowing(&*bus).await;
    let carries = bus.carries();
    if carries.max_bytes >= LONGEST {
        return Outcome::Skipped;
    }
    let mut script = Script::foreign();
    let before = announcement(&script.queued());
    let long = of_length(announcement(&script.started()), carries.max_bytes + 1);
    let after = announcement(&script.completed());
    announce_all(&*bus, [before.clone(), long.clone(), after.clone()]).await;
    is_heard(&mut signals, &before).await;
    let (position, short) = next_of(&mut signals, script.id()).await;
    assert_eq!(Some(position), long.position, "the long one wasn't heard");
    assert!(short.len() <= carries.max_bytes, "{} bytes", short.len());
    let incoming = conch_wire::event::decode(&short, script.now()).expect("it says its type");
    assert_eq!(incoming.event.kind.event_type(), "job:started");
    is_heard(&mut signals, &after).await;
    Outcome::Held
}

/// An event that is in no log is heard as one of our own programs' where it is carried, else refused.
pub async fn ephemeral_where_declared(subject: &dyn BusSubject) {
    let bus = subject.bus();
    let mut signals = flowing(&*bus).await;
    let mut ephemeral = announcement(&Script::foreign().queued());
    ephemeral.position = None;
    let announced = bus.announce(&ephemeral).await;
    if !bus.carries().ephemeral {
        let error = announced.expect_err("what isn't carried is refused");
        assert_eq!(error.kind(), ErrorKind::Refused);
        return;
    }
    announced.expect("what is declared is carried");
    let heard = soon("an ephemeral event", signals.next()).await;
    assert_eq!(heard, Some(Signal::Message(Message::own(ephemeral.line))));
}

/// Of each of three jobs that are announced at the same time, what is heard comes in the order in which it
/// was handed over.
pub async fn announcements_keep_their_order(subject: &dyn BusSubject) {
    const EVENTS: u64 = 30;
    let bus = subject.bus();
    let mut signals = flowing(&*bus).await;
    let mut writers = Vec::new();
    let mut heard = HashMap::new();
    for _ in 0..3 {
        let mut script = Script::foreign();
        let mut announcements = vec![announcement(&script.queued())];
        announcements.extend((1..EVENTS).map(|n| announcement(&script.progress(n as u8))));
        heard.insert(script.id().clone(), Vec::new());
        writers.push(announce_meanwhile(subject.bus(), announcements));
    }
    hear_in_order(&mut signals, heard, EVENTS).await;
    for writer in writers {
        writer.await.expect("announcing doesn't panic");
    }
}

/// Hears `events` announcements of each of these jobs, in the order of their places. One that is heard
/// again counts once.
pub(crate) async fn hear_in_order(
    signals: &mut Signals,
    mut heard: HashMap<JobId, Vec<Position>>,
    events: u64,
) {
    soon("every announcement of each job", async {
        while heard.values().any(|places| (places.len() as u64) < events) {
            let signal = signals.next().await;
            let Some(Signal::Message(Message { bytes, .. })) = signal else {
                panic!("{signal:?}: so few announcements fit a subscriber's queue");
            };
            for (id, places) in &mut heard {
                if let Some(place) = position_in(&bytes, id)
                    && !places.contains(&place)
                {
                    places.push(place);
                }
            }
        }
    })
    .await;
    for places in heard.values() {
        let sequences: Vec<u64> = places.iter().map(|place| place.sequence).collect();
        assert!(sequences.is_sorted(), "heard in this order: {sequences:?}");
    }
}

/// A bus that declares itself shared is: what one process announces, another hears. One that doesn't has no
/// elsewhere.
pub async fn others_hear(subject: &dyn BusSubject) -> Outcome {
    let bus = subject.bus();
    let elsewhere = subject.elsewhere();
    assert_eq!(
        bus.carries().shared,
        elsewhere.is_some(),
        "the declaration is wrong"
    );
    let Some(elsewhere) = elsewhere else {
        return Outcome::Skipped;
    };
    assert_eq!(elsewhere.carries(), bus.carries());
    let mut script = Script::foreign();
    for (from, to) in [(&bus, &elsewhere), (&elsewhere, &bus)] {
        let mut signals = flowing(&**to).await;
        let announced = announcement(&script.queued());
        announce_all(&**from, [announced.clone()]).await;
        is_heard(&mut signals, &announced).await;
        script = Script::foreign();
    }
    Outcome::Held
}

/// What an external program sends comes as it is, whatever it is; where the bus carries such things.
pub async fn external_bytes_arrive_untouched(subject: &dyn BusSubject) -> Outcome {
    let bus = subject.bus();
    let mut signals = flowing(&*bus).await;
    let sent = [
        &b"{\"event_type\":\"job:started\"}"[..],
        b"not JSON",
        b"\xff\xfe\0",
        b"",
    ];
    for bytes in sent {
        let carried = subject.send_external(Bytes::from_static(bytes)).await;
        assert_eq!(carried, bus.carries().external, "the declaration is wrong");
        if !carried {
            return Outcome::Skipped;
        }
        let heard = soon("what was sent", signals.next()).await;
        assert_eq!(heard, Some(Signal::Message(Message::public(bytes))));
    }
    Outcome::Held
}

/// What looks like an announcement of ours, but was sent by another program, comes as that program's.
pub async fn channels_stay_apart(subject: &dyn BusSubject) -> Outcome {
    let bus = subject.bus();
    let mut signals = flowing(&*bus).await;
    if !bus.carries().external {
        return Outcome::Skipped;
    }
    let mut script = Script::own();
    let ours = announcement(&script.queued());
    announce_all(&*bus, [ours.clone()]).await;
    is_heard(&mut signals, &ours).await;
    let position = ours.position.expect("the event is in a log");
    let short = conch_wire::announcement::shorten(&ours.line, &ours.job_id, position);
    // A copy of what was just announced, what a bus of ours would make of it, and one that is made up.
    for forged in [ours.line, short, announcement(&script.started()).line] {
        subject.send_external(forged.clone()).await;
        let heard = soon("what was forged", signals.next()).await;
        assert_eq!(heard, Some(Signal::Message(Message::public(forged))));
    }
    Outcome::Held
}
