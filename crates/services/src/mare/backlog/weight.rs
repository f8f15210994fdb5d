//! How much may wait, what a waiting event costs of it, and which events may be dropped for which.
//!
//! Never in here: what waits, or in which order.

use conch_domain::EventKind;

use super::Heard;

/// What a waiting event, and a job that has any, costs beside its bytes.
pub(super) const OVERHEAD: usize = 256;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes of all events.
    pub(crate) bytes: usize,
    /// Bytes of one job's.
    pub(crate) bytes_per_job: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            bytes_per_job: 1 << 20,
        }
    }
}

/// How much depends on an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// How far its job is. A later one that says as much or more says all that it says.
    Progress(u8),
    /// Its job goes the same way without it.
    Light,
    /// Its job's life.
    Vital,
}

impl Weight {
    fn of(kind: &EventKind) -> Self {
        match kind {
            vital if vital.is_vital() => Self::Vital,
            EventKind::Progress { progress, .. } => Self::Progress(*progress),
            _ => Self::Light,
        }
    }
}

/// An event that waits.
pub(super) struct Waiting {
    pub(super) heard: Heard,
    weight: Weight,
}

impl Waiting {
    pub(super) fn new(kind: &EventKind, heard: Heard) -> Self {
        let weight = Weight::of(kind);
        Self { heard, weight }
    }

    /// Bytes that it takes.
    pub(super) fn cost(&self) -> usize {
        self.heard.line.len() + OVERHEAD
    }

    /// Whether its job's life depends on it. Other events may be dropped for it, and it for none.
    pub(super) fn is_vital(&self) -> bool {
        self.weight == Weight::Vital
    }

    pub(super) fn is_progress(&self) -> bool {
        matches!(self.weight, Weight::Progress(_))
    }

    /// Whether `earlier` says nothing that this one doesn't say as well.
    pub(super) fn supersedes(&self, earlier: &Self) -> bool {
        match (self.weight, earlier.weight) {
            (Weight::Progress(now), Weight::Progress(before)) => before <= now,
            _ => false,
        }
    }
}
