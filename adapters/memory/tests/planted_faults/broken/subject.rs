//! A faulty adapter as the suite sees it: without a fault of its own but what it remembers for others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_conformance::{BusSubject, Cannot, ForeignBlob, Limits, Loss, StoreSubject};
use conch_domain::JobId;
use conch_ports::{Catalogue, EventBus, JobLog, JobQueue, ResultCache, TicketStore};

use super::Broken;
use crate::Fault;
use crate::subject::{CANNOT, LIMITS, OUTLIVED, lose_from_queue};

#[async_trait]
impl StoreSubject for Broken {
    fn log(&self) -> Arc<dyn JobLog> {
        Arc::new(self.clone())
    }

    fn bus(&self) -> Option<Arc<dyn EventBus>> {
        Some(Arc::new(self.clone()))
    }

    fn cache(&self) -> Arc<dyn ResultCache> {
        Arc::new(self.clone())
    }

    fn queue(&self) -> Arc<dyn JobQueue> {
        Arc::new(self.clone())
    }

    fn catalogue(&self) -> Arc<dyn Catalogue> {
        Arc::new(self.clone())
    }

    fn tickets(&self) -> Arc<dyn TicketStore> {
        Arc::new(self.clone())
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn cannot(&self) -> &'static [Cannot] {
        CANNOT
    }

    fn elsewhere(&self) -> Option<Arc<dyn JobLog>> {
        None
    }

    fn tickets_elsewhere(&self) -> Option<Arc<dyn TicketStore>> {
        None
    }

    async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }

    async fn outlive(&self) -> bool {
        tokio::time::advance(OUTLIVED).await;
        true
    }

    async fn restart_from_a_copy(&self) -> bool {
        self.memory.faults().doubt_logs();
        true
    }

    async fn lose_from_queue(&self, job_id: &JobId, loss: Loss) {
        self.seen().lost.insert(job_id.clone());
        lose_from_queue(&self.memory, job_id, loss);
    }

    /// As an adapter does that sets a broken entry aside: it is gone.
    async fn break_entry(&self, job_id: &JobId) -> bool {
        self.seen().broken = true;
        lose_from_queue(&self.memory, job_id, Loss::Entry);
        true
    }

    async fn write_foreign_result(&self, job_id: &JobId, blob: ForeignBlob) -> bool {
        match blob {
            ForeignBlob::Bytes(bytes) => self.cache.put(job_id, bytes).await.is_ok(),
            ForeignBlob::NotAString => false,
        }
    }
}

#[async_trait]
impl BusSubject for Broken {
    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.clone())
    }

    fn cannot(&self) -> &'static [Cannot] {
        CANNOT
    }

    fn elsewhere(&self) -> Option<Arc<dyn EventBus>> {
        None
    }

    async fn interrupt(&self) {
        self.interruptions.fetch_add(1, Ordering::Relaxed);
        self.memory.faults().interrupt_subscription();
    }

    async fn send_external(&self, bytes: Bytes) -> bool {
        let is_event = bytes.starts_with(b"{");
        if is_event || !self.is(Fault::DropWhatIsNoEvent) {
            self.announce_line(bytes);
        }
        true
    }

    /// As if there were a server.
    async fn take_away(&self, away: bool) -> bool {
        self.seen().away = away;
        if !away {
            self.memory.faults().interrupt_subscription();
        }
        true
    }

    /// As if there were a server.
    async fn freeze(&self, frozen: bool) -> bool {
        self.seen().frozen = frozen;
        true
    }
}
