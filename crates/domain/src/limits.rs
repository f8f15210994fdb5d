//! Limits on what is appended: how many events a job may have, and how long the texts in one of ours may
//! be. They apply when an event is appended. Events that are already in a log are folded whatever their
//! size, so processes with different settings derive the same state from the same log.

use crate::{EventKind, MAX_PLACES, MAX_TEMPLATE_IDS};

/// Most characters of a text in an event of ours; a longer one is cut and ends with `…`.
pub const MAX_TEXT_CHARS: usize = 2000;

/// How many events a job accepts. Lifecycle events are always accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCap(u64);

impl EventCap {
    /// No limit: for callers that append only lifecycle events.
    pub const NONE: Self = Self(u64::MAX);

    /// After `most` events, progress and unknown types are refused; after twice as many, events about
    /// single templates too.
    pub fn new(most: u64) -> Self {
        Self(most)
    }

    /// The number of events from which this kind is refused; none if it is always accepted.
    pub fn of(self, kind: &EventKind) -> Option<u64> {
        match kind {
            vital if vital.is_vital() => None,
            EventKind::TemplateCompleted { .. } | EventKind::TemplateFailed { .. } => {
                Some(self.0.saturating_mul(2))
            }
            _ => Some(self.0),
        }
    }
}

impl Default for EventCap {
    fn default() -> Self {
        Self(1000)
    }
}

impl EventKind {
    /// The same event with no text longer than [`MAX_TEXT_CHARS`] and no more ids than a job lists: every
    /// reader can handle it, whatever a generator or another Triton sent.
    #[must_use]
    pub fn clipped(mut self) -> Self {
        match &mut self {
            Self::Progress { message, .. } => clip_some(message),
            Self::TemplateCompleted {
                name,
                category,
                target_audience,
                ..
            } => {
                clip(name);
                clip(category);
                clip(target_audience);
            }
            Self::TemplateFailed { error_message, .. } | Self::Failed { error_message, .. } => {
                clip(error_message);
            }
            Self::Retrying { error_message, .. } => clip_some(error_message),
            Self::CancelRequested { reason } => clip_some(reason),
            // A completed job has the total number beside the list.
            Self::Completed {
                template_ids,
                failed_templates,
                error_message,
                ..
            } => {
                template_ids.truncate(MAX_TEMPLATE_IDS);
                failed_templates.truncate(MAX_PLACES);
                clip_some(error_message);
            }
            Self::Cancelled { template_ids, .. } => template_ids.truncate(MAX_TEMPLATE_IDS),
            Self::Queued { .. } | Self::Started { .. } | Self::Other { .. } => {}
        }
        self
    }
}

pub(crate) fn clip_some(text: &mut Option<String>) {
    if let Some(text) = text {
        clip(text);
    }
}

/// Cuts a text that is longer than [`MAX_TEXT_CHARS`], between two characters, and ends it with `…`.
pub fn clip(text: &mut String) {
    // Bytes first: a text with no more bytes than the allowed characters needs no counting.
    if text.len() <= MAX_TEXT_CHARS || text.chars().nth(MAX_TEXT_CHARS).is_none() {
        return;
    }
    let end = text.char_indices().nth(MAX_TEXT_CHARS - 1);
    text.truncate(end.map_or(0, |(at, _)| at));
    text.push('…');
    text.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_two_characters_and_says_so() {
        let check = |text: String, expected: String| {
            let mut cut = text.clone();
            clip(&mut cut);
            assert!(cut == expected, "{} bytes gave {}", text.len(), cut.len());
        };
        let m = MAX_TEXT_CHARS;
        check(String::new(), String::new());
        check("x".repeat(m), "x".repeat(m));
        check("é".repeat(m), "é".repeat(m));
        check("x".repeat(m + 1), "x".repeat(m - 1) + "…");
        check("\u{1f41a}".repeat(1 << 18), "\u{1f41a}".repeat(m - 1) + "…");
        check(
            "x".repeat(m - 1) + "é" + &"y".repeat(m),
            "x".repeat(m - 1) + "…",
        );
    }
}
