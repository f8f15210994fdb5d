//! Watchers of many jobs on one stream: I3, I4, I5, I8 and I10 of what such a stream promises.
//!
//! It is about states, not histories. On each connection every selected job begins with a state and goes
//! on from there; each end is told at least once, as an event or as a state; only a stream that names its
//! jobs ends, and when all of them have. After a resume an end may be told again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Judgement;
use super::book::{Book, Log, named_place};
use super::event::{Place, end_of, is_terminal_status, kind};
use super::history::{History, Item, Selects, Visit, Watcher};

/// The id of the end: the last millisecond of the year 9999.
const END: &str = "m-253402300799999";
/// An end may have been appended that long before anybody saw it.
const SURE_MS: f64 = 2000.0;

pub(super) fn judge(history: &History<'_>, book: &Book<'_>, judgement: &mut Judgement) {
    for watcher in &history.many {
        Walk::through(watcher, history, book, judgement).in_time(judgement);
    }
}

/// Whether an end is still to be told on a stream that names no jobs.
pub(super) fn is_due(history: &History<'_>, book: &Book<'_>) -> bool {
    history.terms.durable()
        && history.many.iter().any(|watcher| {
            let walk = Walk::through(watcher, history, book, &mut Judgement::default());
            let untold = |(job, _): &(&str, f64)| !walk.ended.contains_key(*job);
            !walk.names_jobs() && walk.due().iter().any(untold)
        })
}

struct Walk<'a> {
    watcher: &'a Watcher<'a>,
    selects: Selects<'a>,
    history: &'a History<'a>,
    book: &'a Book<'a>,
    /// Where each job stands by what was told on this connection.
    told: BTreeMap<String, Place>,
    /// The jobs whose end was told on this connection.
    over: BTreeSet<String>,
    /// Every job that was ever told of.
    met: BTreeSet<String>,
    /// When each job's end was first told.
    ended: BTreeMap<String, f64>,
    /// When it had its first cursor: from then on nothing passes unnoticed.
    since: Option<f64>,
}

impl<'a> Walk<'a> {
    fn through(
        watcher: &'a Watcher<'a>,
        history: &'a History<'a>,
        book: &'a Book<'a>,
        judgement: &mut Judgement,
    ) -> Self {
        let mut walk = Self {
            watcher,
            selects: watcher.selects.clone().unwrap_or_default(),
            history,
            book,
            told: BTreeMap::new(),
            over: BTreeSet::new(),
            met: BTreeSet::new(),
            ended: BTreeMap::new(),
            since: None,
        };
        for visit in &watcher.visits {
            walk.visit(visit, judgement);
        }
        walk
    }

    fn broken(&self, judgement: &mut Judgement, law: &'static str, what: &str) {
        let selects = &self.selects;
        let name = self.watcher.name;
        let (jobs, clients) = (&selects.jobs, &selects.clients);
        judgement.broken(
            law,
            format!("{name} of jobs {jobs:?}, clients {clients:?}: {what}"),
        );
    }

    fn names_jobs(&self) -> bool {
        !self.selects.jobs.is_empty()
    }

    fn durable(&self) -> bool {
        self.history.terms.durable()
    }

    fn visit(&mut self, visit: &Visit<'_>, judgement: &mut Judgement) {
        self.told.clear();
        self.over.clear();
        match visit.status {
            0 => return,
            200 => {}
            204 => {
                let untold = self
                    .selects
                    .jobs
                    .iter()
                    .find(|job| !self.ended.contains_key(**job));
                if !self.names_jobs() {
                    self.broken(judgement, "I3", "told to stop, on a stream that never ends");
                } else if let Some(job) = untold.filter(|_| self.durable()) {
                    let what = format!("told to stop, and not how {job} ended");
                    self.broken(judgement, "I3", &what);
                }
                return;
            }
            status => {
                // Of named jobs that the store forgot, all of them.
                if status != 404 || self.durable() || !self.names_jobs() {
                    let what = format!(
                        "{status} after {:?} ends an EventSource for good",
                        visit.cursor
                    );
                    self.broken(judgement, "I3", &what);
                }
                return;
            }
        }
        for (at, item) in &visit.items {
            match item {
                Item::Event { id, data } => self.event(*at, id, data, judgement),
                Item::Comment(text) => self.comment(text, judgement),
                Item::Violation(text) => self.broken(judgement, "I3", text),
                Item::Retry => {}
            }
        }
    }

