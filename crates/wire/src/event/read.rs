//! Events of any publisher as they come from a channel or a log, and the lines under which external ones
//! are kept.
//!
//! Never in here: trust in what an event says of its place or its status.

use bytes::Bytes;
use conch_domain::{
    ClientId, Epoch, Event, EventId, EventKind, Job, JobId, RetryReason, Timestamp,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::put;
use crate::fields::{self, Object};
use crate::{Invalid, time, to_bytes};

/// Largest event that is read at all, in bytes: no honest one comes near.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// The types of the contract: what such an event says of its job's status follows from its type. (One
/// of them that lacks what makes it that, as a template without an id, changes nothing and has the
/// job's present status.)
const DECIDES_STATUS: [&str; 13] = [
    "job:queued",
    "job:started",
    "job:progress",
    "job:template_completed",
    "job:template_failed",
    "job:template_preview",
    "job:retrying",
    "job:cancel_requested",
    "job:completed",
    "job:failed",
    "job:cancelled",
    "job:snapshot",
    "job:queue_position",
];

/// An event as it came from a channel or a log.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// What it says. Its `event_id` is its own where it stands in a log. That of an event without a
    /// number is the digest of its bytes, whatever it claims: under a chosen id it could pass for an
    /// event that is still to come, which would then be taken for a duplicate.
    pub event: Event,
    /// Its number, if its publisher knows of numbers.
    pub sequence: Option<u64>,
    /// Its log's incarnation, likewise.
    pub epoch: Option<Epoch>,
    fields: Object,
}

impl Incoming {
    /// Whether its publisher knows of logs: then it is an announcement of what a log should hold.
    pub fn is_numbered(&self) -> bool {
        self.sequence.is_some() && self.epoch.is_some()
    }

    /// The line under which an external event is kept and streamed: every field as it came, and those
    /// that it lacks. `job` is the fold after it. A number of its publisher's own is replaced, and so is
    /// the status of a known type: clients close at what `status` says, and the type decides that.
    pub fn adopt(&self, job: &Job) -> Bytes {
        let mut o = self.fields.clone();
        if o.get("timestamp").is_none_or(Value::is_null) {
            put(&mut o, "timestamp", time::format(self.event.timestamp));
        }
        if o.get("status").is_none_or(Value::is_null)
            || DECIDES_STATUS.contains(&self.event.kind.event_type())
        {
            put(&mut o, "status", job.status.as_str());
        }
        if self.event.kind.is_terminal() {
            for (name, value) in [
                ("generation_duration_ms", json!(job.generation_duration_ms)),
                ("completed_at", json!(job.completed_at.map(time::format))),
            ] {
                if o.get(name).is_none_or(Value::is_null) {
                    o.insert(name.to_owned(), value);
                }
            }
        }
        put(&mut o, "sequence", job.position.sequence);
        put(&mut o, "epoch", job.position.epoch.to_string());
        to_bytes(&o)
    }
}

/// Reads an event of any publisher. `received_at` stands in for a timestamp that is missing or is
/// none.
///
/// # Errors
/// When the bytes are too many, no JSON object, or lack a usable `event_type` or `job_id`.
pub fn decode(bytes: &[u8], received_at: Timestamp) -> Result<Incoming, Invalid> {
    if bytes.len() > MAX_EVENT_BYTES {
        return Err(Invalid::new(format!(
            "{} bytes are more than an event may have ({MAX_EVENT_BYTES})",
            bytes.len()
        )));
    }
    let fields: Object = serde_json::from_slice(bytes)
        .map_err(|e| Invalid::new(format!("not a JSON object: {e}")))?;
    let event_type = fields::text(&fields, "event_type")
        .filter(|t| (1..=128).contains(&t.len()))
        .ok_or_else(|| Invalid::new("no usable event_type"))?;
    let job_id = fields::text(&fields, "job_id")
        .ok_or_else(|| Invalid::new("no job_id"))
        .and_then(|id| JobId::parse(id).map_err(|e| Invalid::new(e.to_string())))?;
    let timestamp = fields::moment(&fields, "timestamp").unwrap_or(received_at);
    let sequence = fields::number(&fields, "sequence");
    let epoch: Option<Epoch> = fields::text(&fields, "epoch").and_then(|e| e.parse().ok());
    let event_id = fields::text(&fields, "event_id")
        .filter(|_| sequence.is_some() && epoch.is_some())
        .and_then(|id| EventId::parse(id).ok())
        .unwrap_or_else(|| digest(bytes));
    let event = Event {
        client_id: fields::text(&fields, "client_id").and_then(|id| ClientId::parse(id).ok()),
        timestamp,
        attempt: fields::small(&fields, "attempt"),
        making: fields::small(&fields, "making"),
        event_id,
        derived: fields.get("derived") == Some(&Value::Bool(true)),
        kind: kind(event_type, &fields, timestamp),
        job_id,
    };
    Ok(Incoming {
        event,
        sequence,
        epoch,
        fields,
    })
}

fn digest(bytes: &[u8]) -> EventId {
    let hex = Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |hex, byte| {
            hex + &format!("{byte:02x}")
        });
    EventId::parse(&hex).expect("64 hexadecimal digits are an id")
}

