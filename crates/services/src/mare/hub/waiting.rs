//! Jobs that a stream over many is to begin with and of which nothing is known yet.
//!
//! Waits on the topics' own signal, in whichever task polls: no task and no timer of its own.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use conch_domain::{Clients, JobId};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use super::state::Phase;
use super::topic::Topic;
use super::{Interest, Shared};

/// A job of which something is known now.
pub(super) struct Settled {
    /// Where it stands among the jobs that the stream begins with.
    pub(super) place: usize,
    pub(super) job_id: JobId,
    /// What was learned.
    pub(super) word: Word,
    /// Keeps its topic, or that of its decoy.
    pub(super) interest: Interest,
}

/// What is waited for in place of a job that the stream may not know of: an unused id, so that
/// both take equally long.
#[derive(Clone)]
pub(super) struct Decoys {
    /// None: the stream may know of every job.
    hub: Option<(Arc<Shared>, Clients)>,
    /// The stream's jobs are looked for together.
    are_many: bool,
}

impl Decoys {
    /// For a caller who may know of those clients' jobs.
    pub(super) fn new(shared: &Arc<Shared>, clients: &Clients, are_many: bool) -> Self {
        Self {
            are_many,
            hub: (!clients.are_all()).then(|| (Arc::clone(shared), clients.clone())),
        }
    }

    fn clients(&self) -> &Clients {
        self.hub
            .as_ref()
            .map_or(&Clients::ALL, |(_, clients)| clients)
    }

    fn is_hidden(&self, interest: &Interest) -> bool {
        self.hub
            .as_ref()
            .is_some_and(|(_, clients)| interest.topic().state().is_hidden_from(clients))
    }

    fn instead_of(&self, interest: &Interest) -> Option<Interest> {
        let (shared, _) = self.hub.as_ref()?;
        let hidden = interest.topic().asked_for();
        let mut requests = Vec::new();
        let together = self.are_many.then_some(&mut requests);
        let decoy = shared.decoy(hidden, false, interest.payer(), together);
        shared.looks.request(requests);
        decoy
    }
}

/// How long a job is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Until something is known of it, be it that there is none.
    Known,
    /// Until there is one.
    Found,
}

#[derive(Default)]
pub(super) struct Waiting {
    for_jobs: HashSet<JobId>,
    settling: FuturesUnordered<BoxFuture<'static, Settled>>,
}

impl Waiting {
    pub(super) fn push(&mut self, place: usize, interest: Interest, decoys: Decoys, until: Until) {
        self.for_jobs.insert(interest.topic().asked_for().clone());
        self.settling
            .push(Box::pin(settle(place, interest, decoys, until)));
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

/// What is known of a job that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Found,
    Unknown,
    /// It can't be watched now.
    BrokenOff,
}

/// Waits until the job was found, or proved unknown to log and Triton where that is enough, or nothing
/// follows it any more.
async fn settle(place: usize, mut interest: Interest, decoys: Decoys, until: Until) -> Settled {
    let look = |topic: &Arc<Topic>| {
        word_of(topic, decoys.clients())
            .filter(|word| until == Until::Known || *word != Word::Unknown)
    };
    let mut word = interest.topic().wait_for(look).await;
    // One that comes later may be another tenant's as well.
    if decoys.is_hidden(&interest) {
        word = match decoys.instead_of(&interest) {
            Some(decoy) => {
                interest = decoy;
                interest.topic().wait_for(look).await
            }
            None => Word::BrokenOff,
        };
    }
    Settled {
        place,
        job_id: interest.topic().asked_for().clone(),
        word,
        interest,
    }
}

/// What is known of a job by now; none: it is looked for still.
fn word_of(topic: &Topic, clients: &Clients) -> Option<Word> {
    if topic.is_broken_off() {
        return Some(Word::BrokenOff);
    }
    match topic.state().phase_for(clients) {
        Phase::Loading => None,
        Phase::Lost => Some(Word::Unknown),
        Phase::Live | Phase::Ended(_) | Phase::EndedWithoutLog(_) => Some(Word::Found),
    }
}
