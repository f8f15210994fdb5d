//! What a process was told of is on its streams at once, unless something was in the way: else the
//! position check would hide that a hint was lost. (Laws 1 and 4; an announcement is of what stands in
//! the log already.)

use std::collections::BTreeMap;

use super::Court;
use super::cursor::position;
use super::ledger::Ledger;
use crate::history::{Change, Fault, Job, Millis, Signal, StreamEvent, Subject, What};
use crate::process::Role;
use crate::sse::Item;

/// How long it may take, all calls of all others included.
const AT_ONCE: Millis = 1500;

/// A connection that could be told something.
struct Stream {
    number: usize,
    api: usize,
    job: Job,
    slow: bool,
    asked: Millis,
    opened: Millis,
    closed: Millis,
    /// What it heard, and when.
    heard: Vec<(Millis, String, u64)>,
}

/// Something that a stream has to show by a moment.
struct Due {
    api: usize,
    job: Job,
    epoch: String,
    sequence: u64,
    told: Millis,
}

pub(crate) fn judge(court: &mut Court<'_>) {
    let mut found = Vec::new();
    let end = court.records.last().map_or(0, |record| record.at);
    let streams = streams(court, end);
    let troubles = troubles(court);
    let mut heads: BTreeMap<Job, (String, u64)> = BTreeMap::new();
    let mut due = Vec::new();
    for record in court.records {
        match &record.what {
            What::Log { job, change } => match change {
                Change::Began { epoch, .. } => {
                    heads.insert(job.clone(), (epoch.clone(), 0));
                }
                Change::Grew { sequence, .. } => {
                    if let Some(head) = heads.get_mut(job) {
                        head.1 = *sequence;
                    }
                }
                Change::Shrank { .. } | Change::Gone => drop(heads.remove(job)),
                _ => {}
            },
            What::Signalled { to, signal } => match signal {
                Signal::Numbered {
                    job,
                    epoch,
                    sequence,
                    forged: false,
                } => {
                    if !stands(&court.ledger, job, epoch, *sequence, record.at) {
                        found.push((
                            record.at,
                            format!(
                                "{job} {epoch}-{sequence} was announced before it was appended"
                            ),
                        ));
                    }
                    if let Role::Api(api) = *to {
                        due.push(Due {
                            api,
                            job: job.clone(),
                            epoch: epoch.clone(),
                            sequence: *sequence,
                            told: record.at,
                        });
                    }
                }
                Signal::Gap => {
                    if let Role::Api(api) = *to {
                        due.extend(heads.iter().map(|(job, (epoch, sequence))| Due {
                            api,
                            job: job.clone(),
                            epoch: epoch.clone(),
                            sequence: *sequence,
                            told: record.at,
                        }));
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }
    for due in due {
        let of_it = |stream: &&Stream| stream.api == due.api && stream.job == due.job;
        for stream in streams.iter().filter(of_it) {
            // Who came later has it all the more.
            let by = due.told.max(stream.opened) + AT_ONCE;
            let from = due.told.min(stream.asked);
            let watches = !stream.slow && stream.closed > by && by <= end;
            if watches && !stream.has(&due, by) && !troubles.between(due.api, from, by) {
                let what = format!(
                    "stream {} of {}: {}-{} was told of at {} and is not there yet",
                    stream.number, due.job, due.epoch, due.sequence, due.told
                );
                found.push((by, what));
            }
        }
    }
    for (at, what) in found {
        court.blame("prompt", at, what);
    }
}

impl Stream {
    /// Whether it shows by then what it has to.
    fn has(&self, due: &Due, by: Millis) -> bool {
        let last = self.heard.iter().take_while(|(at, _, _)| *at <= by).last();
        // Another epoch is another story, and judged elsewhere.
        last.is_some_and(|(_, epoch, last)| *epoch != due.epoch || *last >= due.sequence)
    }
}

fn stands(ledger: &Ledger, job: &str, epoch: &str, sequence: u64, at: Millis) -> bool {
    let entry = ledger
        .jobs
        .get(job)
        .and_then(|log| log.entry(epoch, sequence));
    entry.is_some_and(|entry| entry.at <= at)
}

fn streams(court: &Court<'_>, end: Millis) -> Vec<Stream> {
    let mut streams: BTreeMap<usize, Stream> = BTreeMap::new();
    for record in court.records {
        let What::Stream {
            stream: number,
            event,
        } = &record.what
        else {
            continue;
        };
        if let StreamEvent::Asked {
            api,
            subject: Subject::One(job),
            cursor,
            slow,
            ..
        } = event
        {
            let known = cursor.as_deref().and_then(position);
            let known = known.map(|(epoch, sequence)| (record.at, epoch, sequence));
            let stream = Stream {
                number: *number,
                api: *api,
                job: job.clone(),
                slow: *slow,
                asked: record.at,
                opened: end,
                closed: end + 2 * AT_ONCE,
                heard: known.into_iter().collect(),
            };
            streams.insert(*number, stream);
            continue;
        }
        let Some(stream) = streams.get_mut(number) else {
            continue;
        };
        match event {
            StreamEvent::Opened => stream.opened = record.at,
            StreamEvent::Heard(Item::Event { id, .. }) => {
                if let Some((epoch, sequence)) = position(id) {
                    stream.heard.push((record.at, epoch, sequence));
                }
            }
            StreamEvent::Ended | StreamEvent::Cut => stream.closed = record.at,
            _ => {}
        }
    }
    streams.into_values().collect()
}

/// When something was in the way of whom.
struct Troubles {
    of_all: Vec<Millis>,
    of_api: BTreeMap<usize, Vec<Millis>>,
}

impl Troubles {
    /// Something in the way also shortly before.
    fn between(&self, api: usize, from: Millis, to: Millis) -> bool {
        let from = from.saturating_sub(3200);
        let near = |times: &Vec<Millis>| times.iter().any(|at| (from..=to).contains(at));
        near(&self.of_all) || self.of_api.get(&api).is_some_and(near)
    }
}

fn troubles(court: &Court<'_>) -> Troubles {
    let mut troubles = Troubles {
        of_all: Vec::new(),
        of_api: BTreeMap::new(),
    };
    for record in court.records {
        match &record.what {
            What::Disturbed {
                who: Role::Api(api),
            } => {
                troubles.of_api.entry(*api).or_default().push(record.at);
            }
            What::Fault(
                Fault::Wiped
                | Fault::WentBack { .. }
                | Fault::Cut(_)
                | Fault::Unreachable(_)
                | Fault::Stood,
            ) => troubles.of_all.push(record.at),
            _ => {}
        }
    }
    troubles
}
