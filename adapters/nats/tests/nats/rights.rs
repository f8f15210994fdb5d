//! Who may do what, and what a lack of rights looks like.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conch_ports::{Message, Signal, Signals};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::listening::{event, own};
use crate::server::{RIGHTS, Server, heard, next, settings, url};

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn record() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .with_env_filter("info,async_nats=off")
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }

    fn warnings(&self) -> usize {
        self.text().matches("WARN").count()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn nothing_for(signals: &mut Signals, time: Duration) {
    let early = timeout(time, signals.next()).await;
    assert!(early.is_err(), "{early:?}");
}

#[tokio::test]
async fn an_external_publisher_is_heard_on_the_public_channel_alone() {
    let server = Server::start();
    let bus = server.bus();
    let mut signals = bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    let publisher = server.client("publisher").await;
    let forged = Bytes::from_static(b"forged");
    let public = Bytes::from_static(b"{\"not\": our business}\n");
    for subject in ["triton.own.j-1", "triton.probe.j-1", "triton.own"] {
        publisher.publish(subject, forged.clone()).await.unwrap();
    }
    publisher
        .publish("triton.jobs.j-1", public.clone())
        .await
        .unwrap();
    assert_eq!(
        next(&mut signals).await,
        Signal::Message(Message::public(public))
    );
    bus.announce(&event("j-1", 1, "ours")).await.unwrap();
    assert_eq!(next(&mut signals).await, Signal::Message(own("ours")));
}

#[tokio::test]
async fn what_is_neither_a_job_nor_a_probe_of_ours_is_passed_over() {
    let server = Server::with("");
    let bus = settings(&format!("nats://127.0.0.1:{}", server.port))
        .build()
        .unwrap();
    let mut signals = bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    let outsider = server.client("unknown").await;
    for subject in [
        "triton.probe.another",
        "triton.x.y",
        "tritonx.own.j-1",
        "x.own.j-1",
    ] {
        outsider.publish(subject, Bytes::new()).await.unwrap();
    }
    outsider.flush().await.unwrap();
    outsider
        .publish("triton.own.j-1", "last".into())
        .await
        .unwrap();
    assert_eq!(next(&mut signals).await, Signal::Message(own("last")));
}

#[tokio::test]
async fn a_reader_reads_along() {
    let server = Server::start();
    let reader = server.client("reader").await;
    let mut messages = reader.subscribe("triton.own.*").await.unwrap();
    let bus = server.bus();
    // Until the server knows of the reader.
    let message = loop {
        bus.announce(&event("j-1", 1, "ours")).await.unwrap();
        if let Ok(message) = timeout(Duration::from_millis(50), messages.next()).await {
            break message.unwrap();
        }
    };
    assert_eq!(
        (&*message.subject, &*message.payload),
        ("triton.own.j-1", &b"ours"[..])
    );
}

#[tokio::test]
async fn no_right_to_listen_is_reported_once_and_goes_away_when_it_is_given() {
    let (lines, _log) = Lines::record();
    let server = Server::with(&RIGHTS.replace(
        "subscribe: [\"triton.*.*\"]",
        "subscribe: [\"triton.probe.*\"]",
    ));
    let mut signals = server.bus().subscribe();
    nothing_for(&mut signals, Duration::from_secs(4)).await;
    let text = lines.text();
    assert!(
        text.contains("Permissions Violation for Subscription to \"triton.*.*\""),
        "{text}"
    );
    // One of the adapter's, one of the subscription's.
    assert_eq!(lines.warnings(), 2, "{text}");
    server.configure(RIGHTS);
    server.reload();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    assert_eq!(lines.warnings(), 2, "{}", lines.text());
}

#[tokio::test]
async fn no_right_to_announce_is_reported_once() {
    let (lines, _log) = Lines::record();
    let mut server =
        Server::with(&RIGHTS.replace("\"triton.own.*\", \"triton.probe.*\"", "\"triton.probe.*\""));
    let bus = server.bus();
    let mut signals = bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    for sequence in 1..=3 {
        let announcement = event(&format!("j-{sequence}"), sequence, "line");
        // That it was refused shows later.
        bus.announce(&announcement).await.unwrap();
    }
    nothing_for(&mut signals, Duration::from_secs(1)).await;
    let text = lines.text();
    assert!(
        text.contains("Permissions Violation for Publish to"),
        "{text}"
    );
    assert_eq!(lines.warnings(), 1, "{text}");

    // Once it is given, it explains nothing any more.
    server.configure(RIGHTS);
    server.restart();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    let told = lines.text().len();
    server.kill();
    nothing_for(&mut signals, Duration::from_secs(1)).await;
    let later = &lines.text()[told..];
    assert!(
        later.contains("WARN") && !later.contains("Permissions"),
        "{later}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_reported_once_and_tried_again() {
    let (lines, _log) = Lines::record();
    let mut server = Server::with(&RIGHTS.replace("p@ss:/word", "another"));
    let bus = server.bus();
    let mut signals = bus.subscribe();
    nothing_for(&mut signals, Duration::from_secs(1)).await;
    let error = bus.ping().await.expect_err("it isn't let in");
    assert!(
        error.to_string().contains("authorization violation"),
        "{error}"
    );
    let text = lines.text();
    assert!(text.contains("authorization violation"), "{text}");
    assert_eq!(lines.warnings(), 1, "{text}");
    assert!(!text.contains("ss%3A") && !text.contains("p@ss"), "{text}");
    server.configure(RIGHTS);
    server.reload();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    bus.announce(&event("j-1", 1, "ours")).await.unwrap();
    assert_eq!(heard(&mut signals).await, own("ours"));

    // Another password, at the next connection.
    server.configure(&RIGHTS.replace("p@ss:/word", "another"));
    server.restart();
    let refused = async {
        while !matches!(bus.ping().await, Err(error) if error.to_string().contains("authorization violation"))
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), refused)
        .await
        .expect("it says why");
}

#[tokio::test]
async fn what_others_test_is_no_test_of_ours() {
    let server = Server::start();
    let url = format!("nats://mute:x@127.0.0.1:{}", server.port);
    let mut deceived = settings(&url).build().unwrap().subscribe();
    let mut signals = server.bus().subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    // The other one hears its own probes all the time, and this one hears them, too.
    nothing_for(&mut deceived, Duration::from_secs(2)).await;
}

#[tokio::test]
async fn what_the_client_has_no_room_for_is_a_gap() {
    let (lines, _log) = Lines::record();
    let server = Server::start();
    let publisher = server.client("publisher").await;
    let mut narrow = settings(&url(server.port));
    narrow.kit.queue_signals = 2;
    let mut signals = narrow.build().unwrap().subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    // Far more than fits, all of it there at once.
    for _ in 0..1000 {
        publisher
            .publish("triton.jobs.j-1", "x".into())
            .await
            .unwrap();
    }
    while next(&mut signals).await != Signal::Gap {}
    while lines.warnings() == 0 {
        next(&mut signals).await;
    }
    let text = lines.text();
    assert!(text.contains("event subscription interrupted"), "{text}");
}

#[tokio::test]
async fn an_outage_is_reported_once() {
    let (lines, _log) = Lines::record();
    let mut server = Server::start();
    let mut signals = server.bus().subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    server.kill();
    nothing_for(&mut signals, Duration::from_secs(2)).await;
    server.restart();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    let text = lines.text();
    assert_eq!(lines.warnings(), 1, "{text}");
    for line in [
        "Triton event subscriber started successfully",
        "event subscription restored",
    ] {
        assert_eq!(text.matches(line).count(), 1, "{text}");
    }
}

#[tokio::test]
async fn a_token_in_the_address_lets_in() {
    let server = Server::with("authorization { token: \"s3cret%\" }\n");
    let with = |token| format!("nats://{token}@127.0.0.1:{}", server.port);
    settings(&with("s3cret%25"))
        .build()
        .unwrap()
        .ping()
        .await
        .unwrap();
    settings(&with("another"))
        .build()
        .unwrap()
        .ping()
        .await
        .expect_err("a wrong token");
}
