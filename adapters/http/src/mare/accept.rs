//! Content negotiation for streams: they are `text/event-stream` or nothing.

use http::{HeaderMap, header};

use crate::problem::{Code, Problem};

/// Refuses a request whose `Accept` leaves no room for an event stream. None at all takes anything.
pub(super) fn event_stream(headers: &HeaderMap) -> Result<(), Problem> {
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    if ranges.peek().is_none() {
        return Ok(());
    }
    // The most specific range that covers the type decides.
    let best = ranges
        .filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let specificity = specificity(parts.next().unwrap_or_default())?;
            let refused = parts.any(is_zero_quality);
            Some((specificity, !refused))
        })
        .max();
    if best.is_some_and(|(_, wanted)| wanted) {
        return Ok(());
    }
    Err(Problem::new(
        Code::NotAcceptable,
        "this is an event stream: accept `text/event-stream`",
    ))
}

/// How closely a media range names `text/event-stream`; none when it doesn't cover it.
fn specificity(range: &str) -> Option<u8> {
    match range.to_ascii_lowercase().as_str() {
        "text/event-stream" => Some(2),
        "text/*" => Some(1),
        "*/*" | "*" => Some(0),
        _ => None,
    }
}

/// `q=0`, `q=0.0` …
fn is_zero_quality(parameter: &str) -> bool {
    parameter
        .split_once('=')
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .and_then(|(_, quality)| quality.trim().parse::<f32>().ok())
        .is_some_and(|quality| quality <= 0.0)
}