    fn event(&mut self, at: f64, id: &str, data: &str, judgement: &mut Judgement) {
        let millis = id.strip_prefix("m-").and_then(|ms| ms.parse::<u64>().ok());
        if millis.is_none() {
            self.broken(judgement, "I3", &format!("the id {id:?}"));
        }
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            return self.broken(judgement, "I3", &format!("{id} is no JSON: {data}"));
        };
        let job = event["job_id"].as_str().unwrap_or("");
        if !self.selected(job, event["client_id"].as_str()) {
            self.broken(judgement, "I10", &format!("it was shown {id} {data}"));
        }
        self.since.get_or_insert(at);
        self.met.insert(job.to_owned());
        let log = self.book.logs.get(job);
        if log.is_none() && self.durable() {
            self.broken(
                judgement,
                "I1",
                &format!("nobody else knows the job of {data}"),
            );
        }
        let is_snapshot = kind(&event) == "job:snapshot";
        let ended = if is_snapshot {
            is_terminal_status(event["status"].as_str().unwrap_or(""))
        } else {
            end_of(&event).is_some()
        };
        match named_place(&event) {
            // What came last once more, under the id of the end.
            Some(place) if id == END && self.told.get(job) == Some(&place) => {}
            Some(place) => {
                if is_snapshot {
                    self.state(log, &place, &event, judgement);
                } else {
                    self.next(job, log, &place, judgement);
                }
                self.told.insert(job.to_owned(), place);
            }
            None if event["error_code"] == "record-lost" => {
                if self.durable() {
                    let what = format!("{job} is said to be lost, and the store lost nothing");
                    self.broken(judgement, "I5", &what);
                }
                self.told.remove(job);
            }
            None => self.broken(judgement, "I3", &format!("{id} has no place: {data}")),
        }
        if ended {
            self.over.insert(job.to_owned());
            self.ended.entry(job.to_owned()).or_insert(at);
        } else {
            self.over.remove(job);
        }
    }

    /// Whether the stream is about such a job. An external event need not say whose it is.
    fn selected(&self, job: &str, client: Option<&str>) -> bool {
        let Selects { jobs, clients } = &self.selects;
        let of_them = client.is_none_or(|client| clients.contains(&client));
        (jobs.is_empty() || jobs.contains(&job)) && (clients.is_empty() || of_them)
    }

    /// A job as it is now: never behind what this connection had been told, but by a reset.
    fn state(
        &self,
        log: Option<&Log<'_>>,
        place: &Place,
        event: &Value,
        judgement: &mut Judgement,
    ) {
        let job = event["job_id"].as_str().unwrap_or("");
        let reset = event["reset"] == true;
        let before = event["requested"].as_str().and_then(Place::parse);
        let went_on = |before: Place| {
            let log = log.filter(|log| log.went_on_from(&before.epoch));
            log.is_some() && before.epoch != place.epoch
        };
        let goes_on = event["reopened"] == true && before.is_some_and(went_on);
        if reset && self.durable() && !goes_on {
            let what = format!("{job} is reset to {place}, and the store lost nothing");
            self.broken(judgement, "I5", &what);
        }
        if let Some(before) = self.told.get(job).filter(|_| !reset) {
            let another = before.epoch != place.epoch;
            if another && self.durable() {
                let what = format!("{job} from {before} to {place} without a reset");
                self.broken(judgement, "I5", &what);
            } else if !another && place.sequence < before.sequence {
                let what = format!("{job} goes back from {before} to {place}");
                self.broken(judgement, "I3", &what);
            }
        }
        let status = event["status"].as_str().unwrap_or("");
        if let Some(what) = log.and_then(|log| log.contradicts(place, status)) {
            self.broken(judgement, "I4", &format!("{job}: {what}"));
        }
    }

    /// An event of a job: the next one, where the stream names it.
    fn next(&self, job: &str, log: Option<&Log<'_>>, place: &Place, judgement: &mut Judgement) {
        let named = self.names_jobs();
        match self.told.get(job) {
            None if named && self.durable() => {
                let what = format!("{job} begins with {place}, without its state before");
                self.broken(judgement, "I3", &what);
            }
            // Who named no jobs is told of one that was lost, and is there again, as of a new one.
            Some(before) if before.epoch != place.epoch && !named && !self.durable() => {}
            Some(before) if before.epoch != place.epoch => {
                let what = format!("{job} from {before} to {place} without a reset");
                self.broken(judgement, "I5", &what);
            }
            Some(before) if place.sequence <= before.sequence => {
                let what = format!("{job} goes back from {before} to {place}");
                self.broken(judgement, "I3", &what);
            }
            Some(before) if named => {
                let epoch = log.and_then(|log| log.epochs.get(&place.epoch));
                let skipped = |s: &u64| !epoch.is_some_and(|epoch| epoch.may_be_skipped(*s));
                if let Some(s) = (before.sequence + 1..place.sequence).find(skipped) {
                    let what = format!("{job}: after {before} came {place}: {s} is missing");
                    self.broken(judgement, "I3", &what);
                }
            }
            _ => {}
        }
    }

    fn comment(&self, text: &str, judgement: &mut Judgement) {
        if !text.starts_with("Connection closing") {
            return;
        }
        let untold = self
            .selects
            .jobs
            .iter()
            .find(|job| !self.over.contains(**job));
        if !self.names_jobs() {
            self.broken(judgement, "I3", "closed, on a stream that never ends");
        } else if let Some(job) = untold.filter(|_| self.durable()) {
            self.broken(judgement, "I3", &format!("closed before the end of {job}"));
        }
    }

    /// The jobs whose end this watcher has to be told, and when they had ended.
    ///
    /// Of its names each. Of all others those that it was told of, or that ended after it had a cursor:
    /// and only of our own, for there is no list of external ones.
    fn due(&self) -> Vec<(&'a str, f64)> {
        let mut due = Vec::new();
        for (job, log) in &self.book.logs {
            let Some(ended) = log.ended().filter(|_| self.selected(job, log.client())) else {
                continue;
            };
            let met =
                self.met.contains(*job) || self.since.is_some_and(|since| since + SURE_MS < ended);
            if self.names_jobs() || (log.own() && met) {
                due.push((*job, ended));
            }
        }
        due
    }

    /// I8: each end is told, and within T of the moment from which it could be.
    fn in_time(&self, judgement: &mut Judgement) {
        if !self.history.terms.ends {
            return;
        }
        for (job, ended) in self.due() {
            let told = self.ended.get(job).copied();
            if told.is_none() && !self.durable() {
                continue;
            }
            judgement.figures.expected += 1;
            if let Some(told) = told {
                judgement.figures.seen += 1;
                self.lateness(job, ended, told, judgement);
            } else {
                judgement.figures.missed += 1;
                let what = format!("it never learned of the end of {job}");
                self.broken(judgement, "I8", &what);
            }
        }
    }

    /// How long it was connected, in calm, before it was told what it had to be told.
    fn lateness(&self, job: &str, ended: f64, told: f64, judgement: &mut Judgement) {
        let t_ms = self.history.terms.t_ms;
        for visit in self.watcher.visits.iter().filter(|v| v.status == 200) {
            if told < visit.at {
                return;
            }
            let until = told.min(visit.ended.unwrap_or(self.history.over));
            let due = visit.at.max(ended).max(self.history.healed_before(until));
            let mut faults = self.history.faults.iter();
            if faults.any(|f| f.from < until && f.until > due) {
                continue;
            }
            let late = (until - due).max(0.0);
            if until >= told {
                judgement.figures.recovery_ms.push(late);
            }
            if late > t_ms {
                let what = format!("{late:.0} ms without the end of {job}, T is {t_ms}");
                return self.broken(judgement, "I8", &what);
            }
        }
    }
}
