//! I3 and I5 for streams over many jobs: states first, then every event of each job in its turn.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Court;
use super::ledger::Ledger;
use super::one::streams;
use crate::fold::{Fold, end_of};
use crate::history::{Job, Millis, StreamEvent, Subject, What};
use crate::sse::Item;

/// The id of the end: the last millisecond of the year 9999.
const END: &str = "m-253402300799999";

type Found = Vec<(&'static str, Millis, String)>;

struct Stream<'a> {
    number: usize,
    named: Option<Vec<Job>>,
    cursor: Option<String>,
    /// Where each job's last word on this stream stands.
    told: BTreeMap<Job, (String, u64)>,
    ended: BTreeMap<Job, bool>,
    closing: bool,
    begun: bool,
    told_to_retry: bool,
    small_history: bool,
    names: &'a BTreeMap<String, Job>,
    ledger: &'a Ledger,
    found: &'a mut Found,
}

pub(crate) fn judge(court: &mut Court<'_>) {
    let mut found = Found::new();
    let names = names(court);
    for number in 1..=streams(court) {
        let mut stream: Option<Stream<'_>> = None;
        for record in court.records {
            let What::Stream { stream: of, event } = &record.what else {
                continue;
            };
            if *of != number {
                continue;
            }
            if let StreamEvent::Asked {
                subject, cursor, ..
            } = event
            {
                let named = match subject {
                    Subject::One(_) => break,
                    Subject::Named(jobs) => Some(jobs.clone()),
                    Subject::Every => None,
                };
                stream = Some(Stream {
                    number,
                    named,
                    cursor: cursor.clone(),
                    told: BTreeMap::new(),
                    ended: BTreeMap::new(),
                    closing: false,
                    begun: false,
                    told_to_retry: false,
                    small_history: court.plan.history_limit < 100,
                    names: &names,
                    ledger: &court.ledger,
                    found: &mut found,
                });
            } else if let Some(stream) = &mut stream {
                stream.take(record.at, event);
            }
        }
    }
    for (invariant, at, what) in found {
        court.blame(invariant, at, what);
    }
}

/// The run's names of the jobs, by their ids.
pub(crate) fn names(court: &Court<'_>) -> BTreeMap<String, Job> {
    let mut names = BTreeMap::new();
    for (job, log) in &court.ledger.jobs {
        let entries = log.epochs.values().flat_map(|epoch| epoch.entries.values());
        for entry in entries {
            if let Some(id) = entry.event["job_id"].as_str() {
                names.insert(id.to_owned(), job.clone());
            }
        }
    }
    names
}

