//! I3, I4 and I5: what a watcher of one job was sent, from its cursor on.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Court;
use super::cursor::{Cursor, position};
use super::ledger::{JobLog, Ledger};
use crate::fold::{Fold, end_of, is_terminal};
use crate::history::{Job, Millis, StreamEvent, Subject, What};
use crate::plan::CALL_LIMIT;
use crate::process::Role;
use crate::sse::Item;

/// How long an attach waits for word of its job.
const PATIENCE: Millis = 2000;

type Found = Vec<(&'static str, Millis, String)>;

/// One connection, as it is read.
struct Stream<'a> {
    number: usize,
    job: Job,
    asked_at: Millis,
    cursor: Cursor,
    /// When the watcher came to where it stands.
    since: Millis,
    begun: bool,
    ended: Option<String>,
    closing: bool,
    told_to_retry: bool,
    /// Progress that was left out and must be made up for by a later one.
    spared: bool,
    history_limit: u64,
    /// When a call of its edge failed or was held up.
    troubles: &'a [Millis],
    ledger: &'a Ledger,
    found: &'a mut Found,
}

pub(crate) fn judge(court: &mut Court<'_>) {
    let mut found = Found::new();
    let troubles = troubles(court);
    for number in 1..=streams(court) {
        let of_it = court
            .records
            .iter()
            .filter_map(|record| match &record.what {
                What::Stream { stream, event } if *stream == number => Some((record.at, event)),
                _ => None,
            });
        let mut stream: Option<Stream<'_>> = None;
        for (at, event) in of_it {
            if let StreamEvent::Asked {
                subject: Subject::One(job),
                cursor,
                api,
                ..
            } = event
            {
                stream = Some(Stream {
                    number,
                    job: job.clone(),
                    asked_at: at,
                    cursor: Cursor::parse(cursor.as_deref()),
                    since: at,
                    begun: false,
                    ended: None,
                    closing: false,
                    told_to_retry: false,
                    spared: false,
                    history_limit: court.plan.history_limit as u64,
                    troubles: troubles.get(api).map_or(&[], Vec::as_slice),
                    ledger: &court.ledger,
                    found: &mut found,
                });
            } else if let Some(stream) = &mut stream {
                stream.take(at, event);
            }
        }
    }
    for (invariant, at, what) in found {
        court.blame(invariant, at, what);
    }
}

/// When something failed or was held up, by edge.
fn troubles(court: &Court<'_>) -> BTreeMap<usize, Vec<Millis>> {
    let mut troubles: BTreeMap<usize, Vec<Millis>> = BTreeMap::new();
    for record in court.records {
        if let What::Disturbed {
            who: Role::Api(api),
        } = &record.what
        {
            troubles.entry(*api).or_default().push(record.at);
        }
    }
    troubles
}

/// How many streams there were.
pub(crate) fn streams(court: &Court<'_>) -> usize {
    let numbers = court
        .records
        .iter()
        .filter_map(|record| match &record.what {
            What::Stream { stream, .. } => Some(*stream),
            _ => None,
        });
    numbers.max().unwrap_or(0)
}

