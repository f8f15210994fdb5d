//! Many jobs on one stream: states first, then every event of the selected jobs as it comes.
//!
//! All such watchers share one ring of frames, the feed. Who falls out of it begins again with
//! snapshots. Ids are `m-<milliseconds>`; the one at which a stream of named jobs ended is
//! [`END_MILLIS`], so that its reconnect is recognised whatever the clocks say.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use conch_domain::{ClientId, Job, JobId, JobStatus, Timestamp};
use conch_ports::{Entry, Error, JobFilter, Paging};
use conch_wire::{event, snapshot, sse};
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::topic::Phase;
use super::wake::{Registration, Slots};
use super::watcher::{LOST_ID, lost_line};
use super::{Interest, Next, Shared};

/// Frames kept for those who lag.
const RING: usize = 4096;
/// Jobs that a stream begins with at most, newest first.
const MAX_SNAPSHOTS: usize = 1000;
/// Jobs whose topics are kept alive for streams that name none.
const MAX_HELD: usize = 10_000;
/// How far a resume reaches back behind its cursor.
const OVERLAP_MILLIS: i64 = 10_000;
/// Snapshots prepared at once.
const CONCURRENCY: usize = 16;
/// The id of the end: the last millisecond of the year 9999.
const END_MILLIS: i64 = 253_402_300_799_999;
const PAGE_SIZE: u32 = 100;

/// Which jobs a stream is about: those named, of those clients; an empty list doesn't restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these jobs; at most 1,000 count.
    pub job_ids: Vec<JobId>,
    /// Only jobs of these clients.
    pub client_ids: Vec<ClientId>,
}

impl Selection {
    fn includes(&self, job_id: &JobId, client_id: Option<&ClientId>) -> bool {
        (self.job_ids.is_empty() || self.job_ids.contains(job_id))
            && (self.client_ids.is_empty()
                || client_id.is_some_and(|client| self.client_ids.contains(client)))
    }

    fn names_jobs(&self) -> bool {
        !self.job_ids.is_empty()
    }
}

struct Item {
    job_id: JobId,
    client_id: Option<ClientId>,
    sequence: u64,
    line: Bytes,
    frame: Bytes,
    ends: bool,
}

#[derive(Default)]
struct Ring {
    items: VecDeque<Item>,
    /// Index of the item that comes next.
    next: u64,
    last_millis: i64,
    /// Topics kept alive for streams that name no jobs, until their job ends.
    held: HashMap<JobId, Interest>,
    /// From which sequence on a job that was first heard of through an announcement is of interest.
    expected: HashMap<JobId, Option<u64>>,
}

/// What all watchers of many jobs share.
#[derive(Default)]
pub(super) struct Feed {
    slots: Slots,
    ring: Mutex<Ring>,
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
    pub(super) fn offer(&self, job: &Job, first_read: bool, entries: Vec<Entry>) {
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
            let millis = event_millis(job);
            let ends = event::glance(&entry.line).end.is_some();
            ring.push(job, entry.sequence, entry.line, ends, millis);
        }
        drop(ring);
        self.slots.wake_all();
    }

    pub(super) fn offer_lost(&self, last_known: &Job, now: Timestamp) {
        if !self.is_watched() {
            return;
        }
        let line = lost_line(last_known, LOST_ID, now);
        self.ring
            .lock()
            .push(last_known, u64::MAX, line, true, now.as_millis());
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

    fn hold(&self, interest: Interest) {
        let mut ring = self.ring.lock();
        let job_id = interest.topic().job_id.clone();
        if ring.held.len() < MAX_HELD && self.open_ended.load(Ordering::Acquire) > 0 {
            let previous = ring.held.insert(job_id, interest);
            drop(ring);
            drop(previous);
        }
    }
}

fn event_millis(job: &Job) -> i64 {
    job.updated_at.map_or(0, Timestamp::as_millis)
}

