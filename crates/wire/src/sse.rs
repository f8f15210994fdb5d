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

/// An event without an `event:` line, so that a browser's `onmessage` fires for it. A CR or LF becomes a
/// blank: in JSON it stands between two tokens and means the same, and here it would end the line. Other
/// characters that line readers split at are escaped; only lines of logs of earlier versions have any.
pub fn event(id: &str, line: &[u8]) -> Bytes {
    let line = line_breaks::escaped(line);
    let line = &*line;
    let mut frame = BytesMut::with_capacity(id.len() + line.len() + 14);
    frame.put_slice(b"id: ");
    frame.put_slice(id.as_bytes());
    frame.put_slice(b"\ndata: ");
    let from = frame.len();
    frame.put_slice(line);
    for byte in &mut frame[from..] {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    frame.put_slice(b"\n\n");
    frame.freeze()
}

/// The last event of a stream whose watcher's credentials have run out. It has a name, so that it is no
/// job event to a browser's `onmessage`, and no id, so that it moves no cursor. Its `status` is there,
/// and is none, for readers that look at that field of each data line.
pub const AUTH_EXPIRED: Bytes = Bytes::from_static(
    b"event: auth_expired\ndata: {\"event_type\":\"auth_expired\",\"status\":null,\"code\":\"expired-token\",\
      \"detail\":\"the credentials of this stream have run out: connect again with fresh ones\"}\n\n",
);

/// The line of a frame that [`event`] made; shares its bytes.
pub fn data(frame: &Bytes) -> Option<Bytes> {
    const BEFORE: &[u8] = b"\ndata: ";
    let id_end = frame.iter().position(|byte| *byte == b'\n')?;
    let rest = frame.slice(id_end..);
    let is_event = rest.starts_with(BEFORE) && rest.ends_with(b"\n\n");
    is_event.then(|| rest.slice(BEFORE.len()..rest.len() - 2))
}

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
    fn the_line_of_an_event_is_what_went_in_and_other_frames_have_none() {
        let line = br#"{"text":"id: 1 data: 2"}"#;
        let frame = event("0000abcd-1", line);
        assert_eq!(data(&frame).as_deref(), Some(&line[..]));
        assert_eq!(data(&event("x", b"")).as_deref(), Some(&b""[..]));
        for other in [
            KEEP_ALIVE,
            retry(2000),
            come_back(2000),
            closing(JobStatus::Failed),
        ] {
            assert_eq!(data(&other), None, "{other:?}");
            assert!(!other.ends_with(b"\n\n"), "a block without data: {other:?}");
        }
    }
}
