//! Claims at a distance: how many are under way at once, and what becomes of those whose answers are lost.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conch_domain::{Job, JobId, LeaseToken};
use conch_ports::{
    Claimed, Error, ErrorKind, Idempotency, JobQueue, Lease, QueuePlace, Result, Submission,
    Submitted, Sweep, Swept,
};
use conch_services::worker::Settings;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::system::{Generator, PACE, System, count, settings, story};

/// How long a claim's answer takes.
const WAY: Duration = Duration::from_millis(10);

/// A queue whose answers to claims take a while, and of which some are lost.
struct Distant {
    queue: Arc<dyn JobQueue>,
    /// By the claim's number, from 0.
    lost: Range<usize>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    claims: usize,
    found_nothing: usize,
    under_way: usize,
    most_under_way: usize,
    leases: usize,
    /// Taken by claims that are under way and by leases, as if no job ended.
    most_slots: usize,
}

impl Distant {
    fn losing(system: &System, lost: Range<usize>) -> Arc<Self> {
        Arc::new(Self {
            queue: system.memory.queue(),
            lost,
            seen: Mutex::default(),
        })
    }
}

#[async_trait]
impl JobQueue for Distant {
    async fn submit(&self, submission: Submission) -> Result<Submitted> {
        self.queue.submit(submission).await
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
        let number = {
            let mut seen = self.seen.lock();
            seen.claims += 1;
            seen.under_way += 1;
            seen.most_under_way = seen.most_under_way.max(seen.under_way);
            seen.most_slots = seen.most_slots.max(seen.under_way + seen.leases);
            seen.claims - 1
        };
        let found = self.queue.claim(worker, token, duration).await;
        tokio::time::sleep(WAY).await;
        let mut seen = self.seen.lock();
        seen.under_way -= 1;
        seen.found_nothing += usize::from(matches!(found, Ok(None)));
        if self.lost.contains(&number) {
            return Err(Error::new(
                ErrorKind::Timeout,
                "job_queue.claim",
                "the answer is lost",
            ));
        }
        seen.leases += usize::from(matches!(found, Ok(Some(_))));
        found
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
    async fn places(&self, job_ids: &[JobId]) -> Result<Vec<Option<QueuePlace>>> {
        self.queue.places(job_ids).await
    }
    async fn next_due(&self) -> Result<Option<Duration>> {
        self.queue.next_due().await
    }
    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        self.queue.restore(lease, job, duration).await
    }
}

fn with_slots(concurrency: usize) -> Settings {
    Settings {
        concurrency,
        ..settings("w")
    }
}

async fn submitted(system: &System, jobs: usize) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..jobs {
        ids.push(system.submitted().await);
    }
    ids
}

#[tokio::test(start_paused = true)]
async fn many_slots_fill_by_claims_that_are_under_way_together() {
    let system = System::new().await;
    let ids = submitted(&system, 64).await;
    let queue = Distant::losing(&system, 0..0);
    let began = Instant::now();
    let _worker = system.worker_on(with_slots(64), &Generator::reliable(), queue.clone());
    for id in &ids {
        system.until(id, |job| job.started_at.is_some()).await;
    }
    let took = began.elapsed();
    assert!(
        took < 20 * WAY,
        "one after another they take 64 ways: {took:?}"
    );
    assert_eq!(queue.seen.lock().most_under_way, 8);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_claimed_than_there_are_slots() {
    let system = System::new().await;
    let ids = submitted(&system, 12).await;
    let queue = Distant::losing(&system, 3..5);
    let _worker = system.worker_on(with_slots(5), &Generator::reliable(), queue.clone());
    // Before any job ends.
    tokio::time::sleep(PACE).await;
    assert_eq!(queue.seen.lock().most_slots, 5);
    for id in &ids {
        assert_eq!(system.ended(id).await.job.attempt, 1);
    }
}

/// Each announcement makes the worker look once, and once more after each job that it found.
#[tokio::test(start_paused = true)]
async fn an_empty_queue_is_left_alone() {
    let system = System::new().await;
    let queue = Distant::losing(&system, 0..0);
    let _worker = system.worker_on(with_slots(64), &Generator::reliable(), queue.clone());
    for jobs in 1..=5 {
        let id = system.submitted().await;
        system.until(&id, |job| job.started_at.is_some()).await;
        tokio::time::sleep(10 * WAY).await;
        let seen = queue.seen.lock();
        assert_eq!(seen.found_nothing, 1 + jobs, "of {} claims", seen.claims);
    }
}

/// Four jobs; the answer to the claim that takes the last one is lost, and those to two that find nothing, one of
/// which is asked again before it.
#[tokio::test(start_paused = true)]
async fn each_claim_whose_answer_is_lost_is_asked_again() {
    let system = System::new().await;
    let ids = submitted(&system, 4).await;
    let queue = Distant::losing(&system, 3..6);
    let began = Instant::now();
    let _worker = system.worker_on(with_slots(8), &Generator::reliable(), queue.clone());
    for id in &ids {
        system.until(id, |job| job.started_at.is_some()).await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "long before a lease runs out"
    );
    for id in &ids {
        let log = system.ended(id).await;
        assert_eq!(count(&log, "retrying"), 0, "{:?}", story(&log));
        assert_eq!(log.job.attempt, 1);
    }
}
