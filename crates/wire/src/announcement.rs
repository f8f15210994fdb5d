//! The short form of an announcement: where an event stands, without what it says. For a bus that can't
//! carry the event itself.
//!
//! Never in here: an external event. A short form always has a number, so a reader of events
//! ([`decode`](crate::event::decode)) takes it for a hint.

use bytes::Bytes;
use conch_domain::{JobId, Position};
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
