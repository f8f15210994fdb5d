//! Jobs that a stream over many is to begin with and of which nothing is known yet.
//!
//! Waits on the topics' own signal, in whichever task polls: no task and no timer of its own.

use std::collections::HashSet;
use std::future::poll_fn;
use std::task::{Context, Poll};

use conch_domain::JobId;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use super::Interest;
use super::topic::Phase;

/// A job of which something is known now.
pub(super) struct Settled {
    /// Where it stands among the jobs that the stream begins with.
    pub(super) place: usize,
    pub(super) job_id: JobId,
    /// None when there is no such job.
    pub(super) interest: Option<Interest>,
}

#[derive(Default)]
pub(super) struct Waiting {
    for_jobs: HashSet<JobId>,
    settling: FuturesUnordered<BoxFuture<'static, Settled>>,
}

impl Waiting {
    pub(super) fn push(&mut self, place: usize, interest: Interest) {
        self.for_jobs.insert(interest.topic().job_id.clone());
        self.settling.push(Box::pin(settle(place, interest)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.for_jobs.is_empty()
    }

    pub(super) fn contains(&self, job_id: &JobId) -> bool {
        self.for_jobs.contains(job_id)
    }

    /// The next job that has settled; none when none is left to wait for.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Settled>> {
        let polled = self.settling.poll_next_unpin(cx);
        if let Poll::Ready(Some(settled)) = &polled {
            self.for_jobs.remove(&settled.job_id);
            // A stream may live for weeks after its beginning: no memory is kept for it.
            if self.for_jobs.is_empty() {
                *self = Self::default();
            }
        }
        polled
    }

    /// As [`Waiting::poll_next`]. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Settled> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

/// Waits until the job was found, or proved unknown to log and Triton.
async fn settle(place: usize, interest: Interest) -> Settled {
    loop {
        let settled = interest.topic().settled.notified();
        tokio::pin!(settled);
        settled.as_mut().enable();
        let phase = interest.topic().state().phase;
        match phase {
            Phase::Loading => {}
            Phase::Lost | Phase::Live | Phase::Ended(_) => {
                return Settled {
                    place,
                    job_id: interest.topic().job_id.clone(),
                    interest: (phase != Phase::Lost).then(|| interest.clone()),
                };
            }
        }
        settled.await;
    }
}
