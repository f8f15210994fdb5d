//! Planted bugs, for the proof that the chaos harness finds them. Not in any program that is released:
//! the feature `sabotage` builds it into `conch-sabotaged` alone, and `SABOTAGE` names the bug.
//!
//! A bug is an arm of a `match` in a wrapper round a port, or in [`edge`] round Mare's routes, and a line
//! in [`BUGS`]. Never an `if` in the code that is proved.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use conch_domain::{JobId, Position, TemplateId};
use conch_ports::{Catalogue, EventBus, JobLog, JobQueue};
use parking_lot::Mutex;

mod bus;
mod catalogue;
mod edge;
mod log;
mod panics;
mod queue;

pub(crate) use edge::plant_http;
pub(crate) use panics::hub_clock;

/// Every bug, and what it is. Those from `changes-without-ends` on were designed without reading the
/// checker, so that it isn't proved only by the bugs that it was written for.
pub const BUGS: &[(&str, &str)] = &[
    (
        "announce-before-append",
        "the announcement goes out, and then the event into the log",
    ),
    (
        "no-fence",
        "what a worker has handed over is written whenever it can be, even if another worker holds the lease by then",
    ),
    (
        "acknowledge-apart",
        "the end is one step, taking the job out of the queue another",
    ),
    (
        "foreign-twice",
        "every instance appends the events of external publishers",
    ),
    (
        "result-lost",
        "the end is in the log, and its result not in the cache",
    ),
    (
        "epoch-kept",
        "a log that begins anew keeps the old one's epoch",
    ),
    (
        "lag-swallowed",
        "messages that find no room are dropped without a notice",
    ),
    (
        "lapsed-dropped",
        "a subscription that comes back doesn't say that it was away",
    ),
    (
        "no-buffering",
        "an attach reads the log first and listens a moment later",
    ),
    (
        "lease-never-taken-back",
        "expired leases are not looked for",
    ),
    (
        "submission-lost",
        "now and then a job is acknowledged and not stored",
    ),
    ("key-forgotten", "idempotency keys are not kept"),
    ("resume-off-by-one", "a resume begins one event too late"),
    (
        "wrong-log",
        "now and then a read answers with the log of another job",
    ),
    (
        "changes-without-ends",
        "a list of what changed since a moment leaves out what has ended",
    ),
    (
        "epoch-unread",
        "a resume goes by its cursor's number alone where another epoch's log has got that far",
    ),
    (
        "cancel-tried-once",
        "a request to cancel is acknowledged first, and then written if that works at once",
    ),
    (
        "retry-tells-its-own",
        "the end of a later attempt lists the templates of that attempt alone",
    ),
    (
        "lookup-behind",
        "a lookup's answer is kept for two seconds, though the job goes on",
    ),
    (
        "result-for-ever",
        "now and then a result is cached without a time after which it goes",
    ),
    (
        "old-end-counts",
        "a cursor at the end of a run that failed is told to stop, though the job has gone on",
    ),
];

/// The bug that the environment names; none is the program as it should be.
fn bug() -> String {
    std::env::var("SABOTAGE").unwrap_or_default()
}

/// Plants it into the stores.
pub(crate) fn plant(
    log: Arc<dyn JobLog>,
    bus: Arc<dyn EventBus>,
    queue: Arc<dyn JobQueue>,
    catalogue: Arc<dyn Catalogue>,
) -> (
    Arc<dyn JobLog>,
    Arc<dyn EventBus>,
    Arc<dyn JobQueue>,
    Arc<dyn Catalogue>,
) {
    edge::reads_from(&log);
    let broken = Arc::new(Broken {
        bug: bug(),
        log,
        bus,
        queue,
        catalogue,
        calls: AtomicU64::new(0),
        epochs: Mutex::default(),
        reads: Arc::default(),
        made: Mutex::default(),
    });
    (broken.clone(), broken.clone(), broken.clone(), broken)
}

struct Broken {
    bug: String,
    log: Arc<dyn JobLog>,
    bus: Arc<dyn EventBus>,
    queue: Arc<dyn JobQueue>,
    catalogue: Arc<dyn Catalogue>,
    calls: AtomicU64,
    /// The first epoch of each job.
    epochs: Mutex<HashMap<JobId, Position>>,
    /// When each job's log was first read.
    reads: Arc<Mutex<HashMap<JobId, Instant>>>,
    /// What each attempt said that it has made.
    made: Mutex<HashMap<(JobId, u32), Vec<TemplateId>>>,
}

impl Broken {
    fn once_in(&self, times: u64) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) % times == times - 1
    }
}
