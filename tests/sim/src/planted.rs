//! Bugs on purpose, each a wrapper around a gate or a setting, so that it can be shown that the checker
//! finds them. None is in the services.

mod seals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{EventId, Job, JobId, JobRecord, JobStatus, LeaseToken, Position, Timestamp};
use conch_ports::{
    Announcement, Appended, Bucket, BusId, Carries, Claimed, Commit, EventBus, Fence, Guarantees,
    Idempotency, JobLog, JobQueue, Lease, Log, QueueEffect, QueuePlace, Result, ResultCache,
    Signal, Signals, Stamp, Submission, Submitted, Sweep, Swept,
};
use conch_services::announcing::announcing;
use futures::StreamExt;
use parking_lot::Mutex;

use crate::gate::Gate;
use seals::Seals;

/// One bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// An event is announced, and only then appended.
    AnnouncedBeforeAppend,
    /// What is announced while a log is read for the first time is not kept.
    NoBufferOnAttach,
    /// A worker's events are appended whether it holds the lease or not.
    FenceForgotten,
    /// The queue entry is changed in a step of its own, after the append.
    AcknowledgedOutside,
    /// Nobody hears that announcements may have been lost.
    LapsedSwallowed,
    /// A commit that is tried again is appended again.
    DuplicatesAppended,
    /// The store doesn't notice that a job has ended.
    TerminalNotLast,
    /// A stream that is taken up again begins one event too early.
    ResumeOffByOne,
    /// A result is cached, and only then the end appended.
    ResultBeforeAppend,
    /// A silent job is never looked at again.
    NoPositionCheck,
    /// A watcher isn't told that history was lost.
    ResetNotTold,
    /// The job of a worker that fell silent stays its own.
    LeaseNeverTakenBack,
    /// The store lost the end of a log and doesn't know it.
    LossUnnoticed,
    /// A submission's key isn't remembered.
    KeyForgotten,
    /// A submission is acknowledged before it is stored.
    AcknowledgedUnstored,
    /// State and events of a read are of two moments.
    TornRead,
    /// The digest of a sealed announcement isn't compared.
    SealUnread,
    /// A sealed announcement is delivered though the events before it are missing.
    GapJoined,
    /// An event that an earlier attempt had appended is not announced.
    DuplicateUnannounced,
    /// A submission is not announced.
    SubmissionUnannounced,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::AnnouncedBeforeAppend,
        Self::NoBufferOnAttach,
        Self::FenceForgotten,
        Self::AcknowledgedOutside,
        Self::LapsedSwallowed,
        Self::DuplicatesAppended,
        Self::TerminalNotLast,
        Self::ResumeOffByOne,
        Self::ResultBeforeAppend,
        Self::NoPositionCheck,
        Self::ResetNotTold,
        Self::LeaseNeverTakenBack,
        Self::LossUnnoticed,
        Self::KeyForgotten,
        Self::AcknowledgedUnstored,
        Self::TornRead,
        Self::SealUnread,
        Self::GapJoined,
        Self::DuplicateUnannounced,
        Self::SubmissionUnannounced,
    ];

    /// For the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::AnnouncedBeforeAppend => "announced before it is appended",
            Self::NoBufferOnAttach => "reads first and subscribes after",
            Self::FenceForgotten => "a worker's fence forgotten",
            Self::AcknowledgedOutside => "acknowledged outside the step",
            Self::LapsedSwallowed => "lag swallowed",
            Self::DuplicatesAppended => "duplicate ids appended again",
            Self::TerminalNotLast => "terminal not last",
            Self::ResumeOffByOne => "resume off by one",
            Self::ResultBeforeAppend => "result cached before the append",
            Self::NoPositionCheck => "no position check",
            Self::ResetNotTold => "reset not told",
            Self::LeaseNeverTakenBack => "a dead worker's lease never taken back",
            Self::LossUnnoticed => "lost tail not noticed",
            Self::KeyForgotten => "idempotency key forgotten",
            Self::AcknowledgedUnstored => "submission acknowledged before it is stored",
            Self::TornRead => "state and events of two moments",
            Self::SealUnread => "a seal's digest not compared",
            Self::GapJoined => "a seal delivered across a gap",
            Self::DuplicateUnannounced => "announcement skipped on a duplicate",
            Self::SubmissionUnannounced => "submission not announced",
        }
    }
}

/// A process's logs and bus behind a bug.
struct Behind {
    gate: Gate,
    planted: Planted,
    /// First reads under way.
    reading: Arc<Mutex<BTreeMap<JobId, u32>>>,
    tries: AtomicU64,
}