impl Stream<'_> {
    fn blame(&mut self, invariant: &'static str, at: Millis, what: impl AsRef<str>) {
        let what = format!("stream {} of {}: {}", self.number, self.job, what.as_ref());
        self.found.push((invariant, at, what));
    }

    fn log(&self) -> Option<&JobLog> {
        self.ledger.jobs.get(&self.job)
    }

    fn take(&mut self, at: Millis, event: &StreamEvent) {
        match event {
            StreamEvent::Asked { .. } | StreamEvent::Cut => {}
            StreamEvent::Opened => self.opened(at),
            StreamEvent::Heard(item) => self.hear(at, item),
            StreamEvent::Ended => {
                if self.spared {
                    self.blame("I3", at, "progress was left out and not made up for");
                }
                // Unknown, as it turned out: closed without a word, and the reconnect gets 404.
                let nobodys = matches!(self.cursor, Cursor::Beginning | Cursor::Unusable);
                let unknown = nobodys && self.was_absent(at);
                if !self.closing && !self.told_to_retry && !unknown {
                    self.blame("I3", at, "it was closed before the job's end");
                }
            }
            StreamEvent::NothingLeft => self.nothing_left(at),
            StreamEvent::Unknown => self.unknown(at),
        }
    }

    /// 200: not for whoever has seen the end, unless nobody could tell.
    fn opened(&mut self, at: Millis) {
        let asked = self.asked_at..=at;
        let failed = self.troubles.iter().any(|trouble| asked.contains(trouble));
        let told_at_once = at < self.asked_at + PATIENCE && !failed;
        let lost = self.ledger.lost_of(&self.job, at) || self.went_on(at);
        if self.end_at_cursor().is_some() && told_at_once && !lost {
            let cursor = self.cursor.clone();
            self.blame(
                "I3",
                at,
                format!("a stream at {cursor:?}, which is the end: no 204"),
            );
        }
    }

    /// 204.
    fn nothing_left(&mut self, at: Millis) {
        let at_the_end = match &self.cursor {
            Cursor::Lost => true,
            Cursor::After(epoch, sequence) => {
                let entry = self.log().and_then(|log| log.entry(epoch, *sequence));
                entry.is_some_and(|entry| entry.after.is_terminal())
            }
            Cursor::Beginning | Cursor::Unusable => false,
        };
        if !at_the_end {
            self.blame(
                "I3",
                at,
                format!("204 at {:?}, which is not the end", self.cursor),
            );
        } else if let Cursor::After(epoch, _) = self.cursor.clone()
            && self.log().is_some_and(|log| log.went_on_from(&epoch))
            && !self.stood_in(&epoch, at)
        {
            self.blame(
                "I5",
                at,
                format!("204 in epoch {epoch}, and the job went on"),
            );
        }
    }

    /// Whether the job had gone on after the epoch of the cursor by then.
    fn went_on(&self, at: Millis) -> bool {
        let Cursor::After(epoch, _) = &self.cursor else {
            return false;
        };
        self.log().is_some_and(|log| {
            let mut heads = log.heads_between(self.asked_at, at);
            log.went_on_from(epoch) && heads.any(|head| head.is_some_and(|h| h.epoch != *epoch))
        })
    }

    /// Whether the log stood in this epoch at a moment that this stream may know of.
    fn stood_in(&self, epoch: &str, at: Millis) -> bool {
        let from = self
            .asked_at
            .saturating_sub(2 * CALL_LIMIT.as_millis() as u64);
        self.log().is_some_and(|log| {
            let mut heads = log.heads_between(from, at);
            heads.any(|head| head.is_none_or(|head| head.epoch == epoch))
        })
    }

    /// 404.
    fn unknown(&mut self, at: Millis) {
        if matches!(self.cursor, Cursor::After(..)) {
            self.blame("I3", at, "404 to a watcher whose job did exist");
        }
        if !self.was_absent(at) {
            self.blame("I3", at, "404 for a job that is there");
        }
    }

    /// Whether there was no log at a moment that this stream may know of.
    fn was_absent(&self, at: Millis) -> bool {
        let slack = 2 * CALL_LIMIT.as_millis() as u64;
        let from = self.asked_at.saturating_sub(slack);
        self.log()
            .is_none_or(|log| log.heads_between(from, at).any(|head| head.is_none()))
    }

    fn hear(&mut self, at: Millis, item: &Item) {
        if self.closing {
            self.blame("I2", at, format!("{item:?} after the closing comment"));
        }
        match item {
            Item::Retry(_) => self.told_to_retry = self.begun || self.told_to_retry,
            Item::Phantom => self.blame("I3", at, "an empty event"),
            Item::Comment(text) => self.comment(at, text),
            Item::Event { id, data, named } => {
                if *named {
                    self.blame("I3", at, "an event that `onmessage` never gets");
                }
                let data: Value = serde_json::from_str(data).unwrap_or_default();
                if data["forged"] == true && !self.ledger.lost_of(&self.job, at) {
                    self.blame("forgery", at, "a forged event was streamed");
                }
                if data["event_type"] == "job:snapshot" {
                    self.snapshot(at, id, &data);
                } else {
                    self.event(at, id, &data);
                }
            }
        }
        self.begun = true;
    }

    fn comment(&mut self, at: Millis, text: &str) {
        if let Some(status) = text.strip_prefix("Connection closing - job ") {
            self.closing = true;
            // Whoever came with the end's id while nobody could tell is told nothing more.
            let ended = self.ended.clone().or_else(|| self.end_at_cursor());
            if ended.as_deref() != Some(status) {
                self.blame(
                    "I3",
                    at,
                    format!("closed as {status}, the end was {ended:?}"),
                );
            }
        }
    }

    fn end_at_cursor(&self) -> Option<String> {
        let Cursor::After(epoch, sequence) = &self.cursor else {
            return None;
        };
        let state = self.log()?.fold(epoch, *sequence)?;
        state.is_terminal().then_some(state.status)
    }

    fn event(&mut self, at: Millis, id: &str, data: &Value) {
        let Some((epoch, sequence)) = position(id) else {
            return self.blame("I3", at, format!("an event with the id {id}"));
        };
        match self.log().and_then(|log| log.entry(&epoch, sequence)) {
            None => self.blame("I1", at, format!("{id} never stood in the log")),
            Some(entry) if entry.event != *data => {
                self.blame("I1", at, format!("{id} is another event than in the log"));
            }
            Some(_) => {}
        }
        if self.ended.is_some() {
            self.blame("I2", at, format!("{id} after the end"));
        }
        let (expected_epoch, expected) = match self.cursor.clone() {
            Cursor::Beginning => (epoch.clone(), 1),
            Cursor::After(epoch, last) => (epoch, last + 1),
            Cursor::Unusable | Cursor::Lost => {
                self.blame("I3", at, format!("{id} without a snapshot before"));
                (epoch.clone(), sequence)
            }
        };
        if expected_epoch != epoch {
            self.blame(
                "I5",
                at,
                format!("{id} after {expected_epoch}-{}, no reset", expected - 1),
            );
        } else if sequence < expected {
            self.blame("I3", at, format!("{id} again, {expected} was next"));
        } else {
            for left_out in expected..sequence {
                let entry = self.log().and_then(|log| log.entry(&epoch, left_out));
                if entry.is_some_and(|entry| entry.event["event_type"] == "job:progress") {
                    self.spared = true;
                } else {
                    self.blame(
                        "I3",
                        at,
                        format!("{epoch}-{left_out} was left out before {id}"),
                    );
                }
            }
        }
        if data["event_type"] == "job:progress" || end_of(data).is_some() {
            self.spared = false;
        }
        self.ended = end_of(data).map(str::to_owned);
        self.cursor = Cursor::After(epoch, sequence);
        self.since = at;
    }

    fn snapshot(&mut self, at: Millis, id: &str, data: &Value) {
        let status = data["status"].as_str().unwrap_or_default().to_owned();
        if data["error_code"] == "record-lost" {
            if id != "lost-0" || data["reset"] != true || status != "failed" {
                self.blame(
                    "I5",
                    at,
                    format!("a lost record told of wrongly: {id} {data}"),
                );
            }
            if !self.ledger.lost_of(&self.job, at) {
                self.blame("I5", at, "told that its record is lost, and it is not");
            }
            self.cursor = Cursor::Lost;
            self.ended = Some(status);
            return;
        }
        if id == "ended-0" {
            if !is_terminal(&status) {
                self.blame("I3", at, format!("an end told of wrongly: {data}"));
            }
            // Also where the log is out of reach: a result says the same as it.
            let state = self.log().and_then(|log| {
                let head = log.head()?;
                log.fold(&head.epoch, head.sequence)
            });
            let differs = state.is_some_and(|state| state.status != status);
            if differs && !self.ledger.lost_of(&self.job, at) {
                let what = format!("told of an end that its log doesn't have: {data}");
                self.blame("I5", at, what);
            }
            self.cursor = Cursor::Lost;
            self.ended = Some(status);
            return;
        }
        let Some((epoch, sequence)) = position(id) else {
            return self.blame("I3", at, format!("a snapshot with the id {id}"));
        };
        let told = Fold::of_object(data);
        let known = self.log().and_then(|log| log.fold(&epoch, sequence));
        if known.as_ref() != Some(&told) {
            let what = format!("the snapshot {id} says {told:?}, the log {known:?}");
            self.blame("I4", at, what);
        }
        if data["reset"] == true {
            let requested = data["requested"].as_str().unwrap_or_default();
            if data["reopened"] == true {
                self.justify_reopening(at, requested, &epoch);
            } else {
                self.justify_reset(at, requested);
            }
        } else if self.cursor != Cursor::Beginning || sequence + 1 < self.oldest_of(&epoch) {
            self.blame(
                "I3",
                at,
                format!("the snapshot {id} in the middle of a stream"),
            );
        }
        self.ended = is_terminal(&status).then_some(status);
        self.cursor = Cursor::After(epoch, sequence);
        self.since = at;
    }

    fn oldest_of(&self, epoch: &str) -> u64 {
        let oldest = self.log().and_then(|log| {
            let epoch = log.epochs.get(epoch)?;
            epoch.entries.keys().next().copied()
        });
        oldest.unwrap_or(0)
    }

    /// A job went on after its end only where its log did.
    fn justify_reopening(&mut self, at: Millis, requested: &str, epoch: &str) {
        let justified = position(requested).is_some_and(|(before, _)| {
            let log = self.log();
            before != epoch && log.is_some_and(|log| log.went_on_from(&before))
        });
        if !justified {
            let what = format!("told at {requested} that the job went on in {epoch}");
            self.blame("I5", at, what);
        }
    }

    /// A reset is told only where history was really lost, or is no longer kept.
    fn justify_reset(&mut self, at: Millis, requested: &str) {
        let justified = match Cursor::parse(Some(requested)) {
            Cursor::Unusable | Cursor::Lost | Cursor::Beginning => {
                matches!(self.cursor, Cursor::Unusable | Cursor::Lost)
            }
            Cursor::After(epoch, sequence) => {
                // What was read may have been asked for a while ago.
                let from = self.since.saturating_sub(2 * CALL_LIMIT.as_millis() as u64);
                let limit = self.history_limit;
                self.log().is_none_or(|log| {
                    log.heads_between(from, at).any(|head| {
                        head.is_none_or(|head| {
                            let lost = head.epoch != epoch || head.sequence < sequence;
                            let trimmed =
                                head.oldest > sequence + 1 || head.sequence > sequence + limit;
                            (lost && self.ledger.lost_of(&self.job, at)) || trimmed
                        })
                    })
                })
            }
        };
        if !justified {
            self.blame(
                "I5",
                at,
                format!("a reset at {requested}, and nothing was lost"),
            );
        }
    }
}
