//! The subscription: one supervised task that never takes silence for health. Every few seconds it sends
//! itself a probe through the real path, and gives the link up when that does not come back in time.
//!
//! The consumer's queue is bounded in signals and bytes. What does not fit is dropped and a `Gap` is owed;
//! the transport is always read, so a slow consumer never grows memory elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use conch_ports::{Error, ErrorKind, Message, Result, Signal, Signals};
use conch_wire::event::MAX_EVENT_BYTES;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::{Received, Settings, To, Transport, metric};

const OPERATION: &str = "event_bus.subscribe";

/// Starts a subscription; the stream's drop ends it. Must be called within a tokio runtime. `back` is told
/// each time that messages begin to flow.
pub(crate) fn signals<T: Transport>(
    transport: Arc<T>,
    settings: Settings,
    back: Arc<Notify>,
) -> Signals {
    let (outbox, receiver) = Outbox::new(&settings, metric(&*transport, "messages_dropped_total"));
    let waiting = Arc::clone(&outbox.waiting);
    let subscriber = Subscriber {
        probe: uuid::Uuid::now_v7().to_string(),
        transport,
        settings,
        outbox,
        back,
    };
    let task = AbortOnDropHandle::new(tokio::spawn(subscriber.run()));
    stream::unfold(
        (receiver, waiting, task),
        |(mut receiver, waiting, task)| async move {
            let signal = receiver.recv().await?;
            if let Signal::Message(message) = &signal {
                waiting.fetch_sub(message.bytes.len(), Ordering::Relaxed);
            }
            Some((signal, (receiver, waiting, task)))
        },
    )
    .boxed()
}

/// A subscription on which a probe of that name has arrived: messages flow.
pub(crate) async fn tested<T: Transport + ?Sized>(
    transport: &T,
    probe: &str,
) -> Result<BoxStream<'static, Received>> {
    let mut received = transport.listen(probe).await?;
    transport.send(To::Probe(probe), Bytes::new()).await?;
    // What comes before the probe needs no passing on: a `Gap` follows.
    while let Some(next) = received.next().await {
        if next == Received::Probe {
            return Ok(received);
        }
    }
    Err(closed(transport))
}

struct Subscriber<T> {
    transport: Arc<T>,
    settings: Settings,
    /// The name of this subscription's probes.
    probe: String,
    outbox: Outbox,
    back: Arc<Notify>,
}

/// The consumer's queue.
struct Outbox {
    sender: mpsc::Sender<Signal>,
    /// Bytes of the messages that wait in it.
    waiting: Arc<AtomicUsize>,
    signals: usize,
    bytes: usize,
    max_message: usize,
    dropped: String,
}

impl<T: Transport> Subscriber<T> {
    /// Subscribes again and again.
    async fn run(self) {
        let mut pauses = self.settings.pauses();
        let mut started = false;
        let mut down = false;
        loop {
            let ended = match self.connect().await {
                Ok(received) => {
                    self.report_start(started, down);
                    self.back.notify_waiters();
                    (started, down) = (true, false);
                    pauses = self.settings.pauses();
                    self.follow(received).await
                }
                Err(error) => error,
            };
            // An outage is reported once, however many attempts it takes.
            if !down {
                tracing::warn!(
                    bus = self.transport.name(),
                    error = &ended as &dyn std::error::Error,
                    "event subscription interrupted, trying again until it is back"
                );
                let interruptions = "subscription_interruptions_total";
                metrics::counter!(metric(&*self.transport, interruptions)).increment(1);
                down = true;
            }
            sleep(pauses.next().unwrap_or(self.settings.backoff_cap)).await;
        }
    }

    /// Logs that messages flow.
    fn report_start(&self, started: bool, down: bool) {
        let bus = self.transport.name();
        if !started {
            tracing::info!(bus, "Triton event subscriber started successfully");
            let carries = self.transport.carries();
            if !carries.lines || carries.max_bytes < MAX_EVENT_BYTES {
                tracing::info!(
                    bus,
                    max_bytes = carries.max_bytes,
                    "long events are announced without their content, and read from the log"
                );
            }
        } else if down {
            tracing::info!(bus, "event subscription restored");
        }
    }

