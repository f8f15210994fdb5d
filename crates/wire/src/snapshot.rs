//! `job:snapshot`: the whole job object as an event, where a watcher can't be given its history.

use bytes::Bytes;
use conch_domain::{Job, Position, Timestamp};
use serde_json::{Value, json};

use crate::{job, time, to_bytes};

/// Why a snapshot is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason<'a> {
    /// The stream begins here; nothing that the watcher had seen was lost.
    Beginning,
    /// What the watcher asked for can't be honoured: it asked for this cursor. If it is one of an epoch
    /// that the job went on from after its end, nothing was lost and the snapshot says `reopened`.
    Reset(&'a str),
    /// The record itself is gone; the watcher asked for this cursor.
    RecordLost(&'a str),
    /// The job has ended, and no log says so: only its result is known. The watcher asked for this
    /// cursor, if for any.
    NoLog(Option<&'a str>),
}

/// Writes the line. Its SSE id is the position of `job`.
pub fn encode(job: &Job, reason: Reason<'_>, now: Timestamp) -> Bytes {
    let (reset, requested, error_code) = match reason {
        Reason::Beginning => (false, None, None),
        Reason::Reset(cursor) => (true, Some(cursor), None),
        Reason::RecordLost(cursor) => (true, Some(cursor), Some("record-lost")),
        Reason::NoLog(cursor) => (cursor.is_some(), cursor, None),
    };
    let mut object = serde_json::Map::new();
    object.insert("event_type".to_owned(), json!("job:snapshot"));
    object.insert("timestamp".to_owned(), json!(time::format(now)));
    object.append(&mut job::object(job));
    object.insert("reset".to_owned(), Value::Bool(reset));
    if let Some(cursor) = requested {
        object.insert("requested".to_owned(), json!(cursor));
        if error_code.is_none() && is_reopened(job, cursor) {
            object.insert("reopened".to_owned(), Value::Bool(true));
        }
    }
    if let Some(code) = error_code {
        object.insert("error_code".to_owned(), json!(code));
    } else if !matches!(reason, Reason::NoLog(_)) {
        object.insert("sequence".to_owned(), json!(job.position.sequence));
        object.insert("epoch".to_owned(), json!(job.position.epoch.to_string()));
    }
    to_bytes(&object)
}

fn is_reopened(job: &Job, cursor: &str) -> bool {
    cursor
        .parse::<Position>()
        .is_ok_and(|position| job.has_gone_on_from(position.epoch))
}
