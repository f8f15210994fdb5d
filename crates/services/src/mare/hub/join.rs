//! Sealed announcements, taken in without a read of the log where they join on to what is known.
//!
//! Never in here: an event whose seal wasn't made with the secret that the topic read in its log, or one that
//! leaves a gap. Such an announcement is a hint like any other (law 1).

use std::sync::Arc;

use conch_domain::{Applied, Job, JobId, Position, Timestamp};
use conch_ports::{Entry, Log};
use conch_wire::envelope::Sealed;
use conch_wire::event;

use super::calls::Reason;
use super::reading::take_in;
use super::shelf::Shelf;
use super::state::{Phase, State};
use super::topic::Absorbed;
use super::{Hub, Shared};

/// Stands in for the time that an event doesn't state: the reader of its log can't know it.
const UNSTATED: Timestamp = Timestamp::from_micros(i64::MIN);

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
        let joined = self.0.join(sealed);
        if !matches!(joined, Joined::Joined | Joined::Known) {
            self.0.hint(&sealed.job_id, Some(sealed.last.sequence));
        }
        joined
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

    fn join(self: &Arc<Self>, sealed: &Sealed) -> Joined {
        let Some(topic) = self.topics.lock().get(&sealed.job_id).cloned() else {
            return Joined::Unwatched;
        };
        // A read that began before this and ends after it would find an older log than the topic's, and take
        // it for another one.
        let Ok(_in_order) = topic.reading.try_lock() else {
            return Joined::Hint;
        };
        let (head, job) = {
            let state = topic.state();
            (state.covers(sealed.last), state.may_be_joined().cloned())
        };
        if head.is_some_and(|head| self.is_told(sealed.job_id.as_str(), head)) {
            return Joined::Known;
        }
        let Some(job) = job else {
            return Joined::Hint;
        };
        let Some(secret) = job.secret else {
            return Joined::Hint;
        };
        if !sealed.is_made_with(&secret) {
            return Joined::Forged;
        }
        let before = job.position;
        let Some(log) = follow(job, sealed) else {
            return Joined::Hint;
        };
        if self.feed.is_open_ended() {
            topic.announce(Some(sealed.last.sequence));
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

/// What a read of the log after `job` would find, if the events of the seal are all that follows it; none where
/// they don't follow it.
fn follow(mut job: Job, sealed: &Sealed) -> Option<Log> {
    // Whose such a job is may be learned from Triton in the step that ends it.
    let lacks_origin = !job.own && (job.client_id.is_none() || job.created_at.is_none());
    let first = sealed.first();
    if first != job.position.next() {
        return None;
    }
    let mut entries = Vec::with_capacity(sealed.lines.len());
    for line in &sealed.lines {
        let position = job.position.next();
        let incoming = event::decode(line, UNSTATED).ok()?;
        let is_at = (incoming.sequence, incoming.epoch);
        let event = incoming.event;
        let is_of_it = event.job_id == job.id && event.timestamp != UNSTATED;
        if !is_of_it || is_at != (Some(position.sequence), Some(position.epoch)) {
            return None;
        }
        if job.apply(position, &event) != Ok(Applied::Applied) {
            return None;
        }
        entries.push(Entry {
            sequence: position.sequence,
            line: line.clone(),
        });
    }
    if lacks_origin && job.status.is_terminal() {
        return None;
    }
    Some(Log {
        job,
        oldest: first.sequence,
        base: None,
        entries,
    })
}
