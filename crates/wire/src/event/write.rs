//! Our own events as lines: which fields each kind has, and in which order.
//!
//! Never in here: an external event's line, which keeps what its publisher wrote.

use bytes::Bytes;
use conch_domain::{ClientId, Event, EventKind, Job, ValuePropositionId};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::fields::{self, Ids, Text};
use crate::time::written;
use crate::to_bytes;

/// The version that our own events carry.
const SCHEMA_VERSION: u32 = 1;

/// Writes an event of ours as one line. `job` is the fold after it: its position and status are the
/// event's.
pub fn encode(event: &Event, job: &Job) -> Bytes {
    to_bytes(&Line { event, job })
}

struct Line<'a> {
    event: &'a Event,
    job: &'a Job,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (event, job) = (self.event, self.job);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event_type", event.kind.event_type())?;
        map.serialize_entry("timestamp", &written(event.timestamp))?;
        map.serialize_entry("job_id", event.job_id.as_str())?;
        let client_id = event.client_id.as_ref().map(ClientId::as_str);
        map.serialize_entry("client_id", &client_id)?;
        map.serialize_entry("status", job.status.as_str())?;
        put_kind(&mut map, &event.kind, job)?;
        map.serialize_entry("sequence", &job.position.sequence)?;
        map.serialize_entry("epoch", &Text(job.position.epoch))?;
        if let Some(attempt) = event.attempt {
            map.serialize_entry("attempt", &attempt)?;
        }
        if let Some(place) = event.making {
            map.serialize_entry("making", &place)?;
        }
        map.serialize_entry("event_id", event.event_id.as_str())?;
        map.serialize_entry("schema_version", &SCHEMA_VERSION)?;
        if event.derived {
            map.serialize_entry("derived", &true)?;
        }
        map.end()
    }
}

fn put_kind<M: SerializeMap>(map: &mut M, kind: &EventKind, job: &Job) -> Result<(), M::Error> {
    match kind {
        EventKind::Queued {
            queued_at,
            value_proposition_id,
            schedule,
        } => {
            map.serialize_entry("queued_at", &written(*queued_at))?;
            let id = value_proposition_id.as_ref();
            map.serialize_entry("value_proposition_id", &id.map(ValuePropositionId::as_str))?;
            fields::put_schedule(map, *schedule)?;
        }
        EventKind::Started { started_at } => {
            map.serialize_entry("started_at", &written(*started_at))?;
        }
        EventKind::Progress {
            progress,
            completed_templates,
            total_templates,
            message,
        } => {
            map.serialize_entry("progress", progress)?;
            map.serialize_entry("completed_templates", completed_templates)?;
            map.serialize_entry("total_templates", total_templates)?;
            if let Some(message) = message {
                map.serialize_entry("message", message.as_str())?;
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
            map.serialize_entry("template_id", template_id.as_str())?;
            map.serialize_entry("template_index", template_index)?;
            map.serialize_entry("total_templates", total_templates)?;
            map.serialize_entry("name", name.as_str())?;
            map.serialize_entry("category", category.as_str())?;
            map.serialize_entry("target_audience", target_audience.as_str())?;
        }
        EventKind::TemplateFailed {
            template_index,
            total_templates,
            error_message,
        } => {
            map.serialize_entry("template_index", template_index)?;
            map.serialize_entry("total_templates", total_templates)?;
            map.serialize_entry("error_message", error_message.as_str())?;
        }
        EventKind::Retrying {
            max_attempts,
            retry_at,
            reason,
            error_message,
        } => {
            map.serialize_entry("max_attempts", max_attempts)?;
            map.serialize_entry("retry_at", &written(*retry_at))?;
            map.serialize_entry("reason", reason.as_str())?;
            if let Some(message) = error_message {
                map.serialize_entry("error_message", message.as_str())?;
            }
        }
        EventKind::CancelRequested { reason } => {
            if let Some(reason) = reason {
                map.serialize_entry("reason", reason.as_str())?;
            }
        }
        EventKind::Completed { .. } | EventKind::Failed { .. } | EventKind::Cancelled { .. } => {
            put_end(map, kind, job)?;
        }
        EventKind::Other { .. } => {}
    }
    Ok(())
}

/// What an end has to say; other kinds have nothing here.
fn put_end<M: SerializeMap>(map: &mut M, kind: &EventKind, job: &Job) -> Result<(), M::Error> {
    match kind {
        EventKind::Completed {
            template_ids,
            template_count,
            completed_at,
            failed_templates,
            error_message,
            ..
        } => {
            map.serialize_entry("template_ids", &Ids(template_ids))?;
            map.serialize_entry("template_count", template_count)?;
            map.serialize_entry("generation_duration_ms", &job.generation_duration_ms)?;
            map.serialize_entry("completed_at", &written(*completed_at))?;
            if !failed_templates.is_empty() {
                map.serialize_entry("failed_templates", failed_templates)?;
            }
            if let Some(message) = error_message {
                map.serialize_entry("error_message", message.as_str())?;
            }
        }
        EventKind::Failed {
            error_message,
            completed_at,
            ..
        } => {
            map.serialize_entry("error_message", error_message.as_str())?;
            map.serialize_entry("generation_duration_ms", &job.generation_duration_ms)?;
            map.serialize_entry("completed_at", &written(*completed_at))?;
        }
        EventKind::Cancelled {
            template_ids,
            completed_at,
        } => {
            map.serialize_entry("template_ids", &Ids(template_ids))?;
            map.serialize_entry("completed_at", &written(*completed_at))?;
        }
        _ => {}
    }
    Ok(())
}