    async fn connect(&self) -> Result<BoxStream<'static, Received>> {
        timeout(
            self.settings.probe_timeout,
            tested(&*self.transport, &self.probe),
        )
        .await
        .map_err(|_| self.silent())?
    }

    async fn send_probe(&self) -> Result<()> {
        self.transport
            .send(To::Probe(&self.probe), Bytes::new())
            .await
    }

    /// Passes messages on until the link is no good any more; answers why.
    async fn follow(&self, received: impl Stream<Item = Received> + Unpin) -> Error {
        let echo = Notify::new();
        tokio::select! {
            error = self.pass_on(received, &echo) => error,
            error = self.test(&echo) => error,
        }
    }

    /// Tests the real path over and over; answers when it fails.
    async fn test(&self, echo: &Notify) -> Error {
        loop {
            sleep(self.settings.probe_interval).await;
            // A transport may send a probe twice, when it had to replace its connection.
            while echo.notified().now_or_never().is_some() {}
            let round_trip = async {
                self.send_probe().await?;
                echo.notified().await;
                Ok(())
            };
            match timeout(self.settings.probe_timeout, round_trip).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(_) => return self.silent(),
            }
        }
    }

    async fn pass_on(
        &self,
        mut received: impl Stream<Item = Received> + Unpin,
        echo: &Notify,
    ) -> Error {
        // The subscription begins with a `Gap`, as after any loss.
        let mut owed = true;
        loop {
            tokio::select! {
                biased;
                // All the room: once the consumer has caught up, so that one overflow is one `Gap`.
                room = self.outbox.sender.reserve_many(self.outbox.signals), if owed => {
                    let Some(room) = room.ok().and_then(|mut room| room.next()) else {
                        return closed(&*self.transport);
                    };
                    room.send(Signal::Gap);
                    owed = false;
                }
                next = received.next() => match next {
                    None => return closed(&*self.transport),
                    Some(Received::Probe) => echo.notify_one(),
                    // The `Gap` that is owed comes after this message and covers it.
                    Some(Received::Message(_)) if owed => self.outbox.dropped("overflow"),
                    Some(Received::Message(message)) => owed = !self.outbox.offer(message),
                }
            }
        }
    }

    fn silent(&self) -> Error {
        let what = "did not deliver a message that this program sent to itself";
        error(&*self.transport, ErrorKind::Timeout, what)
    }
}

fn closed(transport: &(impl Transport + ?Sized)) -> Error {
    let what = "closed the subscription, or may have lost some of it";
    error(transport, ErrorKind::Unavailable, what)
}

fn error(transport: &(impl Transport + ?Sized), kind: ErrorKind, what: &str) -> Error {
    let name = transport.name();
    let message = match transport.complaint() {
        Some(complaint) => format!("{name} {what}; it says: {complaint}"),
        None => format!("{name} {what}"),
    };
    Error::new(kind, OPERATION, message)
}

impl Outbox {
    fn new(settings: &Settings, dropped: String) -> (Self, mpsc::Receiver<Signal>) {
        let (sender, receiver) = mpsc::channel(settings.queue_signals);
        let outbox = Self {
            sender,
            waiting: Arc::default(),
            signals: settings.queue_signals,
            bytes: settings.queue_bytes,
            max_message: settings.max_message,
            dropped,
        };
        (outbox, receiver)
    }

    /// Queues a message; false when it did not fit. One that is too long is no loss: no publisher means
    /// to send it.
    fn offer(&self, message: Message) -> bool {
        let length = message.bytes.len();
        if length > self.max_message {
            self.dropped("oversize");
            return true;
        }
        let room = self.sender.try_reserve().ok();
        let Some(room) =
            room.filter(|_| self.waiting.load(Ordering::Relaxed) + length <= self.bytes)
        else {
            self.dropped("overflow");
            return false;
        };
        self.waiting.fetch_add(length, Ordering::Relaxed);
        room.send(Signal::Message(message));
        true
    }

    fn dropped(&self, reason: &'static str) {
        metrics::counter!(self.dropped.clone(), "reason" => reason).increment(1);
    }
}
