//! Planted bugs, for the proof that the chaos harness finds them. Not in any program that is released:
//! the feature `sabotage` builds it into `conch-sabotaged` alone, and `SABOTAGE` names the bug.
//!
//! A bug is an arm of a `match` in a wrapper round a port, or in [`edge`] round Mare's routes, and a line
//! in [`BUGS`]. Never an `if` in the code that is proved.
//!
//! Long because each port is wrapped whole, and every bug stands in the method that it breaks.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{
    Client, ClientId, EventId, Job, JobId, JobRecord, LeaseToken, Position, Template, TemplateId,
    Timestamp, ValueProposition, ValuePropositionId,
};
use conch_ports::{
    Catalogue, ClientFilter, Commit, EventBus, Fence, Guarantees, Idempotency, JobFilter, JobQueue,
    Lease, Log, Page, Paging, Published, PutTemplate, QueueEffect, Result, Signal, Signals,
    Submission, Submitted, Sweep, Swept, TemplateFilter,
};
use futures::StreamExt as _;

mod edge;
mod panics;

pub(crate) use edge::plant_http;
pub(crate) use panics::hub_clock;

/// Every bug, and what it is. Those from `changes-without-ends` on were thought up by somebody who had
/// not read the checker, so that it isn't proved by the bugs that it was written for alone.
pub const BUGS: &[(&str, &str)] = &[
    (
        "announce-before-append",
        "the announcement goes out, and then the event into the log",
    ),
    (
        "no-fence",
        "what a worker has handed over is written whenever it can be, whoever holds the lease by then",
    ),
    (
        "acknowledge-apart",
        "the end is one step, taking the job out of the queue another",
    ),
    (
        "foreign-twice",
        "every instance appends what a foreign program announced",
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
        "messages that find no room are dropped, and nobody is told",
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
        "nobody looks for leases that have run out",
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
    bus: Arc<dyn EventBus>,
    queue: Arc<dyn JobQueue>,
    catalogue: Arc<dyn Catalogue>,
) -> (Arc<dyn EventBus>, Arc<dyn JobQueue>, Arc<dyn Catalogue>) {
    edge::reads_from(&bus);
    let broken = Arc::new(Broken {
        bug: bug(),
        bus,
        queue,
        catalogue,
        calls: AtomicU64::new(0),
        epochs: Mutex::default(),
        reads: Arc::default(),
        made: Mutex::default(),
    });
    (broken.clone(), broken.clone(), broken)
}

struct Broken {
    bug: String,
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

    /// The commit, and if it ends the job, without the templates that earlier attempts made.
    fn of_this_attempt(&self, commit: Commit) -> Commit {
        let job = &commit.job;
        let mut made = self.made.lock().expect("nobody panics");
        let own = made.entry((job.id.clone(), job.attempt)).or_default();
        if is(&commit, "job:template_completed") {
            own.extend(job.template_ids.last().cloned());
            own.dedup();
        }
        let all = job.template_ids.len();
        if !job.status.is_terminal() || own.is_empty() || own.len() >= all {
            return commit;
        }
        let list = |ids: &[TemplateId]| {
            let quoted: Vec<_> = ids.iter().map(|id| format!("\"{id}\"")).collect();
            format!("[{}]", quoted.join(","))
        };
        let count = |count: usize| format!("\"template_count\":{count},");
        let line = String::from_utf8_lossy(&commit.line)
            .replace(&list(&job.template_ids), &list(own))
            .replace(&count(all), &count(own.len()));
        let record = JobRecord {
            template_ids: own.clone(),
            template_count: own.len() as u64,
            ..(**job).clone()
        };
        Commit {
            job: Job::restore(record),
            line: Bytes::from(line),
            ..commit
        }
    }
}

#[async_trait]
impl EventBus for Broken {
    fn guarantees(&self) -> Guarantees {
        self.bus.guarantees()
    }

    async fn publish(&self, commit: Commit) -> Result<Published> {
        let job_id = commit.job.id.clone();
        match self.bug.as_str() {
            "announce-before-append" if commit.announce => {
                for channel in ["all", job_id.as_str()] {
                    let channel = format!("triton:jobs:{channel}");
                    redis(&[b"PUBLISH", channel.as_bytes(), &commit.line]);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                let silent = Commit {
                    announce: false,
                    ..commit
                };
                self.bus.publish(silent).await
            }
            "no-fence" if matches!(commit.fence, Fence::Held(_)) => {
                let bus = Arc::clone(&self.bus);
                // Goes on though whoever asked for it has given up: the write was on its way.
                tokio::spawn(append_wherever(bus, commit))
                    .await
                    .expect("it doesn't panic")
            }
            "acknowledge-apart" if commit.effect == QueueEffect::Remove => {
                let kept = Commit {
                    effect: QueueEffect::Keep,
                    ..commit
                };
                let published = self.bus.publish(kept).await;
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    let entry = format!("triton:queue:entry:{job_id}");
                    redis(&[b"DEL", entry.as_bytes()]);
                    redis(&[b"ZREM", b"triton:queue:leases", job_id.as_str().as_bytes()]);
                });
                published
            }
            "foreign-twice" if commit.fence == Fence::Foreign => {
                let event_id = EventId::parse(&format!("twice-{:x}", rand_like())).expect("an id");
                self.bus.publish(Commit { event_id, ..commit }).await
            }
            "result-lost" if commit.job.status.is_terminal() => {
                let published = self.bus.publish(commit).await;
                redis(&[b"DEL", format!("triton:job:result:{job_id}").as_bytes()]);
                published
            }
            "epoch-kept" => {
                let first = *self
                    .epochs
                    .lock()
                    .expect("nobody panics")
                    .entry(job_id)
                    .or_insert(commit.job.position);
                let place = Position {
                    epoch: first.epoch,
                    ..commit.job.position
                };
                self.bus.publish(moved(commit, place)).await
            }
            "result-for-ever" if commit.job.status.is_terminal() && self.once_in(3) => {
                let published = self.bus.publish(commit).await;
                redis(&[b"PERSIST", format!("triton:job:result:{job_id}").as_bytes()]);
                published
            }
            "cancel-tried-once" if is(&commit, "job:cancel_requested") => {
                let bus = Arc::clone(&self.bus);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    drop(bus.publish(commit).await);
                });
                Ok(Published::Appended)
            }
            "retry-tells-its-own" => {
                let commit = self.of_this_attempt(commit);
                self.bus.publish(commit).await
            }
            _ => self.bus.publish(commit).await,
        }
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        match self.bug.as_str() {
            "no-buffering" if after == 0 && limit > 0 => {
                let log = self.bus.read(job_id, after, limit).await;
                let mut reads = self.reads.lock().expect("nobody panics");
                reads.insert(job_id.clone(), Instant::now());
                log
            }
            "wrong-log" if limit > 0 => {
                let another = {
                    let mut reads = self.reads.lock().expect("nobody panics");
                    reads.insert(job_id.clone(), Instant::now());
                    reads.keys().find(|id| *id != job_id).cloned()
                };
                match another.filter(|_| self.once_in(50)) {
                    Some(another) => self.bus.read(&another, after, limit).await,
                    None => self.bus.read(job_id, after, limit).await,
                }
            }
            "panics" => {
                if job_id.as_str() == "panic-ingest" {
                    panics::panic_if_asked("ingest");
                }
                self.bus.read(job_id, after, limit).await
            }
            _ => self.bus.read(job_id, after, limit).await,
        }
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        self.bus.positions(job_ids).await
    }

    fn subscribe(&self) -> Signals {
        let signals = self.bus.subscribe();
        let mut seen = 0_u64;
        match self.bug.as_str() {
            "lag-swallowed" => signals
                .filter(move |signal| {
                    seen += u64::from(matches!(signal, Signal::Message(_)));
                    // An overflow takes many in a row.
                    let lost = matches!(signal, Signal::Message(_)) && seen % 64 > 48;
                    futures::future::ready(!lost)
                })
                .boxed(),
            "lapsed-dropped" => signals
                .filter(move |signal| {
                    seen += u64::from(*signal == Signal::Lapsed);
                    futures::future::ready(*signal != Signal::Lapsed || seen == 1)
                })
                .boxed(),
            "no-buffering" => {
                let reads = Arc::clone(&self.reads);
                signals
                    .filter(move |signal| {
                        let reads = reads.lock().expect("nobody panics");
                        let deaf = |id: &JobId| {
                            let read = reads.get(id);
                            read.is_some_and(|at| at.elapsed() < Duration::from_secs(1))
                        };
                        let lost = match signal {
                            Signal::Message(line) => job_of(line).is_some_and(|id| deaf(&id)),
                            Signal::Lapsed => false,
                        };
                        futures::future::ready(!lost)
                    })
                    .boxed()
            }
            "panics" => signals.inspect(panics::hear).boxed(),
            _ => signals,
        }
    }

    async fn now(&self) -> Result<Timestamp> {
        self.bus.now().await
    }

    async fn ping(&self) -> Result<()> {
        self.bus.ping().await
    }
}