/// The process's logs and the bus that they announce on, with the bug if it is there.
fn log_and_bus(gate: &Gate, planted: Option<Planted>) -> (Arc<dyn JobLog>, Arc<dyn EventBus>) {
    match planted {
        Some(planted) => {
            let behind = Arc::new(Behind {
                gate: gate.clone(),
                planted,
                reading: Arc::default(),
                tries: AtomicU64::new(0),
            });
            (behind.clone(), behind)
        }
        None => (Arc::new(gate.clone()), Arc::new(gate.clone())),
    }
}

/// What a process writes to and hears of, with the bug if it is there: its log and its queue, which are announced
/// beside where the store doesn't announce, and its bus.
pub(crate) fn ports(
    gate: &Gate,
    planted: Option<Planted>,
) -> (Arc<dyn JobLog>, Arc<dyn JobQueue>, Arc<dyn EventBus>) {
    let (log, bus) = log_and_bus(gate, planted);
    let (log, queue) = announcing(log, queue(gate, planted), &bus);
    (log, queue, bus)
}

/// The process's queue, with the bug if it is there.
fn queue(gate: &Gate, planted: Option<Planted>) -> Arc<dyn JobQueue> {
    match planted {
        Some(planted) => Arc::new(Queue {
            gate: gate.clone(),
            planted,
        }),
        None => Arc::new(gate.clone()),
    }
}

/// How long a silent job is believed.
pub(crate) fn position_check(planted: Option<Planted>, usual: Duration) -> Duration {
    if planted == Some(Planted::NoPositionCheck) {
        Duration::from_hours(1)
    } else {
        usual
    }
}

/// The cursor that a stream is asked for with.
pub(crate) fn cursor(planted: Option<Planted>, cursor: Option<&str>) -> Option<String> {
    let asked = cursor?;
    if planted == Some(Planted::ResumeOffByOne)
        && let Some((epoch, sequence)) = asked.split_once('-')
        && let Ok(sequence @ 2..) = sequence.parse::<u64>()
        && epoch.len() == 8
    {
        return Some(format!("{epoch}-{}", sequence - 1));
    }
    Some(asked.to_owned())
}

/// Whether a watcher gets these frames.
pub(crate) fn passes(planted: Option<Planted>, frame: &Bytes) -> bool {
    let is_reset = || {
        let text = String::from_utf8_lossy(frame);
        text.contains("\"job:snapshot\"") && text.contains("\"reset\":true")
    };
    planted != Some(Planted::ResetNotTold) || !is_reset()
}

impl Behind {
    async fn commit(&self, mut commit: Commit) -> Result<Appended> {
        match self.planted {
            Planted::AnnouncedBeforeAppend if commit.announce => {
                for event in &commit.events {
                    let announcement = Announcement {
                        job_id: commit.job.id.clone(),
                        position: Some(commit.job.position),
                        line: event.line.clone(),
                        secret: None,
                    };
                    self.gate.announce(&announcement).await?;
                }
                commit.announce = false;
            }
            Planted::FenceForgotten if matches!(commit.fence, Fence::Held(_)) => {
                commit.fence = Fence::Open;
            }
            Planted::AcknowledgedOutside if commit.effect != QueueEffect::Keep => {
                let (id, fence) = (commit.job.id.clone(), commit.fence.clone());
                let effect = std::mem::replace(&mut commit.effect, QueueEffect::Keep);
                let appended = self.gate.append(commit).await?;
                if matches!(appended, Appended::Appended | Appended::Duplicate(_)) {
                    self.gate.acknowledge(id, effect, fence).await?;
                }
                return Ok(appended);
            }
            Planted::DuplicatesAppended => {
                let try_ = self.tries.fetch_add(1, Ordering::Relaxed);
                let by = &self.gate.process.name.replace('.', "-");
                for event in &mut commit.events {
                    let mut id = event.event_id.as_str().to_owned();
                    id.truncate(40);
                    event.event_id =
                        EventId::parse(&format!("{id}-{by}-{try_}")).expect("it is short");
                }
            }
            Planted::TerminalNotLast if commit.job.status.is_terminal() => {
                commit.job = Job::restore(JobRecord {
                    status: JobStatus::Running,
                    ..(*commit.job).clone()
                });
            }
            Planted::ResultBeforeAppend if commit.job.status.is_terminal() => {
                let result = conch_wire::job::encode(&commit.job);
                ResultCache::put(&self.gate, &commit.job.id, result).await?;
            }
            _ => {}
        }
        self.gate.append(commit).await
    }

    async fn torn(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        let entries = self.gate.read(job_id, after, limit).await?;
        let state = self.gate.read(job_id, after, 0).await?;
        Ok(match (entries, state) {
            (Some(log), Some(state)) => Some(Log {
                job: state.job,
                ..log
            }),
            (log, _) => log,
        })
    }
}

