//! Waking watchers: by topic when there is news, by shard when a heartbeat is due. No timer, no
//! queue and no allocation per event and watcher; a watcher costs one [`Slot`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::task::Waker;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use slab::Slab;

/// Heartbeats of one interval are spread over this many ticks, so that ten thousand idle watchers
/// are not woken in one burst.
pub(super) const SHARDS: usize = 64;

/// Where one watcher is found by those who have something for it.
#[derive(Default)]
pub(super) struct Slot {
    waker: AtomicWaker,
    beat: AtomicBool,
    /// 0, or an [`Over`].
    over: AtomicU8,
}

/// Why a watcher's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Its credentials count no more.
    Credentials = 1,
    /// The stream has lasted for as long as one may.
    Lifetime = 2,
}

impl Slot {
    /// Must come before the watcher looks for news: what happens after is then never missed.
    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Whether a heartbeat is due; asks once.
    pub(super) fn take_beat(&self) -> bool {
        self.beat.load(Ordering::Relaxed) && self.beat.swap(false, Ordering::Relaxed)
    }

    /// The watcher's time is over: it is to say so and end.
    pub(super) fn end(&self, why: Over) {
        self.over.store(why as u8, Ordering::Release);
        self.waker.wake();
    }

    /// Whether its time is over, and why.
    pub(super) fn over(&self) -> Option<Over> {
        let over = self.over.load(Ordering::Acquire);
        let all = [Over::Credentials, Over::Lifetime];
        all.into_iter().find(|why| *why as u8 == over)
    }
}

/// A set of slots.
#[derive(Default)]
pub(super) struct Slots(Mutex<Slab<Arc<Slot>>>);

impl Slots {
    pub(super) fn insert(&self, slot: Arc<Slot>) -> usize {
        let mut slots = self.0.lock();
        // Most topics have one watcher.
        if slots.capacity() == 0 {
            slots.reserve_exact(1);
        }
        slots.insert(slot)
    }

    pub(super) fn remove(&self, key: usize) {
        let mut slots = self.0.lock();
        slots.remove(key);
        // A crowd that has gone leaves no memory behind.
        if slots.is_empty() {
            *slots = Slab::new();
        }
    }

    pub(super) fn wake_all(&self) {
        for (_, slot) in &*self.0.lock() {
            slot.waker.wake();
        }
    }
}

/// All slots once more, by the tick at which their heartbeat is due.
pub(super) struct Beats {
    shards: Vec<Slots>,
    next: AtomicUsize,
}

impl Beats {
    pub(super) fn new() -> Self {
        Self {
            shards: std::iter::repeat_with(Slots::default)
                .take(SHARDS)
                .collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Puts the slot into the next shard and answers where it is.
    fn insert(&self, slot: Arc<Slot>) -> (usize, usize) {
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        (shard, self.shards[shard].insert(slot))
    }

    /// Asks everybody in the tick's shard for a heartbeat.
    pub(super) fn beat(&self, tick: usize) {
        for (_, slot) in &*self.shards[tick % SHARDS].0.lock() {
            slot.beat.store(true, Ordering::Relaxed);
            slot.waker.wake();
        }
    }

    /// Wakes everybody, for the end.
    pub(super) fn wake_all(&self) {
        self.shards.iter().for_each(Slots::wake_all);
    }
}

/// A watcher's places; leaves them when dropped.
pub(super) struct Registration<H: AsRef<Slots>> {
    slot: Arc<Slot>,
    beats: Arc<Beats>,
    beat: (usize, usize),
    home: H,
    place: usize,
}

impl<H: AsRef<Slots>> Registration<H> {
    pub(super) fn new(home: H, beats: Arc<Beats>) -> Self {
        let slot = Arc::new(Slot::default());
        Self {
            beat: beats.insert(Arc::clone(&slot)),
            place: home.as_ref().insert(Arc::clone(&slot)),
            slot,
            beats,
            home,
        }
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Moves the watcher; who has something for it there finds it, with the same waker.
    pub(super) fn move_to(&mut self, home: H) {
        let place = home.as_ref().insert(Arc::clone(&self.slot));
        self.home.as_ref().remove(self.place);
        self.home = home;
        self.place = place;
    }

    pub(super) fn home(&self) -> &H {
        &self.home
    }
}

impl<H: AsRef<Slots>> Drop for Registration<H> {
    fn drop(&mut self) {
        self.home.as_ref().remove(self.place);
        let (shard, place) = self.beat;
        self.beats.shards[shard].remove(place);
    }
}
