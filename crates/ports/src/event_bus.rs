//! The log of each job, and the announcements that something was appended to one.
//!
//! ```text
//!   publish(commit) ──► one atomic step: duplicate? ended? fence? place?
//!                         └─► append · state · record · queue entry · cached result
//!                               └─► announce ─ ─ ─ (may be lost) ─ ─ ─► subscribe() ─► Message
//!   read(job, after) ──► state and events of one and the same moment
//! ```
//!
//! The log is the truth; an announcement is a hint that it is worth reading again.

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{EventId, Job, JobId, LeaseToken, Position, Timestamp};
use futures::stream::BoxStream;
use std::time::Duration;

use crate::Result;

/// One event on its way into its job's log, with all that belongs to it.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The fold *after* the event. `job.position` is the event's place: the log must stand right
    /// before it. At sequence 1 the log must not exist, but see `replaces`.
    pub job: Job,
    /// The event: one JSON object, UTF-8, without a line break.
    pub line: Bytes,
    /// What makes the append idempotent within its job.
    pub event_id: EventId,
    /// Who may do this.
    pub fence: Fence,
    /// What becomes of the job's queue entry.
    pub effect: QueueEffect,
    /// Whether subscribers are told. Not for a foreign event, which its publisher announced.
    pub announce: bool,
    /// The log's end as the caller saw it, when `job.position` begins another incarnation of a log
    /// that lost its tail, or of one that goes on after its end ([`Commit::reopens`]): if the log still
    /// stands exactly there, it is replaced.
    pub replaces: Option<Position>,
    /// What the job had been through before a log that begins in mid-life, at sequence 0 of it. Only
    /// with sequence 1.
    pub base: Option<Job>,
}

impl Commit {
    /// Whether this is the event with which an external job goes on after its end: it replaces an epoch
    /// that its job has gone on from.
    pub fn reopens(&self) -> bool {
        let replaces_an_end =
            self.replaces.is_some() && self.job.past.last() == self.replaces.as_ref();
        self.fence == Fence::Foreign && replaces_an_end
    }
}

/// Event ids that a log remembers at least: more than a job can have events that aren't of its
/// life's course, so that one that comes late is answered `Duplicate`.
pub const EVENT_IDS_REMEMBERED: usize = 2048;

/// Jobs that one call of [`EventBus::positions`] may ask about.
pub const MAX_POSITIONS: usize = 500;

/// Who may append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// Anybody: derived events, requests to cancel.
    Open,
    /// Anybody, but only for a job that the catalogue has no record of and whose log, if there is
    /// one, is not an own job's: events of external publishers.
    Foreign,
    /// Only the holder of the job's lease, and only while it has not run out by the store's clock.
    Held(LeaseToken),
    /// Anybody, but only when that lease is still the job's and has run out by the store's clock.
    Expired(LeaseToken),
    /// Anybody, but only while no worker holds the job: it is queued, or in no queue at all.
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
pub enum Published {
    /// It is in the log, at `commit.job.position`.
    Appended,
    /// An event with that id was there already, at this place. Nothing changed.
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
}

/// One event of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log's incarnation.
    pub sequence: u64,
    /// The bytes that were appended.
    pub line: Bytes,
}

/// A job's log as it stood at one moment.
#[derive(Debug, Clone)]
pub struct Log {
    /// The fold of the whole log, trimmed events included; `job.position` is its last event.
    pub job: Job,
    /// Sequence of the oldest event that is still kept; greater than `job.position.sequence` when
    /// none is.
    pub oldest: u64,
    /// The fold right before the oldest kept event, where that isn't the job's first: the log was
    /// trimmed, or began in mid-life. Only if it was asked for, by a call that begins before it and
    /// takes entries.
    pub base: Option<Job>,
    /// The kept events after the one asked for, oldest first, without gaps. Shorter than what there
    /// is when the limit of the call cut it.
    pub entries: Vec<Entry>,
}

/// What a subscription yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The subscription begins, or something may have been missed: read again whatever you watch.
    Lapsed,
    /// Somebody announced these bytes. Nothing about them is to be trusted.
    Message(Bytes),
}

/// A subscription's signals; it ends only when the adapter is shut down.
pub type Signals = BoxStream<'static, Signal>;

/// How long what was acknowledged lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As long as this process.
    Process,
    /// As long as the store's own data; the operator chooses its class.
    Store,
}

/// What a backend promises beyond the laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guarantees {
    /// Whether everything that belongs to a commit happens in one atomic step with it. If not,
    /// what comes after the append may be missing after a crash, and is repaired from the log.
    pub atomic_commit: bool,
    /// Whether other processes see the same logs and announcements.
    pub shared: bool,
    /// How long what was acknowledged lives.
    pub durability: Durability,
}

