//! A map whose entries run out. Expiry is lazy: an entry that has run out is never seen, and is
//! removed by a sweep of bounded length that every write makes. No task, no timer.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Entries that one sweep removes at most, so that no single call pays for all the others.
const SWEEP: usize = 64;

#[derive(Clone)]
pub(crate) struct Expiring<K, V> {
    entries: HashMap<K, (V, Instant)>,
    order: BTreeSet<(Instant, K)>,
}

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord, V> Expiring<K, V> {
    pub(crate) fn get<Q>(&self, key: &Q, now: Instant) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries
            .get(key)
            .filter(|(_, until)| *until > now)
            .map(|(value, _)| value)
    }

    /// When the entry runs out.
    pub(crate) fn ends_at(&self, key: &K) -> Option<Instant> {
        self.entries.get(key).map(|(_, until)| *until)
    }

    /// Everything that is held, what runs out first before the rest.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (&K, &V)> {
        let keys = self.order.iter().map(|(_, key)| key);
        keys.filter_map(|key| self.entries.get(key).map(|(value, _)| (key, value)))
    }

    /// Everything that is held, what has run out included.
    #[cfg(feature = "faults")]
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut().map(|(value, _)| value)
    }

    /// Puts the value in the place of whatever was there.
    pub(crate) fn insert(&mut self, key: K, value: V, until: Instant) {
        self.remove(&key);
        self.order.insert((until, key.clone()));
        self.entries.insert(key, (value, until));
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (value, until) = self.entries.remove(key)?;
        self.order.remove(&(until, key.clone()));
        Some(value)
    }

    /// Removes what has run out, oldest first, at most [`SWEEP`] of it, and gives it back.
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<(K, V)> {
        let mut swept = Vec::new();
        while swept.len() < SWEEP && self.order.first().is_some_and(|(until, _)| *until <= now) {
            swept.extend(self.remove_soonest());
        }
        swept
    }

    /// Removes the entry that would run out first.
    pub(crate) fn remove_soonest(&mut self) -> Option<(K, V)> {
        let (_, key) = self.order.pop_first()?;
        let (value, _) = self.entries.remove(&key)?;
        Some((key, value))
    }

    /// Entries that are held, those that have run out and weren't swept yet included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// A moment that no program lives to see, for what is kept for ever.
const FOR_EVER: Duration = Duration::from_hours(100 * 365 * 24);

/// The end of something that lives for `lifetime`, or for ever.
pub(crate) fn until(now: Instant, lifetime: Option<Duration>) -> Instant {
    now + lifetime.unwrap_or(FOR_EVER).min(FOR_EVER)
}
