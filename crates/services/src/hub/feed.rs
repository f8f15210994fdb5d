//! What all watchers of many jobs share: one ring of frames, and the topics of jobs that nobody named.
//!
//! A job that no stream names is heard of through an announcement, and through Triton's list where the
//! announcement was lost. Nothing in here belongs to one watcher.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use conch_domain::{ClientId, Job, JobId, Position, Timestamp};
use conch_ports::Entry;
use conch_wire::{event, snapshot, sse};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::selection::{Selection, selected};
use super::wake::Slots;
use super::watcher::{LOST_ID, lost_line};
use super::{Interest, Shared};

/// Frames kept for those who lag.
const RING: usize = 4096;
/// Jobs whose topics are kept alive for streams that name none.
const MAX_HELD: usize = 10_000;

pub(super) struct Item {
    pub(super) job_id: JobId,
    pub(super) client_id: Option<ClientId>,
    pub(super) sequence: u64,
    pub(super) line: Bytes,
    pub(super) frame: Bytes,
    pub(super) ends: bool,
    /// Set for a snapshot: the sequence that it stands for. What was known of the job before counts
    /// no more.
    pub(super) stands_for: Option<u64>,
}

#[derive(Default)]
pub(super) struct Ring {
    pub(super) items: VecDeque<Item>,
    /// Index of the item that comes next.
    pub(super) next: u64,
    pub(super) last_millis: i64,
    /// Topics kept alive for streams that name no jobs, until their job ends.
    held: BTreeMap<JobId, Interest>,
    /// From which sequence on a job that was first heard of through an announcement is of interest.
    expected: HashMap<JobId, Option<u64>>,
}

/// What all watchers of many jobs share.
#[derive(Default)]
pub(super) struct Feed {
    slots: Slots,
    pub(super) ring: Mutex<Ring>,
    watchers: AtomicUsize,
    /// Of the watchers, those that name no jobs.
    open_ended: AtomicUsize,
    /// Announcements may have been lost.
    pub(super) lapsed: Notify,
}

impl Feed {
    pub(super) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Acquire) > 0
    }

    /// Takes in what was appended to a job's log. What a topic reads first is history, and covered
    /// by snapshots, but for the events that an announcement told of.
    pub(super) fn offer(&self, job: &Job, first_read: bool, entries: Vec<Entry>, now: Timestamp) {
        let mut ring = self.ring.lock();
        let from = if first_read {
            match ring.expected.remove(&job.id) {
                Some(sequence) => sequence.unwrap_or(job.position.sequence),
                None => return,
            }
        } else {
            0
        };
        for entry in entries.into_iter().filter(|e| e.sequence >= from) {
            let millis = event_millis(job, now);
            let ends = event::glance(&entry.line).end.is_some();
            ring.push(job, entry.sequence, entry.line, ends, millis);
        }
        drop(ring);
        self.slots.wake_all();
    }

    /// Tells of a log that is another incarnation than before, or has a gap: its state as it is now.
    pub(super) fn offer_reset(&self, job: &Job, before: Position, now: Timestamp) {
        let requested = before.to_string();
        let line = snapshot::encode(job, snapshot::Reason::Reset(&requested), now);
        let ends = job.status.is_terminal();
        let mut ring = self.ring.lock();
        ring.expected.remove(&job.id);
        ring.push(
            job,
            job.position.sequence,
            line,
            ends,
            event_millis(job, now),
        );
        ring.mark_last_as_snapshot(job.position.sequence);
        drop(ring);
        self.slots.wake_all();
    }

    /// Tells of a job whose record is gone.
    pub(super) fn offer_lost(&self, last_known: &Job, now: Timestamp) {
        if !self.is_watched() {
            return;
        }
        let line = lost_line(last_known, LOST_ID, now);
        let mut ring = self.ring.lock();
        ring.push(last_known, u64::MAX, line, true, now.as_millis());
        ring.mark_last_as_snapshot(u64::MAX);
        drop(ring);
        self.slots.wake_all();
    }

    pub(super) fn release(&self, job_id: &JobId) {
        let mut ring = self.ring.lock();
        ring.expected.remove(job_id);
        let interest = ring.held.remove(job_id);
        drop(ring);
        drop(interest);
    }

    /// Whether the end of a job is among what was offered last.
    fn has_told_the_end_of(&self, job_id: &JobId) -> bool {
        let ring = self.ring.lock();
        ring.items
            .iter()
            .any(|item| item.ends && item.job_id == *job_id)
    }

    pub(super) fn hold(&self, interest: Interest) {
        let mut ring = self.ring.lock();
        let job_id = interest.topic().job_id.clone();
        if ring.held.len() < MAX_HELD && self.open_ended.load(Ordering::Acquire) > 0 {
            let topic = Arc::clone(&interest.0);
            let previous = ring.held.insert(job_id.clone(), interest);
            drop(ring);
            drop(previous);
            // Its pump may have let go of it before it was held.
            if topic.is_over() {
                self.release(&job_id);
            }
        }
    }
}

