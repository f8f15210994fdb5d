//! All that happened in a run, in order, as it was seen from outside of the code under test: by the
//! store, by every watcher, poller and submitter, and by whoever made the faults.
//!
//! Never in here: a judgement.

use std::collections::BTreeMap;

use bytes::Bytes;
use conch_domain::{JobId, LeaseToken};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::fold::Fold;
use crate::process::Role;
use crate::sse::Item;

/// Milliseconds since the run began.
pub(crate) type Millis = u64;

/// A job as the run calls it: `j1`, `f1` …
pub(crate) type Job = String;

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) at: Millis,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A job's log is not what it was when it was last looked at.
    Log { job: Job, change: Change },
    /// The cached result of a job is not what it was.
    Cached { job: Job, result: Option<Bytes> },
    /// The catalogue's record of a job is not what it was.
    Recorded { job: Job, record: Option<Fold> },
    /// Somebody's write or acknowledgement took effect.
    Wrote { job: Job, by: String, write: Write },
    /// A signal came out of a process's subscription.
    Signalled { to: Role, signal: Signal },
    /// A process was told that this event is in the log, which doesn't announce it. It has to, at once; or, of a
    /// submission, once it knows where the log stands.
    Owed {
        by: Role,
        job: Job,
        place: String,
        at_once: bool,
    },
    /// A process announces an event.
    Announced { by: Role, job: Job, place: String },
    /// A call of a process failed or was held up.
    Disturbed { who: Role },
    /// What the run did to the system.
    Fault(Fault),
    /// From here on all is well.
    Healed,
    /// A client asked something and was answered.
    Client { client: usize, said: Said },
    /// What one stream did.
    Stream { stream: usize, event: StreamEvent },
}

/// How a log changed.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Another incarnation, or the first. `base` is what it goes on from.
    Began { epoch: String, base: Option<Fold> },
    /// One more event.
    Grew { sequence: u64, line: Bytes },
    /// An event is another one than it was.
    Rewritten { sequence: u64 },
    /// It ends earlier than it did.
    Shrank { to: u64 },
    /// Its oldest events are no longer kept.
    Trimmed { oldest: u64 },
    /// There is none any more.
    Gone,
    /// The state beside it.
    State { state: Fold },
}

/// What a worker or a reaper did to a job.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    /// It holds the job until then.
    Claimed {
        attempt: u32,
        token: String,
        until: Millis,
    },
    /// It holds the job for longer.
    Renewed { token: String, until: Millis },
    /// The store had forgotten the job; it holds it again.
    Restored {
        attempt: u32,
        token: String,
        until: Millis,
    },
    /// A template was stored.
    Template { token: String, index: u32 },
    /// An event with a queue effect or an attempt was appended.
    Event {
        attempt: Option<u32>,
        kind: String,
        releases: bool,
    },
    /// The queue entry was changed without an event.
    Acknowledged { token: Option<String> },
    /// The store says that this lease has run out.
    Expired,
}

/// What came out of a subscription.
#[derive(Debug, Clone)]
pub(crate) enum Signal {
    Gap,
    /// Of an event that a log should hold.
    Numbered {
        job: Job,
        epoch: String,
        sequence: u64,
        forged: bool,
    },
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Crashed(Role),
    Drained(Role),
    Started(Role),
    /// The store forgot everything.
    Wiped,
    /// The store went back to what it held then.
    WentBack {
        to: Millis,
    },
    /// The store lost the end of a log, and knows it.
    Cut(Job),
    /// The store restarted and lost nothing.
    Restarted,
    /// A process, or all of them, can't reach the store.
    Unreachable(Option<Role>),
    /// Nothing went on for a while, whatever waited.
    Stood,
    /// The store was copied.
    BackedUp,
}

#[derive(Debug, Clone)]
pub(crate) enum Said {
    /// Accepted under this key as this job.
    Submitted { key: String, job: Job },
    /// Refused, in words.
    Refused { key: String, why: String },
    /// The end was asked for.
    Cancelled { job: Job, answer: &'static str },
    /// A lookup; none: unknown.
    Polled { job: Job, answer: Option<Bytes> },
    /// An error, in words.
    Failed { of: &'static str, why: String },
    /// A foreign publisher said this.
    Published { line: Bytes },
    /// It has what it came for.
    Done { how: Done },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// 204.
    Told,
    /// 404.
    Unknown,
}

/// What a stream is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    One(Job),
    /// Named jobs.
    Named(Vec<Job>),
    /// Every job.
    Every,
}

#[derive(Debug, Clone)]
pub(crate) enum StreamEvent {
    Asked {
        client: usize,
        api: usize,
        subject: Subject,
        cursor: Option<String>,
        slow: bool,
    },
    Opened,
    /// 204
    NothingLeft,
    /// 404
    Unknown,
    Heard(Item),
    /// The server closed it.
    Ended,
    /// It broke.
    Cut,
}

#[derive(Default)]
struct State {
    records: Vec<Record>,
    jobs: BTreeMap<JobId, Job>,
    tokens: BTreeMap<String, String>,
    epochs: BTreeMap<(Job, String), u32>,
    streams: usize,
}

/// The history of one run.
pub(crate) struct History {
    began: Instant,
    state: Mutex<State>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            state: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> Millis {
        self.moment(Instant::now())
    }

    pub(crate) fn moment(&self, at: Instant) -> Millis {
        u64::try_from(at.duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn note(&self, what: What) {
        let at = self.now();
        self.state.lock().records.push(Record { at, what });
    }

    /// The run's own name of a job.
    pub(crate) fn job(&self, id: &JobId) -> Job {
        let mut state = self.state.lock();
        if let Some(name) = state.jobs.get(id) {
            return name.clone();
        }
        let foreign = id.as_str().starts_with("foreign");
        let letter = if foreign { "f" } else { "j" };
        let of_its_kind = state.jobs.values().filter(|name| name.starts_with(letter));
        let name = format!("{letter}{}", of_its_kind.count() + 1);
        state.jobs.insert(id.clone(), name.clone());
        name
    }

    /// The run's own name of a lease: the store's tokens differ from run to run.
    pub(crate) fn token(&self, token: &LeaseToken) -> String {
        let mut state = self.state.lock();
        let next = format!("lease-{}", state.tokens.len() + 1);
        let known = state.tokens.entry(token.as_str().to_owned());
        known.or_insert(next).clone()
    }

    /// Which of a job's epochs that is, in the order in which they were heard of.
    pub(crate) fn epoch(&self, job: &str, epoch: &str) -> u32 {
        let mut state = self.state.lock();
        let of_the_job = state.epochs.keys().filter(|(known, _)| known == job);
        let next = of_the_job.count() as u32 + 1;
        let key = (job.to_owned(), epoch.to_owned());
        *state.epochs.entry(key).or_insert(next)
    }

    pub(crate) fn next_stream(&self) -> usize {
        let mut state = self.state.lock();
        state.streams += 1;
        state.streams
    }

    /// Which of its job's epochs that is; 0: nobody's.
    pub(crate) fn epoch_of_any(&self, epoch: &str) -> u32 {
        let state = self.state.lock();
        let known = state.epochs.iter().find(|((_, known), _)| known == epoch);
        known.map_or(0, |(_, number)| *number)
    }

    /// What was noted after the first `read` records.
    pub(crate) fn records_since(&self, read: usize) -> Vec<Record> {
        self.state.lock().records[read..].to_vec()
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.state.lock().records.clone()
    }
}
