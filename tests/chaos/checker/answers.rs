//! Lookups, caches and submissions: I6 and I11, and that an external event counts once (I3).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Judgement;
use super::book::{Book, Epoch, Log};
use super::event::{is_terminal_status, kind};
use super::history::{History, text};

pub(super) fn judge(history: &History<'_>, book: &Book<'_>, judgement: &mut Judgement) {
    lookups(history, book, judgement);
    caches(history, book, judgement);
    submissions(history, book, judgement);
    cancels(history, book, judgement);
    external(history, book, judgement);
}

/// I6: what a lookup says is the fold of the log at some moment, and the end stays the end.
fn lookups(history: &History<'_>, book: &Book<'_>, judgement: &mut Judgement) {
    let mut ended: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for record in history
        .records
        .iter()
        .filter(|r| text(r, "what") == "lookup")
    {
        judgement.figures.lookups += 1;
        let job = &record["body"];
        if record["status"] != 200 || job.is_null() {
            continue;
        }
        let (id, status) = (text(record, "job"), text(job, "status"));
        let poller = (text(record, "by"), id);
        let went_on = |before: &str| {
            let is_external = book.logs.get(id).is_some_and(|log| !log.own());
            before == "failed" && is_external
        };
        if let Some(before) = ended.get(&poller)
            && before != status
            && history.terms.durable()
            && !went_on(before)
        {
            judgement.broken(
                "I6",
                format!("{id} was {before} and then {status} for one poller"),
            );
        }
        if is_terminal_status(status) {
            ended.insert(poller, status.to_owned());
            if let Some(log) = book.logs.get(id) {
                agrees("a lookup", id, log, job, judgement);
            }
        }
    }
}

/// I6: a cached result is of a job that has ended, and says what its log says.
fn caches(history: &History<'_>, book: &Book<'_>, judgement: &mut Judgement) {
    for (id, log) in &book.logs {
        let Some(stored) = log.store else { continue };
        let ended = stored["ended"] == true;
        match stored["result"].as_str() {
            Some(_) if !ended => {
                judgement.broken("I6", format!("{id} has not ended, and a result is cached"));
            }
            Some(result) => match serde_json::from_str::<Value>(result) {
                Ok(job) => agrees("the cache", id, log, &job, judgement),
                Err(e) => judgement.broken("I6", format!("{id}: the cache holds no JSON: {e}")),
            },
            None if ended && history.terms.results_live => {
                judgement.broken("I6", format!("{id} ended and has no cached result"));
            }
            None => {}
        }
        if ended && (stored["entry"] == true || stored["leased"] == true) {
            judgement.broken("I7", format!("{id} ended and is still in the queue"));
        }
    }
}

fn agrees(who: &str, id: &str, log: &Log<'_>, job: &Value, judgement: &mut Judgement) {
    let mut faults = Vec::new();
    for name in log.order.iter().rev() {
        let epoch = &log.epochs[name];
        let Some((end, _)) = epoch.end() else {
            continue;
        };
        match epoch.fold(end).disagrees(job) {
            None => return,
            Some(fault) => faults.push(fault),
        }
    }
    if let Some(fault) = faults.first() {
        judgement.broken("I6", format!("{id}: {who} disagrees with the log: {fault}"));
    }
}

