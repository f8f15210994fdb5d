//! Where waiting jobs stand in the queue, for the answers that show them.
//!
//! Never in here: an error. A job whose place can't be told is shown without it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use conch_domain::{Job, JobId, JobStatus};
use conch_ports::{ErrorKind, JobQueue, MAX_PLACES_ASKED};

/// Asks for places; a cheap handle.
#[derive(Clone)]
pub struct Places {
    queue: Arc<dyn JobQueue>,
    /// A right that is missing is said once.
    was_refused: Arc<AtomicBool>,
}

impl Places {
    /// Asks `queue`.
    pub fn new(queue: Arc<dyn JobQueue>) -> Self {
        Self {
            queue,
            was_refused: Arc::default(),
        }
    }

    /// The places of those that wait and are due, 1 = next, by id; beyond the hundredth about. One question
    /// for each [`MAX_PLACES_ASKED`] of them. Cancel-safe.
    pub async fn of<'a>(&self, jobs: impl IntoIterator<Item = &'a Job>) -> HashMap<JobId, u64> {
        let waiting = jobs
            .into_iter()
            .filter(|job| job.status == JobStatus::Pending);
        self.of_ids(waiting.map(|job| job.id.clone()).collect())
            .await
    }

    /// The place of one job, if it waits and is due.
    pub async fn of_one(&self, job_id: &JobId) -> Option<u64> {
        self.of_ids(vec![job_id.clone()]).await.remove(job_id)
    }

    async fn of_ids(&self, job_ids: Vec<JobId>) -> HashMap<JobId, u64> {
        let mut found = HashMap::new();
        for asked in job_ids.chunks(MAX_PLACES_ASKED) {
            match self.queue.places(asked).await {
                Ok(places) => {
                    let told = asked.iter().cloned().zip(places);
                    found.extend(told.filter_map(|(id, place)| Some((id, place?.number()))));
                }
                Err(error) => {
                    let is_refused = error.kind() == ErrorKind::Refused;
                    if is_refused && !self.was_refused.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "queue positions can't be read: jobs are shown without them");
                    } else {
                        tracing::debug!(%error, "queue positions can't be read");
                    }
                    break;
                }
            }
        }
        found
    }
}