/// When the job was last heard of. A publisher's clock may be ahead, and an id must not be: a resume
/// looks back from it.
fn event_millis(job: &Job, now: Timestamp) -> i64 {
    job.updated_at.map_or(now, |at| at.min(now)).as_millis()
}

impl Ring {
    fn mark_last_as_snapshot(&mut self, sequence: u64) {
        if let Some(item) = self.items.back_mut() {
            item.stands_for = Some(sequence);
        }
    }

    fn push(&mut self, job: &Job, sequence: u64, line: Bytes, ends: bool, millis: i64) {
        self.last_millis = self.last_millis.max(millis);
        self.items.push_back(Item {
            job_id: job.id.clone(),
            client_id: job.client_id.clone(),
            sequence,
            frame: sse::event(&id(self.last_millis), &line),
            line,
            ends,
            stands_for: None,
        });
        self.next += 1;
        if self.items.len() > RING {
            self.items.pop_front();
        }
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

impl Shared {
    /// An announcement of a job that nobody watches by name.
    pub(super) fn hint_feed(self: &Arc<Self>, job_id: &JobId, sequence: Option<u64>) {
        if self.feed.open_ended.load(Ordering::Acquire) == 0 {
            return;
        }
        {
            let mut ring = self.feed.ring.lock();
            if ring.held.len() >= MAX_HELD {
                metrics::counter!("conch_feed_jobs_skipped_total").increment(1);
                return;
            }
            ring.expected.insert(job_id.clone(), sequence);
        }
        match self.interest(job_id, false) {
            Some(interest) => self.feed.hold(interest),
            None => self.feed.release(job_id),
        }
    }
}

/// Looks for jobs that streams without names have not heard of: an announcement that was lost is
/// made up for by Triton's list, asked once per position check for all of them (law 5).
pub(super) async fn watch_over(shared: Arc<Shared>) {
    let mut asked_at = (shared.clock)();
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = shared.feed.lapsed.notified() => {}
            () = tokio::time::sleep(shared.settings.position_check) => {}
        }
        if shared.feed.open_ended.load(Ordering::Acquire) == 0 {
            asked_at = (shared.clock)();
            continue;
        }
        let asking_at = (shared.clock)();
        let everything = Selection::default();
        match selected(&shared, &everything, Some(asked_at.as_millis())).await {
            Ok(job_ids) => {
                asked_at = asking_at;
                for job_id in job_ids {
                    let tracked = shared.topics.lock().contains_key(&job_id);
                    if !tracked && !shared.feed.has_told_the_end_of(&job_id) {
                        shared.hint_feed(&job_id, None);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "Triton's list could not be looked through"),
        }
    }
}

/// The feed as a home of slots; counts its watchers.
pub(super) struct Home {
    feed: Arc<Feed>,
    open_ended: bool,
}

impl Home {
    pub(super) fn new(feed: Arc<Feed>, open_ended: bool) -> Self {
        feed.watchers.fetch_add(1, Ordering::AcqRel);
        if open_ended {
            feed.open_ended.fetch_add(1, Ordering::AcqRel);
        }
        Self { feed, open_ended }
    }
}

impl AsRef<Slots> for Home {
    fn as_ref(&self) -> &Slots {
        &self.feed.slots
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let mut freed = Vec::new();
        if self.open_ended && self.feed.open_ended.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut ring = self.feed.ring.lock();
            ring.expected.clear();
            freed.extend(std::mem::take(&mut ring.held));
        }
        if self.feed.watchers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.feed.ring.lock().items.clear();
        }
    }
}
