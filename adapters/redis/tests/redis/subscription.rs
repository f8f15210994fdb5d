//! The subscription under everything that can happen to its connection.

use std::time::Duration;

use conch_conformance::build::{announcement, event_of};
use conch_ports::{Message, Signal, Signals};
use futures::StreamExt;
use tokio::time::timeout;

use crate::detour::Detour;
use crate::jobs::{commit, initial, queued};
use crate::server::Server;

async fn next(signals: &mut Signals) -> Signal {
    timeout(Duration::from_secs(20), signals.next())
        .await
        .expect("a signal in time")
        .expect("a subscription never ends")
}

async fn publishes(server: &Server, signals: &mut Signals, text: &'static str) {
    let receivers: u64 = server.run(&["PUBLISH", "triton:jobs:all", text]);
    assert_eq!(receivers, 1);
    let message = Signal::Message(Message::public(text.as_bytes()));
    assert_eq!(next(signals).await, message);
}

#[tokio::test]
async fn it_begins_with_a_gap_and_then_passes_on_whatever_is_said() {
    let server = Server::start();
    let stores = server.stores();
    let mut signals = stores.bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    publishes(&server, &mut signals, "not even JSON").await;
    let commit = commit(&initial("j-1"), queued());
    let line = event_of(&commit).line.clone();
    stores.log.append(commit).await.unwrap();
    let heard = Signal::Message(Message::public(line));
    assert_eq!(next(&mut signals).await, heard);
}

#[tokio::test]
async fn it_waits_for_a_redis_that_is_not_up_yet() {
    let mut server = Server::start();
    server.kill();
    let mut signals = server.stores().bus.subscribe();
    let early = timeout(Duration::from_millis(200), signals.next()).await;
    assert!(early.is_err(), "no gap while no message flows: {early:?}");
    server.restart();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    publishes(&server, &mut signals, "a").await;
}

#[tokio::test]
async fn a_killed_connection_is_replaced_and_lapsed() {
    let server = Server::start();
    let mut signals = server.stores().bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    for text in ["a", "b", "c"] {
        let killed: u64 = server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        assert_eq!(killed, 1);
        assert_eq!(next(&mut signals).await, Signal::Gap);
        publishes(&server, &mut signals, text).await;
    }
}

#[tokio::test]
async fn a_restarted_redis_is_found_again_and_lapsed() {
    let mut server = Server::start();
    let mut signals = server.stores().bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    server.restart();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    publishes(&server, &mut signals, "a").await;
}

#[tokio::test]
async fn a_silent_subscription_is_noticed_by_the_probe() {
    let server = Server::start();
    let mut signals = server.stores().bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    // The socket stays up and confirms what it is sent, but nothing comes any more.
    server.signal("STOP");
    let quiet = timeout(Duration::from_secs(1), signals.next()).await;
    assert!(quiet.is_err());
    server.signal("CONT");
    assert_eq!(next(&mut signals).await, Signal::Gap);
}

#[tokio::test]
async fn a_probe_that_redis_refuses_ends_in_lapsed_though_the_connection_is_up() {
    let server = Server::start();
    let mut signals = server.stores().bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    // The subscription's socket is fine and PING is answered; only publishing fails.
    let _: String = server.run(&["ACL", "SETUSER", "default", "-publish"]);
    let quiet = timeout(Duration::from_secs(1), signals.next()).await;
    assert!(quiet.is_err());
    let _: String = server.run(&["ACL", "SETUSER", "default", "+publish"]);
    assert_eq!(next(&mut signals).await, Signal::Gap);
    publishes(&server, &mut signals, "a").await;
}

#[tokio::test]
async fn a_busy_pool_neither_hinders_nor_interrupts_a_subscription() {
    let server = Server::start();
    let detour = Detour::to(&server).await;
    let mut settings = server.settings();
    settings.url = detour.url();
    settings.pool_size = 1;
    settings.connect_timeout = Duration::from_mins(1);
    settings.response_timeout = Duration::from_mins(1);
    let stores = settings.build().unwrap();
    // The pool's only connection is the first of all.
    stores.log.ping().await.unwrap();
    detour.hold_up_the_first();
    let busy = tokio::spawn(async move { stores.log.ping().await });
    let mut signals = stores.bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);

    let watching = redis::Client::open(server.url()).unwrap();
    let mut watching = watching.get_async_pubsub().await.unwrap();
    watching.psubscribe("triton:probe:*").await.unwrap();
    let mut probes = watching.on_message();
    // Over more time than one probe may take.
    for _ in 0..10 {
        let probe = timeout(Duration::from_secs(20), probes.next()).await;
        assert!(probe.expect("it goes on probing").is_some());
    }
    publishes(&server, &mut signals, "no gap comes before this").await;
    assert!(!busy.is_finished(), "the pool was busy all the time");
}

#[tokio::test]
async fn announcing_fails_while_redis_is_down_and_works_again_after() {
    let mut server = Server::start();
    let bus = server.stores().bus;
    let mut signals = bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    server.kill();
    let announcement = announcement(&commit(&initial("j-1"), queued()));
    let error = bus.announce(&announcement).await.expect_err("it is down");
    assert!(error.is_retryable(), "{error}");
    server.restart();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    // It may learn a little later that Redis is back.
    while bus.announce(&announcement).await.is_err() {
        tokio::task::yield_now().await;
    }
    let heard = Signal::Message(Message::public(announcement.line));
    while next(&mut signals).await != heard {}
}

#[tokio::test]
async fn a_message_of_more_than_a_mebibyte_is_dropped_alone() {
    let server = Server::start();
    let mut signals = server.stores().bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    let long = "x".repeat(1024 * 1024 + 1);
    let _: u64 = server.run(&["PUBLISH", "triton:jobs:all", &long]);
    publishes(&server, &mut signals, "short").await;
}

#[tokio::test]
async fn dropping_the_stream_ends_its_connection() {
    let server = Server::start();
    let mut signals = server.stores().bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    let subscribers = || server.run::<String>(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    assert_eq!(subscribers().lines().count(), 1);
    drop(signals);
    timeout(Duration::from_secs(10), async {
        while subscribers().lines().count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the connection ends");
}

/// Which channel a message came on says whether it is of our own, and nothing in it does.
#[tokio::test]
async fn what_is_sent_on_our_own_channel_is_told_apart() {
    let server = Server::start();
    let mut signals = server.stores().bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    for text in ["{}", "not even JSON"] {
        server.publish("triton:bus:events", text.as_bytes());
        let own = Signal::Message(Message::own(text.as_bytes()));
        assert_eq!(next(&mut signals).await, own);
        publishes(&server, &mut signals, text).await;
    }
}

/// A user with the rights of earlier builds hears what they heard, and announces as they did.
#[tokio::test]
async fn without_a_right_to_our_own_channel_all_is_heard_on_the_public_one() {
    let server = Server::start();
    let user = [
        "ACL",
        "SETUSER",
        "default",
        "resetchannels",
        "&triton:jobs:*",
        "&triton:probe:*",
    ];
    let _: String = server.run(&user);
    let stores = server.stores();
    let mut signals = stores.bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    let secret = conch_domain::LogSecret::from_random([1; 16]);
    let commit = commit(&initial("j-1").with_secret(secret), queued());
    let line = event_of(&commit).line.clone();
    let appended = stores.log.append(commit).await.unwrap();
    assert_eq!(appended, conch_ports::Appended::Appended);
    let heard = Signal::Message(Message::public(line));
    assert_eq!(next(&mut signals).await, heard);
}
