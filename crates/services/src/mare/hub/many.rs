//! Many jobs on one stream: states first, then every event of the selected jobs as it comes.
//!
//! All such watchers share one ring of frames, the feed. Who falls out of it begins again with
//! snapshots. Ids are `m-<milliseconds>`; the one at which a stream of named jobs ended is
//! [`END_MILLIS`], so that its reconnect is recognised whatever the clocks say.
//!
//! One job of which nothing can be learnt holds nobody up: the stream begins without it, and is given
//! its state when it has one.

mod beginning;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use conch_domain::{Job, JobId};
use conch_wire::{snapshot, sse};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::feed::Home;
use super::floors::Floors;
use super::follow::Follow;
use super::questions::Questions;
use super::ring::id;
use super::selection::{Listed, VisibleSelection};
use super::state::Phase;
use super::waiting::{Settled, Waiting};
use super::wake::{Registration, Slot};
use super::{Interest, Shared};
pub(super) use beginning::NoStream;

/// The last line of a stream whose named jobs have all ended.
const CLOSING: &[u8] = b": Connection closing - all jobs ended\n";
/// The id of the end: the last millisecond of the year 9999.
const END_MILLIS: i64 = 253_402_300_799_999;

pub(super) struct ManyWatcher {
    registration: Registration<Home>,
    shared: Arc<Shared>,
    selection: VisibleSelection,
    /// Which jobs to begin with, or to begin again with, as long as that isn't known.
    listing: Option<BoxFuture<'static, Listed>>,
    /// When that was asked for, until the last of them was told.
    listed_at: Option<i64>,
    /// Of the jobs to begin with, those of which nothing is known yet.
    waiting: Waiting,
    /// Named jobs that don't exist yet: each is taken up when it comes.
    absent: Waiting,
    /// Of the jobs to begin with, those whose state the stream is given next.
    settled: Vec<Settled>,
    /// The caller's budget of questions about jobs without a log.
    questions: Option<Arc<Questions>>,
    floors: Floors,
    /// Named jobs that have not ended, kept alive.
    unfinished: BTreeMap<JobId, Interest>,
    /// Named jobs that have failed and that their publishers may go on with: they have ended, but are kept
    /// alive until the stream's end, so that it is told if one goes on.
    failed: BTreeMap<JobId, Interest>,
    /// Index in the ring.
    next_item: u64,
    /// The moment up to which the stream has told everything.
    last_millis: i64,
    /// The data of what a stream of named jobs told last: should it turn out that there is nothing to
    /// come, it is told once more under the id of the end.
    last_data: Option<Bytes>,
    /// A named job can't be watched now: too many are, or what followed it broke off.
    found_no_room: bool,
    /// What followed a job of this stream broke off: to come back is to be told each job's state.
    broken_off: bool,
}

impl Follow for ManyWatcher {
    fn slot(&self) -> &Arc<Slot> {
        self.registration.slot()
    }

    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn follow(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) -> bool {
        if let Some(listing) = &mut self.listing {
            let Poll::Ready(listed) = listing.poll_unpin(cx) else {
                return false;
            };
            self.wait_for(listed);
        }
        if self.found_no_room {
            out.push(self.shared.not_now());
            return true;
        }
        while let Poll::Ready(Some(settled)) = self.waiting.poll_next(cx) {
            self.settle_one(settled);
        }
        while let Poll::Ready(Some(come)) = self.absent.poll_next(cx) {
            self.settle_one(come);
        }
        if self.found_no_room {
            out.push(self.shared.not_now());
            return true;
        }
        let due = out.len();
        self.take_up(out);
        if !self.is_over() {
            self.catch_up(cx, out);
        }
        if self.broken_off {
            out.push(self.shared.farewell());
            return true;
        }
        if !self.is_over() {
            return false;
        }
        // If nothing was ever told there is no end to tell of: the reconnect is answered 404.
        if let Some(data) = self.last_data.take() {
            if out.len() > due {
                rename_last(out, END_MILLIS);
            } else {
                push_event(out, END_MILLIS, data);
            }
            out.push(Bytes::from_static(CLOSING));
        }
        true
    }
}

impl ManyWatcher {
    /// Looks at a job, if there is one and the stream is about it.
    fn look_at<T>(&self, settled: &Settled, look: impl FnOnce(&Job) -> T) -> Option<T> {
        let state = settled.interest.topic().state();
        let job = state.known().filter(|_| state.phase != Phase::Lost)?;
        let selected = self.selection.includes(&job.id, job.client_id.as_ref());
        selected.then(|| look(job))
    }

