//! The logs as everybody together saw them, and what must hold of a log whoever looks: I1, I2, I7, and
//! that what belongs to an append is there with it.
//!
//! An event that anybody saw under a number has that number for ever.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Judgement;
use super::event::{Fold, Place, counts, end_of, kind};
use super::history::{History, Item, Watcher, at, text};

/// Before an announcement is taken for a lie, Redis must have been well for so long.
const WELL_MS: f64 = 1000.0;

/// An event under its number.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) event: Value,
    line: Option<&'a str>,
    /// When it was first seen by anybody.
    pub(super) seen: f64,
    /// When it was announced on the channel.
    pub(super) announced: Option<f64>,
}

/// One incarnation of a log.
#[derive(Debug, Default)]
pub(super) struct Epoch<'a> {
    pub(super) entries: BTreeMap<u64, Entry<'a>>,
}

impl Epoch<'_> {
    /// The place and the time of its end.
    pub(super) fn end(&self) -> Option<(u64, &Entry<'_>)> {
        let ended = |(_, entry): &(&u64, &Entry<'_>)| end_of(&entry.event).is_some();
        self.entries.iter().find(ended).map(|(s, e)| (*s, e))
    }

    /// The fold of what is known up to `sequence`.
    pub(super) fn fold(&self, sequence: u64) -> Fold {
        let mut fold = Fold::default();
        for entry in self.entries.range(..=sequence).map(|(_, e)| e) {
            fold.apply(&entry.event);
        }
        fold
    }

    /// Progress that a later one supersedes.
    pub(super) fn may_be_skipped(&self, sequence: u64) -> bool {
        let is_progress = |s: &u64| {
            let entry = self.entries.get(s);
            entry.is_some_and(|e| kind(&e.event) == "job:progress")
        };
        let mut later = self.entries.range(sequence + 1..);
        is_progress(&sequence) && later.any(|(s, _)| is_progress(s))
    }
}

/// One job.
#[derive(Debug, Default)]
pub(super) struct Log<'a> {
    pub(super) epochs: BTreeMap<String, Epoch<'a>>,
    /// The epochs in the order in which they were first seen.
    pub(super) order: Vec<String>,
    /// What the store had of it when the run was over.
    pub(super) store: Option<&'a Value>,
    /// The failures that its publisher told of, by their marks.
    failures: BTreeSet<&'a str>,
}

impl<'a> Log<'a> {
    pub(super) fn entry(&self, place: &Place) -> Option<&Entry<'a>> {
        self.epochs.get(&place.epoch)?.entries.get(&place.sequence)
    }

    /// When its terminal event was first seen, in any incarnation. Of an external job that went on after
    /// a failure it is the newest end.
    pub(super) fn ended(&self) -> Option<f64> {
        let ends = self.epochs.values().filter_map(Epoch::end);
        let went_on = self.epochs.keys().any(|epoch| self.went_on_from(epoch));
        let one = if went_on { f64::max } else { f64::min };
        ends.map(|(_, e)| e.seen).reduce(one)
    }

    /// Whether another publisher's job may have gone on after this epoch: it failed in it, and there is
    /// another one, which begins with a start or a completion. Where this epoch's end wasn't seen, or
    /// nothing of it, its publisher must have told of one more failure than were seen.
    pub(super) fn went_on_from(&self, epoch: &str) -> bool {
        let end = |epoch: &Epoch<'_>| epoch.end().and_then(|(_, end)| end_of(&end.event));
        let seen = self
            .epochs
            .values()
            .filter(|other| end(other) == Some("failed"));
        let unseen = self.failures.len() > seen.count();
        let failed = self.epochs.get(epoch).and_then(end);
        let failed = failed.map_or(unseen, |end| end == "failed");
        let goes_on = |(name, other): (&String, &Epoch<'_>)| {
            let first = other.entries.get(&1).map(|first| kind(&first.event));
            name != epoch && matches!(first, None | Some("job:started" | "job:completed"))
        };
        !self.own() && failed && self.epochs.iter().any(goes_on)
    }

    /// Whether it was known by then that another publisher's job had gone on after it failed in this epoch:
    /// its next epoch was seen, and begins no earlier by its publisher's clock.
    pub(super) fn had_gone_on_from(&self, epoch: &str, by: f64) -> bool {
        let Some(failed) = self.epochs.get(epoch) else {
            return false;
        };
        let Some((_, end)) = failed.end() else {
            return false;
        };
        let begins = |epoch: &Epoch<'_>| {
            let seen = epoch.entries.values().map(|entry| entry.seen);
            seen.reduce(f64::min)
        };
        let clock = |epoch: &Epoch<'_>| {
            let first = epoch.entries.first_key_value();
            first.and_then(|(_, first)| first.event["timestamp"].as_str().map(str::to_owned))
        };
        let is_next = |(name, other): (&String, &Epoch<'_>)| {
            let begun = begins(other).is_some_and(|begun| begun > end.seen && begun < by);
            name != epoch && begun && clock(other) >= clock(failed)
        };
        self.went_on_from(epoch) && self.epochs.iter().any(is_next)
    }

    /// What a snapshot at a place says otherwise than the log; none if nothing, as far as is known.
    pub(super) fn contradicts(&self, place: &Place, status: &str) -> Option<String> {
        let epoch = self.epochs.get(&place.epoch)?;
        let is_whole = (1..=place.sequence).all(|at| epoch.entries.contains_key(&at));
        // Before its first event a log may go on from anything.
        if place.sequence == 0 || !is_whole {
            return None;
        }
        let fold = epoch.fold(place.sequence).status;
        (fold != status).then(|| format!("the snapshot at {place} says {status}, the log {fold}"))
    }

    /// Whose it is, if any event says so.
    pub(super) fn client(&self) -> Option<&str> {
        let mut events = self.epochs.values().flat_map(|e| e.entries.values());
        events.find_map(|e| e.event["client_id"].as_str())
    }

    /// Whether it is one of our own Triton's.
    pub(super) fn own(&self) -> bool {
        let queued = |e: &Entry<'_>| kind(&e.event) == "job:queued" && e.event["derived"] != true;
        self.epochs
            .values()
            .flat_map(|e| e.entries.values())
            .any(queued)
    }
}

