//! `job:snapshot`: the whole job object as an event, where a watcher can't be given its history.

use bytes::Bytes;
use conch_domain::{Job, Position, Timestamp};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::fields::Text;
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
    to_bytes(&Body {
        job,
        now,
        reset,
        requested,
        error_code,
        is_positioned: !matches!(reason, Reason::NoLog(_)),
    })
}

struct Body<'a> {
    job: &'a Job,
    now: Timestamp,
    reset: bool,
    requested: Option<&'a str>,
    error_code: Option<&'static str>,
    is_positioned: bool,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let position = self.job.position;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event_type", "job:snapshot")?;
        map.serialize_entry("timestamp", &time::written(self.now))?;
        job::put_fields(&mut map, self.job)?;
        map.serialize_entry("reset", &self.reset)?;
        if let Some(cursor) = self.requested {
            map.serialize_entry("requested", cursor)?;
            if self.error_code.is_none() && is_reopened(self.job, cursor) {
                map.serialize_entry("reopened", &true)?;
            }
        }
        if let Some(code) = self.error_code {
            map.serialize_entry("error_code", code)?;
        } else if self.is_positioned {
            map.serialize_entry("sequence", &position.sequence)?;
            map.serialize_entry("epoch", &Text(position.epoch))?;
        }
        map.end()
    }
}

fn is_reopened(job: &Job, cursor: &str) -> bool {
    cursor
        .parse::<Position>()
        .is_ok_and(|position| job.has_gone_on_from(position.epoch))
}
