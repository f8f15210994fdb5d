//! What a watcher of many jobs knows already, because its stream began with it.
//!
//! A floor is of use only while the ring may hold, or still be given, what it covers. So it goes with
//! the first news of its job, and on a stream that names no jobs once the ring has gone round: such a
//! stream may live for weeks and must not remember every job that it began with.

use std::collections::HashMap;

use conch_domain::{JobId, Position};

use super::ring::{Item, RING};

/// A job's state that was told.
#[derive(Debug, Clone, Copy)]
struct Floor {
    position: Position,
    /// The ring's index when the state was looked at: what is before it is in the state.
    covered: u64,
}

#[derive(Default)]
pub(super) struct Floors {
    of: HashMap<JobId, Floor>,
    newest: u64,
}

impl Floors {
    /// The job was told at `position`, looked at when the ring was at `covered`.
    pub(super) fn set(&mut self, job_id: JobId, position: Position, covered: u64) {
        self.of.insert(job_id, Floor { position, covered });
        self.newest = self.newest.max(covered);
    }

    /// Whether the item at `index` of the ring says nothing new. One that does takes its job's floor
    /// away, for what comes after it is newer still.
    pub(super) fn cover(&mut self, item: &Item, index: u64) -> bool {
        let Some(floor) = self.of.get(&item.job_id) else {
            return false;
        };
        let known = if item.resets {
            item.position == floor.position
        } else {
            item.position.epoch == floor.position.epoch
                && item.position.sequence <= floor.position.sequence
        };
        if index < floor.covered || known {
            return true;
        }
        self.of.remove(&item.job_id);
        self.shrink(self.of.is_empty());
        false
    }

    /// Forgets all floors once the ring has gone round since the newest of them.
    pub(super) fn expire(&mut self, index: u64) {
        self.shrink(index > self.newest + RING as u64);
    }

    fn shrink(&mut self, to_nothing: bool) {
        if to_nothing && self.of.capacity() > 0 {
            self.of = HashMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn position(text: &str) -> Position {
        text.parse().unwrap()
    }

    fn item(job_id: &str, at: &str, resets: bool) -> Item {
        Item {
            job_id: JobId::parse(job_id).unwrap(),
            millis: 0,
            client_id: None,
            position: position(at),
            id: Bytes::new(),
            data: Bytes::new(),
            ends: false,
            may_go_on: false,
            resets,
            breaks_off: false,
            is_for_owner: false,
        }
    }

    #[test]
    fn what_is_covered_and_what_is_news() {
        for (at, resets, index, covered) in [
            // Before the state was looked at: whatever it is, the state is newer.
            ("0000aaaa-9", false, 99, true),
            ("0000bbbb-3", true, 99, true),
            // Pushed late.
            ("0000aaaa-4", false, 100, true),
            ("0000aaaa-5", false, 100, true),
            ("0000aaaa-5", true, 100, true),
            ("0000aaaa-6", false, 100, false),
            // Another incarnation, and a log that lost its tail.
            ("0000bbbb-1", false, 100, false),
            ("0000bbbb-5", true, 100, false),
            ("0000aaaa-3", true, 100, false),
        ] {
            let mut floors = Floors::default();
            floors.set(JobId::parse("j").unwrap(), position("0000aaaa-5"), 100);
            let item = item("j", at, resets);
            assert_eq!(floors.cover(&item, index), covered, "{at} {resets} {index}");
            assert_eq!(floors.of.is_empty(), !covered, "{at} {resets} {index}");
        }
    }

    #[test]
    fn floors_go_with_the_first_news_or_when_the_ring_has_gone_round() {
        let mut floors = Floors::default();
        for id in ["a", "b"] {
            floors.set(JobId::parse(id).unwrap(), position("0000aaaa-5"), 100);
        }
        assert!(!floors.cover(&item("a", "0000aaaa-6", false), 100));
        assert!(!floors.cover(&item("a", "0000aaaa-7", false), 101));
        floors.expire(100 + RING as u64);
        assert_eq!(floors.of.len(), 1, "the ring may still hold what b covers");
        floors.expire(101 + RING as u64);
        assert_eq!(floors.of.len(), 0);
    }
}
