//! The feed as a network makes it: announcements are lost, late and repeated when a test says so.
//!
//! Never in here: what a subscriber is given when nothing was said; that is the feed's own.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use bytes::Bytes;
use conch_domain::JobId;
use conch_ports::{Announcement, Message, Signal, Signals};

use crate::feed::{Feed, message};

/// Whether the announcement of a job's event is to be lost.
pub(super) type Loses = Box<dyn Fn(&JobId, u64) -> bool + Send>;

/// A [`Feed`], and what is to happen on the way to it.
pub(crate) struct Disturbed {
    feed: Feed,
    capacity: usize,
    pub(super) loses: Option<Loses>,
    /// Announcements that wait for their release; none: they go at once.
    held: Option<VecDeque<Message>>,
    /// How many more times each is sent.
    pub(super) repeats: usize,
    /// Whether subscribers are cut off: nothing reaches them.
    disconnected: bool,
}

impl Disturbed {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            feed: Feed::new(capacity),
            capacity: capacity.max(1),
            loses: None,
            held: None,
            repeats: 0,
            disconnected: false,
        }
    }

    pub(crate) fn announce(&mut self, announcement: &Announcement) {
        let sequence = announcement.position.map_or(0, |place| place.sequence);
        if !self.is_lost(&announcement.job_id, sequence..=sequence) {
            self.tell(message(announcement));
        }
    }

    pub(crate) fn announce_sealed(
        &mut self,
        job_id: &JobId,
        places: RangeInclusive<u64>,
        sealed: Bytes,
    ) {
        if !self.is_lost(job_id, places) {
            self.tell(Message::own(sealed));
        }
    }

    fn is_lost(&self, job_id: &JobId, mut places: RangeInclusive<u64>) -> bool {
        let loses = self.loses.as_ref();
        loses.is_some_and(|loses| places.any(|sequence| loses(job_id, sequence)))
    }

    pub(crate) fn subscribe(&self) -> Signals {
        self.feed.subscribe()
    }

    /// Publishes bytes of an external publisher.
    pub(super) fn announce_raw(&mut self, line: Bytes) {
        self.tell(Message::public(line));
    }

    fn tell(&mut self, message: Message) {
        if let Some(held) = &mut self.held {
            if held.len() == self.capacity {
                held.pop_front();
            }
            held.push_back(message);
            return;
        }
        for _ in 0..=self.repeats {
            self.send(Signal::Message(message.clone()));
        }
    }

    fn send(&self, signal: Signal) {
        if !self.disconnected {
            self.feed.send(signal);
        }
    }

    pub(super) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    pub(super) fn release(&mut self) {
        for message in self.held.take().unwrap_or_default() {
            self.tell(message);
        }
    }

    pub(super) fn disconnect(&mut self) {
        self.disconnected = true;
    }

    pub(super) fn reconnect(&mut self) {
        self.disconnected = false;
        self.send(Signal::Gap);
    }
}