impl Ring {
    fn push(&mut self, job: &Job, sequence: u64, line: Bytes, ends: bool, millis: i64) {
        self.last_millis = self.last_millis.max(millis);
        self.items.push_back(Item {
            job_id: job.id.clone(),
            client_id: job.client_id.clone(),
            sequence,
            frame: sse::event(&id(self.last_millis), &line),
            line,
            ends,
        });
        self.next += 1;
        if self.items.len() > RING {
            self.items.pop_front();
        }
    }
}

fn id(millis: i64) -> String {
    format!("m-{millis}")
}

fn parse_id(cursor: &str) -> Option<i64> {
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
        if let Some(interest) = self.interest(job_id, false) {
            self.feed.hold(interest);
        }
    }
}

/// Looks for jobs that streams without names have not heard of: an announcement that was lost is
/// made up for by Triton's list, asked once per position check for all of them (law 5).
pub(super) async fn watch_over(shared: Arc<Shared>) {
    let mut asked_at = (shared.clock)();
    loop {
        tokio::select! {
            () = tokio::time::sleep(shared.settings.position_check) => {}
            () = shared.feed.lapsed.notified() => {}
            () = shared.shutdown.cancelled() => return,
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
struct Home {
    feed: Arc<Feed>,
    open_ended: bool,
}

impl Home {
    fn new(feed: Arc<Feed>, open_ended: bool) -> Self {
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
            freed.extend(ring.held.drain());
        }
        if self.feed.watchers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.feed.ring.lock().items.clear();
        }
    }
}

/// How a stream begins, or begins again.
struct Beginning {
    frames: Vec<Bytes>,
    /// The last snapshot once more under the id of the end, for when there is nothing after it.
    last_as_end: Option<Bytes>,
    /// Sequence that each snapshot stands for: older events in the ring are known already.
    floors: HashMap<JobId, u64>,
    /// Named jobs that have not ended, kept alive.
    unfinished: HashMap<JobId, Interest>,
    known: usize,
}

pub(super) struct ManyWatcher {
    registration: Registration<Home>,
    shared: Arc<Shared>,
    selection: Selection,
    beginning: Option<BoxFuture<'static, Beginning>>,
    begun: Option<Beginning>,
    floors: HashMap<JobId, u64>,
    unfinished: HashMap<JobId, Interest>,
    next_item: u64,
    last_millis: i64,
    greeted: bool,
    ended: bool,
}

impl ManyWatcher {
    /// None when the cursor is at the end of all that is named.
    pub(super) async fn attach(
        shared: Arc<Shared>,
        selection: Selection,
        cursor: Option<&str>,
    ) -> Option<Self> {
        let since = cursor.and_then(parse_id);
        let home = Home::new(Arc::clone(&shared.feed), !selection.names_jobs());
        let registration = Registration::new(home, Arc::clone(&shared.beats));
        let next_item = shared.feed.ring.lock().next;
        let mut watcher = Self {
            registration,
            next_item,
            selection,
            beginning: None,
            begun: None,
            floors: HashMap::new(),
            unfinished: HashMap::new(),
            last_millis: since.filter(|s| *s != END_MILLIS).unwrap_or(0),
            greeted: false,
            ended: false,
            shared,
        };
        let mut beginning = watcher.begin(since);
        tokio::select! {
            begun = &mut beginning => {
                let at_end = since == Some(END_MILLIS) && watcher.selection.names_jobs();
                if at_end && begun.unfinished.is_empty() {
                    return None;
                }
                watcher.begun = Some(begun);
            }
            () = tokio::time::sleep(watcher.shared.settings.attach_patience) => {
                watcher.beginning = Some(beginning);
            }
        }
        Some(watcher)
    }

    /// Whether none of the named jobs exists, as far as is known.
    pub(super) fn names_nothing_known(&self) -> bool {
        self.selection.names_jobs() && self.begun.as_ref().is_some_and(|b| b.known == 0)
    }

    fn begin(&self, since: Option<i64>) -> BoxFuture<'static, Beginning> {
        let shared = Arc::clone(&self.shared);
        let selection = self.selection.clone();
        Box::pin(async move { begin(&shared, &selection, since).await })
    }

    pub(super) fn poll_frames(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) -> Poll<Next> {
        if self.ended {
            return Poll::Ready(Next::End);
        }
        self.registration.slot().register(cx.waker());
        let due = out.len();
        if !self.greeted {
            self.greeted = true;
            out.push(self.shared.greeting.clone());
        }
        if self.shared.shutdown.is_cancelled() {
            self.ended = true;
            out.push(self.shared.farewell());
            return Poll::Ready(Next::End);
        }
        if let Some(beginning) = &mut self.beginning
            && let Poll::Ready(begun) = beginning.as_mut().poll(cx)
        {
            self.beginning = None;
            self.begun = Some(begun);
        }
        if let Some(begun) = self.begun.take() {
            self.take_up(begun, out);
        }
        if self.beginning.is_none() && !self.ended {
            self.follow(cx, out);
        }
        if self.ended {
            out.push(Bytes::from_static(
                b": Connection closing - all jobs ended\n",
            ));
            return Poll::Ready(Next::End);
        }
        let beat = self.registration.slot().take_beat();
        if out.len() > due {
            return Poll::Ready(Next::More);
        }
        if beat {
            out.push(sse::KEEP_ALIVE);
            return Poll::Ready(Next::More);
        }
        Poll::Pending
    }

    fn take_up(&mut self, begun: Beginning, out: &mut Vec<Bytes>) {
        out.extend(begun.frames);
        self.floors = begun.floors;
        self.unfinished = begun.unfinished;
        if self.selection.names_jobs() && self.unfinished.is_empty() {
            if let Some(frame) = begun.last_as_end {
                out.pop();
                out.push(frame);
            }
            self.ended = true;
        }
    }

    /// Pushes what the feed has for this watcher.
    fn follow(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) {
        let feed = Arc::clone(&self.shared.feed);
        let ring = feed.ring.lock();
        let oldest = ring.next - ring.items.len() as u64;
        if self.next_item < oldest {
            // Fell out of the ring: begin again from the last state that was seen.
            self.next_item = ring.next;
            drop(ring);
            self.beginning = Some(self.begin(Some(self.last_millis)));
            cx.waker().wake_by_ref();
            return;
        }
        let mut released = Vec::new();
        for item in ring.items.iter().skip((self.next_item - oldest) as usize) {
            self.next_item += 1;
            let known = self.floors.get(&item.job_id).copied().unwrap_or(0);
            if item.sequence <= known
                || !self
                    .selection
                    .includes(&item.job_id, item.client_id.as_ref())
            {
                continue;
            }
            if item.ends {
                released.extend(self.unfinished.remove(&item.job_id));
                self.floors.remove(&item.job_id);
            }
            if item.ends && self.selection.names_jobs() && self.unfinished.is_empty() {
                out.push(sse::event(&id(END_MILLIS), &item.line));
                self.ended = true;
                break;
            }
            out.push(item.frame.clone());
        }
        self.last_millis = self.last_millis.max(ring.last_millis);
        drop(ring);
        drop(released);
    }
}

