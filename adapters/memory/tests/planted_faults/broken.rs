//! An adapter that passes every call on to an honest store in memory, except where its fault says
//! otherwise. The faults live in this test: the adapter itself has none.

mod bus;
mod catalogue;
mod log;
mod queue;
mod results;
mod subject;
mod tickets;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use conch_domain::{Job, JobId, JobRecord, Position, Template};
use conch_memory::{Memory, Settings};
use conch_ports::{
    Appended, Bucket, Catalogue, Claimed, Commit, EventBus, JobLog, JobQueue, Quotas, Result,
    ResultCache, Stamp, TicketHash, TicketStore,
};

use crate::Fault;
use crate::subject::{memory, settings};

/// An adapter with one fault.
#[derive(Clone)]
pub(crate) struct Broken {
    fault: Fault,
    /// The honest store.
    log: Arc<dyn JobLog>,
    bus: Arc<dyn EventBus>,
    cache: Arc<dyn ResultCache>,
    queue: Arc<dyn JobQueue>,
    catalogue: Arc<dyn Catalogue>,
    tickets: Arc<dyn TicketStore>,
    memory: Memory,
    seen: Arc<Mutex<Seen>>,
    interruptions: Arc<AtomicUsize>,
}

/// What some faults need to remember.
#[derive(Default)]
struct Seen {
    results: Vec<(JobId, Bytes)>,
    claims: Vec<Claimed>,
    has_claimed: bool,
    /// The job that is given out before all others.
    first: Option<JobId>,
    requeued: HashSet<JobId>,
    submitted: Vec<JobId>,
    held: HashMap<JobId, Bytes>,
    templates: Vec<Arc<Template>>,
    folds: HashMap<JobId, Option<Job>>,
    /// The first stamp of each bucket.
    stamps: HashMap<Bucket, Stamp>,
    tickets: Vec<TicketHash>,
    /// Jobs that lost a part of their place since the last sweep.
    lost: HashSet<JobId>,
    /// A queue entry was written over.
    broken: bool,
    /// There is no server, as it were.
    away: bool,
    /// There is one that hangs, as it were.
    frozen: bool,
}

impl Broken {
    pub(crate) fn new(fault: Fault) -> Self {
        let memory = match fault {
            Fault::IgnoreQuotas => Settings {
                quotas: Quotas::default(),
                ..settings()
            }
            .build(),
            // The system's, while leases go with the time that is moved.
            Fault::NowOfAnotherClock => settings().build(),
            _ => memory(true),
        };
        Self {
            fault,
            log: memory.log(),
            bus: memory.bus(),
            cache: memory.cache(),
            queue: memory.queue(),
            catalogue: memory.catalogue(),
            tickets: memory.tickets(),
            memory,
            seen: Arc::default(),
            interruptions: Arc::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen
            .lock()
            .expect("no fault panics while it remembers")
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn announce_line(&self, line: Bytes) {
        self.memory.faults().announce_raw(line);
    }

    /// Takes a commit with templates for good, its lease and their places or not.
    async fn append_whatever_its_templates(&self, mut commit: Commit) -> Result<Appended> {
        let answer = self.log.append(commit.clone()).await?;
        match answer {
            Appended::Fenced if self.is(Fault::TemplatesOfAnyCommit) => Ok(Appended::Appended),
            Appended::PlaceTaken(_) if self.is(Fault::DropTakenTemplates) => {
                commit.templates.clear();
                self.log.append(commit).await
            }
            answer => Ok(answer),
        }
    }

    /// Appends a commit's events one after the other, as long as each is taken.
    async fn append_one_by_one(&self, commit: Commit) -> Result<Appended> {
        let mut answers = Vec::new();
        let first = commit.first();
        for (event, sequence) in commit.events.iter().zip(first.sequence..) {
            let one = Commit {
                job: at(&commit.job, Position { sequence, ..first }),
                events: vec![event.clone()],
                ..commit.clone()
            };
            answers.push(self.log.append(one).await?);
        }
        Ok(answers[0])
    }

    /// Puts the commit where the log ends, wherever it says it belongs.
    async fn moved_to_the_end(&self, mut commit: Commit) -> Result<Commit> {
        if let Some(log) = self.log.read(&commit.job.id, 0, 0).await? {
            commit.job = at(&commit.job, log.job.position.next());
        }
        Ok(commit)
    }
}

fn at(job: &Job, position: Position) -> Job {
    Job::restore(JobRecord {
        position,
        ..(**job).clone()
    })
}