/// All jobs.
#[derive(Debug, Default)]
pub(super) struct Book<'a> {
    pub(super) logs: BTreeMap<&'a str, Log<'a>>,
}

impl<'a> Book<'a> {
    /// Enters everything that anybody saw. What contradicts what was entered before is a violation.
    pub(super) fn write(history: &History<'a>, judgement: &mut Judgement) -> Self {
        let mut book = Self::default();
        for watcher in &history.watchers {
            for visit in &watcher.visits {
                for (at, item) in &visit.items {
                    if let Item::Event { id, data } = item
                        && let Some(place) = Place::parse(id)
                        && let Ok(event) = serde_json::from_str::<Value>(data)
                        && kind(&event) != "job:snapshot"
                    {
                        book.enter(watcher.job, &place, &event, Some(data), *at, judgement);
                    }
                }
            }
        }
        for record in history.records {
            match text(record, "what") {
                "announced" => book.announced(history, record, judgement),
                "history" => {
                    for event in record["events"].as_array().into_iter().flatten() {
                        if let Some(place) = named_place(event) {
                            let job = text(record, "job");
                            book.enter(job, &place, event, None, at(record), judgement);
                        }
                    }
                }
                "store" => book.stored(record, judgement),
                _ => {}
            }
        }
        for watcher in &history.many {
            book.seen_among_many(watcher, judgement);
        }
        for record in history.records {
            if text(record, "what") == "published"
                && text(record, "mark").contains("failed")
                && let Some(log) = book.logs.get_mut(text(record, "job"))
            {
                log.failures.insert(text(record, "mark"));
            }
        }
        book
    }

    /// What a stream over many jobs showed is in the logs, too; jobs that nobody else knows are not.
    fn seen_among_many(&mut self, watcher: &Watcher<'a>, judgement: &mut Judgement) {
        for (at, item) in watcher.visits.iter().flat_map(|visit| &visit.items) {
            if let Item::Event { data, .. } = item
                && let Ok(event) = serde_json::from_str::<Value>(data)
                && kind(&event) != "job:snapshot"
                && let Some(place) = named_place(&event)
                && let Some(job) = event["job_id"].as_str()
                && let Some((job, _)) = self.logs.get_key_value(job)
            {
                self.enter(job, &place, &event, Some(data), *at, judgement);
            }
        }
    }

