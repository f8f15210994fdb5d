//! Lines of `text/event-stream` (HTML Living Standard §9.2), in the shapes of contract §6.
//!
//! What goes in must have no CR or LF: ids are tokens, data is one line of JSON.

use bytes::{BufMut, Bytes, BytesMut};
use conch_domain::JobStatus;

/// The heartbeat: one comment line with no blank line after it, because a blank line makes some
/// clients emit an empty event.
pub const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n");

/// An event without an `event:` line, so that a browser's `onmessage` fires for it.
pub fn event(id: &str, line: &[u8]) -> Bytes {
    debug_assert!(!line.iter().any(|b| matches!(b, b'\r' | b'\n')));
    let mut frame = BytesMut::with_capacity(id.len() + line.len() + 14);
    frame.put_slice(b"id: ");
    frame.put_slice(id.as_bytes());
    frame.put_slice(b"\ndata: ");
    frame.put_slice(line);
    frame.put_slice(b"\n\n");
    frame.freeze()
}

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

/// How long a client waits before it reconnects, in milliseconds.
pub fn retry(millis: u64) -> Bytes {
    Bytes::from(format!("retry: {millis}\n\n"))
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
        for other in [KEEP_ALIVE, retry(2000), closing(JobStatus::Failed)] {
            assert_eq!(data(&other), None, "{other:?}");
        }
    }
}