/// Prepares the snapshots that a stream begins with. Tries again for as long as Triton doesn't answer.
async fn begin(shared: &Arc<Shared>, selection: &Selection, since: Option<i64>) -> Beginning {
    let mut backoff = Duration::from_millis(100);
    let job_ids = loop {
        match selected(shared, selection, since).await {
            Ok(ids) => break ids,
            Err(error) => {
                tracing::debug!(%error, "a stream over many jobs waits for Triton's list");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(shared.settings.position_check);
            }
        }
    };
    let mut begun = Beginning {
        frames: Vec::new(),
        last_as_end: None,
        floors: HashMap::new(),
        unfinished: HashMap::new(),
        known: 0,
    };
    let millis = since
        .filter(|s| *s != END_MILLIS)
        .unwrap_or(0)
        .max((shared.clock)().as_millis());
    let mut settled = futures::stream::iter(job_ids)
        .map(|job_id| settle(shared, job_id))
        .buffered(CONCURRENCY);
    while let Some(interest) = settled.next().await {
        let Some(interest) = interest else { continue };
        let Some(job) = interest.topic().state().job.clone() else {
            continue;
        };
        if !selection.includes(&job.id, job.client_id.as_ref()) {
            continue;
        }
        begun.known += 1;
        let line = snapshot::encode(&job, snapshot::Reason::Beginning, (shared.clock)());
        begun.frames.push(sse::event(&id(millis), &line));
        begun.last_as_end = Some(sse::event(&id(END_MILLIS), &line));
        begun.floors.insert(job.id.clone(), job.position.sequence);
        if !job.status.is_terminal() {
            if selection.names_jobs() {
                begun.unfinished.insert(job.id.clone(), interest);
            } else {
                shared.feed.hold(interest);
            }
        }
    }
    begun
}

