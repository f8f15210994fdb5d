//! Results that this process keeps, bounded in bytes.
//!
//! Never in here: a result that may change without an announcement (that is for the caller to see to), or
//! one that counts as certain after a gap in what this process heard.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use conch_domain::JobId;
use quick_cache::{Weighter, sync::Cache};

/// What an entry costs beside its bytes.
const ENTRY_OVERHEAD: u64 = 128;

/// How often announcements may have been lost: their loss makes older results doubtful.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gaps(u64);

/// What is kept of a job.
pub(super) enum Local {
    /// Nothing has been lost since it was asked for.
    Certain(Bytes),
    /// Announcements may have been lost since, that of another end among them.
    Doubtful(Bytes),
}

/// Finished jobs' results. They never change, so this process need not ask for one twice. But an end may
/// have been forged while the store had forgotten whose job it was, and the job's worker then replaces it.
pub(super) struct LocalResults {
    results: Cache<JobId, Entry, Weigh>,
    gaps: AtomicU64,
}

impl LocalResults {
    /// Keeps at most so many bytes; 0 keeps none.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            results: Cache::with_weighter((bytes / 1024) as usize, bytes, Weigh),
            gaps: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self, job_id: &JobId) -> Option<Local> {
        let Entry { result, gaps } = self.results.get(job_id)?;
        Some(if gaps == self.gaps() {
            Local::Certain(result)
        } else {
            Local::Doubtful(result)
        })
    }

    /// Keeps a result that was asked for after so many `gaps`.
    pub(super) fn keep(&self, job_id: &JobId, result: Bytes, gaps: Gaps) {
        self.results.insert(job_id.clone(), Entry { result, gaps });
    }

    pub(super) fn remove(&self, job_id: &JobId) {
        self.results.remove(job_id);
    }

    /// To be read before a result is asked for.
    pub(super) fn gaps(&self) -> Gaps {
        Gaps(self.gaps.load(Ordering::Acquire))
    }

    /// Announcements may have been lost.
    pub(super) fn note_gap(&self) {
        self.gaps.fetch_add(1, Ordering::AcqRel);
    }
}

#[derive(Clone)]
struct Entry {
    result: Bytes,
    gaps: Gaps,
}

#[derive(Clone)]
struct Weigh;

impl Weighter<JobId, Entry> for Weigh {
    fn weight(&self, job_id: &JobId, entry: &Entry) -> u64 {
        (job_id.as_str().len() + entry.result.len()) as u64 + ENTRY_OVERHEAD
    }
}
