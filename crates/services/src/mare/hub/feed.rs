//! What all watchers of many jobs share: the ring, and the topics of jobs that nobody named.
//!
//! A job that no stream names is heard of through an announcement, and through Triton's list where the
//! announcement was lost. Neither is believed: they make somebody read the log, and what the log says
//! is told once. Nothing in here belongs to one watcher.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use conch_domain::{Job, JobId, Position, Timestamp};
use conch_wire::{snapshot, sse};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Shared;
use super::batched_check::Among;
use super::calls::Reason;
use super::held::Held;
use super::ring::{News, Ring, Told};
use super::selection::{VisibleSelection, selected};
use super::topic::{Announced, Topic};
use super::wake::Slots;
use super::watcher::{LOST_ID, lost_line};

/// What all watchers of many jobs share. Of its locks none is taken while another is held, nor while
/// a topic's is.
pub(super) struct Feed {
    slots: Slots,
    pub(super) ring: Mutex<Ring>,
    /// Topics kept alive for streams that name no jobs, until their job ends.
    held: Mutex<Held>,
    watchers: AtomicUsize,
    /// Of the watchers, those that name no jobs.
    open_ended: AtomicUsize,
    /// Announcements may have been lost.
    pub(super) lapsed: Notify,
}

impl Feed {
    /// For streams that name no jobs it keeps at most `max_held` topics alive.
    pub(super) fn new(max_held: usize) -> Self {
        Self {
            slots: Slots::default(),
            ring: Mutex::default(),
            held: Mutex::new(Held::new(max_held)),
            watchers: AtomicUsize::new(0),
            open_ended: AtomicUsize::new(0),
            lapsed: Notify::new(),
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Acquire) > 0
    }

    /// Whether there is a stream that names no jobs: then every job is of interest.
    pub(super) fn is_open_ended(&self) -> bool {
        self.open_ended.load(Ordering::Acquire) > 0
    }

    /// Takes in what was appended to a job's log after its topic had read it: the data of the events
    /// from `first` on. What a topic reads first is history: covered by snapshots, or by
    /// [`Feed::introduce`].
    pub(super) fn offer(&self, job: &Job, first: u64, events: Vec<Bytes>, now: Timestamp) {
        let millis = event_millis(job, now);
        let mut ring = self.ring.lock();
        for (sequence, data) in (first..).zip(events) {
            // The terminal event is the last one of its log (law 2).
            let ends = job.status.is_terminal() && sequence == job.position.sequence;
            let news = News {
                sequence,
                data,
                ends,
                resets: false,
                is_for_owner: false,
            };
            ring.push(job, millis, news);
        }
        ring.remember(job);
        drop(ring);
        self.slots.wake_all();
    }

    /// Tells of a log that is another incarnation than before, or has a gap: its state as it is now.
    pub(super) fn offer_reset(&self, job: &Job, before: Position, now: Timestamp) {
        let requested = before.to_string();
        let line = snapshot::encode(job, snapshot::Reason::Reset(&requested), now);
        self.offer_head(job, sse::data(&line), true, now);
    }

    /// Tells of a job that was announced, and told up to `told` before, what is true of it now. One
    /// that was told up to its head has no need of this.
    ///
    /// An announcement says nothing but that a log is worth reading: if it is the log's newest event
    /// that was announced, it is told; else it is the state, and never what came before it.
    pub(super) fn introduce(
        &self,
        job: &Job,
        told: Option<Position>,
        newest: Option<Bytes>,
        announced: Announced,
        now: Timestamp,
    ) {
        if !self.is_open_ended() {
            return;
        }
        let head = job.position;
        if let Some(told) = told
            && (told.epoch != head.epoch || told.sequence > head.sequence)
        {
            // What was told is no longer in the log.
            self.offer_reset(job, told, now);
            return;
        }
        let newest = newest.filter(|_| announced.is(head.sequence));
        let data = newest.unwrap_or_else(|| {
            let line = snapshot::encode(job, snapshot::Reason::Beginning, now);
            sse::data(&line)
        });
        self.offer_head(job, data, false, now);
    }

    /// Tells of a job that stands where `data` say.
    fn offer_head(&self, job: &Job, data: Bytes, resets: bool, now: Timestamp) {
        let news = News {
            sequence: job.position.sequence,
            data,
            ends: job.status.is_terminal(),
            resets,
            is_for_owner: false,
        };
        let mut ring = self.ring.lock();
        ring.push(job, event_millis(job, now), news);
        ring.remember(job);
        drop(ring);
        self.slots.wake_all();
    }

    /// Tells of a job whose record is gone.
    pub(super) fn offer_lost(&self, last_known: &Job, now: Timestamp) {
        let line = lost_line(last_known, LOST_ID, now);
        self.offer_last(last_known, News::of_line(u64::MAX, &line, true, true), now);
    }

    /// Tells of a job that has ended though no log says so.
    pub(super) fn offer_end_without_log(&self, result: &Job, now: Timestamp) {
        self.offer_last(result, News::of_end_without_log(result, now), now);
    }

    /// Tells the last that there is to tell of a job that has no log.
    fn offer_last(&self, job: &Job, news: News, now: Timestamp) {
        if !self.is_watched() {
            return;
        }
        let mut ring = self.ring.lock();
        ring.push(job, now.as_millis(), news);
        // Should it turn up again, that is news.
        ring.forget(&job.id);
        drop(ring);
        self.slots.wake_all();
    }

