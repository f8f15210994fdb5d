//! Finds unfinished jobs that the queue has lost, a page at a time: somebody deleted a key of it, or a store
//! evicted one. What is found is back in the queue, or taken back by `reap` like a silent worker's.
//!
//! Never in here: a question per job and second. A page costs one call, however many jobs are on it.

use conch_ports::{Result, Sweep};

use crate::entropy;
use crate::worker::job_in_hand::Context;

/// Unfinished jobs that one page looks at.
const PAGE: usize = 500;

/// Looks through the unfinished jobs until it is dropped, or until the worker shuts down.
pub(crate) async fn run(context: Context) {
    let mut from = 0;
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            () = tokio::time::sleep(entropy::shortened(context.settings.sweep)) => {}
        }
        match page(&context, from).await {
            Ok(next) => {
                from = next;
                failing = false;
            }
            Err(error) if failing => tracing::debug!(%error, "no lost jobs can be looked for yet"),
            Err(error) => {
                failing = true;
                tracing::warn!(%error, "no lost jobs can be looked for; tried again until they can");
            }
        }
    }
}

/// Looks at one page; answers where the next one begins.
async fn page(context: &Context, from: usize) -> Result<usize> {
    let sweep = Sweep {
        from,
        limit: PAGE,
        grace: context.settings.lease,
    };
    let swept = context.deps.queue.sweep(&sweep).await?;
    for job_id in &swept.found {
        metrics::counter!("conch_jobs_lost_by_the_queue_total").increment(1);
        tracing::warn!(job.id = %job_id, "the queue had lost this job: it was put back");
    }
    Ok(swept.next.unwrap_or(0))
}