    fn enter(
        &mut self,
        job: &'a str,
        place: &Place,
        event: &Value,
        line: Option<&'a str>,
        at: f64,
        judgement: &mut Judgement,
    ) {
        if event["epoch"] != place.epoch.as_str() || event["sequence"] != place.sequence {
            judgement.broken(
                "I1",
                format!("{job} {place}: the event names another place: {event}"),
            );
        }
        let log = self.logs.entry(job).or_default();
        if !log.epochs.contains_key(&place.epoch) {
            log.order.push(place.epoch.clone());
        }
        let epoch = log.epochs.entry(place.epoch.clone()).or_default();
        let entry = epoch
            .entries
            .entry(place.sequence)
            .or_insert_with(|| Entry {
                event: event.clone(),
                line,
                seen: at,
                announced: None,
            });
        entry.seen = entry.seen.min(at);
        let differs = match (entry.line, line) {
            (Some(before), Some(now)) => before != now,
            _ => entry.event != *event,
        };
        if differs {
            let before = &entry.event;
            judgement.broken("I1", format!("{job} {place} is {before} and also {event}"));
        }
        entry.line = entry.line.or(line);
    }

    /// A line on the channel, and what the store said of its job at once afterwards.
    fn announced(&mut self, history: &History<'a>, record: &'a Value, judgement: &mut Judgement) {
        let line = text(record, "line");
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            return;
        };
        let (Some(job), Some(place)) = (record["job"].as_str(), named_place(&event)) else {
            return;
        };
        if history.forged.contains(line) {
            return;
        }
        self.enter(job, &place, &event, Some(line), at(record), judgement);
        let entry = self
            .logs
            .get_mut(job)
            .and_then(|log| log.epochs.get_mut(&place.epoch));
        if let Some(entry) = entry.and_then(|epoch| epoch.entries.get_mut(&place.sequence)) {
            entry.announced.get_or_insert(at(record));
        }
        let redis_was_ill = history.faults.iter().any(|f| {
            f.target == "redis" && f.from <= at(record) && f.until >= at(record) - WELL_MS
        });
        let look = &record["look"];
        // One that came late, to a log that lives a second, may find it gone.
        let gone = look["epoch"].is_null() && history.terms.history_ttl_ms.is_finite();
        if look.is_null() || redis_was_ill || gone {
            return;
        }
        let same_epoch = look["epoch"] == place.epoch.as_str();
        let stands = look["sequence"].as_u64().unwrap_or(0);
        if look["epoch"].is_null() || (same_epoch && stands < place.sequence) {
            judgement.broken(
                "I1",
                format!("{job} {place} was announced before it was in the log"),
            );
            return;
        }
        if !same_epoch || stands != place.sequence {
            return;
        }
        let held = look["leased"] == true || look["entry"] == true;
        if end_of(&event).is_some() {
            if held {
                let what =
                    format!("{job} {place}: ended, and still in the queue: acknowledged apart");
                judgement.broken("I7", what);
            }
            if look["result"] != true && history.terms.results_live {
                judgement.broken(
                    "I6",
                    format!("{job} {place}: ended, and its result is not cached"),
                );
            }
        } else if kind(&event) == "job:retrying" && counts(&event) {
            let counted = look["attempts"].as_u64().unwrap_or(0);
            if event["attempt"]
                .as_u64()
                .is_some_and(|attempt| counted < attempt)
            {
                let what = format!("{job} {place}: given back, and the attempt is not counted");
                judgement.broken("I7", what);
            }
        }
    }

    fn stored(&mut self, record: &'a Value, judgement: &mut Judgement) {
        let (job, epoch) = (text(record, "job"), text(record, "epoch"));
        let head = record["sequence"].as_u64().unwrap_or(0);
        let mut expected = None;
        for kept in record["log"].as_array().into_iter().flatten() {
            let (sequence, line) = (
                kept[0].as_u64().unwrap_or(0),
                kept[1].as_str().unwrap_or(""),
            );
            if expected.is_some_and(|next| next != sequence) {
                judgement.broken(
                    "I1",
                    format!("{job} {epoch}-{sequence}: a gap in the store's log"),
                );
            }
            expected = Some(sequence + 1);
            let place = Place {
                epoch: epoch.to_owned(),
                sequence,
            };
            match serde_json::from_str(line) {
                // An external line stands in the log with what it lacked.
                Ok(event) => self.enter(job, &place, &event, None, at(record), judgement),
                Err(e) => judgement.broken("I1", format!("{job} {place}: no JSON in the log: {e}")),
            }
        }
        if expected.is_some_and(|next| next != head + 1) {
            judgement.broken(
                "I1",
                format!("{job} {epoch}: the log doesn't reach its head {head}"),
            );
        }
        let log = self.logs.entry(job).or_default();
        log.store = Some(record);
        if let Some(known) = log.epochs.get(epoch)
            && let Some((beyond, _)) = known.entries.range(head + 1..).next()
        {
            let what =
                format!("{job} {epoch}-{beyond} was seen, and the store's log ends at {head}");
            judgement.broken("I5", what);
        }
    }

    /// What must hold of every log.
    pub(super) fn judge(&mut self, history: &History<'a>, judgement: &mut Judgement) {
        for (job, log) in &self.logs {
            let mut ends = Vec::new();
            for (name, epoch) in &log.epochs {
                one_end(job, name, epoch, judgement);
                attempts(job, name, epoch, judgement);
                ends.extend(epoch.end().map(|(_, entry)| &entry.event));
            }
            // A log that expired is told once more from the job's record, and has to say the same.
            let told = ends.iter().filter(|end| end["derived"] != true).count();
            let agree = ends.iter().all(|end| end_of(end) == end_of(ends[0]));
            // Another publisher's job goes on after a failure, and after nothing else.
            let last = ends
                .iter()
                .filter(|end| end_of(end) != Some("failed"))
                .count();
            let is_whole = if log.own() {
                told <= 1 && agree
            } else {
                last <= 1
            };
            if history.terms.durable() && !is_whole {
                judgement.broken("I2", format!("{job} ended {} times: {ends:?}", ends.len()));
            }
        }
    }
}

