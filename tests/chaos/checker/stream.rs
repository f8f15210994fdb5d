//! One watcher after the other, from its first connect to its 204: I3, I4, I5, I8, I10, and P.
//!
//! A watcher is told everything once, in order, from its cursor on; then how it ended; then to stop.

use serde_json::Value;

use super::Judgement;
use super::book::{Book, Log};
use super::event::{Place, end_of, is_terminal_status, kind};
use super::history::{History, Item, Visit, Watcher};

/// For so long an attach waits for word of its job.
const ATTACH_MS: f64 = 2000.0;

pub(super) fn judge(history: &History<'_>, book: &Book<'_>, judgement: &mut Judgement) {
    let unknown = Log::default();
    for watcher in &history.watchers {
        let log = book.logs.get(watcher.job).unwrap_or(&unknown);
        let mut walk = Walk {
            watcher,
            history,
            log,
            at: None,
            from_snapshot: false,
            ended: None,
            ended_before: false,
            told_to_stop: None,
        };
        walk.through(judgement);
    }
}

/// How a watcher's job ended for it.
struct Ended {
    status: String,
    at: f64,
    /// Its terminal event was seen, not only a snapshot of its end.
    event: bool,
}

struct Walk<'a> {
    watcher: &'a Watcher<'a>,
    history: &'a History<'a>,
    log: &'a Log<'a>,
    /// What it has been told, up to and including.
    at: Option<Place>,
    from_snapshot: bool,
    ended: Option<Ended>,
    /// That was on an earlier connection.
    ended_before: bool,
    told_to_stop: Option<f64>,
}

