//! I8: when all is well again, whoever watches is told the end, in time. And the run in numbers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ledger::JobLog;
use super::many::names;
use super::{Counts, Court, PROMISED};
use crate::fold::{end_of, is_terminal};
use crate::history::{Done, Fault, Job, Millis, Said, StreamEvent, Subject, What};
use crate::plan::POSITION_CHECK;
use crate::sse::Item;

/// Who watches what.
struct Watcher {
    subject: Subject,
    first: Millis,
    /// Whether it has a connection now.
    connected: bool,
}

pub(crate) fn judge(court: &mut Court<'_>) -> Counts {
    let end = court.records.last().map_or(0, |record| record.at);
    let mut counts = Counts::default();
    let mut healed = 0;
    let mut watchers: BTreeMap<usize, Watcher> = BTreeMap::new();
    let mut of_stream = BTreeMap::new();
    let mut told: BTreeMap<usize, Vec<Job>> = BTreeMap::new();
    let names = names(court);
    for record in court.records {
        match &record.what {
            What::Fault(fault) => match fault {
                Fault::Crashed(_) => counts.crashes += 1,
                Fault::Drained(_) => counts.drains += 1,
                Fault::Wiped | Fault::WentBack { .. } | Fault::Cut(_) => counts.losses += 1,
                _ => {}
            },
            What::Disturbed { .. } => counts.disturbances += 1,
            What::Healed => healed = record.at,
            What::Client {
                said: Said::Done { .. },
                ..
            } => {
                counts.recovery = counts.recovery.max(record.at.saturating_sub(healed));
            }
            What::Stream { stream, event } => match event {
                StreamEvent::Asked {
                    client,
                    subject,
                    cursor,
                    ..
                } => {
                    counts.streams += 1;
                    of_stream.insert(*stream, *client);
                    watchers.entry(*client).or_insert_with(|| Watcher {
                        subject: subject.clone(),
                        first: end,
                        connected: false,
                    });
                    // Who heard nothing yet has no cursor, and begins anew.
                    if let (None, Some(watcher)) = (cursor, watchers.get_mut(client)) {
                        watcher.first = end;
                    }
                }
                StreamEvent::Opened => {
                    let watcher = of_stream
                        .get(stream)
                        .and_then(|client| watchers.get_mut(client));
                    if let Some(watcher) = watcher {
                        watcher.first = watcher.first.min(record.at);
                        watcher.connected = true;
                    }
                }
                StreamEvent::Ended | StreamEvent::Cut => {
                    let watcher = of_stream
                        .get(stream)
                        .and_then(|client| watchers.get_mut(client));
                    if let Some(watcher) = watcher {
                        watcher.connected = false;
                    }
                }
                StreamEvent::Heard(Item::Event { data, .. }) => {
                    let data: Value = serde_json::from_str(data).unwrap_or_default();
                    let status = data["status"].as_str().unwrap_or_default();
                    // Where a job went on nothing was lost.
                    let reopened = data["reopened"] == true;
                    counts.resets += u64::from(data["reset"] == true && !reopened);
                    counts.reopened += u64::from(reopened);
                    counts.records_lost += u64::from(data["error_code"] == "record-lost");
                    let snapshot = data["event_type"] == "job:snapshot";
                    if end_of(&data).is_some() || (snapshot && is_terminal(status)) {
                        counts.ends_seen += 1;
                        let job = data["job_id"].as_str().and_then(|id| names.get(id));
                        if let (Some(client), Some(job)) = (of_stream.get(stream), job) {
                            told.entry(*client).or_default().push(job.clone());
                        }
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }
    counts.jobs = court.ledger.jobs.len() as u64;
    let mut found = Vec::new();
    for (client, watcher) in &watchers {
        let Some((told_at, Done::Told)) = done(court, *client) else {
            continue;
        };
        let Some(ended_at) = ended_at(court, &watcher.subject) else {
            continue;
        };
        let took = told_at.saturating_sub(ended_at.max(healed));
        counts.telling = counts.telling.max(took);
        if took > PROMISED.as_millis() as u64 {
            found.push(format!(
                "client {client} was told an end that stood there for {took} ms"
            ));
        }
    }
    for (client, watcher) in &watchers {
        let heard = told.get(client).cloned().unwrap_or_default();
        match &watcher.subject {
            Subject::Every => {
                for job in untold(court, watcher, &heard, end) {
                    found.push(format!(
                        "client {client} watches every job and was never told the end of {job}"
                    ));
                }
            }
            subject => {
                if done(court, *client).is_none() && !is_excused(court, subject) {
                    found.push(format!(
                        "client {client} still waits for {subject:?}, {} ms after",
                        end.saturating_sub(healed)
                    ));
                }
            }
        }
    }
    for what in found {
        court.blame("I8", end, what);
    }
    counts
}

/// When the last of the jobs ended; none where one of them has no end.
fn ended_at(court: &Court<'_>, subject: &Subject) -> Option<Millis> {
    let jobs = match subject {
        Subject::One(job) => std::slice::from_ref(job),
        Subject::Named(jobs) => jobs,
        Subject::Every => return None,
    };
    let end = |job: &Job| {
        let log = court.ledger.jobs.get(job)?;
        let head = log.head()?;
        let entry = log.entry(&head.epoch, head.sequence)?;
        entry.after.is_terminal().then_some(entry.at)
    };
    let ends: Option<Vec<Millis>> = jobs.iter().map(end).collect();
    ends.and_then(|ends| ends.into_iter().max())
}

/// A foreign job whose end nobody ever told has none. And a job whose record the store has lost can't be
/// told from one that is to come: a stream that names it beside others waits for it.
fn is_excused(court: &Court<'_>, subject: &Subject) -> bool {
    let job = match subject {
        Subject::One(job) => job,
        Subject::Named(jobs) => {
            let is_gone = |job: &Job| {
                let log = court.ledger.jobs.get(job).and_then(JobLog::head);
                log.is_none() && court.ledger.lost_of(job, Millis::MAX)
            };
            return jobs.iter().any(is_gone);
        }
        Subject::Every => return false,
    };
    let ended = || {
        let state = court.ledger.jobs.get(job).and_then(JobLog::state);
        state.is_some_and(|state| state.is_terminal())
    };
    job.starts_with('f') && !court.plan.foreign_known && !ended()
}

/// Jobs whose end a watcher of every job should have been told of by now.
fn untold(court: &Court<'_>, watcher: &Watcher, heard: &[Job], end: Millis) -> Vec<Job> {
    let in_time = POSITION_CHECK.as_millis() as u64 + 2500;
    let own = court
        .ledger
        .jobs
        .iter()
        .filter(|(job, _)| job.starts_with('j'));
    let missed = own.filter(|(job, log)| {
        let terminal = log
            .head()
            .and_then(|head| log.entry(&head.epoch, head.sequence));
        terminal.is_some_and(|entry| {
            entry.after.is_terminal()
                && entry.at > watcher.first
                && entry.at + in_time < end
                && watcher.connected
                && !heard.contains(*job)
                && !court.ledger.lost_of(job, end)
        })
    });
    missed.map(|(job, _)| job.clone()).collect()
}

/// Whether the client has come to an end by itself, and how.
fn done(court: &Court<'_>, client: usize) -> Option<(Millis, Done)> {
    court.records.iter().find_map(|record| match &record.what {
        What::Client {
            client: of,
            said: Said::Done { how },
        } if *of == client => Some((record.at, *how)),
        _ => None,
    })
}