    /// Tells once more of a job that was told of when it wasn't known whose it is: streams that didn't select
    /// it then are told of it.
    pub(super) fn offer_to_owner(&self, job: &Job, news: News, now: Timestamp) {
        let news = News {
            is_for_owner: true,
            ..news
        };
        self.ring.lock().push(job, now.as_millis(), news);
        self.slots.wake_all();
    }

    /// Tells of a job that nothing follows any more, though it may go on.
    pub(super) fn break_off(&self, topic: &Topic) {
        self.release(&topic.job_id);
        let last_known = topic.state().job.clone();
        // Of one that nobody was told of: what comes of it makes a topic again.
        if let Some(job) = last_known {
            self.ring.lock().push_break(&job);
            self.slots.wake_all();
        }
    }

    /// How far the job was told.
    pub(super) fn told(&self, job_id: &JobId) -> Option<Told> {
        self.ring.lock().told(job_id)
    }

    /// Whether the job was ever told of, as far as is remembered.
    fn was_told_of(&self, job_id: &JobId) -> bool {
        self.ring.lock().was_told_of(job_id)
    }

    /// Keeps a topic alive until its job ends, if there is room. To be called by whoever holds an
    /// interest in it, or is its pump.
    pub(super) fn hold(&self, topic: &Arc<Topic>) {
        let own = topic.is_own();
        {
            let mut held = self.held.lock();
            if !self.is_open_ended() {
                return;
            }
            if !held.keep(topic, own) {
                metrics::counter!("conch_feed_jobs_not_held_total").increment(1);
                return;
            }
        }
        // Its pump may have let go of it before it was held.
        if topic.is_over() || topic.is_broken_off() {
            self.release(&topic.job_id);
        }
    }

    pub(super) fn release(&self, job_id: &JobId) {
        let interest = self.held.lock().release(job_id);
        drop(interest);
    }
}

/// When the job was last heard of. A publisher's clock may be ahead, and an id must not be: a resume
/// looks back from it.
fn event_millis(job: &Job, now: Timestamp) -> i64 {
    job.updated_at.map_or(now, |at| at.min(now)).as_millis()
}

impl Shared {
    /// The job was announced, or else heard of: whoever watches it reads its log again, and streams
    /// that name no jobs learn of it.
    pub(super) fn hint(self: &Arc<Self>, job_id: &JobId, sequence: Option<u64>) {
        let open_ended = self.feed.is_open_ended();
        // Under the map's lock, so that the pump can't take the topic away without having seen it.
        if let Some(topic) = self.topics.lock().get(job_id) {
            if open_ended {
                topic.announce(sequence);
            }
            topic.call(Reason::Hint);
            return;
        }
        if !open_ended {
            return;
        }
        let was_told = self.feed.was_told_of(job_id);
        if !self.announcements.push(job_id, sequence, was_told) {
            metrics::counter!("conch_feed_jobs_skipped_total").increment(1);
        }
    }

    /// Whether a stream names a job that, as far as is known, doesn't exist yet.
    fn is_any_to_come(&self) -> bool {
        if !self.checks.may_have(Among::ToCome) {
            return false;
        }
        let topics: Vec<_> = self.topics.lock().values().cloned().collect();
        topics.iter().any(|topic| topic.is_to_come())
    }

    /// A job that nobody watches by name was announced, and its log says more than was told.
    pub(super) fn make_known(self: &Arc<Self>, job_id: &JobId, sequence: Option<u64>) {
        let Some(interest) = self.unnamed_interest(job_id) else {
            metrics::counter!("conch_feed_jobs_skipped_total").increment(1);
            return;
        };
        let topic = interest.topic();
        topic.announce(sequence);
        topic.call(Reason::Hint);
        // Whether or not there is room to hold it its log is read, and what was announced is told.
        // Whose job it is turns out then: one of our own finds room among its own.
        self.feed.hold(topic);
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
        if !shared.feed.is_open_ended() && !shared.is_any_to_come() {
            asked_at = (shared.clock)();
            continue;
        }
        let asking_at = (shared.clock)();
        let everything = VisibleSelection::everything();
        match selected(&shared, &everything, Some(asked_at.as_millis())).await {
            Ok(job_ids) => {
                asked_at = asking_at;
                for job_id in job_ids {
                    let topic = shared.topics.lock().get(&job_id).cloned();
                    if let Some(topic) = &topic {
                        topic.look_anew(|| None);
                    }
                    if !shared.feed.is_open_ended() {
                        continue;
                    }
                    let head = topic.and_then(|topic| topic.state().head());
                    let is_told = shared
                        .feed
                        .told(&job_id)
                        .is_some_and(|told| head.map_or(told.ended, |head| told.position == head));
                    if !is_told {
                        shared.hint(&job_id, None);
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
        // Asked again under the lock: who came meanwhile holds and reads only after it.
        if self.open_ended && self.feed.open_ended.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut held = self.feed.held.lock();
            let freed = if self.feed.is_open_ended() {
                Vec::new()
            } else {
                held.release_all()
            };
            drop(held);
            drop(freed);
        }
        if self.feed.watchers.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut ring = self.feed.ring.lock();
            if !self.feed.is_watched() {
                ring.clear();
            }
        }
    }
}
