//! Our own events as lines: which fields each kind has, and in which order.
//!
//! Never in here: an external event's line, which keeps what its publisher wrote.

use bytes::Bytes;
use conch_domain::{ClientId, Event, EventKind, Job, TemplateId};
use serde_json::{Map, Value};

use super::put;
use crate::fields::{self, Object};
use crate::{time, to_bytes};

/// The version that our own events carry.
const SCHEMA_VERSION: u32 = 1;

/// Writes an event of ours as one line. `job` is the fold after it: its position and status are the
/// event's.
pub fn encode(event: &Event, job: &Job) -> Bytes {
    let mut o = Map::new();
    put(&mut o, "event_type", event.kind.event_type());
    put(&mut o, "timestamp", time::format(event.timestamp));
    put(&mut o, "job_id", event.job_id.as_str());
    put(
        &mut o,
        "client_id",
        event.client_id.as_ref().map(ClientId::as_str),
    );
    put(&mut o, "status", job.status.as_str());
    put_kind(&mut o, &event.kind, job);
    put(&mut o, "sequence", job.position.sequence);
    put(&mut o, "epoch", job.position.epoch.to_string());
    if let Some(attempt) = event.attempt {
        put(&mut o, "attempt", attempt);
    }
    if let Some(place) = event.making {
        put(&mut o, "making", place);
    }
    put(&mut o, "event_id", event.event_id.as_str());
    put(&mut o, "schema_version", SCHEMA_VERSION);
    if event.derived {
        put(&mut o, "derived", true);
    }
    to_bytes(&o)
}

fn put_kind(o: &mut Object, kind: &EventKind, job: &Job) {
    match kind {
        EventKind::Queued {
            queued_at,
            value_proposition_id,
            schedule,
        } => {
            put(o, "queued_at", time::format(*queued_at));
            put(
                o,
                "value_proposition_id",
                value_proposition_id
                    .as_ref()
                    .map(conch_domain::ValuePropositionId::as_str),
            );
            fields::put_schedule(o, *schedule);
        }
        EventKind::Started { started_at } => put(o, "started_at", time::format(*started_at)),
        EventKind::Progress {
            progress,
            completed_templates,
            total_templates,
            message,
        } => {
            put(o, "progress", *progress);
            put(o, "completed_templates", *completed_templates);
            put(o, "total_templates", *total_templates);
            if let Some(message) = message {
                put(o, "message", message.as_str());
            }
        }
        EventKind::TemplateCompleted {
            template_id,
            template_index,
            total_templates,
            name,
            category,
            target_audience,
        } => {
            put(o, "template_id", template_id.as_str());
            put(o, "template_index", *template_index);
            put(o, "total_templates", *total_templates);
            put(o, "name", name.as_str());
            put(o, "category", category.as_str());
            put(o, "target_audience", target_audience.as_str());
        }
        EventKind::TemplateFailed {
            template_index,
            total_templates,
            error_message,
        } => {
            put(o, "template_index", *template_index);
            put(o, "total_templates", *total_templates);
            put(o, "error_message", error_message.as_str());
        }
        EventKind::Retrying {
            max_attempts,
            retry_at,
            reason,
            error_message,
        } => {
            put(o, "max_attempts", *max_attempts);
            put(o, "retry_at", time::format(*retry_at));
            put(o, "reason", reason.as_str());
            if let Some(message) = error_message {
                put(o, "error_message", message.as_str());
            }
        }
        EventKind::CancelRequested { reason } => {
            if let Some(reason) = reason {
                put(o, "reason", reason.as_str());
            }
        }
        EventKind::Completed { .. } | EventKind::Failed { .. } | EventKind::Cancelled { .. } => {
            put_end(o, kind, job);
        }
        EventKind::Other { .. } => {}
    }
}

/// What an end has to say; other kinds have nothing here.
fn put_end(o: &mut Object, kind: &EventKind, job: &Job) {
    match kind {
        EventKind::Completed {
            template_ids,
            template_count,
            completed_at,
            failed_templates,
            error_message,
            ..
        } => {
            put(o, "template_ids", ids(template_ids));
            put(o, "template_count", *template_count);
            put(o, "generation_duration_ms", job.generation_duration_ms);
            put(o, "completed_at", time::format(*completed_at));
            if !failed_templates.is_empty() {
                put(o, "failed_templates", &failed_templates[..]);
            }
            if let Some(message) = error_message {
                put(o, "error_message", message.as_str());
            }
        }
        EventKind::Failed {
            error_message,
            completed_at,
            ..
        } => {
            put(o, "error_message", error_message.as_str());
            put(o, "generation_duration_ms", job.generation_duration_ms);
            put(o, "completed_at", time::format(*completed_at));
        }
        EventKind::Cancelled {
            template_ids,
            completed_at,
        } => {
            put(o, "template_ids", ids(template_ids));
            put(o, "completed_at", time::format(*completed_at));
        }
        _ => {}
    }
}

fn ids(template_ids: &[TemplateId]) -> Value {
    template_ids.iter().map(TemplateId::as_str).collect()
}
