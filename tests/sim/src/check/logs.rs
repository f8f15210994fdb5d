//! I1 and I2: what stands in a log, event by event.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Court;
use crate::fold::end_of;
use crate::history::{Said, What};

pub(crate) fn judge(court: &mut Court<'_>) {
    let mut found = Vec::new();
    let published = published(court);
    for (job, log) in &court.ledger.jobs {
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
