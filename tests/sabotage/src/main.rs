//! `conch-api` and `conch-worker` with a planted bug, which `SABOTAGE` names: the proof that the chaos
//! harness would find it.
//!
//! A bug is an arm of a `match` in a wrapper round a port, or in [`edge`] round Mare's routes, and a line
//! in [`BUGS`]. Never an `if` in the code that is proved.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use conch::config::Program;
use conch::{Plant, Stores};
use conch_domain::{JobId, Position, TemplateId};
use conch_http::serve::Router;
use conch_ports::{Catalogue, EventBus, JobLog, JobQueue};
use conch_services::Clock;
use parking_lot::Mutex;

mod bus;
mod catalogue;
mod edge;
mod log;
mod panics;
mod queue;

/// Every bug, and what it is. Those from `changes-without-ends` on were designed without reading the
/// checker, so that it isn't proved only by the bugs that it was written for.
const BUGS: &[(&str, &str)] = &[
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
        "seal-unread",
        "the digest of a sealed announcement isn't compared",
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

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (program, name) = match arguments.next().as_deref() {
        Some("conch-api") => (Program::Api, "conch-api"),
        Some("conch-worker") => (Program::Worker, "conch-worker"),
        Some("list") => {
            let list = BUGS
                .iter()
                .try_for_each(|(name, what)| writeln!(std::io::stdout(), "{name}\t{what}"));
            return list.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
        }
        _ => {
            let usage = "conch-sabotaged conch-api|conch-worker|list";
            drop(writeln!(std::io::stderr(), "{usage}"));
            return ExitCode::FAILURE;
        }
    };
    let flags = conch::command(name, "with a planted bug", program)
        .get_matches_from(std::iter::once(name.to_owned()).chain(arguments));
    conch::main_with(program, &flags, |_| None, &Sabotage)
}

/// Plants the bug.
struct Sabotage;

impl Plant for Sabotage {
    fn stores(&self, stores: Stores) -> Stores {
        edge::reads_from(&stores.log);
        let broken = Arc::new(Broken {
            bug: bug(),
            log: stores.log,
            bus: stores.bus,
            queue: stores.queue,
            catalogue: stores.catalogue,
            calls: AtomicU64::new(0),
            epochs: Mutex::default(),
            reads: Arc::default(),
            made: Mutex::default(),
        });
        Stores {
            log: broken.clone(),
            bus: broken.clone(),
            queue: broken.clone(),
            catalogue: broken,
            cache: stores.cache,
            tickets: stores.tickets,
        }
    }

    fn clock(&self, clock: Clock) -> Clock {
        panics::hub_clock(clock)
    }

    fn router(&self, router: Router) -> Router {
        edge::plant_http(router)
    }
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
