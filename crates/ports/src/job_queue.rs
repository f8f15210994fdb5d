//! The queue that workers claim jobs from. Ending, requeueing and giving back are no methods here:
//! they are the [`QueueEffect`](crate::QueueEffect) of the event that says so.

use std::ops::Deref;
use std::time::Duration;

use async_trait::async_trait;
use conch_domain::{Job, JobId, LeaseToken};

use crate::{Commit, QueuePlace, Result};

/// A job that one worker holds for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job_id: JobId,
    /// Which attempt this is, from 1: the attempts that counted, plus one.
    pub attempt: u32,
    /// Fences every write of this attempt.
    pub token: LeaseToken,
}

/// A job that a claim gave out.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// What holds it.
    pub lease: Lease,
    /// The fold of its log, so that its worker needs no further read; none where it has no log of an own job that
    /// can be read. Its worker then looks for what else is known of it.
    pub job: Option<Job>,
}

impl Deref for Claimed {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}

/// One page of a search for jobs that the queue has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// Where it begins: 0, or what the page before it said.
    pub from: usize,
    /// How many unfinished jobs are looked at.
    pub limit: usize,
    /// How long a lease that was lost runs on, so that its worker may renew it.
    pub grace: Duration,
}

/// What a [`Sweep`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Where the next page begins; none: that was the last one.
    pub next: Option<usize>,
    /// The jobs that the queue had lost and has again.
    pub found: Vec<JobId>,
}

/// A new job.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Its first event, `job:queued`, at sequence 1, with an `Open` fence and `Keep`. Its job says whose turn
    /// it waits for, how urgent it is, and when it may run.
    pub commit: Commit,
    /// What makes the submission idempotent, if the caller asked for that.
    pub idempotency: Option<Idempotency>,
}

/// A caller's promise that two submissions with the same key are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Caller and key; any text.
    pub key: String,
    /// Digest of what was asked for.
    pub digest: String,
    /// How long the key is remembered.
    pub lifetime: Duration,
}

/// What became of a [`Submission`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The job is queued.
    New,
    /// The same key and digest came before: this is their job. Nothing changed.
    Existing(JobId),
    /// The same key came before with another digest. Nothing changed.
    KeyReused,
}

