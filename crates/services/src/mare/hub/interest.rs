//! Which topics there are: made for the first that is interested in a job, kept while any is.
//!
//! Never in here: what a topic does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use conch_domain::JobId;

use super::calls::Reason;
use super::looks::Request;
use super::questions::Questions;
use super::topic::Topic;
use super::wake::Slots;
use super::{Shared, owner};
use crate::entropy;

/// Keeps a topic alive, and has its caller pay for what is asked about the job.
pub(super) struct Interest {
    topic: Arc<Topic>,
    /// None: its questions are not counted.
    payer: Option<Arc<Questions>>,
}

impl Interest {
    /// To be called where the topic's pump can't take it away meanwhile.
    pub(super) fn new(topic: &Arc<Topic>, payer: Option<&Arc<Questions>>) -> Self {
        topic.interest.fetch_add(1, Ordering::AcqRel);
        topic.payers.add(payer);
        Self {
            topic: Arc::clone(topic),
            payer: payer.cloned(),
        }
    }

    pub(super) fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    /// The caller's own budget, never that of others who watch the job.
    pub(super) fn payer(&self) -> Option<&Arc<Questions>> {
        self.payer.as_ref()
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let topic = &self.topic;
        topic.payers.remove(self.payer.as_ref());
        if topic.interest.fetch_sub(1, Ordering::AcqRel) == 1 {
            *topic.idle_since.lock() = tokio::time::Instant::now();
            topic.call(Reason::Idle);
        }
    }
}

impl AsRef<Slots> for Interest {
    fn as_ref(&self) -> &Slots {
        &self.topic.slots
    }
}

impl Shared {
    /// The topic of a job that a stream names, made by `make` and started if need be; none when there
    /// are too many. Where it has to be looked for, its request is added to `together` if that is given.
    pub(super) fn interest(
        self: &Arc<Self>,
        job_id: &JobId,
        claimed: bool,
        questions: Option<&Arc<Questions>>,
        mut together: Option<&mut Vec<Request>>,
        make: impl FnOnce(JobId) -> Topic,
    ) -> Option<Interest> {
        let mut look = || {
            let (request, look) = Request::new(job_id.clone());
            together.as_mut()?.push(request);
            Some(look)
        };
        let make = |job_id| make(job_id).looked_for(look());
        let most = self.settings.max_topics;
        let interest = self.interest_in(job_id, claimed, questions, most, make)?;
        let topic = interest.topic();
        topic.look_anew(look);
        topic.name();
        owner::learn(self, topic, self.reconcile.origins().known(job_id).as_ref());
        // A lookup would ask Triton now.
        let check = self.settings.position_check;
        if topic.may_know_less_than_triton() && self.reconcile.is_due(job_id, check) {
            topic.inquire();
        }
        Some(interest)
    }

    /// The same for a job that no stream names. Some of the room is kept for those that do, or a flood of
    /// announcements would turn them away.
    pub(super) fn unnamed_interest(self: &Arc<Self>, job_id: &JobId) -> Option<Interest> {
        let most = self.settings.max_topics;
        self.interest_in(job_id, false, None, most - most / 8, Topic::new)
    }

    /// A topic in which nothing is ever found, for a caller that may not know of the job; none when there
    /// are too many. It costs what a topic of an absent job does, and takes as long: all streams of the
    /// caller share it.
    pub(super) fn decoy(
        self: &Arc<Self>,
        instead_of: &JobId,
        claimed: bool,
        questions: Option<&Arc<Questions>>,
        together: Option<&mut Vec<Request>>,
    ) -> Option<Interest> {
        let unused_id = questions.map_or_else(entropy::absent_job, |questions| {
            questions.decoy_of(instead_of)
        });
        let make = |unused_id| Topic::decoy(unused_id, instead_of.clone());
        self.interest(&unused_id, claimed, questions, together, make)
    }

    fn interest_in(
        self: &Arc<Self>,
        job_id: &JobId,
        claimed: bool,
        payer: Option<&Arc<Questions>>,
        most: usize,
        make: impl FnOnce(JobId) -> Topic,
    ) -> Option<Interest> {
        let mut topics = self.topics.lock();
        let topic = if let Some(topic) = topics.get(job_id) {
            Arc::clone(topic)
        } else {
            if topics.len() >= most {
                return None;
            }
            let topic = Arc::new(make(job_id.clone()).of(self));
            topics.insert(job_id.clone(), Arc::clone(&topic));
            self.checks.add(&topic);
            topic.call(Reason::Beginning);
            topic
        };
        if claimed {
            topic.claimed.store(true, Ordering::Release);
        }
        // Under the map's lock, so that the pump can't take the topic away in between.
        Some(Interest::new(&topic, payer))
    }
}