pub(super) fn named_place(event: &Value) -> Option<Place> {
    Some(Place {
        epoch: event["epoch"].as_str()?.to_owned(),
        sequence: event["sequence"].as_u64()?,
    })
}

/// I2, of one incarnation.
fn one_end(job: &str, name: &str, epoch: &Epoch<'_>, judgement: &mut Judgement) {
    let ends: Vec<u64> = epoch
        .entries
        .iter()
        .filter(|(_, e)| end_of(&e.event).is_some())
        .map(|(sequence, _)| *sequence)
        .collect();
    if ends.len() > 1 {
        judgement.broken("I2", format!("{job} {name} ended at {ends:?}"));
    } else if let (Some(end), Some((last, entry))) = (ends.first(), epoch.entries.last_key_value())
        && last > end
    {
        let what = format!(
            "{job} {name} ended at {end} and went on with {}",
            entry.event
        );
        judgement.broken("I2", what);
    }
}

/// I7: no attempt writes after its end, none works twice on one template, and a job starts once.
fn attempts(job: &str, name: &str, epoch: &Epoch<'_>, judgement: &mut Judgement) {
    let mut over = 0;
    let mut newest = 0;
    let mut starts = 0;
    let mut running = false;
    let mut made: BTreeMap<u64, Value> = BTreeMap::new();
    for (sequence, entry) in &epoch.entries {
        let event = &entry.event;
        let place = format!("{job} {name}-{sequence}");
        if let Some(attempt) = event["attempt"].as_u64() {
            if attempt <= over || attempt < newest {
                let what = format!(
                    "{place}: attempt {attempt} writes after {}",
                    over.max(newest)
                );
                judgement.broken("I7", what);
            }
            newest = newest.max(attempt);
            if kind(event) == "job:retrying" {
                let gave_back = event["reason"] == "shutdown";
                if counts(event) {
                    over = over.max(attempt);
                } else if running && !gave_back {
                    let what = format!("{place}: the attempt had begun, and is not counted");
                    judgement.broken("I7", what);
                }
            }
        }
        match kind(event) {
            "job:retrying" => running = false,
            "job:progress" | "job:template_failed" => running = true,
            "job:started" => {
                running = true;
                starts += 1;
            }
            "job:template_completed" => {
                running = true;
                let index = event["template_index"].as_u64().unwrap_or(0);
                let id = event["template_id"].clone();
                if let Some(before) = made.insert(index, id.clone()) {
                    let what = format!("{place}: template {index} was {before} and is {id}");
                    judgement.broken("I7", what);
                }
            }
            _ => {}
        }
    }
    if starts > 1 {
        judgement.broken("I7", format!("{job} {name} started {starts} times"));
    }
}
