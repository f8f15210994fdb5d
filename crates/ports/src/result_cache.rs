//! Results of jobs that have ended, for lookups that take a millisecond.

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::JobId;

use crate::Result;

/// The longest result that is taken from a cache: no honest one comes near.
pub const MAX_RESULT_BYTES: usize = 1024 * 1024;

/// Encoded job objects by job id, each gone after `RESULT_TTL_SECONDS`.
///
/// # Laws
/// - **gives_back_what_was_put**: `get` after `put` MUST give the same bytes, until the time is over or
///   `remove` is called; then nothing.
/// - **results_expire**: a result MUST be gone after its time, whatever else happens.
/// - **foreign_blobs_are_only_bytes**: whatever another program wrote under the key MUST come back as
///   it is, or as `None` where it can be no result: no string, nothing, or more than
///   [`MAX_RESULT_BYTES`]; never as an error. What another process keeps MUST NOT be fetched beyond those.
/// - **commit_caches_the_result**: after a commit of a terminal event on the same backend, `get` MUST
///   answer the encoded fold. (With `caches_results`.)
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait ResultCache: Send + Sync {
    /// The bytes kept for the job. They may come from any program: check them.
    ///
    /// # Errors
    /// When the cache is out of reach.
    async fn get(&self, job_id: &JobId) -> Result<Option<Bytes>>;

    /// Keeps the encoded job object of a job that has ended.
    ///
    /// # Errors
    /// When the cache is out of reach or has no room.
    async fn put(&self, job_id: &JobId, result: Bytes) -> Result<()>;

    /// Takes the job's result away, if there is one.
    ///
    /// # Errors
    /// When the cache is out of reach.
    async fn remove(&self, job_id: &JobId) -> Result<()>;

    /// Whether the cache answers now.
    ///
    /// # Errors
    /// When it does not.
    async fn ping(&self) -> Result<()>;
}
