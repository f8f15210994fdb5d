//! What is appended to a job's log in one step, who may do it, and what became of it.
//!
//! Never in here: how a store does it, or who hears of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conch_domain::{EventId, Job, LeaseToken, Position, Template};

use crate::{Error, ErrorKind, Result};

/// What happened to a job, on its way into the job's log, with all that belongs to it.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The fold *after* the last event. `job.position` is that event's place: the log must stand right
    /// before the [first one's](Commit::first). Where that is at sequence 1, the log must not exist, but see
    /// `replaces`.
    pub job: Job,
    /// The events, in the order of their places, at least one and at most [`MAX_COMMIT_EVENTS`]. Only the
    /// last may end the job, and each must be legal after the one before it, which no store can check.
    pub events: Vec<NewEvent>,
    /// Templates that the job's attempt has made, kept in the same step as the events that name them: at most
    /// [`MAX_COMMIT_TEMPLATES`], each at another place of the job's plan. Only of an own job, and only with
    /// [`Fence::Held`].
    pub templates: Vec<Arc<Template>>,
    /// Who may do this.
    pub fence: Fence,
    /// What becomes of the job's queue entry.
    pub effect: QueueEffect,
    /// Whether it is announced where other programs listen. Not an external event, which its publisher announced.
    /// Our own programs hear of it either way, sealed, where the log has a secret.
    pub announce: bool,
    /// The log's end as the caller saw it, when `job.position` begins another incarnation of a log
    /// that lost its tail, or of one that goes on after its end ([`Commit::reopens`]): if the log still
    /// stands exactly there, it is replaced.
    pub replaces: Option<Position>,
    /// What the job had been through before a log that begins in mid-life, at sequence 0 of it. Only
    /// with sequence 1.
    pub base: Option<Job>,
}

/// An event that no log has yet.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// One JSON object, UTF-8, without a line break.
    pub line: Bytes,
    /// What makes the append idempotent within its job.
    pub event_id: EventId,
}

impl Commit {
    /// The events.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is none, or more than a commit may have or its place has room for.
    pub fn events(&self, operation: &'static str) -> Result<&[NewEvent]> {
        let count = self.events.len() as u64;
        if (1..=MAX_COMMIT_EVENTS as u64).contains(&count) && count <= self.job.position.sequence {
            return Ok(&self.events);
        }
        Err(Error::new(
            ErrorKind::Refused,
            operation,
            format!(
                "a commit has 1 to {MAX_COMMIT_EVENTS} events, up to its place, this one has {count} up to {}",
                self.job.position
            ),
        ))
    }

    /// The templates.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when a commit may not have these.
    pub fn templates(&self, operation: &'static str) -> Result<&[Arc<Template>]> {
        let templates = &self.templates[..];
        let refused = |message: String| Err(Error::new(ErrorKind::Refused, operation, message));
        if templates.is_empty() {
            return Ok(templates);
        }
        if templates.len() > MAX_COMMIT_TEMPLATES {
            return refused(format!(
                "a commit has at most {MAX_COMMIT_TEMPLATES} templates, this one has {}",
                templates.len()
            ));
        }
        if !self.job.own || !matches!(self.fence, Fence::Held(_)) {
            return refused("templates are kept for the holder of an own job's lease only".into());
        }
        for (n, template) in templates.iter().enumerate() {
            let is_at_its_place = |other: &Arc<Template>| other.index == template.index;
            if template.job_id != self.job.id || templates[..n].iter().any(is_at_its_place) {
                return refused(format!(
                    "template {} of a commit is another job's, or not the only one at place {}",
                    template.id, template.index
                ));
            }
        }
        Ok(templates)
    }

    /// The place of the first event.
    pub fn first(&self) -> Position {
        let before = self.events.len().saturating_sub(1) as u64;
        Position {
            sequence: self.job.position.sequence.saturating_sub(before),
            ..self.job.position
        }
    }

    /// Whether it begins with the event with which an external job goes on after its end: it replaces an epoch
    /// that its job has gone on from.
    pub fn reopens(&self) -> bool {
        let replaces_an_end =
            self.replaces.is_some() && self.job.past.last() == self.replaces.as_ref();
        self.fence == Fence::Foreign && replaces_an_end
    }
}

/// Events that a commit may have.
pub const MAX_COMMIT_EVENTS: usize = 8;

/// Templates that a commit may have: as many as its events, each of which may name one.
pub const MAX_COMMIT_TEMPLATES: usize = MAX_COMMIT_EVENTS;

/// Event ids that a log remembers at least: more than a job can have events that aren't of its
/// life's course, so that one that comes late is answered `Duplicate`.
pub const EVENT_IDS_REMEMBERED: usize = 2048;

/// Who may append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// Any caller: derived events, requests to cancel.
    Open,
    /// Any caller, but only for a job that the catalogue has no record of and whose log, if there is
    /// one, is not an own job's: events of external publishers.
    Foreign,
    /// Only the holder of the job's lease, and only while it has not run out by the store's clock.
    Held(LeaseToken),
    /// Any caller, but only when that lease is still the job's and has run out by the store's clock.
    Expired(LeaseToken),
    /// Any caller, but only while no worker holds the job: it is queued, or in no queue at all.
    Unclaimed,
}

/// What an append does to its job's queue entry, in the same step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueEffect {
    /// Nothing.
    Keep,
    /// Ends the lease and makes the job claimable again.
    Requeue {
        /// From now on, by the store's clock.
        after: Duration,
        /// Whether the attempt that ended counts: if not, its number is given out again.
        counts: bool,
    },
    /// Ends the lease and takes the job out of the queue. Does nothing when it isn't in one.
    Remove,
}

/// What became of a [`Commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// All of it is in the log, up to `commit.job.position`.
    Appended,
    /// Its events were there already, the first one at this place. Nothing changed.
    Duplicate(Position),
    /// The log stands elsewhere (none: there is no log). Nothing changed: read, fold, try again.
    Conflict(Option<Position>),
    /// The log stands here, but the store may have lost what it acknowledged after. Nothing changed:
    /// read, and begin another epoch that replaces it.
    Doubtful(Position),
    /// The log has its terminal event. Nothing changed.
    Ended,
    /// The fence refuses. Nothing changed.
    Fenced,
    /// Another template of the job has this place of its plan. Nothing changed: the catalogue's `templates_of`
    /// says which, and the events are made again with that one.
    PlaceTaken(u32),
}
