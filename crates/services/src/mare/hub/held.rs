//! The topics that are kept alive for streams that name no jobs: so many at most, and half of the room
//! is for our own Triton's jobs alone, so that whoever makes jobs up never takes theirs.
//!
//! Never in here: whether a job is told of. One that finds no room is told of by its announcements.

use std::collections::BTreeMap;
use std::sync::Arc;

use conch_domain::JobId;

use super::Interest;
use super::topic::Topic;

pub(super) struct Held {
    most: usize,
    topics: BTreeMap<JobId, Kept>,
    /// Of them, those of jobs that are not known to be our own.
    foreign: usize,
}

struct Kept {
    own: bool,
    interest: Interest,
}

impl Held {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            topics: BTreeMap::new(),
            foreign: 0,
        }
    }

    /// Keeps a topic, of a job that is known to be our own or isn't, if there is room. Whether it is
    /// kept now.
    pub(super) fn keep(&mut self, topic: &Arc<Topic>, own: bool) -> bool {
        if let Some(kept) = self.topics.get_mut(&topic.job_id) {
            // It was kept before anybody had read whose it is.
            if own && !kept.own {
                kept.own = true;
                self.foreign -= 1;
            }
            return true;
        }
        let room = self.topics.len() < self.most && (own || self.foreign < self.most / 2);
        if room {
            self.foreign += usize::from(!own);
            let interest = Interest::new(topic, None);
            self.topics
                .insert(topic.job_id.clone(), Kept { own, interest });
        }
        room
    }

    /// What keeps the topic, to be dropped without a lock.
    pub(super) fn release(&mut self, job_id: &JobId) -> Option<Interest> {
        let kept = self.topics.remove(job_id)?;
        self.foreign -= usize::from(!kept.own);
        Some(kept.interest)
    }

    /// What keeps all of them, to be dropped without a lock.
    pub(super) fn release_all(&mut self) -> Vec<Interest> {
        self.foreign = 0;
        let topics = std::mem::take(&mut self.topics);
        topics.into_values().map(|kept| kept.interest).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn topic(id: &str) -> Arc<Topic> {
        Arc::new(Topic::new(JobId::parse(id).unwrap()))
    }

    fn is_kept(topic: &Topic) -> bool {
        topic.interest.load(Ordering::Acquire) > 0
    }

    #[test]
    fn half_of_the_room_is_for_our_own() {
        let mut held = Held::new(4);
        for (id, own, is_kept) in [
            ("a", false, true),
            ("b", false, true),
            ("c", false, false),
            ("d", true, true),
            // Known to be our own only now: it makes room for another one that isn't.
            ("a", true, true),
            ("c", false, true),
            ("e", false, false),
            ("f", true, false),
            // Is there already.
            ("d", true, true),
            ("b", false, true),
        ] {
            assert_eq!(held.keep(&topic(id), own), is_kept, "{id}, own: {own}");
        }
    }

    #[test]
    fn our_own_may_take_all_of_it() {
        let mut held = Held::new(3);
        for id in ["a", "b", "c"] {
            assert!(held.keep(&topic(id), true), "{id}");
        }
        assert!(!held.keep(&topic("d"), true));
    }

    #[test]
    fn what_goes_makes_room_for_its_kind() {
        let mut held = Held::new(2);
        let (a, b) = (topic("a"), topic("b"));
        assert!(held.keep(&a, false) && held.keep(&b, true));
        assert!(is_kept(&a) && is_kept(&b));
        drop(held.release(&b.job_id));
        assert!(!is_kept(&b));
        assert!(!held.keep(&topic("c"), false), "an own one has gone");
        drop(held.release(&a.job_id));
        assert!(held.release(&a.job_id).is_none(), "once");
        assert!(held.keep(&b, false));
        assert_eq!(held.release_all().len(), 1);
        assert!(!is_kept(&b));
        assert!(held.keep(&a, false), "all of the room is there again");
    }
}
