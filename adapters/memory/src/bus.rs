//! [`EventBus`]: reads and subscriptions. What a commit does is in `commit`.

use async_trait::async_trait;
use conch_domain::JobId;
use conch_ports::{Commit, Durability, EventBus, Guarantees, Log, Published, Result, Signals};

use crate::Memory;
use crate::store::corrupt;

#[async_trait]
impl EventBus for Memory {
    fn guarantees(&self) -> Guarantees {
        Guarantees {
            atomic_commit: true,
            shared: false,
            durability: Durability::Process,
        }
    }

    async fn publish(&self, commit: Commit) -> Result<Published> {
        self.step("event_bus.publish", |store, now| store.commit(commit, now))
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        const OPERATION: &str = "event_bus.read";
        self.step(OPERATION, |store, now| {
            let Some(log) = store.data.logs.get(job_id, now) else {
                return Ok(None);
            };
            let entries = log.entries.iter();
            Ok(Some(Log {
                job: conch_wire::record::decode_job(&log.state).map_err(corrupt(OPERATION))?,
                oldest: log
                    .entries
                    .front()
                    .map_or(log.end.sequence + 1, |entry| entry.sequence),
                entries: entries
                    .skip_while(|entry| entry.sequence <= after)
                    .take(limit)
                    .cloned()
                    .collect(),
            }))
        })
    }

    fn subscribe(&self) -> Signals {
        self.lock().feed.subscribe()
    }

    async fn ping(&self) -> Result<()> {
        self.step("event_bus.ping", |_, _| Ok(()))
    }
}