/// Claimable jobs.
///
/// # Laws
/// - **submission_is_one_step**: `submit` MUST store log, record, queue entry and idempotency key
///   in one atomic step. Submitting the same commit twice (same
///   job id and event id) MUST answer `New` and leave one job.
/// - **same_key_same_job**: of concurrent submissions with one key and digest exactly one is `New`.
/// - **recall_asks_for_the_key_alone**: `recall` MUST answer what `submit` answers to a known key,
///   `Existing` or `KeyReused`, whatever else became of the job, and nothing for a key that isn't
///   known. It MUST change nothing.
/// - **one_holder**: at one moment, by the store's clock, a job MUST have at most one lease.
/// - **claims_are_answered_again**: a claim with a token that holds a lease which has not run out MUST
///   answer that lease, for `duration` from now, and take no other job.
/// - **claims_bring_the_fold**: a claim, and one that is asked again, MUST answer the state that `read` of the
///   log would at that moment, if it has a log of an own job, and no other.
/// - **claims_rotate_over_clients**: claims MUST take turns over the clients that have a due job. So a client with a due job waits at most one claim of each
///   other client, however many jobs those have.
/// - **who_comes_back_queues_up**: a client that had no due job and has one again MUST have its turn after
///   all who wait. So a client that submits one job at a time overtakes no other.
/// - **priority_within_a_client**: of a client's due jobs `claim` MUST take one of the highest priority,
///   and no priority may take another client's turn.
/// - **age_within_a_priority**: of these it MUST take the one that has been claimable longest, by the moment at
///   which it became due; a requeued job became due when it was requeued for.
/// - **not_before_it_is_due**: a job MUST NOT be claimable before its `run_at`, by the store's clock, and
///   MUST be from then on.
/// - **requeued_keeps_its_priority**: a requeued job, and one whose place was lost and found, MUST wait for
///   its client's turn with its priority; the latter MUST NOT be claimable before its `run_at`.
/// - **places_are_those_of_claims**: as long as nothing else changes, a job at place n of `places` MUST be
///   given by the nth claim; up to the hundredth place it MUST be exact. A job that isn't due, is held, has
///   ended or isn't known has none.
/// - **requeued_not_before_its_time**: a requeued job MUST NOT be claimable before its time.
/// - **lease_runs_out**: a lease that isn't renewed within its duration MUST show in `expired`, and
///   only there: the job isn't claimable until an event with `Fence::Expired` requeues it.
/// - **waiting_jobs_never_expire**: a job that has not ended MUST stay in the queue, however long no worker
///   comes: claimable where it waits, and in `expired` where it was held, with its attempts. That its
///   log has run out MUST take neither: the next commit that the fence lets in begins it anew. What bounds
///   the queue is its quota.
/// - **lost_places_are_found**: whatever part of its place in the queue an unfinished job of our own has
///   lost, a sweep over all pages MUST put it back, and name it: claimable if it waited, under its
///   lease for `grace` if that is still known, else under one that has run out. It MUST change nothing of
///   a job that has its place, nor of one that has ended, and nothing but its page may be looked at.
///   Until then a lease of which only the end is lost runs: its worker writes and renews, and a renewal
///   puts the place back.
/// - **broken_keys_block_no_other_job**: what something else has written where a job's place in the queue
///   belongs MUST NOT keep another job from being claimed in the same call, nor any call from its answer.
///   The job itself MUST be found by a sweep.
/// - **renewal_needs_the_lease**: `renew` MUST extend only a lease that is the job's own and has not
///   run out; else it MUST answer false and change nothing. What makes a lease the job's own is its token:
///   one whose end was lost has not run out, and once the job has been taken over it is never held again.
/// - **attempts_count_up**: the attempt MUST be 1 at first and one more after each requeue that
///   counts.
/// - **quotas_refuse_before_anything_changes**: a submission that would make more jobs that wait or
///   run, or more job records, than [`Quotas`](crate::Quotas) allow MUST be refused in the step that
///   would write it and leave nothing behind, its key included. What is known already MUST be
///   answered as ever, and no other operation refused. Each job that ends MUST make room for one.
/// - **restore_only_from_nothing**: `restore` MUST succeed only if the store knows nothing of the
///   job: no log, no queue entry, no record. It then holds the lease again, for `duration`, and the
///   record.
/// - **restore_replaces_external_logs**: a log that is not an own job's MUST NOT keep `restore` from
///   giving back a job of our own, whether it has ended or not. It MUST be gone in the same step, with
///   the result that its end left on the same backend and its share of the quota: what was announced
///   of the job before it was put back was not ours to believe.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Accepts a new job.
    ///
    /// # Errors
    /// When the store is out of reach, has no room, or a quota is used up.
    async fn submit(&self, submission: Submission) -> Result<Submitted>;

    /// What came under the caller's key before, without submitting anything. A key that isn't known
    /// may be by the time of the submission: only `submit` decides.
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>>;

    /// Takes the next job, if any is due, for `duration`, under the caller's `token`: a new one for each
    /// claim, the same one when a claim is asked again because its answer was lost. `worker` is for people
    /// who look.
    ///
    /// Not cancel-safe: a claim whose answer is dropped and that isn't asked again runs out by itself.
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn claim(
        &self,
        worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Claimed>>;

    /// Keeps the job for another `duration` from now. False: the lease is lost, stop at once.
    ///
    /// # Errors
    /// When the store is out of reach; the lease may yet run out.
    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool>;

    /// Leases that have run out, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn expired(&self, limit: usize) -> Result<Vec<Lease>>;

    /// Puts back what the queue has lost of the unfinished jobs on one page.
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn sweep(&self, sweep: &Sweep) -> Result<Swept>;

    /// The place of each of the jobs, in their order, at most
    /// [`MAX_PLACES_ASKED`](crate::MAX_PLACES_ASKED); none for a job that isn't
    /// waiting to be claimed now. Asks about all of them at once, and changes nothing.
    ///
    /// # Errors
    /// When the store is out of reach, or grants no right to look at its queue.
    async fn places(&self, job_ids: &[JobId]) -> Result<Vec<Option<QueuePlace>>>;

    /// How long until the next job becomes claimable: zero if one is, none if the queue is empty.
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn next_due(&self) -> Result<Option<Duration>>;

    /// Puts back what a store that lost everything has forgotten of a job that still runs here.
    /// Only for who held that lease: no store can check it any more.
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool>;
}