impl Stream<'_> {
    fn blame(&mut self, invariant: &'static str, at: Millis, what: impl AsRef<str>) {
        let what = format!("stream {} of many: {}", self.number, what.as_ref());
        self.found.push((invariant, at, what));
    }

    fn take(&mut self, at: Millis, event: &StreamEvent) {
        match event {
            StreamEvent::Asked { .. } | StreamEvent::Opened | StreamEvent::Cut => {}
            StreamEvent::Heard(item) => self.hear(at, item),
            StreamEvent::Ended => {
                // None of the named jobs is known any more: the reconnect gets 404.
                let named = self.named.as_deref().unwrap_or_default();
                let lost = |job: &Job| self.ledger.lost_of(job, at);
                let unknown = self.told.is_empty() && named.iter().any(lost);
                if !self.closing && !self.told_to_retry && !unknown {
                    self.blame("I3", at, "it was closed before the end");
                }
            }
            StreamEvent::NothingLeft => {
                if self.cursor.as_deref() != Some(END) {
                    self.blame("I3", at, format!("204 at {:?}", self.cursor));
                }
            }
            StreamEvent::Unknown => {
                if !self.ledger.lost_of("", at) {
                    self.blame("I3", at, "404 for jobs that are there");
                }
            }
        }
    }

    fn hear(&mut self, at: Millis, item: &Item) {
        if self.closing {
            self.blame("I2", at, format!("{item:?} after the closing comment"));
        }
        match item {
            Item::Retry(_) => self.told_to_retry = self.begun || self.told_to_retry,
            Item::Phantom => self.blame("I3", at, "an empty event"),
            Item::Comment(text) if text.starts_with("Connection closing") => self.close(at),
            Item::Comment(_) => {}
            Item::Event { id, data, .. } => {
                let millis = id.strip_prefix("m-").and_then(|ms| ms.parse::<i64>().ok());
                if millis.is_none() {
                    self.blame("I3", at, format!("an event with the id {id}"));
                }
                let data: Value = serde_json::from_str(data).unwrap_or_default();
                self.event(at, id == END, &data);
            }
        }
        self.begun = true;
    }

    fn close(&mut self, at: Millis) {
        self.closing = true;
        for job in self.named.clone().unwrap_or_default() {
            let ended = self.ended.get(&job).copied();
            if ended != Some(true) && !self.ledger.lost_of(&job, at) {
                self.blame(
                    "I3",
                    at,
                    format!("closed, and the end of {job} was not told"),
                );
            }
        }
    }

    /// Whether an event is the next one of its job.
    fn follows(&mut self, at: Millis, job: &Job, epoch: &str, sequence: u64) {
        let named = self.named.is_some();
        let lost = self.ledger.lost_of(job, at);
        match self.told.get(job).cloned() {
            // Who named no jobs is told where each stands, and then what is new: a job that was lost and
            // told of anew is news.
            Some((known, _)) if known != epoch && !named && lost => {}
            Some((known, last)) if known != epoch => {
                let what = format!("{job}: {epoch}-{sequence} after {known}-{last}, no reset");
                self.blame("I5", at, what);
            }
            Some((_, last)) if sequence <= last || (named && sequence > last + 1) => {
                self.blame("I3", at, format!("{job}: {epoch}-{sequence} after {last}"));
            }
            None if named && !lost => {
                let what = format!("{job}: {epoch}-{sequence} without its state before");
                self.blame("I3", at, what);
            }
            _ => {}
        }
    }

    fn event(&mut self, at: Millis, at_end: bool, data: &Value) {
        let id = data["job_id"].as_str().unwrap_or_default();
        let Some(job) = self.names.get(id).cloned() else {
            return self.blame(
                "I3",
                at,
                format!("an event of {id:?}, which never had a log"),
            );
        };
        let snapshot = data["event_type"] == "job:snapshot";
        if snapshot && data["error_code"] == "record-lost" {
            if !self.ledger.lost_of(&job, at) {
                self.blame("I5", at, format!("told that the record of {job} is lost"));
            }
            self.told.remove(&job);
            self.ended.insert(job, true);
            return;
        }
        let (epoch, sequence) = (
            data["epoch"].as_str().unwrap_or_default().to_owned(),
            data["sequence"].as_u64().unwrap_or(0),
        );
        // What came last once more, under the id of the end: there is nothing left to wait for.
        if at_end && self.told.get(&job) == Some(&(epoch.clone(), sequence)) {
            return;
        }
        let log = self.ledger.jobs.get(&job);
        if snapshot {
            let told = Fold::of_object(data);
            let known = log.and_then(|log| log.fold(&epoch, sequence));
            if known.as_ref() != Some(&told) {
                self.blame("I4", at, format!("the snapshot of {job} at {epoch}-{sequence} says {told:?}, the log {known:?}"));
            }
            let before = self.told.get(&job).map(|(epoch, _)| epoch.clone());
            let went_on = data["reopened"] == true
                && log.is_some_and(|log| log.is_going_on_in(&epoch))
                && before != Some(epoch.clone());
            let lost = self.ledger.lost_of(&job, at);
            if data["reopened"] == true && !went_on && !lost {
                self.blame("I5", at, format!("{job} is said to go on in {epoch}"));
            }
            if data["reset"] == true && !went_on && !lost && !self.small_history {
                self.blame("I5", at, format!("a reset of {job}, and nothing was lost"));
            }
            self.ended.insert(job.clone(), told.is_terminal());
        } else {
            match log.and_then(|log| log.entry(&epoch, sequence)) {
                Some(entry) if entry.event == *data => {}
                _ => self.blame(
                    "I1",
                    at,
                    format!("{epoch}-{sequence} of {job} stands in no log"),
                ),
            }
            self.follows(at, &job, &epoch, sequence);
            if data["forged"] == true && !self.ledger.lost_of(&job, at) {
                self.blame("forgery", at, "a forged event was streamed");
            }
            self.ended.insert(job.clone(), end_of(data).is_some());
        }
        self.told.insert(job, (epoch, sequence));
    }
}
