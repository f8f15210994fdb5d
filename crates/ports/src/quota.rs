//! How many of what a store takes at most, and what it says when it takes no more: the same bounds
//! and the same words for every store, under the names of the settings that change them.

use crate::{Error, ErrorKind};

/// What a store takes no end of by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Own jobs that wait or run.
    QueuedJobs,
    /// Records of own jobs.
    Jobs,
    /// Clients.
    Clients,
    /// Value propositions of one client.
    ValuePropositions,
    /// Jobs of foreign publishers.
    ForeignJobs,
    /// KiB of one external job's log.
    ForeignJobKib,
    /// MiB of all external jobs' logs.
    ForeignMib,
}

/// How many of each a store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Own jobs that wait or run.
    pub queued_jobs: usize,
    /// Records of own jobs.
    pub jobs: usize,
    /// Clients.
    pub clients: usize,
    /// Value propositions of one client.
    pub value_propositions: usize,
    /// Logs of jobs that have not ended and of which our own Triton has no record: of foreign publishers,
    /// and derived ones.
    pub foreign_jobs: usize,
    /// KiB of one external job's kept events: beyond, the oldest are trimmed. An event that its job's life
    /// doesn't depend on is refused if it alone is larger, one that it does at twice as much. The end of a
    /// job that has a log is never too large.
    pub foreign_job_kib: usize,
    /// MiB of all external jobs' kept events: beyond, events are refused. A quarter more is kept free for
    /// what the lives of jobs that have a log depend on.
    pub foreign_mib: usize,
}

/// What a kept event costs a store beside its line.
pub const EVENT_OVERHEAD: usize = 256;

/// What the bounds in bytes say of one more event of an external job.
#[derive(Debug, Clone, Copy)]
pub struct Weighed {
    /// Bytes of its line, and what it costs beside.
    pub bytes: usize,
    /// Whether its job's life depends on it.
    pub vital: bool,
    /// Whether its job ends with it.
    pub ends: bool,
    /// Whether it begins its job's log.
    pub begins: bool,
}

impl Weighed {
    /// The most bytes that its job's log may have with it, and all external logs together.
    pub fn most(self, quotas: &Quotas) -> (usize, usize) {
        let (job, all) = (quotas.bytes_per_job(), quotas.foreign_mib << 20);
        match self {
            Self {
                ends: true,
                begins: false,
                ..
            } => (usize::MAX >> 12, all + all / 4),
            Self {
                vital: true,
                begins: false,
                ..
            } => (2 * job, all + all / 4),
            // A log that can't begin leaves no stream without its end.
            Self { vital: true, .. } => (2 * job, all),
            Self { vital: false, .. } => (job, all),
        }
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            queued_jobs: 10_000,
            jobs: 1_000_000,
            clients: 10_000,
            value_propositions: 100,
            foreign_jobs: 10_000,
            foreign_job_kib: 1024,
            foreign_mib: 256,
        }
    }
}

impl Quota {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::QueuedJobs,
        Self::Jobs,
        Self::Clients,
        Self::ValuePropositions,
        Self::ForeignJobs,
        Self::ForeignJobKib,
        Self::ForeignMib,
    ];

    /// The setting that changes it.
    pub fn setting(self) -> &'static str {
        match self {
            Self::QueuedJobs => "MAX_QUEUED_JOBS",
            Self::Jobs => "MAX_JOBS",
            Self::Clients => "MAX_CLIENTS",
            Self::ValuePropositions => "MAX_VALUE_PROPOSITIONS",
            Self::ForeignJobs => "MAX_FOREIGN_JOBS",
            Self::ForeignJobKib => "MAX_FOREIGN_JOB_KIB",
            Self::ForeignMib => "MAX_FOREIGN_MIB",
        }
    }
}

impl Quotas {
    /// How many there may be.
    pub fn of(&self, quota: Quota) -> usize {
        match quota {
            Quota::QueuedJobs => self.queued_jobs,
            Quota::Jobs => self.jobs,
            Quota::Clients => self.clients,
            Quota::ValuePropositions => self.value_propositions,
            Quota::ForeignJobs => self.foreign_jobs,
            Quota::ForeignJobKib => self.foreign_job_kib,
            Quota::ForeignMib => self.foreign_mib,
        }
    }

    /// Bytes of one external job's kept events.
    pub fn bytes_per_job(&self) -> usize {
        self.foreign_job_kib << 10
    }

    /// The same of jobs that have ended, until their logs run out. A made-up job can be ended as easily
    /// as begun.
    pub fn ended_foreign_jobs(&self) -> usize {
        self.foreign_jobs.saturating_mul(10)
    }

    /// What an operation says that would make one more than there may be.
    pub fn refusal(&self, quota: Quota, operation: &'static str) -> Error {
        let (most, setting) = (self.of(quota), quota.setting());
        let (full, advice) = match quota {
            Quota::QueuedJobs => (
                "jobs wait or run",
                "start more workers, try again when some have ended, or raise",
            ),
            Quota::Jobs => ("job records are kept", "set RETENTION_DAYS or raise"),
            Quota::Clients => ("clients are kept", "set RETENTION_DAYS or raise"),
            Quota::ValuePropositions => (
                "value propositions of this client are kept",
                "set RETENTION_DAYS or raise",
            ),
            Quota::ForeignJobs => (
                "jobs of foreign publishers are unfinished, or ten times as many have ended lately",
                "set FOREIGN_EVENTS=ignore if they are made up, or raise",
            ),
            Quota::ForeignJobKib => (
                "KiB of events of an external job are kept",
                "this one alone is larger; publish smaller ones, or raise",
            ),
            Quota::ForeignMib => (
                "MiB of events of external jobs are kept",
                "set FOREIGN_EVENTS=ignore if they are made up, or raise",
            ),
        };
        let message = format!("{most} {full}, as many as there may be: {advice} {setting}");
        Error::new(ErrorKind::QuotaExceeded, operation, message).with_quota(quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_how_many_and_which_setting() {
        let quotas = Quotas {
            jobs: 7,
            ..Quotas::default()
        };
        let error = quotas.refusal(Quota::Jobs, "job_queue.submit");
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
        assert_eq!(error.quota(), Some(Quota::Jobs));
        assert!(!error.is_retryable());
        assert_eq!(
            error.message(),
            "7 job records are kept, as many as there may be: set RETENTION_DAYS or raise MAX_JOBS"
        );
    }
}