/// Logs of jobs and their announcements.
///
/// # Laws
/// - **append_is_compare_and_set**: `publish` MUST append only where `commit.job.position` is the
///   place right after the log's end, in the log's epoch; else it MUST answer `Conflict` with the
///   log's end and change nothing. Of concurrent commits for one place exactly one is `Appended`.
/// - **sequences_have_no_gaps**: the events of an epoch MUST be 1..n in the order of their appends,
///   and never change.
/// - **event_id_is_appended_once**: a commit whose `event_id` is in the log MUST be answered with
///   `Duplicate` and the first one's place, whatever its other fields say, at least until
///   [`EVENT_IDS_REMEMBERED`] later events. This is checked before all else, for a time-out may hide a
///   success.
/// - **nothing_follows_the_end**: once a terminal event is in, every other commit MUST be `Ended`, but
///   for one that [reopens](Commit::reopens) the log.
/// - **an_external_job_goes_on**: a commit that reopens a log MUST replace one that stands exactly
///   where it says and has ended, and no other; of several exactly one is `Appended`. In the same step
///   the old events MUST be gone, the cached result too unless the event is an end itself, and the
///   quota of unfinished external jobs be checked. Event ids of earlier epochs MUST be answered
///   `Duplicate` as ever, with the places that they had there.
/// - **fence_is_checked_in_the_step**: `Foreign`, `Held`, `Expired` and `Unclaimed` MUST be checked in the
///   same atomic step as the append, against the store's clock; a commit that is `Fenced` MUST
///   change nothing, queue entry included.
/// - **announce_follows_append**: a subscriber that receives an announcement and then calls `read` MUST find
///   the event. The bytes announced MUST be the bytes appended.
/// - **announcements_keep_their_order**: announcements of one job MUST arrive in the order of their
///   appends. They may be lost, and may be repeated.
/// - **read_is_one_moment**: state and entries of `read` MUST be of one moment, and the state MUST
///   be the fold of the whole log. At least the newest `HISTORY_LIMIT` events MUST be kept while
///   the log lives (but see **a_full_log_is_trimmed**), and at most twice as many; trimming MUST NOT
///   change the state.
/// - **the_base_joins_on**: the base of a trimmed log, or of one that began in mid-life, MUST be the
///   fold at the sequence right before the oldest kept event.
/// - **a_lost_log_is_absent**: `read` MUST answer `None` for a job without a log, never an empty one.
/// - **positions_are_those_of_reads**: `positions` MUST answer for each job the position that `read`
///   would, in the order in which they were asked about, repeated ones included, and `None` where
///   `read` would. A key that somebody else has written to MUST NOT fail the call for the others.
/// - **replacing_begins_an_epoch**: a commit at sequence 1 with `replaces` MUST replace a log that
///   stands exactly there, and no other; the old events MUST be gone in the same step.
/// - **what_may_have_lost_begins_anew**: after a restart or a failover in which acknowledged appends
///   may have been lost, a commit in the epoch of a log that was there before MUST be `Doubtful`,
///   until one replaces it. A store that knows that nothing was lost goes on.
/// - **subscription_starts_with_lapsed**: `subscribe` MUST NOT wait for the backend; its first
///   signal, and the first after every interruption or overflow, MUST be `Lapsed`, sent once
///   messages flow. A message published after `Lapsed` was received MUST arrive or be followed by
///   another `Lapsed`.
/// - **external_logs_are_bounded**: a commit that would begin the log of a job that isn't our own, and
///   that the catalogue has no record of, MUST be refused by quota in the step that would write it, and
///   leave nothing behind, while as many
///   such logs are unfinished as [`Quotas`](crate::Quotas) allow, or ten times as many have ended and
///   not run out. A log that is there MUST take events as ever, and one that ends or runs out MUST
///   make room.
/// - **external_bytes_are_bounded**: likewise an event of such a job by the bytes that are kept of the job
///   and of all such jobs ([`Weighed`](crate::Weighed)): its line and
///   [`EVENT_OVERHEAD`](crate::EVENT_OVERHEAD). What is trimmed, replaced or runs out MUST make room.
/// - **a_full_log_is_trimmed**: such an event MUST NOT be refused because of what is kept of its job
///   already: in the step that appends it, as many of the oldest events MUST be trimmed as it takes for
///   what is kept to be within the job's bytes. The newest `HISTORY_LIMIT` events MUST be kept, or so
///   many that with the newest trimmed one they take more than half of those bytes. A refusal MUST trim
///   nothing.
/// - **shared_means_shared**: a backend that declares itself `shared` MUST show other processes the same
///   logs, and MUST announce to them what is appended here, and here what they append.
/// - **effects_belong_to_the_append**: with `atomic_commit`, a caller that sees the event in the log MUST
///   see the queue effect, the catalogue's job record (own jobs) and, for a terminal event, the
///   cached result.
///
/// All methods are cancel-safe in the sense that a dropped call was either carried out wholly or
/// not at all; the caller learns which by calling again with the same `event_id`.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// What this backend promises beyond the laws.
    fn guarantees(&self) -> Guarantees;

    /// Appends one event, does what belongs to it, announces it.
    ///
    /// # Errors
    /// When nothing is known of the outcome (retry with the same `event_id`), there is no room, or a
    /// quota is used up.
    async fn publish(&self, commit: Commit) -> Result<Published>;

    /// The job's state and its kept events after sequence `after`, at most `limit` of them.
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>>;

    /// Where the jobs' logs end, in the order of `job_ids`; none where there is no log, or what can't be
    /// read. One question for all of them, at most [`MAX_POSITIONS`].
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>>;

    /// Everything that anybody announces from now on, for all jobs. Reconnects by itself for ever.
    fn subscribe(&self) -> Signals;

    /// The store's own clock, the one that leases are measured by.
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn now(&self) -> Result<Timestamp>;

    /// Whether the backend answers now.
    ///
    /// # Errors
    /// When it does not.
    async fn ping(&self) -> Result<()>;
}
