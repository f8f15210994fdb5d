//! The log of each job: what is in it is what happened.
//!
//! ```text
//!   append(commit) ──► one atomic step: duplicate? ended? fence? place?
//!                        └─► log · state · record · queue entry · cached result
//!                              └─► announcement, on the bus that `announces` names
//!   read(job, after) ─► state and events of one and the same moment
//! ```
//!
//! Never in here: who hears of an append, which is the [bus](crate::EventBus)'s.

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{Job, JobId, Position, Timestamp};

use crate::{Appended, Bucket, BusId, Commit, Result, Stamp};

/// Jobs that one call of [`JobLog::positions`] may ask about.
pub const MAX_POSITIONS: usize = 500;

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

/// What a log promises beyond the laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guarantees {
    /// Whether other processes see the same logs.
    pub shared: bool,
    /// Whether the append of a terminal event caches the job's result in the same step. If not, that is
    /// left to the process that learns of the end.
    pub caches_results: bool,
}

/// Logs of jobs.
///
/// # Laws
/// - **append_is_compare_and_set**: `append` MUST append only where [`commit.first`](Commit::first) is the
///   place right after the log's end, in the log's epoch; else it MUST answer `Conflict` with the
///   log's end and change nothing. Of concurrent commits for one place exactly one is `Appended`.
/// - **a_commit_is_one_step**: all events of a commit MUST be in the log after it, and all its templates in the
///   catalogue, or none: whatever refuses it, a reader MUST NOT find a part of them, and each event that is to
///   be announced MUST be, in their order. One whose events are all known MUST be answered `Duplicate` with the
///   first one's place; one of which some are known, one without an event, and one with more events or
///   templates than it may have MUST be refused and change nothing. What would otherwise be appended, but has a
///   template for a place that another one holds, MUST be `PlaceTaken`.
/// - **sequences_have_no_gaps**: the events of an epoch MUST be 1..n in the order of their appends,
///   and never change.
/// - **event_id_is_appended_once**: a commit whose event's id is in the log MUST be answered with
///   `Duplicate` and the place where it is, whatever its other fields say, at least until
///   [`EVENT_IDS_REMEMBERED`](crate::EVENT_IDS_REMEMBERED) later events. This is checked before all else, for a time-out may hide a
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
/// - **announce_follows_append**: a subscriber of the bus that the log [announces](JobLog::announces) on,
///   who receives an announcement and then calls `read`, MUST find the event. The bytes announced MUST be
///   the bytes appended, and the announcements of one job MUST be handed over in the order of its
///   appends, by one caller at least: two that append to one log and announce in a step of their own may
///   overtake each other. A submission is announced likewise. Where a job has a
///   [secret](conch_domain::JobRecord::secret), each commit that isn't too long for it MUST also be announced
///   sealed, as [`Channel::Own`](crate::Channel), before any copy that others hear, and an external event MAY be
///   announced so; where none but our own programs listen it MAY be announced so alone.
/// - **read_is_one_moment**: state and entries of `read` MUST be of one moment, and the state MUST
///   be the fold of the whole log. At least the newest `HISTORY_LIMIT` events MUST be kept while
///   the log lives (but see **a_full_log_is_trimmed**), and at most twice as many and one commit's: a log is
///   cut off only where a commit ended. Trimming MUST NOT change the state.
/// - **the_base_joins_on**: the base of a trimmed log, or of one that began in mid-life, MUST be the
///   fold at the sequence right before the oldest kept event.
/// - **a_lost_log_is_absent**: `read` MUST answer `None` for a job without a log, never an empty one.
/// - **positions_are_those_of_reads**: `positions` MUST answer for each job the position that `read`
///   would, in the order in which they were asked about, repeated ones included, and `None` where
///   `read` would. A key that another program has written to MUST NOT fail the call for the others.
/// - **an_append_changes_its_buckets_stamp**: once an append is answered, `latest` MUST NOT answer for its
///   log's bucket with a stamp that it answered before the append, nor with another job's or another
///   position's. It MUST say `None` where the store doesn't know of the bucket's latest commit. Appends to other
///   buckets MUST NOT change it.
/// - **replacing_begins_an_epoch**: a commit at sequence 1 with `replaces` MUST replace a log that
///   stands exactly there, and no other; the old events MUST be gone in the same step.
/// - **what_may_have_lost_begins_anew**: after a restart or a failover in which acknowledged appends
///   may have been lost, a commit in the epoch of a log that was there before MUST be `Doubtful`,
///   until one replaces it. A store that knows that nothing was lost goes on.
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
/// - **now_is_the_lease_clock**: `now` MUST be the clock by which leases run out: one that was taken for a while
///   when `now` said `t` MUST be held until `now` says `t` and that while, and in
///   [`expired`](crate::JobQueue::expired) from then on. It MUST NOT go back by itself: an operator may set the
///   clock of the store's machine.
/// - **shared_means_shared**: a log that declares itself `shared` MUST show other processes what is
///   appended here, and here what they append.
/// - **effects_belong_to_the_append**: a caller that sees the event in the log MUST see the queue effect,
///   the catalogue's job record (own jobs) and, for a terminal event and with `caches_results`, the cached
///   result.
///
/// All methods are cancel-safe in the sense that a dropped call was either carried out wholly or
/// not at all; the caller learns which by calling again with the same commit.
#[async_trait]
pub trait JobLog: Send + Sync {
    /// What this log promises beyond the laws.
    fn guarantees(&self) -> Guarantees;

    /// The bus on which the append itself announces its events; none: they are announced in a step of their
    /// own, after it.
    fn announces(&self) -> Option<BusId>;

    /// Appends a commit's events, does what belongs to them, announces them.
    ///
    /// # Errors
    /// When nothing is known of the outcome (retry the very same commit), there is no room, or a quota is used
    /// up. [`ErrorKind::Refused`](crate::ErrorKind) when the commit hasn't as many events as it may have, or
    /// some of them are known and others not.
    async fn append(&self, commit: Commit) -> Result<Appended>;

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

    /// Which commits to the logs of these buckets were the latest, in the order of `buckets`. As long as a
    /// bucket's is the same, nothing was appended to any of its logs. None: there may be something, and
    /// [`positions`](JobLog::positions) has to be asked; so it is for a store that keeps no such notes.
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn latest(&self, buckets: &[Bucket]) -> Result<Vec<Option<Stamp>>> {
        Ok(vec![None; buckets.len()])
    }

    /// The store's own clock, the one that leases are measured by.
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn now(&self) -> Result<Timestamp>;

    /// Whether the store answers now.
    ///
    /// # Errors
    /// When it does not.
    async fn ping(&self) -> Result<()>;
}
