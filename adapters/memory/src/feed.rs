//! Announcements on their way to subscribers: one bounded ring that all of them read.
//!
//! A subscriber that falls behind the ring misses some and is told so by [`Signal::Gap`]; the ring never
//! waits for one.

use conch_ports::{Announcement, Message, Signal, Signals};
use conch_wire::announcement::shorten;
use conch_wire::envelope::seal;
use futures::{StreamExt, stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Sender};

/// Longest line that is announced whole, as on Redis.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// What subscribers are told. No other program can announce in this process.
pub(crate) fn message(announcement: &Announcement) -> Message {
    let Announcement { job_id, line, .. } = announcement;
    Message::own(match (announcement.position, announcement.secret) {
        (Some(position), _) if line.len() > MAX_BYTES => shorten(line, job_id, position),
        (Some(position), Some(secret)) => seal(&secret, job_id, position, &[line]),
        _ => line.clone(),
    })
}

pub(crate) struct Feed {
    sender: Sender<Signal>,
}

impl Feed {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            sender: broadcast::channel(capacity.max(1)).0,
        }
    }

    /// Tells subscribers of a job's event.
    #[cfg(not(feature = "faults"))]
    pub(crate) fn announce(&self, announcement: &Announcement) {
        self.send(Signal::Message(message(announcement)));
    }

    /// Tells subscribers of a commit's events, sealed. No other program listens, so nothing else is told.
    #[cfg(not(feature = "faults"))]
    pub(crate) fn announce_sealed(
        &self,
        _: &conch_domain::JobId,
        _: std::ops::RangeInclusive<u64>,
        sealed: bytes::Bytes,
    ) {
        self.send(Signal::Message(Message::own(sealed)));
    }

    pub(crate) fn send(&self, signal: Signal) {
        // No subscribers: there is nothing to send.
        drop(self.sender.send(signal));
    }

    /// From now on. Begins with [`Signal::Gap`].
    pub(crate) fn subscribe(&self) -> Signals {
        let receiver = self.sender.subscribe();
        let later = stream::unfold(receiver, |mut receiver| async move {
            let signal = match receiver.recv().await {
                Ok(signal) => signal,
                Err(RecvError::Lagged(_)) => Signal::Gap,
                Err(RecvError::Closed) => return None,
            };
            Some((signal, receiver))
        });
        stream::iter([Signal::Gap]).chain(later).boxed()
    }
}
