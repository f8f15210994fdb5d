//! A store at a distance: the same answers, later. It never changes one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conch_domain::{JobId, Position, Timestamp};
use conch_ports::{Commit, EventBus, Guarantees, Log, Published, Signals};

/// A store whose answers take a millisecond each way.
pub(super) struct Distant(pub(super) Arc<dyn EventBus>);

impl Distant {
    async fn way() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[async_trait]
impl EventBus for Distant {
    fn guarantees(&self) -> Guarantees {
        self.0.guarantees()
    }

    async fn publish(&self, commit: Commit) -> conch_ports::Result<Published> {
        Self::way().await;
        let answer = self.0.publish(commit).await;
        Self::way().await;
        answer
    }

    async fn read(
        &self,
        job_id: &JobId,
        after: u64,
        limit: usize,
    ) -> conch_ports::Result<Option<Log>> {
        Self::way().await;
        let answer = self.0.read(job_id, after, limit).await;
        Self::way().await;
        answer
    }

    async fn positions(&self, job_ids: &[JobId]) -> conch_ports::Result<Vec<Option<Position>>> {
        Self::way().await;
        let answer = self.0.positions(job_ids).await;
        Self::way().await;
        answer
    }

    fn subscribe(&self) -> Signals {
        self.0.subscribe()
    }

    async fn now(&self) -> conch_ports::Result<Timestamp> {
        self.0.now().await
    }

    async fn ping(&self) -> conch_ports::Result<()> {
        self.0.ping().await
    }
}