#[async_trait]
impl JobQueue for Broken {
    async fn submit(&self, mut submission: Submission) -> Result<Submitted> {
        match self.bug.as_str() {
            "submission-lost" if self.once_in(5) => return Ok(Submitted::New),
            "key-forgotten" => submission.idempotency = None,
            _ => {}
        }
        self.queue.submit(submission).await
    }

    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        match self.bug.as_str() {
            "key-forgotten" => Ok(None),
            _ => self.queue.recall(idempotency).await,
        }
    }

    async fn claim(
        &self,
        worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Lease>> {
        self.queue.claim(worker, token, duration).await
    }

    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        self.queue.renew(lease, duration).await
    }

    async fn expired(&self, limit: usize) -> Result<Vec<Lease>> {
        match self.bug.as_str() {
            "lease-never-taken-back" => Ok(Vec::new()),
            "panics" => {
                panics::panic_if_asked("worker");
                self.queue.expired(limit).await
            }
            _ => self.queue.expired(limit).await,
        }
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        self.queue.sweep(sweep).await
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        self.queue.next_due().await
    }

    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        self.queue.restore(lease, job, duration).await
    }
}

#[async_trait]
impl Catalogue for Broken {
    async fn put_template(&self, template: &Template, lease: &Lease) -> Result<PutTemplate> {
        match self.bug.as_str() {
            "no-fence" => {
                let (catalogue, template, lease) =
                    (Arc::clone(&self.catalogue), template.clone(), lease.clone());
                tokio::spawn(async move { drop(catalogue.put_template(&template, &lease).await) });
                Ok(PutTemplate::Stored)
            }
            _ => self.catalogue.put_template(template, lease).await,
        }
    }

