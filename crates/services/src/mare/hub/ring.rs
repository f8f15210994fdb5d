//! The ring of events that all watchers of many jobs read, and the memory of how far each job was told.
//!
//! An event is here under an id of its own, and its data are the bytes that its topic's watchers get.
//! Nothing in here belongs to one watcher, and nothing comes from an announcement but by way of its topic.

use std::collections::VecDeque;

use bytes::Bytes;
use conch_domain::{ClientId, Job, JobId, Position, Timestamp};
use conch_wire::{snapshot, sse};
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};

/// Events kept for those who lag.
pub(super) const RING: usize = 4096;
/// Bytes of them: large events leave room for fewer.
const RING_BYTES: usize = 32 << 20;
/// Jobs of which it is remembered how far they were told: several times those that are followed at
/// once, so that what is forgotten has long ended.
const TOLD: usize = 32_768;

/// What there is to tell of a job.
pub(super) struct News {
    pub(super) sequence: u64,
    /// The event's or snapshot's data, as `text/event-stream` has them.
    pub(super) data: Bytes,
    /// Whether the job has ended with it.
    pub(super) ends: bool,
    /// Whether it is a state that doesn't follow what was told before.
    pub(super) resets: bool,
    /// Whether it was told before, when it wasn't known whose the job is.
    pub(super) is_for_owner: bool,
}

impl News {
    /// A snapshot, or what else is no event of the log.
    pub(super) fn of_line(sequence: u64, line: &[u8], ends: bool, resets: bool) -> Self {
        Self {
            sequence,
            data: sse::data(line),
            ends,
            resets,
            is_for_owner: false,
        }
    }

    /// The end of a job that no log has.
    pub(super) fn of_end_without_log(result: &Job, now: Timestamp) -> Self {
        let line = snapshot::encode(result, snapshot::Reason::NoLog(None), now);
        Self::of_line(u64::MAX, &line, true, true)
    }
}

pub(super) struct Item {
    pub(super) job_id: JobId,
    pub(super) client_id: Option<ClientId>,
    /// When its job was heard of.
    pub(super) millis: i64,
    /// Of the event, or that a snapshot stands for.
    pub(super) position: Position,
    /// Both as `text/event-stream` has them: one after the other they are the event.
    pub(super) id: Bytes,
    pub(super) data: Bytes,
    pub(super) ends: bool,
    /// The job has failed, and its publisher may go on with it.
    pub(super) may_go_on: bool,
    pub(super) resets: bool,
    /// No event: nothing follows the job any more, and events of it may be missing from here on.
    pub(super) breaks_off: bool,
    /// It was told before, when it wasn't known whose the job is.
    pub(super) is_for_owner: bool,
}

impl Item {
    fn bytes(&self) -> usize {
        self.id.len() + self.data.len()
    }
}

/// How far a job was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) position: Position,
    pub(super) ended: bool,
}

pub(super) struct Ring {
    items: VecDeque<Item>,
    /// Bytes of their ids and data.
    bytes: usize,
    /// Index of the item that comes next.
    next: u64,
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
            bytes: 0,
            next: 0,
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

    /// The items from `index` on; none when some of them have left the ring.
    pub(super) fn items_from(&self, index: u64) -> Option<impl Iterator<Item = &Item>> {
        let oldest = self.next - self.items.len() as u64;
        let skip = index.checked_sub(oldest)?;
        Some(self.items.iter().skip(skip as usize))
    }

    pub(super) fn push(&mut self, job: &Job, millis: i64, news: News) {
        self.push_item(Item {
            job_id: job.id.clone(),
            client_id: job.client_id.clone(),
            position: Position {
                sequence: news.sequence,
                ..job.position
            },
            millis,
            // Its own moment: that of another job's event would tell of that job.
            id: sse::id(&id(millis)),
            data: news.data,
            ends: news.ends,
            may_go_on: news.ends && job.may_go_on(),
            resets: news.resets,
            breaks_off: false,
            is_for_owner: news.is_for_owner,
        });
    }

    /// Says that nothing follows the job any more.
    pub(super) fn push_break(&mut self, job: &Job) {
        self.forget(&job.id);
        self.push_item(Item {
            job_id: job.id.clone(),
            client_id: job.client_id.clone(),
            position: job.position,
            // It happened at no moment that a stream could go on from.
            millis: i64::MIN,
            id: Bytes::new(),
            data: Bytes::new(),
            ends: false,
            may_go_on: false,
            resets: false,
            breaks_off: true,
            is_for_owner: false,
        });
    }

    fn push_item(&mut self, item: Item) {
        self.bytes += item.bytes();
        self.items.push_back(item);
        self.next += 1;
        while self.items.len() > RING || self.bytes > RING_BYTES && self.items.len() > 1 {
            let gone = self.items.pop_front();
            self.bytes -= gone.map_or(0, |item| item.bytes());
        }
    }

    /// Lets go of the events. What was told stays known.
    pub(super) fn clear(&mut self) {
        self.items = VecDeque::new();
        self.bytes = 0;
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

    /// Whether the job was told of; that this was asked is no reason to remember it for longer.
    pub(super) fn was_told_of(&self, job_id: &JobId) -> bool {
        self.told.peek(job_id).is_some()
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
        Job::initial(id, "0000abcd".parse().unwrap(), false)
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
    fn large_events_leave_room_for_fewer() {
        let mut ring = Ring::default();
        let line = format!("{{\"pad\":\"{}\"}}", "x".repeat(64 << 10));
        for sequence in 0..1000 {
            let news = News::of_line(sequence, line.as_bytes(), false, false);
            ring.push(&job(1), 0, news);
            assert!(ring.bytes <= RING_BYTES, "{} bytes", ring.bytes);
        }
        let kept: usize = ring.items.iter().map(Item::bytes).sum();
        assert_eq!(ring.bytes, kept);
        assert!(ring.items.len() > 500, "{} are kept", ring.items.len());
        ring.clear();
        assert_eq!((ring.bytes, ring.items.capacity()), (0, 0));
    }

    #[test]
    fn items_that_left_the_ring_are_missed() {
        let mut ring = Ring::default();
        for sequence in 0..=RING as u64 {
            ring.push(&job(1), 0, News::of_line(sequence, b"{}", false, false));
        }
        assert_eq!(ring.items_from(1).map(Iterator::count), Some(RING));
        assert_eq!(ring.items_from(ring.next()).map(Iterator::count), Some(0));
        assert!(ring.items_from(0).is_none());
    }
}
