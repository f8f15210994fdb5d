//! I1 and I2: what stands in a log, event by event.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Court;
use super::ledger::{JobLog, Ledger};
use crate::fold::end_of;
use crate::history::{Millis, Said, What};

pub(crate) fn judge(court: &mut Court<'_>) {
    let mut found = Vec::new();
    let published = published(court);
    for (job, log) in &court.ledger.jobs {
        found.extend(goes_on(&court.ledger, job, log));
        for (id, epoch) in &log.epochs {
            let mut told = BTreeSet::new();
            let mut templates = BTreeSet::new();
            if let Some(base) = &epoch.base {
                templates.extend(base.template_ids.iter().cloned());
            }
            let mut ended = None;
            let mut latest = String::new();
            for (sequence, entry) in &epoch.entries {
                let event = &entry.event;
                let mut blame = |invariant, what: String| {
                    found.push((
                        invariant,
                        entry.at,
                        format!("{job} {id}-{sequence}: {what}"),
                    ));
                };
                if event["sequence"].as_u64() != Some(*sequence) || event["epoch"] != *id {
                    blame("I1", "its own number is another one".to_owned());
                }
                if !told.insert(identity(event)) {
                    blame("I1", format!("{} was appended before", event["event_type"]));
                }
                if let Some(end) = &ended {
                    blame(
                        "I2",
                        format!("{} follows the end ({end})", event["event_type"]),
                    );
                }
                ended = ended.or_else(|| end_of(event).map(str::to_owned));
                if event["status"] != entry.after.status && event["schema_version"].is_number() {
                    let what = format!("it says {}, not {}", event["status"], entry.after.status);
                    blame("I2", what);
                }
                if event["event_type"] == "job:template_completed"
                    && let Some(template) = event["template_id"].as_str()
                    && !templates.insert(template.to_owned())
                {
                    blame("I11", format!("template {template} was told of before"));
                }
                let moment = event["timestamp"].as_str().unwrap_or_default().to_owned();
                if job.starts_with('j') && moment < latest {
                    blame("I1", format!("its time {moment} is before {latest}"));
                }
                latest = moment.max(latest);
                let derived = event["derived"] == true;
                if job.starts_with('f') && !derived && !was_said(&published, event) {
                    blame("I1", format!("nobody ever said {event}"));
                }
                // Of what the store has forgotten nobody knows whose it was.
                let forgotten = court.ledger.lost_of(job, entry.at);
                if event["forged"] == true && job.starts_with('j') && !forgotten {
                    blame(
                        "forgery",
                        "a forged event stands in an own job's log".to_owned(),
                    );
                }
            }
        }
    }
    for (invariant, at, what) in found {
        court.blame(invariant, at, what);
    }
}

/// I5: what is wrong with how a job went on after its end. Each epoch but the last one failed, the next one
/// begins with a start or a completion, and what one epoch has seen is in no other.
fn goes_on(ledger: &Ledger, job: &str, log: &JobLog) -> Vec<(&'static str, Millis, String)> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<String, &String> = BTreeMap::new();
    for (id, epoch) in &log.epochs {
        for (sequence, entry) in &epoch.entries {
            if ledger.lost_of(job, entry.at) {
                return found;
            }
            let kind = &entry.event["event_type"];
            let began = *sequence == 1 && log.is_going_on_in(id);
            if began && kind != "job:started" && kind != "job:completed" {
                let what = format!("{job} goes on in epoch {id} with {kind}");
                found.push(("I5", entry.at, what));
            }
            if let Some(before) = seen.insert(identity(&entry.event), id)
                && before != id
            {
                let what = format!("{kind} of {job} is in epoch {before} and in {id}");
                found.push(("I5", entry.at, what));
            }
        }
    }
    found
}

/// All that was published past every log.
fn published(court: &Court<'_>) -> Vec<Value> {
    let lines = court
        .records
        .iter()
        .filter_map(|record| match &record.what {
            What::Client {
                said: Said::Published { line, .. },
                ..
            } => Some(line),
            _ => None,
        });
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

/// Whether somebody published the event: all that was said stands in it.
fn was_said(published: &[Value], event: &Value) -> bool {
    let said = |said: &Value| {
        let fields = said.as_object();
        fields.is_some_and(|fields| fields.iter().all(|(name, value)| event[name] == *value))
    };
    published.iter().any(said)
}

/// What makes an event the one that it is: its id, or all that its publisher said.
fn identity(event: &Value) -> String {
    if let Some(id) = event["event_id"].as_str() {
        return id.to_owned();
    }
    let mut said = event.clone();
    if let Some(fields) = said.as_object_mut() {
        fields.remove("sequence");
        fields.remove("epoch");
    }
    said.to_string()
}
