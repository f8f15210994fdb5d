//! Sealed announcements, taken in without a read of the log where they join on to what is known.
//!
//! Never in here: an event whose seal wasn't made with the secret that the topic read in its log, or one that
//! leaves a gap. Such an announcement is a hint like any other (law 1).

use std::sync::Arc;

use bytes::Bytes;
use conch_domain::{Job, JobId, LogSecret, Position};
use conch_wire::envelope::Sealed;

use super::calls::Reason;
use super::reading::take_in;
use super::shelf::Shelf;
use super::state::{Phase, State};
use super::topic::Absorbed;
use super::{Hub, Shared};
use crate::mare::following::follow;

/// What became of a sealed announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// Its events were delivered.
    Joined,
    /// They had been delivered before.
    Known,
    /// It is a hint: its topic isn't where it joins on, or is being read.
    Hint,
    /// It is a hint: no topic follows the job.
    Unwatched,
    /// It is a hint, and was made without the secret of the log that the topic knows.
    Forged,
}

impl Joined {
    fn is_delivered(self) -> bool {
        matches!(self, Self::Joined | Self::Known)
    }

    /// For the counter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Known => "known",
            Self::Hint => "hint",
            Self::Unwatched => "unwatched",
            Self::Forged => "forged",
        }
    }
}

impl Hub {
    /// Takes in the events of a seal that came on a channel of our own, if they join on; otherwise it is a
    /// [hint](Hub::hint).
    pub fn join(&self, sealed: &Sealed) -> Joined {
        let is_genuine = |secret: &LogSecret| sealed.is_made_with(secret);
        let joined = self
            .0
            .join(&sealed.job_id, sealed.last, &sealed.lines, is_genuine);
        if !joined.is_delivered() {
            self.0.hint(&sealed.job_id, Some(sealed.last.sequence));
        }
        joined
    }

    /// The same for an event that this process has just appended: the fold after it says where it stands, and
    /// in which log.
    pub(crate) fn join_appended(&self, after: &Job, line: &Bytes) {
        let is_genuine = |secret: &LogSecret| after.secret.as_ref() == Some(secret);
        let lines = std::slice::from_ref(line);
        let joined = self.0.join(&after.id, after.position, lines, is_genuine);
        if !joined.is_delivered() {
            self.0.hint(&after.id, Some(after.position.sequence));
        }
    }

    /// Whether a watched job's event was delivered before, so that its announcement has nothing to say.
    pub fn knows(&self, job_id: &str, position: Position) -> bool {
        let topic = self.0.topics.lock().get(job_id).cloned();
        let head = topic.and_then(|topic| topic.state().covers(position));
        head.is_some_and(|head| self.0.is_told(job_id, head))
    }
}

impl Shared {
    /// Whether streams that name no jobs, if there are any, know of a job what its topic does.
    fn is_told(&self, job_id: &str, head: Position) -> bool {
        let told = || JobId::parse(job_id).ok().and_then(|id| self.feed.told(&id));
        !self.feed.is_open_ended() || told().is_some_and(|told| told.position == head)
    }

    fn join(
        self: &Arc<Self>,
        job_id: &JobId,
        last: Position,
        lines: &[Bytes],
        is_genuine: impl Fn(&LogSecret) -> bool,
    ) -> Joined {
        let Some(topic) = self.topics.lock().get(job_id).cloned() else {
            return Joined::Unwatched;
        };
        // A read that began before this and ends after it would find an older log than the topic's, and take
        // it for another one.
        let Ok(_in_order) = topic.reading.try_lock() else {
            return Joined::Hint;
        };
        let (head, job) = {
            let state = topic.state();
            (state.covers(last), state.may_be_joined().cloned())
        };
        if head.is_some_and(|head| self.is_told(job_id.as_str(), head)) {
            return Joined::Known;
        }
        let Some(job) = job else {
            return Joined::Hint;
        };
        let Some(secret) = job.secret else {
            return Joined::Hint;
        };
        if !is_genuine(&secret) {
            return Joined::Forged;
        }
        let before = job.position;
        let Some(log) = follow(job, last, lines) else {
            return Joined::Hint;
        };
        if self.feed.is_open_ended() {
            topic.announce(Some(last.sequence));
        }
        // As good as a read, but for a doubt: that only a read settles.
        topic.begin_read();
        let absorbed = take_in(self, &topic, log, Some(before), before.sequence);
        debug_assert_eq!(absorbed, Absorbed::News, "nothing else changes the head");
        topic.was_looked_at(self.settings.position_check);
        if topic.is_over() {
            topic.call(Reason::Revived);
        }
        Joined::Joined
    }
}

impl State {
    /// Where it stands, if it is known up to this position at least.
    fn covers(&self, position: Position) -> Option<Position> {
        let is_here = matches!(self.phase, Phase::Live | Phase::Ended(_))
            && self.absent.is_none()
            && !self.is_doubted();
        let covers =
            |head: &Position| head.epoch == position.epoch && head.sequence >= position.sequence;
        self.head().filter(|head| is_here && covers(head))
    }

    /// The fold to which events can be joined; none where only a read of the log can be believed.
    fn may_be_joined(&self) -> Option<&Job> {
        let is_settled = self.phase == Phase::Live
            && self.absent.is_none()
            && self.result.is_none()
            && !self.is_owner_open
            && !self.is_doubted()
            && self.shelf != Shelf::Wanted;
        self.job.as_ref().filter(|_| is_settled)
    }
}
