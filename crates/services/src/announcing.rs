//! Announces what is appended to a log that doesn't announce it itself, on a bus beside the log.
//!
//! ```text
//!   append ─► the log's step ─► Appended: each event   ┐
//!   submit ─► the queue's step ─► New: each event      ├─► bus.announce, one after the other ─► the answer
//!      Duplicate, or New of an earlier attempt: places ┘
//! ```
//!
//! The caller's answer waits for the bus, which bounds that wait, so that one caller's events are announced
//! in their order. Never in here: an append that fails because of the bus, or an announcement of bytes that
//! may not be in the log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{Job, JobId, LeaseToken, LogSecret, Position, Timestamp};
use conch_ports::{
    Announcement, Appended, Bucket, BusId, Claimed, Commit, EventBus, Guarantees, Idempotency,
    JobLog, JobQueue, Lease, Log, QueuePlace, Result, Stamp, Submission, Submitted, Sweep, Swept,
};
use conch_wire::announcement::shorten;

/// Announcements that the bus did not take at once.
const FAILED: &str = "conch_announcements_failed_total";

/// The log and the queue of one store, so that what either appends is announced on `bus`. They come back as
/// they are where the log announces there by itself.
pub fn announcing(
    log: Arc<dyn JobLog>,
    queue: Arc<dyn JobQueue>,
    bus: &Arc<dyn EventBus>,
) -> (Arc<dyn JobLog>, Arc<dyn JobQueue>) {
    if log.announces() == Some(bus.id()) {
        return (log, queue);
    }
    let bus = Arc::clone(bus);
    let announcing = Arc::new(Announcing { log, queue, bus });
    (announcing.clone(), announcing)
}

/// What appends, and the bus on which that is announced.
struct Announcing {
    log: Arc<dyn JobLog>,
    queue: Arc<dyn JobQueue>,
    bus: Arc<dyn EventBus>,
}

/// What is to be said of a commit.
struct News {
    job_id: JobId,
    /// The place of the first event.
    first: Position,
    /// What is announced of each.
    lines: Vec<Bytes>,
    /// What the lines may be sealed with.
    secret: Option<LogSecret>,
}

impl News {
    /// None where nothing is to be announced.
    fn of(commit: &Commit) -> Option<Self> {
        commit.announce.then(|| Self {
            job_id: commit.job.id.clone(),
            first: commit.first(),
            lines: commit.events.iter().map(|e| e.line.clone()).collect(),
            secret: commit.job.secret,
        })
    }

    /// Of events that were there before, from that place on: an earlier attempt may have got no further than
    /// the append. They are announced by their places alone, for what the log has there may differ from what
    /// this commit says: its place, its time stamp.
    fn known(mut self, first: Position) -> Self {
        self.first = first;
        // A seal says what the log has there.
        self.secret = None;
        for (line, position) in self.lines.iter_mut().zip(from(first)) {
            *line = shorten(line, &self.job_id, position);
        }
        self
    }
}

/// That place and those after it.
fn from(first: Position) -> impl Iterator<Item = Position> {
    (first.sequence..).map(move |sequence| Position { sequence, ..first })
}

impl Announcing {
    /// `New` is also said of a job that an earlier attempt has submitted, with another commit: it began another
    /// epoch, and may have got no further.
    async fn announce_submission(&self, news: News) {
        let ids = std::slice::from_ref(&news.job_id);
        match self.log.positions(ids).await.as_deref() {
            Ok([Some(end)]) if end.epoch == news.first.epoch => self.announce(news).await,
            Ok([Some(end)]) => {
                let first = Position {
                    epoch: end.epoch,
                    ..news.first
                };
                self.announce(news.known(first)).await;
            }
            // There is no log any more, or nothing is known of it.
            _ => metrics::counter!(FAILED).increment(1),
        }
    }

    /// Announces each, whatever the bus says of one: it is in the log, and a bus that is out of reach owes its
    /// place.
    async fn announce(&self, news: News) {
        for (line, position) in news.lines.into_iter().zip(from(news.first)) {
            let announcement = Announcement {
                job_id: news.job_id.clone(),
                position: Some(position),
                line,
                secret: news.secret,
            };
            if let Err(error) = self.bus.announce(&announcement).await {
                metrics::counter!(FAILED).increment(1);
                tracing::debug!(job.id = %news.job_id, %error, "an event was not announced at once");
            }
        }
    }
}

#[async_trait]
impl JobLog for Announcing {
    fn guarantees(&self) -> Guarantees {
        self.log.guarantees()
    }

    fn announces(&self) -> Option<BusId> {
        Some(self.bus.id())
    }

    async fn append(&self, commit: Commit) -> Result<Appended> {
        let news = News::of(&commit);
        let appended = self.log.append(commit).await?;
        match (news, appended) {
            (Some(news), Appended::Appended) => self.announce(news).await,
            (Some(news), Appended::Duplicate(first)) => self.announce(news.known(first)).await,
            _ => {}
        }
        Ok(appended)
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        self.log.read(job_id, after, limit).await
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        self.log.positions(job_ids).await
    }

    async fn latest(&self, buckets: &[Bucket]) -> Result<Vec<Option<Stamp>>> {
        self.log.latest(buckets).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.log.now().await
    }

    async fn ping(&self) -> Result<()> {
        self.log.ping().await
    }
}

#[async_trait]
impl JobQueue for Announcing {
    async fn submit(&self, submission: Submission) -> Result<Submitted> {
        let news = News::of(&submission.commit);
        let submitted = self.queue.submit(submission).await?;
        if let (Some(news), Submitted::New) = (news, &submitted) {
            self.announce_submission(news).await;
        }
        Ok(submitted)
    }

    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        self.queue.recall(idempotency).await
    }

    async fn claim(
        &self,
        worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Claimed>> {
        self.queue.claim(worker, token, duration).await
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        self.queue.sweep(sweep).await
    }

    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        self.queue.renew(lease, duration).await
    }

    async fn expired(&self, limit: usize) -> Result<Vec<Lease>> {
        self.queue.expired(limit).await
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        self.queue.next_due().await
    }

    async fn places(&self, job_ids: &[JobId]) -> Result<Vec<Option<QueuePlace>>> {
        self.queue.places(job_ids).await
    }

    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        self.queue.restore(lease, job, duration).await
    }
}
