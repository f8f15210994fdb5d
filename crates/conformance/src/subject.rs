//! What an adapter shows the suite of itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::JobId;
use conch_ports::{
    Catalogue, EventBus, Guarantees, JobLog, JobQueue, Quotas, ResultCache, TicketStore,
};

/// The bounds that the store under test was built with.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Events kept per job. Best 20 to 40: some laws write twice as many.
    pub history_limit: usize,
    /// How long a cached result lives. Best two seconds: enough for a slow machine, soon over.
    pub result_ttl: Duration,
    /// How long the log of a job that has ended lives. Best two seconds.
    pub ended_log_ttl: Duration,
    /// Tickets at once. Best 6 to 20.
    pub tickets: usize,
    /// Tickets of one caller at once: at least 2, and fewer than all.
    pub tickets_per_caller: usize,
    /// How many jobs, clients and value propositions there may be. Best 20 to 40, as some laws fill
    /// them up, and five more jobs than may wait or run; of value propositions and
    /// foreign jobs 4 to 10.
    pub quotas: Quotas,
}

/// What a foreign program may write where a cached result belongs.
#[derive(Debug, Clone)]
pub enum ForeignBlob {
    /// A string that is no result of ours.
    Bytes(Bytes),
    /// Something that is no string at all, where the store has such a thing.
    NotAString,
}

/// What is lost of a job's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// What is known of its attempts and its lease.
    Entry,
    /// Its place among those that wait or are held.
    Place,
}

/// A law that a subject can't run, or not to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cannot {
    /// `port::law`.
    pub law: &'static str,
    /// What it lacks.
    pub why: &'static str,
}

/// What became of a law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It holds.
    Held,
    /// The subject lacks what the law needs: nothing, or only a part of it, was checked.
    Skipped,
}

impl Outcome {
    /// What became of a law that looks at less where an append caches no result.
    pub(crate) fn of_a_log(guarantees: Guarantees) -> Self {
        if guarantees.caches_results {
            Self::Held
        } else {
            Self::Skipped
        }
    }
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::Held
    }
}

/// A fresh bus that nothing else uses, and the means to disturb it.
///
/// Its subscriber queues should hold between 100 and 250 announcements: some laws let 90 pile up and
/// expect them all, one lets 300 pile up and expects all of them or a `Gap`.
#[async_trait]
pub trait BusSubject: Send + Sync {
    /// The bus.
    fn bus(&self) -> Arc<dyn EventBus>;

    /// The laws that can't be run on it, with what it lacks: exactly those that end as
    /// [`Outcome::Skipped`]. A law that is skipped and not named here fails, and so does one that is
    /// named here and was run.
    fn cannot(&self) -> &'static [Cannot];

    /// The bus as another process sees it, through connections of its own; none when it doesn't declare itself
    /// shared.
    fn elsewhere(&self) -> Option<Arc<dyn EventBus>>;

    /// Cuts every subscription of [`BusSubject::bus`] off once, from outside; they come back by
    /// themselves.
    async fn interrupt(&self);

    /// Sends bytes as an external program does, past the adapter. False when it doesn't declare that it carries
    /// those.
    async fn send_external(&self, bytes: Bytes) -> bool;

    /// Takes the backend away, or brings it back with nothing in it. False when there is none.
    async fn take_away(&self, away: bool) -> bool;

    /// Makes the backend hang, connections stay open and nothing is answered, or lets it go on. False when there is
    /// none.
    async fn freeze(&self, frozen: bool) -> bool;
}

/// A fresh, empty store that nothing else uses, and the means to move its time and damage it.
#[async_trait]
pub trait StoreSubject: Send + Sync {
    /// The logs.
    fn log(&self) -> Arc<dyn JobLog>;
    /// The bus that the logs announce on by themselves, if there is one. Its subscriber queues should hold at
    /// least 100 announcements.
    fn bus(&self) -> Option<Arc<dyn EventBus>>;
    /// The cached results.
    fn cache(&self) -> Arc<dyn ResultCache>;
    /// The queue.
    fn queue(&self) -> Arc<dyn JobQueue>;
    /// The records.
    fn catalogue(&self) -> Arc<dyn Catalogue>;
    /// The tickets.
    fn tickets(&self) -> Arc<dyn TicketStore>;
    /// The bounds.
    fn limits(&self) -> Limits;

    /// The laws that can't be run on it, with what it lacks: exactly those that end as
    /// [`Outcome::Skipped`]. A law that is skipped and not named here fails, and so does one that is
    /// named here and was run.
    fn cannot(&self) -> &'static [Cannot];

    /// The same logs as another process sees them, through connections of its own; none when they don't
    /// declare themselves shared.
    fn elsewhere(&self) -> Option<Arc<dyn JobLog>>;

    /// The tickets as that process sees them.
    fn tickets_elsewhere(&self) -> Option<Arc<dyn TicketStore>>;

    /// Lets at least this much time pass for the store: on paused time by moving it, else by waiting.
    async fn advance(&self, by: Duration);

    /// Lets so long a time pass that whatever has a lifetime of its own is over, an unfinished log
    /// included: by moving the clock, or by ending each lifetime as the store has noted it. The records
    /// must be kept for ever. False when there is no such way.
    async fn outlive(&self) -> bool;

    /// Restarts the store from a copy that could be older than what it last acknowledged, as it must
    /// know, and brings it back. Nothing is really lost. False when there is no such thing.
    async fn restart_from_a_copy(&self) -> bool;

    /// Takes a part of a job's place in the queue away, past the adapter.
    async fn lose_from_queue(&self, job_id: &JobId, loss: Loss);

    /// Writes something else where the entry of the job stands, past the adapter. False when the store has
    /// nothing of that kind.
    async fn break_entry(&self, job_id: &JobId) -> bool;

    /// Writes where the job's cached result belongs, past the adapter. False when the store has
    /// nothing of that kind.
    async fn write_foreign_result(&self, job_id: &JobId, blob: ForeignBlob) -> bool;
}
