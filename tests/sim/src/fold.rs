//! What a job is after some of its events, read from their JSON alone. Written from the contract, not
//! from the state machine that it checks.

use std::collections::BTreeSet;

use conch_domain::{Job, Timestamp};
use serde_json::Value;

/// A job's state, as far as everybody must agree on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fold {
    pub(crate) status: String,
    pub(crate) progress: u64,
    pub(crate) attempt: u64,
    pub(crate) template_ids: Vec<String>,
    pub(crate) template_count: u64,
    pub(crate) failed_templates: BTreeSet<u64>,
    pub(crate) error_message: Option<String>,
    pub(crate) started_at: Option<String>,
    pub(crate) completed_at: Option<String>,
    pub(crate) cancel_requested: bool,
}

impl Fold {
    /// Before the first event.
    pub(crate) fn initial() -> Self {
        Self {
            status: "pending".to_owned(),
            progress: 0,
            attempt: 0,
            template_ids: Vec::new(),
            template_count: 0,
            failed_templates: BTreeSet::new(),
            error_message: None,
            started_at: None,
            completed_at: None,
            cancel_requested: false,
        }
    }

    /// As a store keeps it.
    pub(crate) fn of_record(job: &Job) -> Self {
        let moment = |at: Option<Timestamp>| at.map(conch_wire::time::format);
        Self {
            status: job.status.as_str().to_owned(),
            progress: u64::from(job.progress),
            attempt: u64::from(job.attempt),
            template_ids: job.template_ids.iter().map(ToString::to_string).collect(),
            template_count: job.template_count,
            failed_templates: job.attempts.failed.keys().copied().map(u64::from).collect(),
            error_message: job.error_message.clone(),
            started_at: moment(job.started_at).map(|at| plain(&at)),
            completed_at: moment(job.completed_at).map(|at| plain(&at)),
            cancel_requested: job.cancel_requested,
        }
    }

    /// As a job object tells it (lookups, cached results, snapshots).
    pub(crate) fn of_object(object: &Value) -> Self {
        Self {
            status: text(object, "status").unwrap_or_default(),
            progress: number(object, "progress"),
            attempt: number(object, "attempt"),
            template_ids: ids(object),
            template_count: number(object, "template_count"),
            failed_templates: places(object),
            error_message: text(object, "error_message"),
            started_at: text(object, "started_at").map(|at| plain(&at)),
            completed_at: text(object, "completed_at").map(|at| plain(&at)),
            cancel_requested: object["cancel_requested"] == true,
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        is_terminal(&self.status)
    }

    /// The state after the event.
    #[must_use]
    pub(crate) fn then(&self, event: &Value) -> Self {
        let mut next = self.clone();
        let at = text(event, "timestamp").map(|at| plain(&at));
        let moment = |name: &str| {
            text(event, name)
                .map(|at| plain(&at))
                .or_else(|| at.clone())
        };
        next.attempt = next.attempt.max(number(event, "attempt"));
        let running = || "running".to_owned();
        match event["event_type"].as_str().unwrap_or_default() {
            "job:started" => {
                next.status = running();
                next.started_at = moment("started_at");
            }
            "job:progress" => {
                next.status = running();
                next.progress = number(event, "progress").min(100);
            }
            "job:template_completed" => {
                next.status = running();
                next.failed_templates
                    .remove(&number(event, "template_index"));
                let id = text(event, "template_id").unwrap_or_default();
                if !next.template_ids.contains(&id) {
                    next.template_ids.push(id);
                    next.template_count = next.template_ids.len() as u64;
                }
            }
            "job:template_failed" => {
                next.status = running();
                next.failed_templates
                    .insert(number(event, "template_index"));
            }
            "job:retrying" => {
                "pending".clone_into(&mut next.status);
                next.error_message = text(event, "error_message");
                if event["reason"] == "error" {
                    next.failed_templates.clear();
                }
            }
            "job:cancel_requested" => next.cancel_requested = true,
            "job:completed" => {
                "completed".clone_into(&mut next.status);
                next.progress = 100;
                next.error_message = text(event, "error_message");
                let listed = places(event);
                if !listed.is_empty() {
                    next.failed_templates = listed;
                }
                next.template_ids = ids(event);
                next.template_count = match &event["template_count"] {
                    Value::Number(count) => count.as_u64().unwrap_or(0),
                    _ => next.template_ids.len() as u64,
                };
                next.completed_at = moment("completed_at");
            }
            "job:failed" => {
                "failed".clone_into(&mut next.status);
                next.error_message = text(event, "error_message").or_else(|| text(event, "error"));
                next.completed_at = moment("completed_at");
            }
            "job:cancelled" => {
                "cancelled".clone_into(&mut next.status);
                next.template_ids = ids(event);
                next.template_count = next.template_ids.len() as u64;
                next.completed_at = moment("completed_at");
            }
            _ => {}
        }
        next
    }
}

/// Whether nothing may follow.
pub(crate) fn is_terminal(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "cancelled")
}

/// The status that an event ends its job with.
pub(crate) fn end_of(event: &Value) -> Option<&str> {
    let kind = event["event_type"].as_str()?.strip_prefix("job:")?;
    is_terminal(kind).then_some(kind)
}

fn text(object: &Value, name: &str) -> Option<String> {
    object[name].as_str().map(str::to_owned)
}

fn number(object: &Value, name: &str) -> u64 {
    object[name].as_u64().unwrap_or(0)
}

fn ids(object: &Value) -> Vec<String> {
    let ids = object["template_ids"].as_array();
    let ids = ids.into_iter().flatten().filter_map(Value::as_str);
    ids.map(str::to_owned).collect()
}

fn places(object: &Value) -> BTreeSet<u64> {
    let places = object["failed_templates"].as_array();
    places
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect()
}

/// A moment without what two writers of the same one may write otherwise.
fn plain(moment: &str) -> String {
    let moment = moment.trim_end_matches('Z');
    match moment.split_once('.') {
        Some((seconds, fraction)) => match fraction.trim_end_matches('0') {
            "" => seconds.to_owned(),
            fraction => format!("{seconds}.{fraction}"),
        },
        None => moment.to_owned(),
    }
}