    async fn create_client(&self, client: &Client) -> Result<()> {
        self.catalogue.create_client(client).await
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>> {
        self.catalogue.client(id).await
    }

    async fn clients(&self, filter: &ClientFilter, paging: Paging) -> Result<Page<Client>> {
        self.catalogue.clients(filter, paging).await
    }

    async fn add_value_proposition(&self, value_proposition: &ValueProposition) -> Result<bool> {
        self.catalogue
            .add_value_proposition(value_proposition)
            .await
    }

    async fn value_proposition(&self, id: &ValuePropositionId) -> Result<Option<ValueProposition>> {
        self.catalogue.value_proposition(id).await
    }

    async fn value_propositions(&self, id: &ClientId) -> Result<Option<Vec<ValueProposition>>> {
        self.catalogue.value_propositions(id).await
    }

    async fn set_value_proposition_active(
        &self,
        client_id: &ClientId,
        id: &ValuePropositionId,
        is_active: bool,
        now: Timestamp,
    ) -> Result<Option<ValueProposition>> {
        let catalogue = &self.catalogue;
        catalogue
            .set_value_proposition_active(client_id, id, is_active, now)
            .await
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>> {
        self.catalogue.job(id).await
    }

    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        let mut page = self.catalogue.jobs(filter, paging).await?;
        match self.bug.as_str() {
            "changes-without-ends" if filter.updated_since.is_some() => {
                page.items.retain(|job| !job.status.is_terminal());
            }
            _ => {}
        }
        Ok(page)
    }

    async fn template(&self, id: &TemplateId) -> Result<Option<Template>> {
        self.catalogue.template(id).await
    }

    async fn templates_of(&self, job_id: &JobId) -> Result<Vec<Template>> {
        self.catalogue.templates_of(job_id).await
    }

    async fn templates(&self, filter: &TemplateFilter, paging: Paging) -> Result<Page<Template>> {
        self.catalogue.templates(filter, paging).await
    }
}

/// Appends at whatever the log's end is, with no fence, and doesn't take no for an answer.
async fn append_wherever(bus: Arc<dyn EventBus>, commit: Commit) -> Result<Published> {
    let mut commit = Commit {
        fence: Fence::Open,
        ..commit
    };
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match bus.publish(commit.clone()).await {
            Ok(Published::Conflict(Some(end))) => commit = moved(commit, end.next()),
            Err(_) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => return other,
        }
    }
}

/// The same commit at another place.
fn moved(commit: Commit, place: Position) -> Commit {
    let before = commit.job.position;
    let line = String::from_utf8_lossy(&commit.line)
        .replace(
            &format!("\"epoch\":\"{}\"", before.epoch),
            &format!("\"epoch\":\"{}\"", place.epoch),
        )
        .replace(
            &format!("\"sequence\":{},", before.sequence),
            &format!("\"sequence\":{},", place.sequence),
        );
    let record = JobRecord {
        position: place,
        ..(*commit.job).clone()
    };
    Commit {
        job: Job::restore(record),
        line: Bytes::from(line),
        ..commit
    }
}

fn is(commit: &Commit, event_type: &str) -> bool {
    let text = std::str::from_utf8(&commit.line).unwrap_or_default();
    text.contains(&format!("\"event_type\":\"{event_type}\""))
}

fn job_of(line: &[u8]) -> Option<JobId> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, rest) = text.split_once("\"job_id\":\"")?;
    JobId::parse(rest.split_once('"')?.0).ok()
}

/// Differs from one instance to the next.
fn rand_like() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos()) ^ (u128::from(std::process::id()) << 64)
}

/// One command past every adapter: this is what no port offers. What Redis says to it is of no interest.
fn redis(words: &[&[u8]]) {
    let url = std::env::var("REDIS_URL").unwrap_or_default();
    let address = url
        .trim_start_matches("redis://")
        .split('/')
        .next()
        .unwrap_or("")
        .to_owned();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    if let Ok(mut connection) = TcpStream::connect(address) {
        let limit = Some(Duration::from_millis(200));
        if connection.set_read_timeout(limit).is_ok() && connection.write_all(&bytes).is_ok() {
            drop(connection.read(&mut [0; 64]));
        }
    }
}