impl Walk<'_> {
    fn through(&mut self, judgement: &mut Judgement) {
        for visit in &self.watcher.visits {
            self.visit(visit, judgement);
        }
        self.in_time(judgement);
    }

    fn who(&self) -> String {
        format!("{} of {}", self.watcher.name, self.watcher.job)
    }

    fn broken(&self, judgement: &mut Judgement, law: &'static str, what: &str) {
        judgement.broken(law, format!("{}: {what}", self.who()));
    }

    fn visit(&mut self, visit: &Visit<'_>, judgement: &mut Judgement) {
        if self.at.is_none() {
            self.at = visit.cursor.and_then(Place::parse);
        }
        match visit.status {
            0 => return,
            200 => {}
            204 => {
                // A cursor that was given from outside may stand at the end, too.
                let knows = self.ended.is_some() || self.is_at_the_end();
                if !knows {
                    let what = format!("told to stop at {:?}, before the end", visit.cursor);
                    self.broken(judgement, "I3", &what);
                }
                if self.is_stopped_by_an_old_end(visit) {
                    let what = format!(
                        "told to stop at {:?}, and the job had gone on",
                        visit.cursor
                    );
                    self.broken(judgement, "I3", &what);
                }
                self.told_to_stop = Some(visit.at);
                return;
            }
            status => {
                let lost = !self.history.terms.durable() && visit.cursor.is_none();
                if !(status == 404 && lost) {
                    let what = format!(
                        "{status} after {:?} ends an EventSource for good",
                        visit.cursor
                    );
                    self.broken(judgement, "I3", &what);
                }
                self.told_to_stop = Some(visit.at);
                return;
            }
        }
        // Who comes back at the end while the store is out of reach may be told of it once more, by the
        // close alone.
        self.ended_before = self.ended.is_some();
        for (at, item) in &visit.items {
            match item {
                Item::Event { id, data } => self.event(visit, *at, id, data, judgement),
                Item::Comment(text) => self.comment(text, judgement),
                Item::Violation(text) => self.broken(judgement, "I3", text),
                Item::Retry => {}
            }
        }
    }

    /// Whether a 204 goes by the end of a run that failed, and the store was in reach to see that the job
    /// had gone on.
    fn is_stopped_by_an_old_end(&self, visit: &Visit<'_>) -> bool {
        let terms = &self.history.terms;
        let cursor = visit.cursor.and_then(Place::parse);
        let gone_on = cursor.is_some_and(|at| self.log.had_gone_on_from(&at.epoch, visit.at));
        let (from, until) = (visit.at - terms.settle_ms, visit.at + ATTACH_MS);
        gone_on && terms.durable() && self.history.is_edge_well(from, until)
    }

    fn is_at_the_end(&self) -> bool {
        self.end_that_it_stands_at().is_some()
    }

    fn stands_at_an_end_of(&self, status: &str) -> bool {
        let end = self.end_that_it_stands_at();
        end.is_some_and(|event| end_of(event) == Some(status))
    }

    fn end_that_it_stands_at(&self) -> Option<&Value> {
        let at = self.at.as_ref()?;
        let (sequence, end) = self.log.epochs.get(&at.epoch)?.end()?;
        (sequence == at.sequence).then_some(&end.event)
    }

    fn event(
        &mut self,
        visit: &Visit<'_>,
        at: f64,
        id: &str,
        data: &str,
        judgement: &mut Judgement,
    ) {
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            return self.broken(judgement, "I3", &format!("{id} is no JSON: {data}"));
        };
        if event["job_id"] != self.watcher.job {
            self.broken(
                judgement,
                "I10",
                &format!("it was shown another job: {data}"),
            );
        }
        let goes_on = kind(&event) == "job:snapshot" && event["reopened"] == true;
        if goes_on && self.ended_before && self.ended.as_ref().is_some_and(|e| e.status == "failed")
        {
            self.ended = None;
        }
        if self.ended.is_some() {
            if !self.ended_before || self.history.terms.durable() && !self.has_expired(at) {
                let what = format!("after the end came {id} {data}");
                self.broken(judgement, "I3", &what);
            }
            // Only a store that forgot the end goes on after it.
            self.ended = None;
        }
        if kind(&event) == "job:snapshot" {
            return self.snapshot(visit, at, id, &event, judgement);
        }
        let Some(place) = Place::parse(id) else {
            return self.broken(judgement, "I3", &format!("the id {id:?}"));
        };
        let law = if self.from_snapshot { "I4" } else { "I3" };
        match &self.at {
            None if place.sequence == 1 => {}
            None => self.broken(judgement, "I3", &format!("it begins at {place}")),
            Some(before) if before.epoch != place.epoch => {
                let what = format!("from {before} to {place} without a reset");
                self.broken(judgement, "I5", &what);
            }
            Some(before) if place.sequence <= before.sequence => {
                self.broken(
                    judgement,
                    law,
                    &format!("{place} came again after {before}"),
                );
            }
            Some(before) => {
                let epoch = self.log.epochs.get(&place.epoch);
                for skipped in before.sequence + 1..place.sequence {
                    if !epoch.is_some_and(|epoch| epoch.may_be_skipped(skipped)) {
                        let what = format!("after {before} came {place}: {skipped} is missing");
                        self.broken(judgement, law, &what);
                        break;
                    }
                }
            }
        }
        self.promptly(visit, at, &place, judgement);
        self.from_snapshot = false;
        self.at = Some(place);
        if let Some(status) = end_of(&event) {
            self.ended = Some(Ended {
                status: status.to_owned(),
                at,
                event: true,
            });
        }
    }

    /// Whether the job's log has lived its time after the end: whoever comes then is told anew.
    fn has_expired(&self, at: f64) -> bool {
        let ended = self.log.ended();
        ended.is_some_and(|ended| ended + self.history.terms.history_ttl_ms <= at)
    }

    fn snapshot(
        &mut self,
        visit: &Visit<'_>,
        at: f64,
        id: &str,
        event: &Value,
        judgement: &mut Judgement,
    ) {
        let reset = event["reset"] == true;
        if event["reopened"] == true {
            // Of which run it knew, by its cursor or by what this stream has shown since.
            let goes_on = self.at.as_ref().is_some_and(|before| {
                let other = Place::parse(id).is_some_and(|now| now.epoch != before.epoch);
                reset && other && self.log.went_on_from(&before.epoch)
            });
            if !goes_on {
                let what = format!("told at {:?} that the job went on, and it did not", self.at);
                self.broken(judgement, "I5", &what);
            }
        } else if reset {
            judgement.figures.resets += 1;
            let trimmed = visit.cursor.and_then(Place::parse).is_some_and(|cursor| {
                let epoch = self.log.epochs.get(&cursor.epoch);
                let last = epoch.and_then(|e| e.entries.last_key_value());
                last.is_some_and(|(last, _)| *last > self.history.terms.history_limit)
            });
            let garbage = visit.cursor.is_some_and(|c| Place::parse(c).is_none());
            let kept = self.history.terms.durable() && !self.has_expired(at);
            if kept && !trimmed && !garbage {
                let what = format!("a reset at {:?}, and the store lost nothing", self.at);
                self.broken(judgement, "I5", &what);
            }
        } else if self.at.is_some() || visit.cursor.is_some() {
            self.broken(judgement, "I3", "a snapshot without a reset in the middle");
        }
        let status = event["status"].as_str().unwrap_or("");
        if id == "lost-0" {
            self.at = None;
        } else if let Some(place) = Place::parse(id) {
            if let Some(what) = self.log.contradicts(&place, status) {
                self.broken(judgement, "I4", &what);
            }
            self.at = Some(place);
            self.from_snapshot = true;
        } else {
            self.broken(judgement, "I3", &format!("the snapshot's id {id:?}"));
        }
        if is_terminal_status(status) {
            self.ended = Some(Ended {
                status: status.to_owned(),
                at,
                event: false,
            });
        }
    }

    fn comment(&mut self, text: &str, judgement: &mut Judgement) {
        let Some(status) = text.strip_prefix("Connection closing - job ") else {
            return;
        };
        match &self.ended {
            Some(ended) if ended.status == status => {}
            Some(ended) => {
                let what = format!("ended {} and closed as {status}", ended.status);
                self.broken(judgement, "I3", &what);
            }
            // Its cursor, given from outside, stands at the end, and the store was out of reach.
            None if self.stands_at_an_end_of(status) => {}
            None => self.broken(
                judgement,
                "I3",
                &format!("closed as {status} before the end"),
            ),
        }
    }

    /// P: in calm, an event is here soon after its announcement.
    fn promptly(&self, visit: &Visit<'_>, at: f64, place: &Place, judgement: &mut Judgement) {
        let Some(limit) = self.history.terms.prompt_ms else {
            return;
        };
        let Some(announced) = self.log.entry(place).and_then(|e| e.announced) else {
            return;
        };
        // A stream that was on its way when the event came is served from the log.
        let attached = visit.at + limit < announced;
        // What a fault held up is due once its subscription must be back.
        let healed = self.history.healed_before(at);
        let due = if healed > announced - self.history.terms.settle_ms {
            announced.max(healed + self.history.terms.settle_ms)
        } else {
            announced
        };
        let late = at - due;
        if attached && late > limit && self.history.is_well(due, at) {
            let what = format!("{place} came {late:.0} ms after it was due, in calm");
            self.broken(judgement, "P", &what);
        }
    }

    /// I8, and the figures of how it ended.
    fn in_time(&self, judgement: &mut Judgement) {
        let terms = &self.history.terms;
        if !terms.ends {
            return;
        }
        let Some(first) = self.watcher.visits.first() else {
            return;
        };
        // Of a job that the store forgot before anybody saw it, there is nothing to be told.
        let last = self.watcher.visits.last().map_or(0, |visit| visit.status);
        if last == 404 && !terms.durable() {
            return;
        }
        judgement.figures.expected += 1;
        let Some(ended) = &self.ended else {
            if self.told_to_stop.is_some() && self.is_at_the_end() {
                // It came with a cursor at the end.
                judgement.figures.seen += 1;
            } else {
                judgement.figures.missed += 1;
                let what = format!("it never learned of the end; it stands at {:?}", self.at);
                self.broken(judgement, "I8", &what);
            }
            return;
        };
        judgement.figures.seen += 1;
        if !ended.event {
            judgement.figures.ended_by_snapshot += 1;
        }
        let appended = self.log.ended().unwrap_or(ended.at);
        let healed = self.history.healed_before(ended.at);
        let back = self.watcher.came_back(ended.at);
        let due = appended.max(healed).max(first.at).max(back);
        let late = (ended.at - due).max(0.0);
        // Under a fault that still goes on nothing is promised yet.
        let faulty = self
            .history
            .faults
            .iter()
            .any(|f| f.from < ended.at && f.until > due);
        if !faulty {
            judgement.figures.recovery_ms.push(late);
            if late > terms.t_ms {
                let what = format!(
                    "the end came {late:.0} ms after it was due, T is {}",
                    terms.t_ms
                );
                self.broken(judgement, "I8", &what);
            }
        }
    }
}