/// The job's topic as soon as something is known of it; none when there is no such job.
async fn settle(shared: &Arc<Shared>, job_id: JobId) -> Option<Interest> {
    let interest = shared.interest(&job_id, false)?;
    loop {
        let settled = interest.topic().settled.notified();
        tokio::pin!(settled);
        settled.as_mut().enable();
        match interest.topic().state().phase {
            Phase::Loading => {}
            Phase::Lost => return None,
            Phase::Live | Phase::Ended(_) => break,
        }
        settled.await;
    }
    Some(interest)
}

/// The jobs that a stream begins with, newest first.
async fn selected(
    shared: &Shared,
    selection: &Selection,
    since: Option<i64>,
) -> Result<Vec<JobId>, Error> {
    if selection.names_jobs() {
        let mut seen = HashSet::new();
        return Ok(selection
            .job_ids
            .iter()
            .filter(|id| seen.insert(*id))
            .take(MAX_SNAPSHOTS)
            .cloned()
            .collect());
    }
    let clients: Vec<Option<&ClientId>> = if selection.client_ids.is_empty() {
        vec![None]
    } else {
        selection.client_ids.iter().map(Some).collect()
    };
    let mut found: Vec<(Option<Timestamp>, JobId)> = Vec::new();
    for client in clients {
        for status in [JobStatus::Running, JobStatus::Pending] {
            let filter = JobFilter {
                client_id: client.cloned(),
                status: Some(status),
                updated_since: None,
            };
            collect(shared, filter, &mut found).await?;
        }
        if let Some(since) = since {
            let from = since.saturating_sub(OVERLAP_MILLIS);
            let filter = JobFilter {
                client_id: client.cloned(),
                status: None,
                updated_since: Some(Timestamp::from_micros(from.saturating_mul(1000))),
            };
            collect(shared, filter, &mut found).await?;
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    let mut seen = HashSet::new();
    Ok(found
        .into_iter()
        .map(|(_, id)| id)
        .filter(|id| seen.insert(id.clone()))
        .take(MAX_SNAPSHOTS)
        .collect())
}

async fn collect(
    shared: &Shared,
    filter: JobFilter,
    found: &mut Vec<(Option<Timestamp>, JobId)>,
) -> Result<(), Error> {
    let limit = found.len() + MAX_SNAPSHOTS;
    for page in 1.. {
        let paging = Paging {
            page,
            page_size: PAGE_SIZE,
        };
        let jobs = shared.gateway.jobs(&filter, paging).await?;
        let count = jobs.items.len();
        found.extend(
            jobs.items
                .into_iter()
                .map(|job| (job.created_at, job.id.clone())),
        );
        let done = u64::from(page) * u64::from(PAGE_SIZE) >= jobs.total;
        if count == 0 || done || found.len() >= limit {
            break;
        }
    }
    Ok(())
}