/// What an event of that type with those fields says.
pub(super) fn kind(event_type: &str, o: &Object, timestamp: Timestamp) -> EventKind {
    let string = |name: &str| fields::text(o, name).map(str::to_owned);
    let moment = |name: &str| fields::moment(o, name).unwrap_or(timestamp);
    let error = || string("error_message").or_else(|| string("error"));
    let total = fields::small(o, "total_templates").unwrap_or(0);

    match event_type {
        "job:queued" => EventKind::Queued {
            queued_at: moment("queued_at"),
            value_proposition_id: fields::text(o, "value_proposition_id")
                .and_then(|id| id.parse().ok()),
            schedule: fields::schedule(o),
        },
        "job:started" => EventKind::Started {
            started_at: moment("started_at"),
        },
        "job:progress" => EventKind::Progress {
            progress: fields::number(o, "progress").unwrap_or(0).min(100) as u8,
            completed_templates: fields::small(o, "completed_templates").unwrap_or(0),
            total_templates: total,
            message: string("message"),
        },
        "job:template_completed" => {
            let Some(template_id) = fields::text(o, "template_id").and_then(|id| id.parse().ok())
            else {
                return EventKind::Other {
                    event_type: event_type.to_owned(),
                };
            };
            EventKind::TemplateCompleted {
                template_id,
                template_index: fields::small(o, "template_index").unwrap_or(0),
                total_templates: total,
                name: string("name").unwrap_or_default(),
                category: string("category").unwrap_or_default(),
                target_audience: string("target_audience").unwrap_or_default(),
            }
        }
        "job:template_failed" => EventKind::TemplateFailed {
            template_index: fields::small(o, "template_index").unwrap_or(0),
            total_templates: total,
            error_message: error().unwrap_or_default(),
        },
        "job:retrying" => EventKind::Retrying {
            max_attempts: fields::small(o, "max_attempts").unwrap_or(0),
            retry_at: moment("retry_at"),
            reason: match fields::text(o, "reason") {
                Some("lease_expired") => RetryReason::LeaseExpired,
                Some("shutdown") => RetryReason::Shutdown,
                _ => RetryReason::Error,
            },
            error_message: error(),
        },
        "job:cancel_requested" => EventKind::CancelRequested {
            reason: string("reason"),
        },
        "job:completed" => {
            let template_ids = fields::template_ids(o).unwrap_or_default();
            EventKind::Completed {
                template_count: fields::number(o, "template_count")
                    .unwrap_or(template_ids.len() as u64),
                template_ids,
                generation_duration_ms: fields::number(o, "generation_duration_ms"),
                completed_at: moment("completed_at"),
                failed_templates: fields::places(o, "failed_templates"),
                error_message: string("error_message"),
            }
        }
        "job:failed" => EventKind::Failed {
            error_message: error().unwrap_or_else(|| "no reason was given".to_owned()),
            generation_duration_ms: fields::number(o, "generation_duration_ms"),
            completed_at: moment("completed_at"),
        },
        "job:cancelled" => EventKind::Cancelled {
            template_ids: fields::template_ids(o).unwrap_or_default(),
            completed_at: moment("completed_at"),
        },
        other => EventKind::Other {
            event_type: other.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_764_579_349_123_456);

    /// What the events of one job say of its status once they are kept.
    fn kept(events: &[Value]) -> Vec<Value> {
        let id = JobId::parse("j").expect("an id");
        let mut job = Job::initial(id, Epoch::from_random([0; 4]), false);
        let adopt = |event: &Value| {
            let incoming = decode(event.to_string().as_bytes(), NOW).expect("an event");
            job.apply(job.position.next(), &incoming.event)
                .expect("legal");
            let kept: Value = serde_json::from_slice(&incoming.adopt(&job)).expect("an object");
            kept["status"].clone()
        };
        events.iter().map(adopt).collect()
    }

    #[test]
    fn the_type_decides_whatever_status_an_event_claims() {
        let event = |event_type: &str| {
            json!({"event_type": event_type, "job_id": "j", "status": "completed",
                "template_id": "t", "template_ids": ["t"]})
        };
        for (event_type, status) in [
            ("job:queued", "pending"),
            ("job:started", "running"),
            ("job:progress", "running"),
            ("job:template_completed", "running"),
            ("job:template_failed", "running"),
            ("job:template_preview", "pending"),
            ("job:retrying", "pending"),
            ("job:cancel_requested", "pending"),
            ("job:failed", "failed"),
            ("job:cancelled", "cancelled"),
            ("job:snapshot", "pending"),
            // What no contract knows says what it says.
            ("data:generated", "completed"),
        ] {
            assert_eq!(kept(&[event(event_type)]), [status], "{event_type}");
        }
        let no_template = json!({"event_type": "job:template_completed", "job_id": "j",
            "status": "completed"});
        let events = [
            event("job:started"),
            no_template,
            event("job:cancel_requested"),
        ];
        assert_eq!(kept(&events), ["running"; 3]);
        let mut end = event("job:completed");
        end["status"] = json!("running");
        assert_eq!(kept(&[end]), ["completed"]);
    }
}
