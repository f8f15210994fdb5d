//! What the attempts at a job have come to, template by template: which one is being made, which ones
//! took their workers with them, which ones failed and why. A part of the fold of a job's log.
//!
//! Never in here: how many attempts there may be; who runs the job decides that.

use std::collections::BTreeMap;

/// Places in a plan that are remembered, of any publisher's job: ours have seven.
pub const MAX_PLACES: usize = 64;
/// Characters of a failed template's reason that are kept in the fold; its event has more.
const MAX_REASON_CHARS: usize = 300;

/// The attempts at a job, as its events tell of them. Places are those of the plan, from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    /// The template that the running attempt makes.
    pub making: Option<u32>,
    /// How many attempts ended in silence while a template was being made, by its place; at 0 those that
    /// ended without any, in silence or with an error. A template that is made has none.
    pub lost: BTreeMap<u32, u32>,
    /// The templates that failed, with the reason.
    pub failed: BTreeMap<u32, String>,
    /// Claims in a row that ended in silence before their attempt began.
    pub idle_claims: u32,
}

impl Attempts {
    /// How many attempts the template at that place has cost; 0: the job as a whole.
    pub fn lost_at(&self, place: u32) -> u32 {
        self.lost.get(&place).copied().unwrap_or(0)
    }

    /// In words, which of `total` templates are missing and why; none when none is known to be.
    pub fn missing(&self, total: u32) -> Option<String> {
        let reasons: Vec<_> = self
            .failed
            .iter()
            .map(|(place, reason)| match reason.as_str() {
                "" => place.to_string(),
                reason => format!("{place} ({reason})"),
            })
            .collect();
        let (count, are) = match reasons.len() {
            0 => return None,
            1 => (1, "is"),
            more => (more, "are"),
        };
        Some(format!(
            "{count} of {total} templates {are} missing: {}",
            reasons.join(", ")
        ))
    }

    pub(crate) fn begin(&mut self, making: Option<u32>) {
        self.making = making.filter(|place| *place > 0);
        self.idle_claims = 0;
    }

    /// An attempt ended in silence or with an error, and counts.
    pub(crate) fn lose(&mut self) {
        let place = self.making.take().unwrap_or(0);
        if self.lost.len() < MAX_PLACES || self.lost.contains_key(&place) {
            let lost = self.lost.entry(place).or_default();
            *lost = lost.saturating_add(1);
        }
    }

    pub(crate) fn made(&mut self, place: u32) {
        self.lost.remove(&place);
        self.failed.remove(&place);
    }

    pub(crate) fn fail(&mut self, place: u32, reason: &str) {
        if place > 0 && (self.failed.len() < MAX_PLACES || self.failed.contains_key(&place)) {
            let reason = match reason.char_indices().nth(MAX_REASON_CHARS) {
                Some((end, _)) => format!("{}…", &reason[..end]),
                None => reason.to_owned(),
            };
            self.failed.insert(place, reason);
        }
    }

    /// The job has ended: what is missing is kept, and nothing else. `listed` are the places that its
    /// last event names; none: those that failed.
    pub(crate) fn end(&mut self, listed: &[u32]) {
        let before = std::mem::take(self);
        if listed.is_empty() {
            self.failed = before.failed;
        } else {
            for place in listed {
                let reason = before.failed.get(place).map_or("", String::as_str);
                self.fail(*place, reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_any_publisher_says_is_bounded() {
        let mut attempts = Attempts::default();
        for place in 0..1000 {
            attempts.fail(place, &"é".repeat(5000));
            attempts.making = Some(place);
            attempts.lose();
        }
        assert_eq!(attempts.failed.len(), MAX_PLACES);
        assert_eq!(attempts.lost.len(), MAX_PLACES);
        assert_eq!(attempts.failed[&1].chars().count(), MAX_REASON_CHARS + 1);
        attempts.end(&(1..1000).collect::<Vec<_>>());
        assert_eq!(attempts.failed.len(), MAX_PLACES);
    }

    #[test]
    fn what_is_missing_is_said_in_words() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.missing(7), None);
        attempts.fail(3, "no idea");
        let one = attempts.missing(7);
        assert_eq!(
            one.as_deref(),
            Some("1 of 7 templates is missing: 3 (no idea)")
        );
        attempts.fail(5, "");
        let two = attempts.missing(7);
        assert_eq!(
            two.as_deref(),
            Some("2 of 7 templates are missing: 3 (no idea), 5")
        );
    }
}
