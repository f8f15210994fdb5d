//! I7: only who holds a job writes of it, only while the lease lasts, and nothing of an old attempt has
//! an effect.

use std::collections::BTreeMap;

use super::Court;
use crate::fold::is_terminal;
use crate::history::{Change, Fault, Job, Millis, What, Write};

#[derive(Debug, Clone)]
struct Lease {
    attempt: u32,
    token: String,
    by: String,
    until: Millis,
}

#[derive(Default, Clone)]
struct Leases {
    held: BTreeMap<Job, Lease>,
    ended: BTreeMap<Job, bool>,
}

pub(crate) fn judge(court: &mut Court<'_>) {
    let mut leases = Leases::default();
    let mut backup = Leases::default();
    let mut found = Vec::new();
    for record in court.records {
        let at = record.at;
        match &record.what {
            What::Fault(Fault::Wiped) => leases = Leases::default(),
            What::Fault(Fault::BackedUp) => backup = leases.clone(),
            What::Fault(Fault::WentBack { .. }) => leases = backup.clone(),
            What::Log {
                job,
                change: Change::State { state },
            } => {
                leases.ended.insert(job.clone(), is_terminal(&state.status));
            }
            What::Wrote { job, by, write } => {
                if let Some(what) = leases.take(at, job, by, write) {
                    found.push((at, format!("{job}: {what}")));
                }
            }
            _ => {}
        }
    }
    for (at, what) in found {
        court.blame("I7", at, what);
    }
}

impl Leases {
    /// Takes a write in; some: what is wrong with it.
    fn take(&mut self, at: Millis, job: &Job, by: &str, write: &Write) -> Option<String> {
        let held = self.held.get(job).cloned();
        let ended = self.ended.get(job).copied().unwrap_or(false);
        let valid = |token: &String| {
            held.as_ref()
                .is_some_and(|l| l.token == *token && at < l.until)
        };
        match write {
            Write::Claimed {
                attempt,
                token,
                until,
            }
            | Write::Restored {
                attempt,
                token,
                until,
            } => {
                let lease = Lease {
                    attempt: *attempt,
                    token: token.clone(),
                    by: by.to_owned(),
                    until: *until,
                };
                // The same claim, asked again.
                let again = held
                    .as_ref()
                    .is_some_and(|held| held.token == *token && held.by == by && at < held.until);
                self.held.insert(job.clone(), lease);
                if ended && matches!(write, Write::Claimed { .. }) {
                    return Some(format!("{by} claimed it after its end"));
                }
                held.filter(|_| !again)
                    .map(|lease| format!("{by} holds it as well as {}", lease.by))
            }
            Write::Renewed { token, until } => {
                if !valid(token) {
                    return Some(format!("{by} renewed a lease that is not its own"));
                }
                if let Some(lease) = self.held.get_mut(job) {
                    lease.until = *until;
                }
                None
            }
            Write::Template { token, index } => {
                (!valid(token)).then(|| format!("{by} stored template {index} without the lease"))
            }
            Write::Acknowledged { token } => {
                self.held.remove(job);
                let own = token
                    .as_ref()
                    .is_some_and(|t| held.as_ref().is_some_and(|l| l.token == *t));
                (!own && held.is_some())
                    .then(|| format!("{by} acknowledged what another one holds"))
            }
            Write::Expired => ended.then(|| "it has ended and stands in the queue".to_owned()),
            Write::Event {
                attempt,
                kind,
                releases,
            } => {
                if *releases {
                    self.held.remove(job);
                }
                judge_event(at, by, *attempt, kind, held.as_ref())
            }
        }
    }
}

fn judge_event(
    at: Millis,
    by: &str,
    attempt: Option<u32>,
    kind: &str,
    held: Option<&Lease>,
) -> Option<String> {
    let verdict =
        ["retrying lease_expired", "template_failed expired"].contains(&kind) || is_terminal(kind);
    match (attempt, held) {
        (None, Some(lease)) if kind == "cancelled" => {
            Some(format!("ended from outside while {} held it", lease.by))
        }
        (None, _) => None,
        (Some(attempt), None) => Some(format!(
            "{kind} of attempt {attempt} by {by}, and nobody holds it"
        )),
        (Some(attempt), Some(lease)) if at < lease.until => {
            let own = lease.by == by && lease.attempt == attempt;
            (!own).then(|| format!("{kind} of attempt {attempt} by {by}, held by {}", lease.by))
        }
        (Some(attempt), Some(lease)) => {
            let late = at - lease.until;
            (!verdict).then(|| format!("{kind} of attempt {attempt} by {by}, {late} ms too late"))
        }
    }
}
