//! Announcements on their way to subscribers: one bounded ring that all of them read.
//!
//! A subscriber that falls behind the ring misses some and is told so by [`Signal::Gap`]; the ring never
//! waits for anybody.

use std::collections::VecDeque;

use bytes::Bytes;
use conch_domain::JobId;
use conch_ports::{Message, Signal, Signals};
use futures::{StreamExt, stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Sender};

/// Whether the announcement of a job's event is to be lost.
pub(crate) type Loses = Box<dyn Fn(&JobId, u64) -> bool + Send>;

pub(crate) struct Feed {
    sender: Sender<Signal>,
    capacity: usize,
    pub(crate) loses: Option<Loses>,
    /// Announcements that wait for their release; none: they go at once.
    held: Option<VecDeque<Bytes>>,
    /// How many more times each is sent.
    pub(crate) repeats: usize,
    /// Whether subscribers are cut off: nothing reaches them.
    disconnected: bool,
}

impl Feed {
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            sender: broadcast::channel(capacity).0,
            capacity,
            loses: None,
            held: None,
            repeats: 0,
            disconnected: false,
        }
    }

    /// Tells subscribers of a job's event, unless a fault says otherwise.
    pub(crate) fn announce(&mut self, job_id: &JobId, sequence: u64, line: Bytes) {
        if self
            .loses
            .as_ref()
            .is_some_and(|loses| loses(job_id, sequence))
        {
            return;
        }
        self.announce_raw(line);
    }

    /// Tells subscribers whatever anybody publishes.
    pub(crate) fn announce_raw(&mut self, line: Bytes) {
        if let Some(held) = &mut self.held {
            if held.len() == self.capacity {
                held.pop_front();
            }
            held.push_back(line);
            return;
        }
        for _ in 0..=self.repeats {
            self.send(Signal::Message(Message::public(line.clone())));
        }
    }

    fn send(&self, signal: Signal) {
        if !self.disconnected {
            // No subscribers: there is nothing to send.
            drop(self.sender.send(signal));
        }
    }

    pub(crate) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    pub(crate) fn release(&mut self) {
        for line in self.held.take().unwrap_or_default() {
            self.announce_raw(line);
        }
    }

    pub(crate) fn disconnect(&mut self) {
        self.disconnected = true;
    }

    pub(crate) fn reconnect(&mut self) {
        self.disconnected = false;
        self.send(Signal::Gap);
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
