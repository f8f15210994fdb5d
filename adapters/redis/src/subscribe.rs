//! The subscription: one supervised task on a connection of its own, that never takes silence for
//! health. Every few seconds it publishes to a private channel and gives the connection up when that
//! does not come back in time. It does so past the pool: one that is busy says nothing of the
//! subscription.
//!
//! The consumer's queue is bounded in signals and bytes. What does not fit is dropped and a `Gap`
//! is owed; Redis's own reader is always drained, so a slow consumer never grows memory elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use conch_ports::{Error, ErrorKind, Message, Result, Signal, Signals};
use futures::{FutureExt, Stream, StreamExt, stream};
use redis::Msg;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::connection::{Connections, failed};
use crate::keys::Keys;
use crate::settings::Settings;

const OPERATION: &str = "event_bus.subscribe";
/// Longest message that is taken.
const MESSAGE_MAX: usize = 1024 * 1024;
/// Signals that wait for the consumer.
const QUEUE_SIGNALS: usize = 8192;
/// Bytes of messages that wait for the consumer.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// First pause before another try.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Starts a subscription; the stream's drop ends it. Must be called within a tokio runtime.
pub(crate) fn signals(connections: Connections, keys: &Keys, settings: &Settings) -> Signals {
    let (sender, receiver) = mpsc::channel(QUEUE_SIGNALS);
    let waiting = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        sender,
        waiting: Arc::clone(&waiting),
    };
    let subscriber = Subscriber::new(connections, keys, settings, outbox);
    let task = AbortOnDropHandle::new(tokio::spawn(subscriber.run()));
    let signals = consumer(receiver, waiting);
    stream::unfold((signals, task), |(mut signals, task)| async move {
        signals.next().await.map(|signal| (signal, (signals, task)))
    })
    .boxed()
}

/// The queue's other end, which gives the room of what it takes back.
fn consumer(receiver: mpsc::Receiver<Signal>, waiting: Arc<AtomicUsize>) -> Signals {
    stream::unfold((receiver, waiting), |(mut receiver, waiting)| async move {
        let signal = receiver.recv().await?;
        if let Signal::Message(message) = &signal {
            waiting.fetch_sub(message.bytes.len(), Ordering::Relaxed);
        }
        Some((signal, (receiver, waiting)))
    })
    .boxed()
}

struct Subscriber {
    connections: Connections,
    events: String,
    probes: String,
    probe_interval: Duration,
    probe_timeout: Duration,
    backoff_cap: Duration,
    outbox: Outbox,
}

/// The consumer's queue.
struct Outbox {
    sender: mpsc::Sender<Signal>,
    /// Bytes of the messages that wait in it.
    waiting: Arc<AtomicUsize>,
}

impl Subscriber {
    fn new(connections: Connections, keys: &Keys, settings: &Settings, outbox: Outbox) -> Self {
        let instance = uuid::Uuid::now_v7().to_string();
        Self {
            connections,
            events: keys.every_job(),
            probes: keys.probe(&instance),
            probe_interval: settings.probe_interval,
            probe_timeout: settings.probe_timeout,
            backoff_cap: settings.backoff_cap,
            outbox,
        }
    }

    /// Subscribes again and again.
    async fn run(self) {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(BACKOFF_MIN.min(self.backoff_cap))
            .with_max_delay(self.backoff_cap)
            .with_jitter()
            .without_max_times();
        let mut pauses = backoff.build();
        let mut started = false;
        let mut down = false;
        loop {
            let ended = match self.connect().await {
                Ok(messages) => {
                    if !started {
                        tracing::info!("Triton event subscriber started successfully");
                    } else if down {
                        tracing::info!("event subscription restored");
                    }
                    (started, down) = (true, false);
                    pauses = backoff.build();
                    self.follow(messages).await
                }
                Err(error) => error,
            };
            // An outage is told of once, however many tries it takes.
            if !down {
                tracing::warn!(
                    error = &ended as &dyn std::error::Error,
                    "event subscription interrupted, trying again until it is back"
                );
                metrics::counter!("conch_redis_subscription_interruptions_total").increment(1);
                down = true;
            }
            sleep(pauses.next().unwrap_or(self.backoff_cap)).await;
        }
    }

    /// A subscription on which a message of our own has arrived: messages flow.
    async fn connect(&self) -> Result<impl Stream<Item = Msg> + Unpin + use<>> {
        let channels = [self.events.clone(), self.probes.clone()];
        let connection = self.connections.subscription(OPERATION, &channels).await?;
        let mut messages = connection.into_on_message();
        let first_probe = async {
            self.publish_probe().await?;
            // What comes before it needs no passing on: a `Gap` follows.
            while let Some(message) = messages.next().await {
                if message.get_channel_name() == self.probes {
                    return Ok(());
                }
            }
            Err(closed())
        };
        timeout(self.probe_timeout, first_probe)
            .await
            .map_err(|_| silent())??;
        Ok(messages)
    }

