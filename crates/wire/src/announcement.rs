//! The short form of an announcement: where an event stands, without what it says. For a bus that can't
//! carry the event itself.
//!
//! Never in here: an external event. A short form always has a number, so a reader of events
//! ([`decode`](crate::event::decode)) takes it for a hint.

use std::borrow::Cow;

use bytes::Bytes;
use conch_domain::{JobId, Position};
use serde::Deserialize;
use serde_json::json;

use crate::event::event_type;
use crate::to_bytes;

/// Shortens an event of ours to `{"event_type":…,"job_id":…,"sequence":…,"epoch":…}`, on one line: at most
/// about 350 bytes. What has no type of its own gets the type `job:event`.
pub fn shorten(line: &[u8], job_id: &JobId, position: Position) -> Bytes {
    let event_type = event_type(line);
    to_bytes(&json!({
        "event_type": event_type.as_deref().unwrap_or("job:event"),
        "job_id": job_id.as_str(),
        "sequence": position.sequence,
        "epoch": position.epoch.to_string(),
    }))
}

/// What every announcement of an event that is in a log says of it, whatever form it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered<'a> {
    /// Whose log.
    pub job_id: Cow<'a, str>,
    /// Where in the log.
    pub position: Position,
    /// Whether it ends its job.
    pub ends: bool,
}

impl<'a> Numbered<'a> {
    /// Looks at a message without reading all of it; none where [`decode`](crate::event::decode) has to say
    /// what it is.
    pub fn glance(message: &'a [u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow)]
            event_type: Cow<'a, str>,
            #[serde(borrow)]
            job_id: Cow<'a, str>,
            sequence: u64,
            #[serde(borrow)]
            epoch: Cow<'a, str>,
        }
        let fields: Fields<'_> = serde_json::from_slice(message).ok()?;
        let event_type = fields.event_type.as_ref();
        (1..=128).contains(&event_type.len()).then_some(())?;
        Some(Self {
            position: Position {
                epoch: fields.epoch.parse().ok()?,
                sequence: fields.sequence,
            },
            ends: ENDS.contains(&event_type),
            job_id: fields.job_id,
        })
    }
}

/// The types of events that end a job.
pub(crate) const ENDS: [&str; 3] = ["job:completed", "job:failed", "job:cancelled"];

#[cfg(test)]
mod tests {
    use conch_domain::{EventKind, Timestamp};

    use super::*;
    use crate::event::decode;

    #[test]
    fn a_reader_of_events_takes_it_for_a_hint() {
        let position = Position {
            epoch: "5f3a9c1e".parse().expect("an epoch"),
            sequence: 10,
        };
        let job_id = JobId::parse("j-1").expect("a job id");
        let shortened = |line: &[u8]| {
            let short = shorten(line, &job_id, position);
            let incoming = decode(&short, Timestamp::from_micros(0)).expect("readable");
            assert!(incoming.is_numbered());
            assert_eq!(
                (incoming.sequence, incoming.epoch),
                (Some(10), Some(position.epoch))
            );
            assert_eq!(incoming.event.job_id, job_id);
            let numbered = Numbered::glance(&short).expect("it says where it is");
            assert_eq!((&*numbered.job_id, numbered.position), ("j-1", position));
            assert_eq!(numbered.ends, incoming.event.kind.is_terminal());
            (short, incoming.event.kind)
        };
        let line = br#"{"data":"long","event_type":"job:cancel_requested","event_type2":1}"#;
        let (short, kind) = shortened(line);
        assert_eq!(
            short,
            r#"{"event_type":"job:cancel_requested","job_id":"j-1","sequence":10,"epoch":"5f3a9c1e"}"#
        );
        assert!(
            matches!(kind, EventKind::CancelRequested { .. }),
            "a worker acts on the type alone"
        );
        let (_, kind) = shortened(br#"{"event_type":"job:completed"}"#);
        assert!(kind.is_terminal(), "an API caches the result then");
        for line in ["", "no JSON", r#"{"event_type":7}"#] {
            let (_, kind) = shortened(line.as_bytes());
            assert_eq!(kind.event_type(), "job:event");
        }
    }
}
