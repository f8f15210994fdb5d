//! A job as the fold of its log, and the one function that may change it: [`Job::apply`].
//!
//! Nothing outside this file can put a job into a state that its events do not lead to. A job
//! has at most one terminal event and it is the last (I2): `apply` refuses everything after it.

use std::ops::Deref;

use crate::limits::clip_some;
use crate::{
    Attempts, ClientId, Epoch, Event, EventCap, EventKind, JobId, LogSecret, Position, RetryReason,
    TemplateId,
};
use crate::{Schedule, Timestamp, ValuePropositionId};

/// Template ids that a job lists; more are only counted.
pub const MAX_TEMPLATE_IDS: usize = 1000;

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// Waits for a worker.
    Pending,
    /// A worker runs it.
    Running,
    /// Ended with at least one template.
    Completed,
    /// Ended without any template.
    Failed,
    /// Ended by a cancellation.
    Cancelled,
}

impl JobStatus {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with that name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether no event can follow.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// Everything known about a job. Readable everywhere, changed only by [`Job::apply`] and
/// [`Job::reopen`]; the fields are public so that a store can save them and [`Job::restore`] them.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: JobId,
    /// The log's epoch and the last event folded in; sequence 0 before the first event.
    pub position: Position,
    /// The secret of that epoch; none where the build that began it knew of none.
    pub secret: Option<LogSecret>,
    /// Where its earlier epochs ended, oldest first: an external job may continue after `job:failed`.
    pub past: Vec<Position>,
    /// The time of the event that the present epoch began with, if it isn't the first epoch.
    pub reopened_at: Option<Timestamp>,
    /// Whether our own Triton created it. If so, only its log may change it: events that other
    /// programs publish for it are ignored.
    pub own: bool,
    /// The client that it belongs to.
    pub client_id: Option<ClientId>,
    /// The value proposition that its templates are generated from.
    pub value_proposition_id: Option<ValuePropositionId>,
    /// When it may run, and how urgently.
    pub schedule: Schedule,
    /// Its state.
    pub status: JobStatus,
    /// 0–100.
    pub progress: u8,
    /// The latest attempt that an event mentions, 1-based; 0 before the first.
    pub attempt: u32,
    /// The earliest attempt whose events are accepted; those of earlier attempts are stale.
    pub least_attempt: u32,
    /// The outcome of its attempts, per template.
    pub attempts: Attempts,
    /// Whether its cancellation was requested.
    pub cancel_requested: bool,
    /// Why it failed, why its latest attempt failed, or why templates are missing.
    pub error_message: Option<String>,
    /// When it was accepted.
    pub created_at: Option<Timestamp>,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// The time of the latest event; never decreases.
    pub updated_at: Option<Timestamp>,
    /// Time from the first start to the end.
    pub generation_duration_ms: Option<u64>,
    /// Templates done so far, in the order of their events; the first [`MAX_TEMPLATE_IDS`].
    pub template_ids: Vec<TemplateId>,
    /// Their number; differs from the list's length only if an external publisher sent the number alone,
    /// or more ids than are listed.
    pub template_count: u64,
}

/// The fold of a job's log.
#[derive(Debug, Clone, PartialEq)]
pub struct Job(Record);

/// What [`Job::apply`] did with a legal event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was folded in.
    Applied,
    /// The job already includes its position: nothing changed.
    Duplicate,
    /// Events before it are missing: nothing changed; read the log.
    Gap,
}

/// Why an event cannot follow. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The job has ended.
    #[error("the job has ended as {}", .0.as_str())]
    Ended(JobStatus),
    /// Only the first event may say that a job was queued.
    #[error("the job is queued already")]
    AlreadyQueued,
    /// A job starts once; later attempts begin with a progress event.
    #[error("the job has started already")]
    AlreadyStarted,
    /// The cancellation was requested already.
    #[error("the job's cancellation was requested already")]
    AlreadyCancelRequested,
    /// The failure of this template was reported already.
    #[error("the failure of template {template_index} was reported already")]
    AlreadyFailed {
        /// The template's place in the plan.
        template_index: u32,
    },
    /// An event of an earlier attempt, or of one that has ended.
    #[error("attempt {attempt} is over, the job is at {least}")]
    StaleAttempt {
        /// The event's attempt.
        attempt: u32,
        /// The earliest attempt whose events are accepted.
        least: u32,
    },
    /// It reports less progress than the job is known to have made.
    #[error("the job has already made more progress")]
    Behind,
    /// It is older than the event with which the job continued after an earlier end.
    #[error("the event belongs to an earlier run of the job")]
    OfAnEarlierEpoch,
    /// The job has reached the number of events after which this kind is refused.
    #[error("the job has had {most} events: no more of this kind are accepted")]
    TooManyEvents {
        /// The number of events after which it is refused.
        most: u64,
    },
}

