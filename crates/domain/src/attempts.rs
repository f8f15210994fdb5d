//! The outcome of the attempts at a job, per template: which one is being made, which ones brought their
//! workers down, which ones failed and why. Part of the folded state of a job's log.
//!
//! Never in here: how many attempts are allowed; the worker that runs the job decides that.

use std::collections::BTreeMap;

/// Most places in a plan that are remembered, for jobs of any publisher; our own plans have seven.
pub const MAX_PLACES: usize = 64;
/// Characters kept of a failed template's reason; its event may have more.
const MAX_REASON_CHARS: usize = 300;

/// The attempts at a job, derived from its events. Places are those of the plan, from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    /// The template that the running attempt makes.
    pub making: Option<u32>,
    /// How many attempts ended in silence while a template was being made, by its place. Place 0 counts
    /// those that ended, in silence or with an error, while none was. A finished template has no entry.
    pub lost: BTreeMap<u32, u32>,
    /// The templates that failed, with the reason.
    pub failed: BTreeMap<u32, String>,
    /// Consecutive claims that ended in silence before their attempt began.
    pub idle_claims: u32,
}

impl Attempts {
    /// How many attempts the template at that place has cost; for place 0, those charged to the job.
    pub fn lost_at(&self, place: u32) -> u32 {
        self.lost.get(&place).copied().unwrap_or(0)
    }

    /// A sentence that says which of `total` templates are missing and why; none if none is known to be
    /// missing.
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

    /// The job has ended: only the missing templates are kept. `listed` are the places that its last event
    /// names; if empty, those that failed.
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
