//! I6: what is kept beside a log agrees with it, and so does every answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use super::Court;
use super::ledger::{JobLog, Ledger};
use crate::fold::Fold;
use crate::history::{Change, Job, Millis, Said, What};
use crate::plan::CALL_LIMIT;

pub(crate) fn judge(court: &mut Court<'_>) {
    let mut found = Vec::new();
    let mut states: BTreeMap<Job, Fold> = BTreeMap::new();
    let mut records = BTreeMap::new();
    for record in court.records {
        let at = record.at;
        match &record.what {
            What::Log { job, change } => match change {
                Change::Began { base, .. } => {
                    let base = base.clone().unwrap_or_else(Fold::initial);
                    states.insert(job.clone(), base);
                }
                Change::State { state } => drop(states.insert(job.clone(), state.clone())),
                Change::Gone => drop(states.remove(job)),
                _ => {}
            },
            What::Cached {
                job,
                result: Some(result),
            } => {
                let state = states.get(job);
                if let Some(what) = cached(&court.ledger, job, result, state, at) {
                    found.push((at, what));
                }
            }
            What::Recorded { job, record } => {
                records.insert(job.clone(), (at, record.clone()));
            }
            What::Client {
                said: Said::Polled { job, answer },
                ..
            } => {
                if let Some(what) = answered(&court.ledger, job, answer.as_ref(), at) {
                    found.push((at, what));
                }
            }
            _ => {}
        }
    }
    for (job, (at, record)) in records {
        let state = court.ledger.jobs.get(&job).and_then(JobLog::state);
        // What came after all was forgotten is nobody's of ours.
        let forgotten = record.is_none() && court.ledger.lost_of(&job, at);
        if is_own(&job) && state.is_some() && record != state && !forgotten {
            found.push((
                at,
                format!("the record of {job} says {record:?}, its log {state:?}"),
            ));
        }
    }
    for (at, what) in found {
        court.blame("I6", at, what);
    }
}

fn is_own(job: &str) -> bool {
    job.starts_with('j')
}

/// What is wrong with a result that was cached while the log said `state`.
fn cached(
    ledger: &Ledger,
    job: &Job,
    result: &Bytes,
    state: Option<&Fold>,
    at: Millis,
) -> Option<String> {
    let result: Value = serde_json::from_slice(result).unwrap_or_default();
    let told = Fold::of_object(&result);
    let agrees = if is_own(job) {
        state == Some(&told)
    } else {
        // What a foreign job service says of its own job is kept, too: it may be ahead of the log, and
        // say more.
        state.is_none_or(|state| {
            let same_end = state.status == told.status && state.template_ids == told.template_ids;
            !state.is_terminal() || same_end
        })
    };
    // It was read before the store lost the job's end, and put there right after.
    let slack = 2 * CALL_LIMIT.as_millis() as u64;
    let was = ledger.lost_between(job, at.saturating_sub(slack), at) && ever(ledger, job, &told);
    let right = told.is_terminal() && (agrees || was);
    (!right).then(|| format!("the cached result of {job} says {told:?}, its log {state:?}"))
}

/// What is wrong with a lookup's answer.
fn answered(ledger: &Ledger, job: &Job, answer: Option<&Bytes>, at: Millis) -> Option<String> {
    if !ledger.jobs.contains_key(job) {
        return None;
    }
    let Some(answer) = answer else {
        let unknown = is_own(job) && !ledger.lost_of(job, at);
        return unknown.then(|| format!("a lookup of {job} knows nothing of it"));
    };
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    if answer["id"] != answer["job_id"] || answer["forged"] == true {
        return Some(format!("a lookup of {job} answers {answer}"));
    }
    let told = Fold::of_object(&answer);
    // What a foreign job service says of its own job is its own.
    let never = is_own(job) && !ever(ledger, job, &told);
    never.then(|| format!("a lookup of {job} says {told:?}, which it never was"))
}

/// Whether the job was ever in that state.
fn ever(ledger: &Ledger, job: &Job, told: &Fold) -> bool {
    let epochs = ledger
        .jobs
        .get(job)
        .into_iter()
        .flat_map(|log| log.epochs.values());
    epochs.into_iter().any(|epoch| {
        let begun = epoch.fold(0).as_ref() == Some(told);
        begun || epoch.entries.values().any(|entry| entry.after == *told)
    })
}
