//! The ring of frames that all watchers of many jobs read, and the memory of how far each job was told.
//!
//! Nothing in here belongs to one watcher, and nothing in here comes from an announcement.

use std::collections::VecDeque;

use bytes::Bytes;
use conch_domain::{ClientId, Job, JobId, Position};
use conch_wire::sse;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};

/// Frames kept for those who lag.
pub(super) const RING: usize = 4096;
/// Jobs of which it is remembered how far they were told: several times those that are followed at
/// once, so that what is forgotten has long ended.
const TOLD: usize = 32_768;

/// What there is to tell of a job.
pub(super) struct News {
    pub(super) sequence: u64,
    pub(super) line: Bytes,
    /// Whether the job has ended with it.
    pub(super) ends: bool,
    /// Whether it is a state that doesn't follow what was told before.
    pub(super) resets: bool,
}

pub(super) struct Item {
    pub(super) job_id: JobId,
    pub(super) client_id: Option<ClientId>,
    /// Of the event, or that a snapshot stands for.
    pub(super) position: Position,
    pub(super) line: Bytes,
    pub(super) frame: Bytes,
    pub(super) ends: bool,
    pub(super) resets: bool,
}

/// How far a job was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) position: Position,
    pub(super) ended: bool,
}

pub(super) struct Ring {
    items: VecDeque<Item>,
    /// Index of the item that comes next.
    next: u64,
    last_millis: i64,
    told: Cache<JobId, Told>,
}

impl Default for Ring {
    fn default() -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(TOLD)
            .weight_capacity(TOLD as u64)
            // The other half is for jobs that were told once: they are what can be announced again
            // by a forger, so they must not be the first to be forgotten.
            .hot_allocation(0.5)
            .build()
            .expect("both capacities are set");
        Self {
            items: VecDeque::new(),
            next: 0,
            last_millis: 0,
            told: Cache::with_options(
                options,
                UnitWeighter,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
        }
    }
}

impl Ring {
    /// Index of the item that comes next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The time of the newest event that went through.
    pub(super) fn last_millis(&self) -> i64 {
        self.last_millis
    }

    /// The items from `index` on; none when some of them have left the ring.
    pub(super) fn items_from(&self, index: u64) -> Option<impl Iterator<Item = &Item>> {
        let oldest = self.next - self.items.len() as u64;
        let skip = index.checked_sub(oldest)?;
        Some(self.items.iter().skip(skip as usize))
    }

    pub(super) fn push(&mut self, job: &Job, millis: i64, news: News) {
        self.last_millis = self.last_millis.max(millis);
        self.items.push_back(Item {
            job_id: job.id.clone(),
            client_id: job.client_id.clone(),
            position: Position {
                sequence: news.sequence,
                ..job.position
            },
            frame: sse::event(&id(self.last_millis), &news.line),
            line: news.line,
            ends: news.ends,
            resets: news.resets,
        });
        self.next += 1;
        if self.items.len() > RING {
            self.items.pop_front();
        }
    }

    /// Lets go of the frames. What was told stays known.
    pub(super) fn clear(&mut self) {
        self.items.clear();
    }

    /// Remembers that the job was told up to where it is now.
    pub(super) fn remember(&mut self, job: &Job) {
        let told = Told {
            position: job.position,
            ended: job.status.is_terminal(),
        };
        self.told.insert(job.id.clone(), told);
    }

    pub(super) fn forget(&mut self, job_id: &JobId) {
        self.told.remove(job_id);
    }

    pub(super) fn told(&self, job_id: &JobId) -> Option<Told> {
        self.told.get(job_id).copied()
    }
}

/// The SSE id of a moment.
pub(super) fn id(millis: i64) -> String {
    format!("m-{millis}")
}

/// The moment that an SSE id names.
pub(super) fn parse_id(cursor: &str) -> Option<i64> {
    let digits = cursor.strip_prefix("m-")?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: usize) -> Job {
        let id = JobId::parse(&format!("j{number}")).unwrap();
        Job::unborn(id, "0000abcd".parse().unwrap(), false)
    }

    #[test]
    fn the_memory_of_what_was_told_is_long_and_bounded() {
        let mut ring = Ring::default();
        // A process that has been up for long.
        for number in 0..2 * TOLD {
            ring.remember(&job(number));
        }
        let told_once = job(2 * TOLD);
        ring.remember(&told_once);
        for number in 0..TOLD / 2 - 1 {
            ring.remember(&job(3 * TOLD + number));
        }
        assert!(ring.told(&told_once.id).is_some());
        assert!(ring.told.len() <= TOLD, "{}", ring.told.len());
    }

    #[test]
    fn items_that_left_the_ring_are_missed() {
        let mut ring = Ring::default();
        for sequence in 0..=RING as u64 {
            let news = News {
                sequence,
                line: Bytes::new(),
                ends: false,
                resets: false,
            };
            ring.push(&job(1), 0, news);
        }
        assert_eq!(ring.items_from(1).map(Iterator::count), Some(RING));
        assert_eq!(ring.items_from(ring.next()).map(Iterator::count), Some(0));
        assert!(ring.items_from(0).is_none());
    }
}