    /// Pushes the states of the jobs that have settled, in the order in which they were listed.
    fn take_up(&mut self, out: &mut Vec<Bytes>) {
        let mut settled = std::mem::take(&mut self.settled);
        settled.sort_unstable_by_key(|settled| settled.place);
        // Before any state is looked at: what the ring has up to here is in the states.
        let covered = self.shared.feed.ring.lock().next();
        let now = (self.shared.clock)();
        let mut last = None;
        for settled in settled {
            let Some(job) = self.look_at(&settled, Job::clone) else {
                self.unfinished.remove(&settled.job_id);
                continue;
            };
            let interest = settled.interest;
            let has_log = !interest.topic().is_without_log();
            let reason = if has_log {
                snapshot::Reason::Beginning
            } else {
                snapshot::Reason::NoLog(None)
            };
            let data = sse::data(&snapshot::encode(&job, reason, now));
            push_event(out, self.last_millis, data.clone());
            last = Some(data);
            if has_log {
                self.floors.set(job.id.clone(), job.position, covered);
            }
            if job.status.is_terminal() {
                self.unfinished.remove(&job.id);
                if job.may_go_on() && self.selection.names_jobs() {
                    self.failed.insert(job.id.clone(), interest);
                }
            } else if self.selection.names_jobs() {
                self.unfinished.insert(job.id.clone(), interest);
            } else {
                self.shared.feed.hold(interest.topic());
            }
        }
        if self.waiting.is_empty()
            && let Some(listed_at) = self.listed_at.take()
        {
            // Not before the last of them: who is cut off in between must be given all of them again.
            self.last_millis = self.last_millis.max(listed_at);
            if last.is_some() {
                rename_last(out, self.last_millis);
            }
        }
        self.remember(last);
    }

    fn remember(&mut self, data: Option<Bytes>) {
        if self.selection.names_jobs() && data.is_some() {
            self.last_data = data;
        }
    }

    /// Whether all jobs that are named have ended, or none of them is there and none ever was.
    fn is_over(&self) -> bool {
        self.selection.names_jobs()
            && self.listing.is_none()
            && self.waiting.is_empty()
            && self.unfinished.is_empty()
            && (self.absent.is_empty() || self.last_data.is_none())
    }

    /// Pushes what the feed has for this watcher.
    fn catch_up(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) {
        let feed = Arc::clone(&self.shared.feed);
        let ring = feed.ring.lock();
        let Some(items) = ring.items_from(self.next_item) else {
            // Fell out of the ring: begin again from the last state that was seen.
            self.next_item = ring.next();
            drop(ring);
            self.begin(Some(self.last_millis));
            cx.waker().wake_by_ref();
            return;
        };
        // A resume asks for what changed since its cursor: it may not be after a state that is still
        // to come. Whoever names jobs is given all of them again anyway.
        let holds_back = !self.selection.names_jobs() && !self.waiting.is_empty();
        let mut released = Vec::new();
        let mut last = None;
        let mut told_at = self.last_millis;
        for item in items {
            let index = self.next_item;
            self.next_item += 1;
            let includes = |client_id| self.selection.includes(&item.job_id, client_id);
            let was_told = item.is_for_owner && includes(None);
            let selected = !was_told && includes(item.client_id.as_ref());
            if selected {
                told_at = told_at.max(item.millis);
            }
            if selected && item.breaks_off {
                let named = self.selection.names_jobs();
                if !named || self.unfinished.contains_key(&item.job_id) {
                    self.broken_off = true;
                    break;
                }
                continue;
            }
            // What a job that is waited for has been through will be in its state.
            let is_to_come =
                self.waiting.contains(&item.job_id) || self.absent.contains(&item.job_id);
            if !selected || is_to_come || self.floors.cover(item, index) {
                continue;
            }
            let item_id = if holds_back {
                sse::id(&id(self.last_millis))
            } else {
                item.id.clone()
            };
            out.extend([item_id, item.data.clone()]);
            last = Some(item.data.clone());
            if item.ends {
                let interest = self.unfinished.remove(&item.job_id);
                if item.may_go_on
                    && let Some(interest) = interest
                {
                    self.failed.insert(item.job_id.clone(), interest);
                } else {
                    released.extend(interest);
                }
                if self.is_over() {
                    break;
                }
            } else if let Some(goes_on) = self.failed.remove(&item.job_id) {
                self.unfinished.insert(item.job_id.clone(), goes_on);
            }
        }
        if !holds_back {
            // Of its own events: the time of others' is none of its business.
            self.last_millis = told_at;
        }
        drop(ring);
        drop(released);
        self.remember(last);
        if !self.selection.names_jobs() {
            self.floors.expire(self.next_item);
        }
    }
}

/// Pushes an event in two pieces, its id and its data, as each event of this stream is: others share the
/// data.
fn push_event(out: &mut Vec<Bytes>, millis: i64, data: Bytes) {
    out.extend([sse::id(&id(millis)), data]);
}

/// Gives the event that was pushed last another id.
fn rename_last(out: &mut [Bytes], millis: i64) {
    if let [.., last_id, _] = out {
        *last_id = sse::id(&id(millis));
    }
}
