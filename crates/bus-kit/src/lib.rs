//! What every bus needs and none should write again: an adapter supplies a [`Transport`], and
//! [`Settings::bus`] makes an [`EventBus`] of it. The kit reconnects with a growing pause, tests the link by
//! sending messages to itself, bounds what waits for the consumer, reports every gap, shortens what is too
//! long, and sends again what could not be sent.
//!
//! Never in here: the name of a technology, or what an event means.

mod announcer;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use conch_domain::JobId;
use conch_ports::{Carries, EventBus, Message, Result};
use futures::stream::BoxStream;

/// First pause before another attempt, unless the cap is lower.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// What an adapter writes: how messages get to the server and back. Nothing in it waits for the server
/// when it is made: programs start while the server is down.
///
/// # Laws
/// - The stream of `listen` MUST end as soon as a message may have been lost, also where the client
///   library reconnects by itself and says nothing.
/// - `listen` MUST return only once the server will deliver what is sent from then on, or before anything
///   that is sent after it reaches the server on the same connection.
/// - What `send` sends to one job by one caller MUST arrive in the order of the calls, if it arrives.
/// - Bytes that others than writers may have sent MUST NOT arrive as [`Channel::Own`](conch_ports::Channel).
///
/// The kit limits how long `listen`, `send` and `ping` take by dropping them, so each MUST be
/// cancel-safe: a dropped `send` has sent its message whole or not at all.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// The technology as people write it (`NATS`). It stands in log lines and errors and, in lower case,
    /// in the names of metrics.
    fn name(&self) -> &'static str;

    /// What this bus carries. May change when the link is made: a server may limit the length.
    fn carries(&self) -> Carries;

    /// Begins a new subscription to every message of every job, and to the probes named `probe`.
    ///
    /// # Errors
    /// When the server is out of reach or refuses.
    async fn listen(&self, probe: &str) -> Result<BoxStream<'static, Received>>;

    /// Hands a message over to the server. Fails at once while the server is known to be out of reach.
    ///
    /// # Errors
    /// When the message wasn't handed over, or may not have been.
    async fn send(&self, to: To<'_>, bytes: Bytes) -> Result<()>;

    /// Whether the server answers: a probe comes back. A transport for which that is expensive may
    /// ask in another way.
    ///
    /// # Errors
    /// When it doesn't.
    async fn ping(&self) -> Result<()> {
        let name = uuid::Uuid::now_v7().to_string();
        subscription::tested(self, &name).await.map(drop)
    }

    /// What the server last complained about, without secrets. For a server that reports a refusal later
    /// than it answers.
    fn complaint(&self) -> Option<String> {
        None
    }
}

/// Where a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To<'a> {
    /// To everybody who listens, as an announcement of this job.
    Own(&'a JobId),
    /// To the one subscription whose probe has this name.
    Probe(&'a str),
}

/// What arrives on a [`Transport`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A message of a job.
    Message(Message),
    /// A probe of this subscription.
    Probe,
}

/// What the kit takes. The default suits a server on the local network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How often a subscription is tested with a message of its own.
    pub probe_interval: Duration,
    /// How long such a test, a subscription's start, or a ping may take.
    pub probe_timeout: Duration,
    /// Longest pause between two attempts, before jitter doubles it at most.
    pub backoff_cap: Duration,
    /// How long an announcement may take. After one that took longer the next fail at once, until one gets
    /// through.
    pub send_timeout: Duration,
    /// Signals that wait for the consumer, at most.
    pub queue_signals: usize,
    /// Bytes of messages that wait for the consumer, at most.
    pub queue_bytes: usize,
    /// Longest message that is taken or sent, in bytes. A longer one is dropped.
    pub max_message: usize,
}

/// A setting that cannot work. Says which and why, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {reason}")]
pub struct InvalidSettings {
    setting: &'static str,
    reason: &'static str,
}

impl InvalidSettings {
    /// `setting` is the field of the adapter's settings, `reason` what is wrong with it (`must be …`).
    pub fn new(setting: &'static str, reason: &'static str) -> Self {
        Self { setting, reason }
    }

    /// The field that is wrong.
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// What is wrong with it, in words.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            probe_interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(3),
            backoff_cap: Duration::from_secs(2),
            send_timeout: Duration::from_millis(500),
            queue_signals: 8192,
            queue_bytes: 32 * 1024 * 1024,
            max_message: 1024 * 1024,
        }
    }
}

impl Settings {
    /// Makes a bus. Neither connects nor waits.
    pub fn bus<T: Transport>(self, transport: T) -> Arc<dyn EventBus> {
        Arc::new(announcer::Bus::new(transport, self))
    }

    /// The pauses between attempts, for ever.
    fn pauses(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(BACKOFF_MIN.min(self.backoff_cap))
            .with_max_delay(self.backoff_cap)
            .with_jitter()
            .without_max_times()
            .build()
    }
}

/// A metric of one technology's bus: `conch_nats_messages_dropped_total`.
fn metric(transport: &impl Transport, what: &str) -> String {
    format!("conch_{}_{what}", transport.name().to_ascii_lowercase())
}