    async fn publish_probe(&self) -> Result<()> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(&self.probes).arg("");
        let published = self.connections.run_shared(OPERATION, &command).await?;
        published.map_err(|error| failed(OPERATION, error))
    }

    /// Passes messages on until the connection is no good any more; answers why.
    async fn follow(&self, messages: impl Stream<Item = Msg> + Unpin) -> Error {
        let echo = Notify::new();
        tokio::select! {
            error = self.pass_on(messages, &echo) => error,
            error = self.probe(&echo) => error,
        }
    }

    /// Tries the real path over and over; answers when it fails.
    async fn probe(&self, echo: &Notify) -> Error {
        loop {
            sleep(self.probe_interval).await;
            // A probe may have gone out twice, when its connection had to be replaced.
            while echo.notified().now_or_never().is_some() {}
            let round_trip = async {
                self.publish_probe().await?;
                echo.notified().await;
                Ok(())
            };
            match timeout(self.probe_timeout, round_trip).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(_) => return silent(),
            }
        }
    }

    async fn pass_on(&self, mut messages: impl Stream<Item = Msg> + Unpin, echo: &Notify) -> Error {
        // The subscription begins with a `Gap`, as after any loss.
        let mut owed = true;
        loop {
            tokio::select! {
                biased;
                // All the room: once the consumer has caught up, so that one overflow is one `Gap`.
                room = self.outbox.sender.reserve_many(QUEUE_SIGNALS), if owed => {
                    let Some(room) = room.ok().and_then(|mut room| room.next()) else {
                        return closed();
                    };
                    room.send(Signal::Gap);
                    owed = false;
                }
                message = messages.next() => {
                    let Some(message) = message else { return closed() };
                    if message.get_channel_name() == self.probes {
                        echo.notify_one();
                    } else if owed {
                        // The `Gap` that is owed comes after this message and covers it.
                        dropped("overflow");
                    } else {
                        owed = !self.outbox.offer(message.get_payload_bytes());
                    }
                }
            }
        }
    }
}

impl Outbox {
    /// Queues a message; false when it did not fit. One that is too long is no loss: nobody of
    /// good will sends it.
    fn offer(&self, payload: &[u8]) -> bool {
        if payload.len() > MESSAGE_MAX {
            dropped("oversize");
            return true;
        }
        let Ok(room) = self.sender.try_reserve() else {
            dropped("overflow");
            return false;
        };
        if self.waiting.load(Ordering::Relaxed) + payload.len() > QUEUE_BYTES {
            dropped("overflow");
            return false;
        }
        self.waiting.fetch_add(payload.len(), Ordering::Relaxed);
        room.send(Signal::Message(Message::public(Bytes::copy_from_slice(
            payload,
        ))));
        true
    }
}

fn dropped(reason: &'static str) {
    metrics::counter!("conch_redis_messages_dropped_total", "reason" => reason).increment(1);
}

fn closed() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        OPERATION,
        "Redis closed the subscription's connection",
    )
}

fn silent() -> Error {
    Error::new(
        ErrorKind::Timeout,
        OPERATION,
        "a message published through Redis did not come back in time",
    )
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    fn message(channel: &str, payload: Vec<u8>) -> Msg {
        let text = |text: &str| Value::BulkString(text.into());
        let parts = vec![text("message"), text(channel), Value::BulkString(payload)];
        Msg::from_owned_value(Value::Array(parts)).expect("a message")
    }

    #[tokio::test]
    async fn a_consumer_that_lags_misses_some_and_gets_one_gap() {
        let settings = Settings::new("redis://127.0.0.1:1/0");
        let client = crate::settings::client("url", &settings.url, &settings.tls);
        let connections = Connections::new(client.expect("an address"), &settings, false);
        let (sender, receiver) = mpsc::channel(QUEUE_SIGNALS);
        let outbox = Outbox {
            sender,
            waiting: Arc::new(AtomicUsize::new(0)),
        };
        let waiting = Arc::clone(&outbox.waiting);
        let (subscriber, mut signals) = (
            Subscriber::new(connections, &Keys::new("p"), &settings, outbox),
            consumer(receiver, waiting),
        );

        // One message more than there is room for, and then some, before anybody reads.
        let size = MESSAGE_MAX / 2;
        let fit = QUEUE_BYTES / size;
        let (more, rest) = futures::channel::mpsc::unbounded();
        let flood = (0..fit + 10).map(move |_| message("p:jobs:all", vec![b'x'; size]));
        let (all_read, read) = tokio::sync::oneshot::channel();
        let mark = stream::once(async move {
            all_read.send(()).expect("the test waits");
            message("p:jobs:all", b"lost too".to_vec())
        });
        let messages = stream::iter(flood).chain(mark).chain(rest).boxed();
        let task = tokio::spawn(async move {
            let echo = Notify::new();
            subscriber.pass_on(messages, &echo).await
        });
        read.await
            .expect("the flood is read though nothing consumes it");

        assert_eq!(
            signals.next().await,
            Some(Signal::Gap),
            "as every subscription begins"
        );
        for _ in 0..fit {
            let signal = signals.next().await;
            assert!(matches!(signal, Some(Signal::Message(_))), "{signal:?}");
        }
        assert_eq!(signals.next().await, Some(Signal::Gap));
        more.unbounded_send(message("p:jobs:all", b"last".to_vec()))
            .expect("it listens");
        assert_eq!(
            signals.next().await,
            Some(Signal::Message(Message::public("last")))
        );
        drop(more);
        assert_eq!(task.await.expect("it ends").kind(), ErrorKind::Unavailable);
    }
}