impl Deref for Job {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.0
    }
}

impl Job {
    /// A job before its first event. `own`: our own Triton creates it.
    pub fn initial(id: JobId, epoch: Epoch, own: bool) -> Self {
        Self(Record {
            id,
            position: Position { epoch, sequence: 0 },
            secret: None,
            past: Vec::new(),
            reopened_at: None,
            own,
            client_id: None,
            value_proposition_id: None,
            schedule: Schedule::default(),
            status: JobStatus::Pending,
            progress: 0,
            attempt: 0,
            least_attempt: 0,
            attempts: Attempts::default(),
            cancel_requested: false,
            error_message: None,
            created_at: None,
            started_at: None,
            completed_at: None,
            updated_at: None,
            generation_duration_ms: None,
            template_ids: Vec::new(),
            template_count: 0,
        })
    }

    /// A job from a record that a store saved.
    pub fn restore(record: Record) -> Self {
        Self(record)
    }

    /// The same state at the beginning of a new epoch, for a store that lost the old log. That epoch's secret is
    /// another one.
    #[must_use]
    pub fn with_epoch(&self, epoch: Epoch) -> Self {
        let mut job = self.clone();
        job.0.position = Position { epoch, sequence: 0 };
        job.0.secret = None;
        job
    }

    /// The same with the secret of the epoch that it is about to begin.
    #[must_use]
    pub fn with_secret(mut self, secret: LogSecret) -> Self {
        self.0.secret = Some(secret);
        self
    }

    /// The time stamp of an event of ours that happens at `now`: never earlier than the job's latest event,
    /// whichever clock that came from.
    pub fn not_before(&self, now: Timestamp) -> Timestamp {
        self.0.updated_at.map_or(now, |latest| latest.max(now))
    }

    /// Folds the event at `position` into the job. It doesn't limit the number of events: callers that
    /// append check [`Job::check`] first.
    ///
    /// `position` must be of this job's epoch. A sequence number at or below the job's own is a
    /// [`Applied::Duplicate`], one that skips events is a [`Applied::Gap`].
    ///
    /// # Errors
    /// When the event cannot follow in the job's present state. Nothing changed then.
    pub fn apply(&mut self, position: Position, event: &Event) -> Result<Applied, Illegal> {
        debug_assert_eq!(self.position.epoch, position.epoch, "compare epochs first");
        if position.sequence <= self.position.sequence {
            return Ok(Applied::Duplicate);
        }
        if position.sequence > self.position.sequence + 1 {
            return Ok(Applied::Gap);
        }
        self.may_follow(event)?;
        self.0.position = position;
        self.fold(event);
        Ok(Applied::Applied)
    }

    /// Whether the event may be appended next to a log with the limit `cap`.
    ///
    /// # Errors
    /// As [`Job::apply`], and when the log has too many events.
    pub fn check(&self, event: &Event, cap: EventCap) -> Result<(), Illegal> {
        self.may_follow(event)?;
        if self.reopened_at.is_some_and(|at| event.timestamp < at) {
            return Err(Illegal::OfAnEarlierEpoch);
        }
        match cap.of(&event.kind) {
            Some(most) if self.events_in_all() >= most => Err(Illegal::TooManyEvents { most }),
            _ => Ok(()),
        }
    }

    fn may_follow(&self, event: &Event) -> Result<(), Illegal> {
        if self.status.is_terminal() {
            return Err(Illegal::Ended(self.status));
        }
        if let Some(attempt) = event.attempt
            && attempt < self.least_attempt
        {
            return Err(Illegal::StaleAttempt {
                attempt,
                least: self.least_attempt,
            });
        }
        match &event.kind {
            EventKind::Queued { .. } if self.updated_at.is_some() => Err(Illegal::AlreadyQueued),
            EventKind::Started { .. } if self.started_at.is_some() => Err(Illegal::AlreadyStarted),
            EventKind::CancelRequested { .. } if self.cancel_requested => {
                Err(Illegal::AlreadyCancelRequested)
            }
            // Two workers may end one job whose worker fell silent, at once.
            EventKind::TemplateFailed { template_index, .. }
                if self.own && self.attempts.failed.contains_key(template_index) =>
            {
                Err(Illegal::AlreadyFailed {
                    template_index: *template_index,
                })
            }
            _ => Ok(()),
        }
    }

