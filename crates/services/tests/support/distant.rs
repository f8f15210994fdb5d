//! A store at a distance: the same answers, later. It never changes one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conch_domain::{JobId, Position, Timestamp};
use conch_ports::{Appended, Bucket, BusId, Commit, Guarantees, JobLog, Log, Result, Stamp};

/// A store whose answers take that long each way.
pub(crate) struct Distant(pub(crate) Arc<dyn JobLog>, pub(crate) Duration);

impl Distant {
    async fn way(&self) {
        tokio::time::sleep(self.1).await;
    }
}

#[async_trait]
impl JobLog for Distant {
    fn guarantees(&self) -> Guarantees {
        self.0.guarantees()
    }

    fn announces(&self) -> Option<BusId> {
        self.0.announces()
    }

    async fn append(&self, commit: Commit) -> Result<Appended> {
        self.way().await;
        let answer = self.0.append(commit).await;
        self.way().await;
        answer
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        self.way().await;
        let answer = self.0.read(job_id, after, limit).await;
        self.way().await;
        answer
    }

    async fn latest(&self, buckets: &[Bucket]) -> Result<Vec<Option<Stamp>>> {
        self.way().await;
        let answer = self.0.latest(buckets).await;
        self.way().await;
        answer
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        self.way().await;
        let answer = self.0.positions(job_ids).await;
        self.way().await;
        answer
    }

    async fn now(&self) -> Result<Timestamp> {
        self.0.now().await
    }

    async fn ping(&self) -> Result<()> {
        self.0.ping().await
    }
}
