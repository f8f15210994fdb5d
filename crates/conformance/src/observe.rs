//! What the laws look through: reading a whole log, waiting for signals, refusing to hang.

use std::future::Future;
use std::time::Duration;

use conch_domain::{Job, JobId, LeaseToken, Position, Timestamp};
use conch_ports::{
    Appended, Claimed, Entry, EventBus, JobLog, Lease, Log, Message, Signal, Signals,
};
use futures::StreamExt;

use crate::StoreSubject;
use crate::build::{self, Script};

/// A lease or delay that ends while the law waits for it.
pub(crate) const SHORT: Duration = Duration::from_millis(150);
/// As long as the law waits for something that lasts [`SHORT`].
pub(crate) const AFTER_SHORT: Duration = Duration::from_millis(250);
/// A lease or delay that doesn't end within a law.
pub(crate) const LONG: Duration = Duration::from_mins(10);
/// Whatever is awaited for longer doesn't come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for what must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let in_time = tokio::time::timeout(PATIENCE, future).await;
    in_time.unwrap_or_else(|_| panic!("{what} didn't come within {PATIENCE:?}"))
}

/// Asks again and again until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    soon(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The whole log of a job that must have one.
pub(crate) async fn log_of(logs: &dyn JobLog, job_id: &JobId) -> Log {
    logs.read(job_id, 0, usize::MAX >> 32)
        .await
        .expect("the store answers")
        .expect("the job has a log")
}

/// State and entries of a log, to compare.
pub(crate) fn parts(log: Log) -> (Job, u64, Vec<Entry>) {
    (log.job, log.oldest, log.entries)
}

/// Appends all of them, in order.
pub(crate) async fn append_all(
    logs: &dyn JobLog,
    commits: impl IntoIterator<Item = conch_ports::Commit>,
) {
    for commit in commits {
        let place = commit.job.position;
        let appended = logs.append(commit).await.expect("the store answers");
        assert_eq!(appended, Appended::Appended, "at {place}");
        tokio::task::yield_now().await;
    }
}

/// A subscription that flows: its first signal, which must be a `Gap`, is taken.
pub(crate) async fn flowing(bus: &dyn EventBus) -> Signals {
    let mut signals = bus.subscribe();
    let first = soon("the first signal", signals.next()).await;
    assert_eq!(first, Some(Signal::Gap), "a subscription starts with a gap");
    signals
}

/// The next announcement about a job: its place and its bytes. Other signals are passed over.
pub(crate) async fn next_of(signals: &mut Signals, job_id: &JobId) -> (Position, bytes::Bytes) {
    soon("an announcement", async {
        loop {
            match signals.next().await {
                None => panic!("a subscription must not end"),
                Some(Signal::Gap) => {}
                Some(Signal::Message(Message { bytes: line, .. })) => {
                    if let Some(position) = position_in(&line, job_id) {
                        return (position, line);
                    }
                }
            }
        }
    })
    .await
}

/// The next message about that job; none once one about the other job comes.
pub(crate) async fn message_before(
    signals: &mut Signals,
    job_id: &JobId,
    other: &JobId,
) -> Option<Message> {
    soon("an announcement", async {
        loop {
            match signals.next().await {
                None => panic!("a subscription must not end"),
                Some(Signal::Gap) => {}
                Some(Signal::Message(message)) => {
                    if position_in(&message.bytes, job_id).is_some() {
                        return Some(message);
                    }
                    if position_in(&message.bytes, other).is_some() {
                        return None;
                    }
                }
            }
        }
    })
    .await
}

/// The place that a line says it has, if it is about the job.
pub(crate) fn position_in(line: &[u8], job_id: &JobId) -> Option<Position> {
    let incoming = conch_wire::event::decode(line, Timestamp::from_micros(0)).ok()?;
    (incoming.event.job_id == *job_id).then_some(Position {
        epoch: incoming.epoch?,
        sequence: incoming.sequence?,
    })
}

/// The fold of lines that begin with a job's first event.
pub(crate) fn fold(initial: Job, entries: &[Entry]) -> Job {
    let mut job = initial;
    for entry in entries {
        let incoming = conch_wire::event::decode(&entry.line, Timestamp::from_micros(0))
            .expect("a kept line is an event");
        let position = Position {
            sequence: entry.sequence,
            ..job.position
        };
        job.apply(position, &incoming.event)
            .expect("a kept line is legal where it stands");
    }
    job
}

/// A job that was submitted and waits.
pub(crate) async fn submitted(subject: &dyn StoreSubject) -> Script {
    let mut script = Script::own();
    let answer = subject
        .queue()
        .submit(script.submission())
        .await
        .expect("the store answers");
    assert_eq!(answer, conch_ports::Submitted::New);
    script
}

/// A job that was submitted and claimed. Nothing else may wait in the queue.
pub(crate) async fn claimed(subject: &dyn StoreSubject, duration: Duration) -> (Script, Lease) {
    let mut script = submitted(subject).await;
    let lease = claim(subject, duration).await.expect("a job waits");
    assert_eq!(lease.job_id, *script.id(), "the only job that waits");
    script.hold(&lease);
    (script, lease)
}

pub(crate) async fn claim(subject: &dyn StoreSubject, duration: Duration) -> Option<Lease> {
    let claimed = claim_with(subject, &build::token(), duration).await;
    claimed.map(|claimed| claimed.lease)
}

/// As [`claim`], with that token, and what comes with the lease.
pub(crate) async fn claim_with(
    subject: &dyn StoreSubject,
    token: &LeaseToken,
    duration: Duration,
) -> Option<Claimed> {
    let queue = subject.queue();
    let claim = queue.claim("conformance", token, duration).await;
    claim.expect("the store answers")
}
