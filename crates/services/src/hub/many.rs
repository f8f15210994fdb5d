//! Many jobs on one stream: states first, then every event of the selected jobs as it comes.
//!
//! All such watchers share one ring of frames, the feed. Who falls out of it begins again with
//! snapshots. Ids are `m-<milliseconds>`; the one at which a stream of named jobs ended is
//! [`END_MILLIS`], so that its reconnect is recognised whatever the clocks say.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use conch_domain::JobId;
use conch_wire::{snapshot, sse};
use futures::StreamExt;
use futures::future::BoxFuture;

use super::feed::{Home, id, parse_id};
use super::follow::Follow;
use super::selection::{NoRoom, Selection, selected, settle};
use super::wake::{Registration, Slot};
use super::{Interest, Shared};

/// Snapshots prepared at once.
const CONCURRENCY: usize = 16;
/// The last line of a stream whose named jobs have all ended.
const CLOSING: &[u8] = b": Connection closing - all jobs ended\n";
/// The id of the end: the last millisecond of the year 9999.
const END_MILLIS: i64 = 253_402_300_799_999;

/// How a stream begins, or begins again.
struct Beginning {
    frames: Vec<Bytes>,
    /// The last snapshot once more under the id of the end, for when there is nothing after it.
    last_as_end: Option<Bytes>,
    /// Sequence that each snapshot stands for: older events in the ring are known already.
    floors: HashMap<JobId, u64>,
    /// Named jobs that have not ended, kept alive.
    unfinished: BTreeMap<JobId, Interest>,
    known: usize,
    /// A named job is missing, because too many are watched already.
    found_no_room: bool,
}

pub(super) struct ManyWatcher {
    registration: Registration<Home>,
    shared: Arc<Shared>,
    selection: Selection,
    beginning: Option<BoxFuture<'static, Beginning>>,
    begun: Option<Beginning>,
    floors: HashMap<JobId, u64>,
    unfinished: BTreeMap<JobId, Interest>,
    next_item: u64,
    last_millis: i64,
    ended: bool,
}

impl Follow for ManyWatcher {
    fn slot(&self) -> &Slot {
        self.registration.slot()
    }

    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn follow(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) -> bool {
        if let Some(beginning) = &mut self.beginning
            && let Poll::Ready(begun) = beginning.as_mut().poll(cx)
        {
            self.beginning = None;
            self.begun = Some(begun);
        }
        if let Some(begun) = self.begun.take() {
            if begun.found_no_room {
                out.push(self.shared.not_now());
                return true;
            }
            self.take_up(begun, out);
        }
        if self.beginning.is_none() && !self.ended {
            self.catch_up(cx, out);
        }
        if self.ended {
            out.push(Bytes::from_static(CLOSING));
        }
        self.ended
    }
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
            unfinished: BTreeMap::new(),
            last_millis: since
                .filter(|s| *s != END_MILLIS)
                .unwrap_or_else(|| (shared.clock)().as_millis()),
            ended: false,
            shared,
        };
        let mut beginning = watcher.begin(since);
        tokio::select! {
            biased;
            begun = &mut beginning => {
                let at_end = since == Some(END_MILLIS) && watcher.selection.names_jobs();
                if at_end && begun.unfinished.is_empty() && !begun.found_no_room {
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

    /// Whether a named job can't be watched, because too many are.
    pub(super) fn found_no_room(&self) -> bool {
        self.begun.as_ref().is_some_and(|b| b.found_no_room)
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
    fn catch_up(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) {
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
            if !self
                .selection
                .includes(&item.job_id, item.client_id.as_ref())
            {
                continue;
            }
            let floor = self.floors.get(&item.job_id).copied();
            if let Some(sequence) = item.stands_for {
                self.floors.insert(item.job_id.clone(), sequence);
            } else if floor.is_some_and(|floor| item.sequence <= floor) {
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
        unfinished: BTreeMap::new(),
        known: 0,
        found_no_room: false,
    };
    let millis = since
        .filter(|s| *s != END_MILLIS)
        .unwrap_or(0)
        .max((shared.clock)().as_millis());
    let mut settled = futures::stream::iter(job_ids)
        .map(|job_id| settle(shared, job_id))
        .buffered(CONCURRENCY);
    while let Some(interest) = settled.next().await {
        let interest = match interest {
            Ok(Some(interest)) => interest,
            Ok(None) => continue,
            Err(NoRoom) => {
                // To leave out a job that was named would tell of an end that nobody told of.
                begun.found_no_room |= selection.names_jobs();
                continue;
            }
        };
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