/// Counts a read while it is under way.
struct Reading(Arc<Mutex<BTreeMap<JobId, u32>>>, JobId);

impl Reading {
    fn of(reading: &Arc<Mutex<BTreeMap<JobId, u32>>>, id: &JobId) -> Self {
        *reading.lock().entry(id.clone()).or_default() += 1;
        Self(Arc::clone(reading), id.clone())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(count) = self.0.lock().get_mut(&self.1) {
            *count -= 1;
        }
    }
}

#[async_trait]
impl JobLog for Behind {
    fn guarantees(&self) -> Guarantees {
        self.gate.guarantees()
    }

    fn announces(&self) -> Option<BusId> {
        self.gate.announces()
    }

    async fn append(&self, commit: Commit) -> Result<Appended> {
        self.commit(commit).await
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        if self.planted == Planted::TornRead && limit > 0 {
            return self.torn(job_id, after, limit).await;
        }
        let _first = (after == 0 && limit > 0).then(|| Reading::of(&self.reading, job_id));
        self.gate.read(job_id, after, limit).await
    }

    async fn latest(&self, buckets: &[Bucket]) -> Result<Vec<Option<Stamp>>> {
        self.gate.latest(buckets).await
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        self.gate.positions(job_ids).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.gate.now().await
    }

    async fn ping(&self) -> Result<()> {
        JobLog::ping(&self.gate).await
    }
}

#[async_trait]
impl EventBus for Behind {
    fn id(&self) -> BusId {
        self.gate.id()
    }

    fn carries(&self) -> Carries {
        self.gate.carries()
    }

    async fn announce(&self, announcement: &Announcement) -> Result<()> {
        let begins = announcement.position.is_some_and(|at| at.sequence == 1);
        // The place alone is what is announced of an event that was there before.
        let is_short = || !announcement.line.windows(11).any(|w| w == b"\"timestamp\"");
        match self.planted {
            Planted::DuplicateUnannounced if is_short() => Ok(()),
            Planted::SubmissionUnannounced if begins => Ok(()),
            _ => self.gate.announce(announcement).await,
        }
    }

    fn subscribe(&self) -> Signals {
        let (planted, reading) = (self.planted, Arc::clone(&self.reading));
        let mut begun = false;
        let passes = move |signal: &Signal| match (planted, signal) {
            (Planted::LapsedSwallowed, Signal::Gap) => !std::mem::replace(&mut begun, true),
            (Planted::NoBufferOnAttach, Signal::Message(message)) => {
                let incoming = conch_wire::event::decode(&message.bytes, Timestamp::from_micros(0));
                incoming.is_ok_and(|incoming| {
                    let reading = reading.lock();
                    reading
                        .get(&incoming.event.job_id)
                        .is_none_or(|count| *count == 0)
                })
            }
            _ => true,
        };
        let mut passes = passes;
        let mut seals = Seals::new(&self.gate, planted);
        self.gate
            .subscribe()
            .map(move |signal| seals.forge(signal))
            .filter(move |signal| std::future::ready(passes(signal)))
            .boxed()
    }

    async fn ping(&self) -> Result<()> {
        EventBus::ping(&self.gate).await
    }
}

/// A process's queue behind a bug.
struct Queue {
    gate: Gate,
    planted: Planted,
}

#[async_trait]
impl JobQueue for Queue {
    async fn submit(&self, mut submission: Submission) -> Result<Submitted> {
        match self.planted {
            Planted::KeyForgotten => submission.idempotency = None,
            Planted::AcknowledgedUnstored => {
                let gate = self.gate.clone();
                tokio::spawn(async move { gate.submit(submission).await });
                return Ok(Submitted::New);
            }
            _ => {}
        }
        self.gate.submit(submission).await
    }

    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        self.gate.recall(idempotency).await
    }

    async fn claim(
        &self,
        worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Claimed>> {
        self.gate.claim(worker, token, duration).await
    }

    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        self.gate.renew(lease, duration).await
    }

    async fn expired(&self, limit: usize) -> Result<Vec<Lease>> {
        if self.planted == Planted::LeaseNeverTakenBack {
            return Ok(Vec::new());
        }
        self.gate.expired(limit).await
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        self.gate.sweep(sweep).await
    }

    async fn places(&self, job_ids: &[JobId]) -> Result<Vec<Option<QueuePlace>>> {
        self.gate.places(job_ids).await
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        self.gate.next_due().await
    }

    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        self.gate.restore(lease, job, duration).await
    }
}
