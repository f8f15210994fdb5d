//! Results of jobs whose end was announced, put into a cache that isn't the log's own store.
//!
//! An announcement may be forged: which of the jobs have a log at all is one question for many of
//! them, and what has none costs nothing more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::JobId;
use conch_ports::{JobLog, MAX_POSITIONS};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::mare::lookup::Lookup;

/// Between two questions: so many a second at most, however much is announced.
const PAUSE: Duration = Duration::from_millis(10);

/// Caches the results of those that come, until `shutdown` or until no more can.
pub(super) async fn keep_caching(
    log: Arc<dyn JobLog>,
    lookup: Lookup,
    mut ended: mpsc::Receiver<JobId>,
    shutdown: CancellationToken,
) {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            count = ended.recv_many(&mut batch, MAX_POSITIONS) => if count == 0 {
                return;
            },
        }
        let job_ids: BTreeSet<JobId> = batch.drain(..).collect();
        let job_ids: Vec<JobId> = job_ids.into_iter().collect();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = cache_those_that_exist(&*log, &lookup, &job_ids) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn cache_those_that_exist(log: &dyn JobLog, lookup: &Lookup, job_ids: &[JobId]) {
    let positions = match log.positions(job_ids).await {
        Ok(positions) => positions,
        Err(error) => {
            tracing::warn!(%error, jobs = job_ids.len(), "results could not be cached");
            return;
        }
    };
    let existing = job_ids.iter().zip(positions).filter(|(_, at)| at.is_some());
    for (job_id, _) in existing {
        if let Err(error) = lookup.cache_result(job_id).await {
            tracing::warn!(job.id = %job_id, %error, "the result could not be cached");
        }
    }
}
