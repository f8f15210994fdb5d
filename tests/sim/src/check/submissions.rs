//! I11: what was acknowledged is done, once per key.

use std::collections::{BTreeMap, BTreeSet};

use super::Court;
use crate::history::{Said, What};

pub(crate) fn judge(court: &mut Court<'_>) {
    let mut found = Vec::new();
    let mut acknowledged: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let end = court.records.last().map_or(0, |record| record.at);
    let lost = court.ledger.lost_of("", end);
    for record in court.records {
        let at = record.at;
        if let What::Client { said, .. } = &record.what {
            match said {
                Said::Submitted { key, job } => {
                    let jobs = acknowledged.entry(key.clone()).or_default();
                    jobs.insert(job.clone());
                    if jobs.len() > 1 && !lost {
                        found.push((at, format!("{key} was answered {jobs:?}")));
                    }
                    if !court.ledger.jobs.contains_key(job) {
                        found.push((at, format!("{job} was acknowledged and never stored")));
                    }
                }
                Said::Refused { key, why } if !lost => {
                    found.push((at, format!("{key} was refused: {why}")));
                }
                // Where nothing goes wrong nothing is answered with an error.
                Said::Failed { of, why } if court.plan.is_quiet() => {
                    found.push((at, format!("{of} failed for no reason: {why}")));
                }
                Said::Cancelled {
                    job,
                    answer: "not found",
                } if !lost => {
                    found.push((at, format!("{job} was acknowledged and can't be cancelled")));
                }
                _ => {}
            }
        }
    }
    let own = court
        .ledger
        .jobs
        .keys()
        .filter(|job| job.starts_with('j'))
        .count();
    if own > court.plan.jobs && !lost {
        found.push((end, format!("{} keys made {own} jobs", court.plan.jobs)));
    }
    for jobs in acknowledged.values() {
        for job in jobs {
            let Some(log) = court.ledger.jobs.get(job) else {
                continue;
            };
            // Without a log it was lost, and its watchers are told so.
            if log.state().is_some_and(|state| !state.is_terminal()) {
                found.push((
                    end,
                    format!(
                        "{job} was acknowledged and has not ended: {:?}",
                        log.state()
                    ),
                ));
            }
        }
    }
    for (at, what) in found {
        court.blame("I11", at, what);
    }
}
