//! Lines of `text/event-stream` (HTML Living Standard §9.2), in the shapes of contract §6.
//!
//! Ids are tokens and data is one line of JSON, and whatever else is given as data, the frame is one event.
//!
//! A blank line stands at the end of an event and nowhere else: several client libraries dispatch an empty
//! message for a block without `data:`.

use bytes::{BufMut, Bytes, BytesMut};
use conch_domain::JobStatus;

use crate::line_breaks;

/// The heartbeat: one comment line with no blank line after it, because a blank line makes some
/// clients emit an empty event.
pub const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n");

/// An event: [`id`] and [`data`] in one piece.
pub fn event(id: &str, line: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(id.len() + line.len() + 14);
    put_id(&mut frame, id);
    put_data(&mut frame, line);
    frame.freeze()
}

/// The first line of an event.
pub fn id(id: &str) -> Bytes {
    let mut frame = BytesMut::with_capacity(id.len() + 5);
    put_id(&mut frame, id);
    frame.freeze()
}

/// What follows the id of an event. There is no `event:` line, so that a browser's `onmessage` fires for it.
/// A CR or LF becomes a blank: in JSON it stands between two tokens and means the same, and here it would
/// end the line. Other characters that line readers split at are escaped; only lines of logs of earlier
/// versions have any.
pub fn data(line: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(line.len() + 8);
    put_data(&mut frame, line);
    frame.freeze()
}

/// What [`data`] makes of the line that [`event`] made this of; shares its bytes.
pub fn data_of(event: &Bytes) -> Bytes {
    let id_end = event.iter().position(|byte| *byte == b'\n');
    event.slice(id_end.map_or(0, |at| at + 1)..)
}

fn put_id(frame: &mut BytesMut, id: &str) {
    frame.put_slice(b"id: ");
    frame.put_slice(id.as_bytes());
    frame.put_slice(b"\n");
}

fn put_data(frame: &mut BytesMut, line: &[u8]) {
    let line = line_breaks::escaped(line);
    let line = &*line;
    frame.put_slice(b"data: ");
    let from = frame.len();
    frame.put_slice(line);
    for byte in &mut frame[from..] {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    frame.put_slice(b"\n\n");
}

/// The last event of a stream whose watcher's credentials have run out. It has a name, so that it is no
/// job event to a browser's `onmessage`, and no id, so that it moves no cursor. Its `status` is there,
/// and is none, for readers that look at that field of each data line.
pub const AUTH_EXPIRED: Bytes = Bytes::from_static(
    b"event: auth_expired\ndata: {\"event_type\":\"auth_expired\",\"status\":null,\"code\":\"expired-token\",\
      \"detail\":\"the credentials of this stream have run out: connect again with fresh ones\"}\n\n",
);

/// The comment before a stream of a job that has ended is closed.
pub fn closing(status: JobStatus) -> Bytes {
    Bytes::from(format!(": Connection closing - job {}\n", status.as_str()))
}

/// How long a client waits before it reconnects, in milliseconds: the first line of the next event's
/// block, or of a comment. Never a block of its own.
pub fn retry(millis: u64) -> Bytes {
    Bytes::from(format!("retry: {millis}\n"))
}

/// The last lines of a stream that ends before its jobs do: when to come back, and a comment, so that the
/// `retry:` line is complete for clients that read line by line.
pub fn come_back(millis: u64) -> Bytes {
    Bytes::from(format!("retry: {millis}\n: reconnect later\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_id_and_its_data() {
        let lines: [&[u8]; 3] = [br#"{"text":"id: 1 data: 2"}"#, b"", b"{\n}"];
        for line in lines {
            let whole = event("0000abcd-1", line);
            assert_eq!([id("0000abcd-1"), data(line)].concat(), whole);
            let rest = data_of(&whole);
            assert_eq!(rest, data(line));
            assert!(whole.as_ptr_range().contains(&rest.as_ptr()), "a copy");
        }
    }

    /// Lines of logs of earlier versions hold what other line readers split at.
    #[test]
    fn an_old_line_stays_one_line_for_every_reader() {
        let old = "{\"name\":\"a\u{b}b\u{85}c\u{2028}d\"}";
        let frame = data(old.as_bytes());
        let expected: &[u8] = br#"data: {"name":"a\u000bb\u0085c\u2028d"}"#;
        assert_eq!(frame.strip_suffix(b"\n\n"), Some(expected));
    }

    #[test]
    fn what_is_no_event_has_no_block_of_its_own() {
        for other in [
            KEEP_ALIVE,
            retry(2000),
            come_back(2000),
            closing(JobStatus::Failed),
            id("x"),
        ] {
            assert!(!other.ends_with(b"\n\n"), "a block without data: {other:?}");
        }
    }
}
