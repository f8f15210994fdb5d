//! The shapes of use that are measured, one file each: many jobs that are watched by few (`idle`, `live`,
//! `five`), one that is watched by many (`launch`), jobs run (`jobs`) and submitted (`submit`), events that
//! nobody watches (`external`), lookups, and polling against streaming.
//!
//! Each says how it was measured, beside which peers in the same run, and which goals were reached. None
//! may compare figures of two runs of this program.

pub(crate) mod external;
pub(crate) mod five;
pub(crate) mod idle;
pub(crate) mod jobs;
pub(crate) mod launch;
pub(crate) mod live;
pub(crate) mod lookups;
pub(crate) mod polling;
pub(crate) mod submit;
mod watched;

use std::time::Duration;

/// What all shapes take.
pub(crate) struct Options {
    /// Interleaved runs of each server; the shape's own number otherwise.
    pub runs: Option<usize>,
    /// A smoke run: one run of each, small sizes, short windows.
    pub quick: bool,
    /// More environment variables for Conch.
    pub settings: Vec<(String, String)>,
}

impl Options {
    /// How often each server is measured.
    fn runs(&self) -> usize {
        self.runs.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// The size of something: a fifth in a smoke run.
    fn size(&self, full: usize) -> usize {
        if self.quick { full / 5 } else { full }
    }

    /// A window: a fifth in a smoke run.
    fn window(&self, seconds: u64) -> Duration {
        let full = Duration::from_secs(seconds);
        if self.quick { full / 5 } else { full }
    }

    /// The settings of an API that many watchers reach from this machine's one address.
    fn api_settings(&self) -> Vec<(String, String)> {
        let usual = [
            // As nchan's, and as in earlier reports.
            ("HEARTBEAT_SECONDS", "15"),
            ("MAX_WATCHED_JOBS_PER_CALLER", "0"),
            ("MAX_FOREIGN_JOBS", "100000"),
        ];
        let usual = usual.map(|(name, value)| (name.to_owned(), value.to_owned()));
        usual.into_iter().chain(self.settings.clone()).collect()
    }
}
