//! Watchers whose time runs out, by the second in which it does, because of their credentials or of how
//! long a stream may last: one structure and one task, however many they are (law 9). Where nobody needs
//! credentials and streams last for ever it is empty, and costs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::Timestamp;
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use super::Shared;
use super::wake::{Over, Slot};

/// Longest sleep: the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Watchers of one second, and why the time of each is over then.
type Ending = Slab<(Arc<Slot>, Over)>;

/// Who is due when.
#[derive(Default)]
pub(super) struct Expiries {
    /// By the first whole second in which their time is over.
    due: Mutex<BTreeMap<i64, Ending>>,
    /// Somebody is due earlier than all others.
    earlier: Notify,
}

/// One watcher's place; leaves it when dropped.
pub(super) struct Due {
    expiries: Arc<Expiries>,
    slot: Arc<Slot>,
    second: i64,
    place: usize,
}

impl Expiries {
    /// Has the watcher told when its time is over.
    pub(super) fn add(self: &Arc<Self>, ends_at: Timestamp, why: Over, slot: Arc<Slot>) -> Due {
        let micros = ends_at.as_micros();
        let second = micros.div_euclid(1_000_000) + i64::from(micros.rem_euclid(1_000_000) > 0);
        let mut due = self.due.lock();
        let first = due.first_key_value().map(|(second, _)| *second);
        let place = due
            .entry(second)
            .or_default()
            .insert((Arc::clone(&slot), why));
        drop(due);
        if first.is_none_or(|first| second < first) {
            self.earlier.notify_one();
        }
        Due {
            expiries: Arc::clone(self),
            slot,
            second,
            place,
        }
    }

    /// Tells everybody whose time is over, and says how long until the next one's is.
    fn tell(&self, now: Timestamp) -> Option<Duration> {
        let mut due = self.due.lock();
        while let Some(entry) = due.first_entry() {
            let wait = entry
                .key()
                .saturating_mul(1_000_000)
                .saturating_sub(now.as_micros());
            if wait > 0 {
                return Some(Duration::from_micros(wait as u64));
            }
            for (_, (slot, why)) in &entry.remove() {
                slot.end(*why);
            }
        }
        None
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.due.lock().values().map(Slab::len).sum()
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        let mut due = self.expiries.due.lock();
        if let Some(slots) = due.get_mut(&self.second) {
            // The second may have passed, and another watcher have come late to it and to this place.
            let is_ours = |(slot, _): &(Arc<Slot>, Over)| Arc::ptr_eq(slot, &self.slot);
            if slots.get(self.place).is_some_and(is_ours) {
                slots.remove(self.place);
            }
            if slots.is_empty() {
                due.remove(&self.second);
            }
        }
    }
}

/// The task; ends with the shutdown.
pub(super) async fn keep(shared: Arc<Shared>) {
    loop {
        let next = shared.expiries.tell((shared.clock)());
        let sleep = async {
            match next {
                Some(wait) => tokio::time::sleep(wait.min(LONGEST_SLEEP)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = shared.expiries.earlier.notified() => {}
            () = sleep => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(0).plus_millis(millis)
    }

    #[test]
    fn each_is_told_in_its_second_and_leaves_no_trace() {
        let expiries = Arc::new(Expiries::default());
        let slots: Vec<_> = (0..4).map(|_| Arc::new(Slot::default())).collect();
        let ends = [1000, 1001, 2000, 9000];
        let places: Vec<_> = ends
            .iter()
            .zip(&slots)
            .map(|(end, slot)| expiries.add(at(*end), Over::Credentials, Arc::clone(slot)))
            .collect();
        let over = |slots: &[Arc<Slot>]| slots.iter().filter(|slot| slot.over().is_some()).count();
        assert_eq!(expiries.tell(at(999)), Some(Duration::from_millis(1)));
        assert_eq!(over(&slots), 0);
        assert_eq!(expiries.tell(at(1000)), Some(Duration::from_secs(1)));
        assert_eq!(over(&slots), 1);
        assert_eq!(expiries.tell(at(2500)), Some(Duration::from_millis(6500)));
        assert_eq!(over(&slots), 3);
        assert_eq!(expiries.len(), 1);
        drop(places);
        assert_eq!(expiries.tell(at(2500)), None);
        assert_eq!(expiries.len(), 0);
    }

    #[test]
    fn who_leaves_late_takes_nobody_along() {
        let expiries = Arc::new(Expiries::default());
        let late = Arc::new(Slot::default());
        let told = expiries.add(at(1000), Over::Credentials, Arc::default());
        assert_eq!(expiries.tell(at(1000)), None);
        let _late = expiries.add(at(1000), Over::Credentials, Arc::clone(&late));
        drop(told);
        assert_eq!(expiries.tell(at(1001)), None);
        assert!(late.over().is_some());
    }
}