    fn fold(&mut self, event: &Event) {
        let job = &mut self.0;
        job.updated_at = job.updated_at.max(Some(event.timestamp));
        if job.client_id.is_none() {
            job.client_id.clone_from(&event.client_id);
        }
        if let Some(attempt) = event.attempt {
            job.attempt = job.attempt.max(attempt);
            job.least_attempt = job.least_attempt.max(attempt);
            if !matches!(event.kind, EventKind::Retrying { .. }) {
                job.attempts.begin(event.making);
            }
        }
        match &event.kind {
            EventKind::Queued {
                queued_at,
                value_proposition_id,
                schedule,
            } => {
                job.created_at = Some(*queued_at);
                job.schedule = *schedule;
                job.value_proposition_id.clone_from(value_proposition_id);
            }
            EventKind::Started { started_at } => {
                job.status = JobStatus::Running;
                job.started_at = Some(*started_at);
            }
            EventKind::Progress { progress, .. } => {
                job.status = JobStatus::Running;
                job.progress = (*progress).min(100);
            }
            EventKind::TemplateCompleted {
                template_id,
                template_index,
                ..
            } => {
                job.status = JobStatus::Running;
                job.attempts.made(*template_index);
                if !job.template_ids.contains(template_id) {
                    if job.template_ids.len() < MAX_TEMPLATE_IDS {
                        job.template_ids.push(template_id.clone());
                        job.template_count = job.template_ids.len() as u64;
                    } else {
                        job.template_count = job.template_count.saturating_add(1);
                    }
                }
            }
            EventKind::TemplateFailed {
                template_index,
                error_message,
                ..
            } => {
                job.status = JobStatus::Running;
                job.attempts.fail(*template_index, error_message);
            }
            EventKind::Retrying {
                reason,
                error_message,
                ..
            } => {
                let began = job.status == JobStatus::Running;
                job.status = JobStatus::Pending;
                job.error_message.clone_from(error_message);
                job.end_attempt(*reason, began);
            }
            EventKind::CancelRequested { .. } => job.cancel_requested = true,
            EventKind::Completed {
                template_ids,
                template_count,
                generation_duration_ms,
                completed_at,
                failed_templates,
                error_message,
            } => {
                job.progress = 100;
                job.error_message.clone_from(error_message);
                job.attempts.end(failed_templates);
                job.list(template_ids, *template_count);
                job.end(JobStatus::Completed, *completed_at, *generation_duration_ms);
            }
            EventKind::Failed {
                error_message,
                generation_duration_ms,
                completed_at,
            } => {
                job.error_message = Some(error_message.clone());
                job.attempts.end(&[]);
                job.end(JobStatus::Failed, *completed_at, *generation_duration_ms);
            }
            EventKind::Cancelled {
                template_ids,
                completed_at,
            } => {
                job.attempts.end(&[]);
                job.list(template_ids, template_ids.len() as u64);
                job.end(JobStatus::Cancelled, *completed_at, None);
            }
            EventKind::Other { .. } => {}
        }
        // An external event may contain more. Its line keeps all of it; the fold is stored several times.
        clip_some(&mut job.error_message);
    }
}

impl Record {
    /// One that a shutdown cut short does not count, nor one that ended in silence before it had begun:
    /// the number comes again, under another lease token.
    fn end_attempt(&mut self, reason: RetryReason, began: bool) {
        match reason {
            RetryReason::Shutdown => {
                self.attempts.making = None;
                return;
            }
            RetryReason::LeaseExpired if !began => {
                self.attempts.idle_claims = self.attempts.idle_claims.saturating_add(1);
                return;
            }
            RetryReason::LeaseExpired => {}
            RetryReason::Error => {
                self.attempts.making = None;
                // All failed templates are tried again.
                self.attempts.failed.clear();
            }
        }
        self.attempts.lose();
        self.least_attempt = self.attempt.saturating_add(1);
    }

    fn list(&mut self, template_ids: &[TemplateId], count: u64) {
        self.template_ids = template_ids
            .iter()
            .take(MAX_TEMPLATE_IDS)
            .cloned()
            .collect();
        self.template_count = count;
    }

    fn end(&mut self, status: JobStatus, at: Timestamp, duration_ms: Option<u64>) {
        self.status = status;
        self.completed_at = Some(at);
        self.generation_duration_ms =
            duration_ms.or_else(|| self.started_at.map(|started| at.millis_since(started)));
    }
}
