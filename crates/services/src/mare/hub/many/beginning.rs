//! How a stream over many jobs begins, or begins again: with the states of which jobs, once these are known.
//!
//! Never in here: what follows the states.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::super::Shared;
use super::super::feed::Home;
use super::super::floors::Floors;
use super::super::looks::MANY;
use super::super::questions::Questions;
use super::super::reading;
use super::super::ring::parse_id;
use super::super::selection::{Listed, VisibleSelection, list};
use super::super::topic::Topic;
use super::super::waiting::{Decoys, Settled, Until, Waiting, Word};
use super::super::wake::Registration;
use super::{END_MILLIS, ManyWatcher};

/// Why there is no stream.
pub(in crate::mare::hub) enum NoStream {
    /// The cursor is at the end of all that is named.
    Ended,
    /// None of the named jobs exists.
    Unknown,
    /// A named job can't be watched, because too many are.
    NoRoom,
}

impl ManyWatcher {
    /// Waits at most `attach_patience` for the states to begin with. Cancel-safe.
    pub(in crate::mare::hub) async fn attach(
        shared: Arc<Shared>,
        selection: VisibleSelection,
        cursor: Option<&str>,
        questions: Option<Arc<Questions>>,
    ) -> Result<Self, NoStream> {
        let cursor = cursor.and_then(parse_id);
        let is_at_end = cursor == Some(END_MILLIS) && selection.names_jobs();
        let now = (shared.clock)().as_millis();
        let since = cursor.filter(|at| *at != END_MILLIS).map(|at| at.min(now));
        let home = Home::new(Arc::clone(&shared.feed), !selection.names_jobs());
        let registration = Registration::new(home, Arc::clone(&shared.beats));
        let next_item = shared.feed.ring.lock().next();
        let mut watcher = Self {
            registration,
            selection,
            listing: None,
            listed_at: None,
            waiting: Waiting::default(),
            absent: Waiting::default(),
            settled: Vec::new(),
            questions,
            floors: Floors::default(),
            unfinished: BTreeMap::new(),
            failed: BTreeMap::new(),
            next_item,
            last_millis: since.unwrap_or(now),
            last_data: None,
            found_no_room: false,
            broken_off: false,
            shared,
        };
        watcher.begin(since);
        let patience = watcher.shared.settings.attach_patience;
        let settled = tokio::time::timeout(patience, watcher.settle()).await;
        if watcher.found_no_room {
            return Err(NoStream::NoRoom);
        }
        let mut is_sure = true;
        if is_at_end && settled.is_ok() {
            is_sure = watcher.look_at_failed_again(patience).await;
        }
        // What has not settled by then is waited for on the stream.
        if watcher.selection.names_jobs() && settled.is_ok() {
            let ended = |settled| watcher.look_at(settled, |job| job.status.is_terminal());
            let known: Vec<bool> = watcher.settled.iter().filter_map(ended).collect();
            // Of one that may have gone on a stream tells the end once more, and is asked for again.
            if is_at_end && is_sure && known.iter().all(|ended| *ended) {
                return Err(NoStream::Ended);
            }
            if known.is_empty() {
                return Err(NoStream::Unknown);
            }
        }
        Ok(watcher)
    }

    /// Begins, or begins again: with the unfinished jobs and those that changed since.
    pub(super) fn begin(&mut self, since: Option<i64>) {
        let listing = list(Arc::clone(&self.shared), self.selection.clone(), since);
        self.listing = Some(Box::pin(listing));
        self.waiting = Waiting::default();
        self.absent = Waiting::default();
        self.settled = Vec::new();
        self.floors = Floors::default();
    }

    /// Waits until all jobs to begin with have settled, if there is room for them. Cancel-safe.
    async fn settle(&mut self) {
        if let Some(listing) = &mut self.listing {
            let listed = listing.await;
            self.wait_for(listed);
        }
        if self.found_no_room {
            return;
        }
        while let Some(settled) = self.waiting.next().await {
            self.settle_one(settled);
        }
    }

    /// Reads the logs of those named jobs again that their publishers may have gone on with; false where
    /// one couldn't be read. Cancel-safe.
    async fn look_at_failed_again(&mut self, patience: Duration) -> bool {
        let topics = self.settled.iter().map(|settled| settled.interest.topic());
        let failed = topics.filter(|topic| topic.may_have_gone_on()).cloned();
        let shared = &self.shared;
        let reads = failed.map(|topic| async move { reading::refresh(shared, &topic).await });
        let read = tokio::time::timeout(patience, join_all(reads)).await;
        read.is_ok_and(|read| read.into_iter().all(|read| read))
    }

    pub(super) fn settle_one(&mut self, settled: Settled) {
        match settled.word {
            // As in `wait_for`: not left out of a stream that names it.
            Word::BrokenOff => self.found_no_room |= self.selection.names_jobs(),
            Word::Found => self.settled.push(settled),
            Word::Unknown => {
                self.unfinished.remove(&settled.job_id);
                if self.selection.names_jobs() {
                    let decoys = self.decoys(false);
                    let (place, interest) = (settled.place, settled.interest);
                    self.absent.push(place, interest, decoys, Until::Found);
                }
            }
        }
    }

    pub(super) fn wait_for(&mut self, listed: Listed) {
        self.listing = None;
        self.listed_at = Some(listed.asked_at);
        let are_many = listed.job_ids.len() >= MANY;
        let mut requests = Vec::new();
        for (place, job_id) in listed.job_ids.into_iter().enumerate() {
            let together = are_many.then_some(&mut requests);
            let payer = self.questions.as_ref();
            let shared = &self.shared;
            match shared.interest(&job_id, false, payer, together, Topic::new) {
                Some(interest) => {
                    let decoys = self.decoys(are_many);
                    self.waiting.push(place, interest, decoys, Until::Known);
                }
                // To leave out a job that was named would be to report an end that did not happen.
                None => self.found_no_room |= self.selection.names_jobs(),
            }
        }
        self.shared.looks.request(requests);
    }

    fn decoys(&self, are_many: bool) -> Decoys {
        let clients = self.selection.clients();
        Decoys::new(&self.shared, clients, are_many)
    }
}
