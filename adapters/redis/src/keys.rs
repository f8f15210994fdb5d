//! The one place that builds the names of keys and channels. What other programs know of them is
//! `jobs:all`, `jobs:<id>` and `job:result:<id>`; all else is ours.
//!
//! Ids are 1–64 characters of `[A-Za-z0-9_-]`, so they need no escaping and no two names collide.
//! Anybody's text (an industry, an idempotency key) goes in as a digest.

use std::sync::Arc;

use conch_domain::{
    Audience, Category, ClientId, JobId, JobStatus, LeaseToken, TemplateId, ValuePropositionId,
};
use sha2::{Digest, Sha256};

/// Names under one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: Arc<str>,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: Arc::from(prefix),
        }
    }

    fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.prefix)
    }

    /// Channel of every event.
    pub(crate) fn every_job(&self) -> String {
        self.name("jobs:all")
    }

    /// Channel of one job's events.
    pub(crate) fn one_job(&self, id: &JobId) -> String {
        self.name(&format!("jobs:{id}"))
    }

    /// Channel of sealed announcements, where only our own programs send and listen.
    pub(crate) fn sealed(&self) -> String {
        self.name("bus:events")
    }

    /// Channel on which one subscriber tries whether messages flow.
    pub(crate) fn probe(&self, instance: &str) -> String {
        self.name(&format!("probe:{instance}"))
    }

    /// String: the public job object of a job that has ended.
    pub(crate) fn result(&self, id: &JobId) -> String {
        self.name(&format!("job:result:{id}"))
    }

    /// Stream: the kept events of a job, at ids `<sequence>-0`.
    pub(crate) fn log(&self, id: &JobId) -> String {
        self.name(&format!("log:{id}"))
    }

    /// Hash: where a log stands and the fold of it. It is there exactly as long as the log.
    pub(crate) fn state(&self, id: &JobId) -> String {
        self.state_of("") + id.as_str()
    }

    /// What [`Keys::state`] begins with, for scripts that find the job themselves. Always ends so
    /// that an id can follow.
    pub(crate) fn state_of(&self, id: &str) -> String {
        self.name(&format!("state:{id}"))
    }

    /// Hash: the latest commit of each bucket of logs. No id has a colon, so it is no job's log; its name begins
    /// like theirs, so that whoever may append may write it.
    pub(crate) fn latest(&self) -> String {
        self.name("log::latest")
    }

    /// Sorted set: the latest event ids of a log by sequence.
    pub(crate) fn seen(&self, id: &JobId) -> String {
        self.name(&format!("seen:{id}"))
    }

    /// Hash: a job's queue entry, with attempts that counted, token and worker.
    pub(crate) fn entry(&self, id: &JobId) -> String {
        self.entry_of("") + id.as_str()
    }

    /// What [`Keys::entry`] begins with.
    pub(crate) fn entry_of(&self, id: &str) -> String {
        self.name(&format!("queue:entry:{id}"))
    }

    /// Sorted set: claimable jobs by the moment they became so.
    pub(crate) fn ready(&self) -> String {
        self.name("queue:ready")
    }

    /// Sorted set: the clients that have a due job, by their turns. `lua/rotation.lua` makes this name, the
    /// next one and `queue:later`, where the jobs that aren't due yet are, from that of [`Keys::ready`].
    pub(crate) fn turns(&self) -> String {
        self.name("queue:clients")
    }

    /// Sorted set: a client's due jobs, in the order of their claims.
    pub(crate) fn due_of(&self, client: &str) -> String {
        self.name(&format!("queue:due:{client}"))
    }

    /// Sorted set: held jobs by the moment their lease runs out.
    pub(crate) fn leases(&self) -> String {
        self.name("queue:leases")
    }

    /// String: the job that a claim was given, as long as its lease lasts without a renewal.
    pub(crate) fn claim(&self, token: &LeaseToken) -> String {
        self.name(&format!("queue:claim:{token}"))
    }

    /// Hash: what was submitted under a caller's key.
    pub(crate) fn idempotency(&self, key: &str) -> String {
        self.name(&format!("idempotency:{}", digest(key)))
    }

    /// String: what the ticket with that hash stands for.
    pub(crate) fn ticket(&self, hash: &str) -> String {
        self.name(&format!("ticket:{hash}"))
    }

    /// Sorted set: the hashes of a caller's tickets by the moment at which they end.
    pub(crate) fn tickets_of(&self, caller: &str) -> String {
        self.name(&format!("tickets:caller:{}", digest(caller)))
    }

    /// Sorted set: the hashes of a caller's tickets that are bound to a stream, likewise.
    pub(crate) fn bound_tickets_of(&self, caller: &str) -> String {
        self.name(&format!("tickets:bound:{}", digest(caller)))
    }

    /// Sorted set: the hashes of all tickets that are bound to a stream, likewise.
    pub(crate) fn bound_tickets(&self) -> String {
        self.name("tickets:bound")
    }

    /// Sorted set: the hashes of all other tickets, likewise.
    pub(crate) fn tickets(&self) -> String {
        self.name("tickets:all")
    }

    /// Sorted set: jobs of external publishers that have not ended, by the moment their log runs out.
    pub(crate) fn unfinished_foreign(&self) -> String {
        self.name("foreign:unfinished")
    }

    /// Hash: the bytes that are kept of each of these logs, and under `all` of all of them.
    pub(crate) fn foreign_bytes(&self) -> String {
        self.name("foreign:bytes")
    }

    /// Sorted set: those that have ended, likewise.
    pub(crate) fn ended_foreign(&self) -> String {
        self.name("foreign:ended")
    }

    /// Sorted set: records by the end of their retention.
    pub(crate) fn retention(&self) -> String {
        self.name("catalogue:retention")
    }

    /// Hash: a client.
    pub(crate) fn client(&self, id: &ClientId) -> String {
        self.client_of("") + id.as_str()
    }

    /// What [`Keys::client`] begins with.
    pub(crate) fn client_of(&self, id: &str) -> String {
        self.name(&format!("catalogue:client:{id}"))
    }

    /// Index: all clients.
    pub(crate) fn clients(&self) -> String {
        self.name("catalogue:clients")
    }

    /// Index: the clients of an industry.
    pub(crate) fn clients_in(&self, industry: &str) -> String {
        self.name(&format!("catalogue:clients:industry:{}", digest(industry)))
    }

    /// Hash: a value proposition.
    pub(crate) fn value_proposition(&self, id: &ValuePropositionId) -> String {
        self.value_proposition_of("") + id.as_str()
    }

    /// What [`Keys::value_proposition`] begins with.
    pub(crate) fn value_proposition_of(&self, id: &str) -> String {
        self.name(&format!("catalogue:value-proposition:{id}"))
    }

    /// Index: a client's value propositions.
    pub(crate) fn value_propositions(&self, id: &ClientId) -> String {
        self.name(&format!("catalogue:value-propositions:client:{id}"))
    }

    /// Hash: the record of an own job.
    pub(crate) fn job(&self, id: &JobId) -> String {
        self.job_of("") + id.as_str()
    }

    /// What [`Keys::job`] begins with.
    pub(crate) fn job_of(&self, id: &str) -> String {
        self.name(&format!("catalogue:job:{id}"))
    }

    /// Index: own jobs, of one client or all, in one state or all.
    pub(crate) fn jobs(&self, client: Option<&ClientId>, status: Option<JobStatus>) -> String {
        let mut name = self.name("catalogue:jobs");
        if let Some(client) = client {
            name = format!("{name}:client:{client}");
        }
        if let Some(status) = status {
            name = format!("{name}:status:{}", status.as_str());
        }
        name
    }

    /// Index: own jobs by their latest event.
    pub(crate) fn jobs_by_update(&self) -> String {
        self.name("catalogue:jobs:updated")
    }

    /// String: a template. That of an earlier build is a hash.
    pub(crate) fn template(&self, id: &TemplateId) -> String {
        self.template_of("") + id.as_str()
    }

    /// What [`Keys::template`] begins with.
    pub(crate) fn template_of(&self, id: &str) -> String {
        self.name(&format!("catalogue:template:{id}"))
    }

    /// Hash: a job's templates by their place in its plan.
    pub(crate) fn places(&self, id: &JobId) -> String {
        self.name(&format!("catalogue:places:{id}"))
    }

    /// Index: templates that argue for that, for that audience, of one client or all.
    pub(crate) fn templates(
        &self,
        client: Option<&ClientId>,
        category: Category,
        audience: Audience,
    ) -> String {
        let client = client.map_or_else(String::new, |client| format!(":client:{client}"));
        self.name(&format!(
            "catalogue:templates{client}:category:{}:audience:{}",
            category.as_str(),
            audience.as_str().replace(' ', "-"),
        ))
    }
}

/// 32 hexadecimal digits that stand for any text.
fn digest(text: &str) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(32);
    for byte in &Sha256::digest(text.as_bytes())[..16] {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_other_programs_know() {
        let keys = Keys::new("triton");
        let id = JobId::parse("j-1").expect("a job id");
        assert_eq!(keys.every_job(), "triton:jobs:all");
        assert_eq!(keys.one_job(&id), "triton:jobs:j-1");
        assert_eq!(keys.result(&id), "triton:job:result:j-1");
    }

    #[test]
    fn text_of_a_caller_never_stands_in_a_name() {
        let keys = Keys::new("p");
        let name = keys.clients_in("a b\r\n{x}");
        assert!(!name.contains(' ') && !name.contains('{'), "{name}");
        assert_ne!(name, keys.clients_in("a b"));
        assert_ne!(keys.idempotency("k1"), keys.idempotency("k2"));
    }
}
