//! The subscription and the announcements under what can happen to the server and the way to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use conch_domain::{JobId, Position};
use conch_ports::{Announcement, ErrorKind, EventBus, Message, Signal, Signals};
use futures::StreamExt;
use tokio::time::timeout;

use crate::detour::{Detour, Way};
use crate::server::{RIGHTS, Server, heard, next, settings, url};

/// What is announced of the seventh event where the event itself is too long.
const SHORT: &str = r#"{"event_type":"job:event","job_id":"j-1","sequence":7,"epoch":"5f3a9c1e"}"#;

pub(crate) fn event(job: &str, sequence: u64, line: &str) -> Announcement {
    Announcement {
        job_id: JobId::parse(job).expect("a job id"),
        position: Some(Position {
            epoch: "5f3a9c1e".parse().expect("an epoch"),
            sequence,
        }),
        line: Bytes::copy_from_slice(line.as_bytes()),
        secret: None,
    }
}

pub(crate) fn own(line: &str) -> Message {
    Message::own(Bytes::copy_from_slice(line.as_bytes()))
}

/// That what is announced from now on is heard.
async fn hears(bus: &Arc<dyn EventBus>, signals: &mut Signals, line: &str) {
    // The announcer may learn later than the subscription that the server is back.
    while bus.announce(&event("j-1", 1, line)).await.is_err() {
        tokio::task::yield_now().await;
    }
    while heard(signals).await != own(line) {}
}

#[tokio::test]
async fn what_one_announces_another_hears_in_order() {
    let server = Server::start();
    let (bus, elsewhere) = (server.bus(), server.bus());
    let mut signals = elsewhere.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    for n in 0..1000 {
        bus.announce(&event("j-1", n, &n.to_string()))
            .await
            .unwrap();
    }
    for n in 0..1000 {
        let expected = Signal::Message(own(&n.to_string()));
        assert_eq!(next(&mut signals).await, expected);
    }
    bus.ping().await.unwrap();
    assert_ne!(bus.id(), elsewhere.id());
    assert!(bus.carries().shared);
}

#[tokio::test]
async fn a_restarted_server_is_found_again_after_a_gap() {
    let mut server = Server::start();
    let bus = server.bus();
    let mut signals = bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    for text in ["a", "b", "c"] {
        server.restart();
        assert_eq!(next(&mut signals).await, Signal::Gap);
        hears(&bus, &mut signals, text).await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_up_yet_is_waited_for() {
    let mut server = Server::start();
    server.kill();
    let bus = server.bus();
    let mut signals = bus.subscribe();
    let early = timeout(Duration::from_millis(300), signals.next()).await;
    assert!(early.is_err(), "no gap while no message flows: {early:?}");
    bus.ping().await.expect_err("nothing is there");
    let began = Instant::now();
    bus.announce(&event("j-1", 7, "line"))
        .await
        .expect_err("nothing is there");
    assert!(began.elapsed() < Duration::from_millis(250));
    server.restart();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    hears(&bus, &mut signals, "a").await;
}

#[tokio::test]
async fn what_could_not_be_announced_follows_as_a_place() {
    let server = Server::start();
    let detour = Detour::to(&server).await;
    let bus = settings(&url(detour.port)).build().unwrap();
    let mut signals = server.bus().subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    bus.ping().await.unwrap();
    detour.is(Way::Cut);
    let began = Instant::now();
    while bus.announce(&event("j-1", 6, "line")).await.is_ok() {}
    assert!(
        began.elapsed() < Duration::from_millis(400),
        "none had to wait"
    );
    bus.announce(&event("j-1", 7, "line"))
        .await
        .expect_err("it is cut off");
    detour.is(Way::Open);
    while heard(&mut signals).await != own(SHORT) {}
}

#[tokio::test]
async fn a_frozen_server_is_noticed() {
    let server = Server::start();
    let bus = server.bus();
    let mut signals = bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    // The socket stays up and takes what it is sent, but nothing comes any more.
    server.signal("STOP");
    while bus.ping().await.is_ok() {}
    let quiet = timeout(Duration::from_secs(2), signals.next()).await;
    assert!(quiet.is_err());
    server.signal("CONT");
    assert_eq!(next(&mut signals).await, Signal::Gap);
    hears(&bus, &mut signals, "a").await;
}

#[tokio::test]
async fn a_connection_that_carries_nothing_any_more_is_replaced() {
    let server = Server::start();
    let detour = Detour::to(&server).await;
    let bus = settings(&url(detour.port)).build().unwrap();
    let mut signals = bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    // Neither end closes it.
    detour.is(Way::OpenToOthers);
    assert_eq!(next(&mut signals).await, Signal::Gap);
    hears(&bus, &mut signals, "a").await;
}

#[tokio::test]
async fn a_slow_consumer_that_is_cut_off_gets_a_gap() {
    let limits = "max_payload: 65536\nmax_pending: 65536\nwrite_deadline: \"200ms\"\n";
    let server = Server::with(&format!("{RIGHTS}{limits}"));
    let detour = Detour::to(&server).await;
    let mut behind = settings(&url(detour.port));
    // Only the server may find out.
    behind.kit.probe_interval = Duration::from_mins(10);
    let slow = behind.build().unwrap();
    let mut signals = slow.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);

    detour.is(Way::Blocked);
    let bus = server.bus();
    let line = "x".repeat(32 * 1024);
    for sequence in 0..1000 {
        bus.announce(&event("j-1", sequence, &line)).await.unwrap();
    }
    // By then all of it is beyond the client, and the slow one was cut off.
    bus.ping().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    detour.is(Way::Open);
    // Some came through, then the connection ended.
    while let Signal::Message(message) = next(&mut signals).await {
        assert_eq!(message, own(&line));
    }
    hears(&bus, &mut signals, "after it").await;
}

#[tokio::test]
async fn nothing_longer_than_the_server_takes_is_sent() {
    let server = Server::with(&format!("{RIGHTS}max_payload: 512\n"));
    let bus = server.bus();
    let mut signals = bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    assert_eq!(bus.carries().max_bytes, 512);
    bus.announce(&event("j-1", 7, &"x".repeat(513)))
        .await
        .unwrap();
    // The connection lives on: no gap comes first.
    assert_eq!(next(&mut signals).await, Signal::Message(own(SHORT)));
    let fits = "x".repeat(512);
    bus.announce(&event("j-1", 8, &fits)).await.unwrap();
    assert_eq!(next(&mut signals).await, Signal::Message(own(&fits)));
}

#[tokio::test]
async fn a_server_that_takes_not_even_a_place_refuses_no_other_job() {
    let server = Server::with(&format!("{RIGHTS}max_payload: 90\n"));
    let bus = server.bus();
    let mut signals = bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    let long = event(&"j".repeat(64), 1, &"x".repeat(100));
    let error = bus.announce(&long).await.expect_err("it is too long");
    assert_eq!(error.kind(), ErrorKind::Refused);
    bus.announce(&event("j-1", 1, "fits")).await.unwrap();
    assert_eq!(next(&mut signals).await, Signal::Message(own("fits")));
}
