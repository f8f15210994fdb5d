//! A store at a distance: the same answers, later. It never changes one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conch_domain::{JobId, Position, Timestamp};
use conch_ports::{Commit, EventBus, Guarantees, Log, Published, Result, Signals};

/// A store whose answers take that long each way.
pub(crate) struct Distant(pub(crate) Arc<dyn EventBus>, pub(crate) Duration);

impl Distant {
    async fn way(&self) {
        tokio::time::sleep(self.1).await;
    }
}

#[async_trait]
impl EventBus for Distant {
    fn guarantees(&self) -> Guarantees {
        self.0.guarantees()
    }

    async fn publish(&self, commit: Commit) -> Result<Published> {
        self.way().await;
        let answer = self.0.publish(commit).await;
        self.way().await;
        answer
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        self.way().await;
        let answer = self.0.read(job_id, after, limit).await;
        self.way().await;
        answer
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        self.way().await;
        let answer = self.0.positions(job_ids).await;
        self.way().await;
        answer
    }

    fn subscribe(&self) -> Signals {
        self.0.subscribe()
    }

    async fn now(&self) -> Result<Timestamp> {
        self.0.now().await
    }

    async fn ping(&self) -> Result<()> {
        self.0.ping().await
    }
}
