//! How processes hear that something was appended to a job's log.
//!
//! ```text
//!   announce(announcement) ─ ─ ─ (may be lost) ─ ─ ─► subscribe() ─► Gap, Message, Message, Gap, …
//! ```
//!
//! An announcement is a hint that a [log](crate::JobLog) is worth reading again, and never more than that:
//! a subscriber that may have missed one is told so by a gap, and reads.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{JobId, LogSecret, Position};
use futures::stream::BoxStream;

use crate::Result;

/// Which bus it is, among those of this process. Two are the same only if they were built as one, so a
/// second connection to the same server is another bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusId(u64);

impl BusId {
    /// One that no other bus of this process has.
    #[expect(
        clippy::new_without_default,
        reason = "a default would be another one each time"
    )]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// That an event is in its job's log, or the event itself where it is in none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Whose log.
    pub job_id: JobId,
    /// Where in the log. None: the event is ephemeral, which means in no log.
    pub position: Option<Position>,
    /// The event as it was appended.
    pub line: Bytes,
    /// The secret of its log, where that has one: a bus that only our own programs hear may announce
    /// the event sealed with it.
    pub secret: Option<LogSecret>,
}

/// What a bus promises beyond the laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carries {
    /// Whether whole events arrive, up to `max_bytes`. If not, or of a longer one, what arrives is its short
    /// form: its job, its type and its position.
    pub lines: bool,
    /// Whether ephemeral events arrive.
    pub ephemeral: bool,
    /// Whether external publishers can send their events here.
    pub external: bool,
    /// Longest message, in bytes. May change while the bus runs.
    pub max_bytes: usize,
    /// Whether other processes hear what is announced here, and this one what is announced there.
    pub shared: bool,
}

/// Where a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Where any program may send.
    Public,
    /// Where only our own programs may, as far as the operator sees to it.
    Own,
}

/// What was sent. Nothing about it is to be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was sent.
    pub channel: Channel,
    /// As it was sent.
    pub bytes: Bytes,
}

impl Message {
    /// From a channel on which any program may send.
    pub fn public(bytes: impl Into<Bytes>) -> Self {
        Self {
            channel: Channel::Public,
            bytes: bytes.into(),
        }
    }

    /// From a channel on which only our own programs may send.
    pub fn own(bytes: impl Into<Bytes>) -> Self {
        Self {
            channel: Channel::Own,
            bytes: bytes.into(),
        }
    }
}

/// What a subscription yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The subscription begins, or something may have been missed: read again whatever you watch.
    Gap,
    /// This was sent.
    Message(Message),
}

/// A subscription's signals; it ends only when the adapter is shut down.
pub type Signals = BoxStream<'static, Signal>;

/// Announcements.
///
/// # Laws
/// - **subscription_starts_with_gap**: `subscribe` MUST NOT wait for the backend; its first signal MUST be
///   `Gap`, sent once messages flow. What is announced after a `Gap` was received MUST arrive or be followed
///   by another `Gap`.
/// - **an_interruption_is_a_gap**: so MUST be the first signal after an interruption.
/// - **a_flood_is_heard_or_owed**: a subscriber that is behind MUST NOT keep others waiting. It is sent what it
///   has room for, and where something is left out, a `Gap` once it has caught up.
/// - **announced_is_heard**: who subscribes MUST hear what is announced while messages flow, byte for
///   byte.
/// - **long_lines_arrive_short**: a line that is longer than `max_bytes`, or any line where the bus declares
///   no `lines`, MUST arrive in its short form, which tells job, type and position.
/// - **ephemeral_where_declared**: a bus that declares itself `ephemeral` MUST pass such an event on, as
///   [`Channel::Own`]; one that doesn't MUST refuse it.
/// - **announcements_keep_their_order**: announcements of one job that are handed over one after the other
///   MUST arrive in that order. They may be lost, and may be repeated.
/// - **external_bytes_arrive_untouched**: a bus that declares itself `external` MUST pass on what other programs
///   send on its public channel byte for byte, whatever it is, as [`Message::public`].
/// - **channels_stay_apart**: what other programs send there MUST NOT arrive as [`Channel::Own`], whatever it
///   looks like.
/// - **outages_are_told**: while the backend is out of reach, `announce` and `ping` MUST fail, each within
///   seconds. When it is back they MUST work again by themselves.
/// - **announcing_is_bounded**: while the backend hangs, each `announce` MUST end within seconds, and many of
///   them MUST NOT add up: after one that took long the next fail at once. Once the backend goes on, so MUST
///   announcements.
/// - **ping_tells**: `ping` MUST answer whether the backend does, also while nothing subscribes, and MUST fail
///   within seconds where it hangs.
/// - **others_hear**: a bus that declares itself `shared` MUST tell other processes what is announced here,
///   and here what they announce.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Which bus this is.
    fn id(&self) -> BusId;

    /// What this bus promises beyond the laws.
    fn carries(&self) -> Carries;

    /// Tells the subscribers. Waits for a bounded time; that it was handed over doesn't mean that
    /// a subscriber hears it. A dropped call may have been carried out.
    ///
    /// # Errors
    /// When it couldn't be handed over, or nothing is known of that.
    async fn announce(&self, announcement: &Announcement) -> Result<()>;

    /// Everything that is announced from now on, for all jobs. Reconnects by itself for ever.
    fn subscribe(&self) -> Signals;

    /// Whether the backend answers now.
    ///
    /// # Errors
    /// When it does not.
    async fn ping(&self) -> Result<()>;
}