/// I11: what was acknowledged is run, and a key counts once.
fn submissions(history: &History<'_>, book: &Book<'_>, judgement: &mut Judgement) {
    let mut by_key: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut by_client: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut tried: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for record in history.records {
        let (key, client) = (text(record, "key"), text(record, "client"));
        match text(record, "what") {
            "submitting" => {
                tried.entry(client).or_default().insert(key);
            }
            "accepted" => {
                by_key.entry(key).or_default().insert(text(record, "job"));
            }
            "refused" if record["status"] == 404 && history.terms.durable() => {
                judgement.broken(
                    "I11",
                    format!("{key}: its client was there, and is not: {record}"),
                );
            }
            _ => {}
        }
    }
    judgement.figures.jobs = by_key.values().map(BTreeSet::len).sum::<usize>() as u64;
    if !history.terms.durable() {
        return;
    }
    for (key, jobs) in &by_key {
        if jobs.len() > 1 {
            judgement.broken("I11", format!("the key {key} stands for {jobs:?}"));
        }
        for job in jobs {
            let log = book.logs.get(job);
            if log.is_none_or(|log| log.epochs.is_empty()) {
                judgement.broken(
                    "I11",
                    format!("{job} was acknowledged, and nobody knows it"),
                );
            } else if history.terms.ends && log.is_some_and(|log| log.ended().is_none()) {
                judgement.broken("I11", format!("{job} was acknowledged and never ended"));
            }
        }
    }
    // What a client's keys brought about, whoever was told of it.
    for (job, log) in &book.logs {
        let mut events = log.epochs.values().flat_map(|e| e.entries.values());
        let client = events.find_map(|e| e.event["client_id"].as_str());
        if let Some((client, _)) = client.and_then(|c| tried.get_key_value(c))
            && log.own()
        {
            by_client.entry(client).or_default().insert(job);
        }
    }
    for (client, jobs) in &by_client {
        let keys = tried[client].len();
        if jobs.len() > keys {
            let what = format!(
                "{client} used {keys} keys, and {} jobs were made",
                jobs.len()
            );
            judgement.broken("I11", what);
        }
    }
}

/// I11: a request to cancel that was acknowledged stands in the log, unless the job ended by it at once.
fn cancels(history: &History<'_>, book: &Book<'_>, judgement: &mut Judgement) {
    if !history.terms.durable() {
        return;
    }
    let acknowledged = |r: &&Value| text(r, "what") == "cancel" && r["status"] == 202;
    let jobs: BTreeSet<&str> = history
        .records
        .iter()
        .filter(acknowledged)
        .map(|r| text(r, "job"))
        .collect();
    for job in jobs {
        let Some(log) = book.logs.get(job).filter(|log| log.own()) else {
            continue;
        };
        let mut events = log.epochs.values().flat_map(|e| e.entries.values());
        let asked = ["job:cancel_requested", "job:cancelled"];
        if !events.any(|e| asked.contains(&kind(&e.event))) {
            let what = format!("{job}: a request to cancel was acknowledged, and its log has none");
            judgement.broken("I11", what);
        }
    }
}

/// A line that an external program published is in its job's log at most once: I3. And in one epoch alone
/// where nothing was lost: what is older never becomes part of a job that went on, I5.
fn external(history: &History<'_>, book: &Book<'_>, judgement: &mut Judgement) {
    let mut marks: BTreeSet<(&str, &str)> = BTreeSet::new();
    for record in history
        .records
        .iter()
        .filter(|r| text(r, "what") == "published")
    {
        marks.insert((text(record, "job"), text(record, "mark")));
        judgement.figures.external += 1;
    }
    for (job, mark) in marks {
        let Some(log) = book.logs.get(job) else {
            continue;
        };
        let has_it = |epoch: &Epoch<'_>| epoch.entries.values().any(|e| e.event["mark"] == mark);
        let epochs = log.epochs.values().filter(|epoch| has_it(epoch)).count();
        if epochs > 1 && history.terms.durable() && history.terms.history_ttl_ms.is_infinite() {
            judgement.broken("I5", format!("{job}: {mark} is in {epochs} epochs"));
        }
        for (name, epoch) in &log.epochs {
            let places: Vec<u64> = epoch
                .entries
                .iter()
                .filter(|(_, e)| e.event["mark"] == mark)
                .map(|(sequence, _)| *sequence)
                .collect();
            if places.len() > 1 {
                let what = format!("{job} {name}: one external event stands at {places:?}");
                judgement.broken("I3", what);
            }
        }
    }
}
