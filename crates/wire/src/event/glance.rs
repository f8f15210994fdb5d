//! What can be told of a line without reading all of it: for a fan-out that passes lines on as they are.
//!
//! Never in here: an error. What can't be read is an event of an unknown type.

use std::borrow::Cow;

use conch_domain::Timestamp;

use super::read::kind;
use crate::fields::Object;

/// Whether these bytes can be a line of a log: one JSON object, on one line.
pub fn is_line(bytes: &[u8]) -> bool {
    let on_one_line = !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
    let text = str::from_utf8(bytes).ok().filter(|_| on_one_line);
    text.is_some_and(|text| {
        text.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    })
}

/// As much of an event as a fan-out needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Whether a later event of its type makes it worthless to a watcher that lags.
    pub superseded_by_later: bool,
    /// Whether its job's life depends on it.
    pub vital: bool,
}

/// Looks at a line that came out of a log. What can't be read is an event of an unknown type.
pub fn glance(line: &[u8]) -> Glance {
    let event_type = event_type(line).unwrap_or_default();
    let kind = kind(&event_type, &Object::new(), Timestamp::from_micros(0));
    Glance {
        superseded_by_later: kind.is_superseded_by_later(),
        vital: kind.is_vital(),
    }
}

/// Whether an event that begins with its type, as ours do, is of none of these. False where more of it would have to
/// be read to know.
pub fn is_none_of(line: &[u8], types: &[&str]) -> bool {
    let Some(rest) = line.strip_prefix(br#"{"event_type":""#) else {
        return false;
    };
    let Some(end) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
        return false;
    };
    rest[end] == b'"' && !types.iter().any(|name| name.as_bytes() == &rest[..end])
}

/// The type of an event, if it says one.
pub(crate) fn event_type(line: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        event_type: Cow<'a, str>,
    }
    let head = serde_json::from_slice::<Head<'_>>(line).ok()?;
    Some(head.event_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_another_type_is_known_at_once() {
        let is_none = |line: &str| is_none_of(line.as_bytes(), &["job:queued", "job:retrying"]);
        assert!(is_none(r#"{"event_type":"job:progress","job_id":"j"}"#));
        assert!(is_none(r#"{"event_type":"job:queue","job_id":"j"}"#));
        assert!(is_none(r#"{"event_type":"","job_id":"j"}"#));
        for may_be_one in [
            r#"{"event_type":"job:queued","job_id":"j"}"#,
            r#"{"event_type":"job:retrying"}"#,
            r#"{"job_id":"j","event_type":"job:progress"}"#,
            r#"{"event_type": "job:progress"}"#,
            r#"{"event_type":"job\u003aqueued"}"#,
            r#"{"event_type":"job:progress"#,
            "",
        ] {
            assert!(!is_none(may_be_one), "{may_be_one}");
        }
    }
}
