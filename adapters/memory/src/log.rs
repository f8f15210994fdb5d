//! [`JobLog`]: reads, and the clock. What an append does is in `commit`.

use async_trait::async_trait;
use conch_domain::{JobId, Position, Timestamp};
use conch_ports::{Appended, Bucket, BusId, Commit, Guarantees, JobLog, Log, Result, Stamp};
use conch_wire::record;

use crate::Memory;
use crate::errors::corrupt;

#[async_trait]
impl JobLog for Memory {
    fn guarantees(&self) -> Guarantees {
        Guarantees {
            shared: false,
            caches_results: true,
        }
    }

    fn announces(&self) -> Option<BusId> {
        self.lock().settings.announces.then_some(self.bus_id)
    }

    async fn append(&self, commit: Commit) -> Result<Appended> {
        const OPERATION: &str = "job_log.append";
        self.step(|store, now| store.commit(&commit, OPERATION, now))
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        const OPERATION: &str = "job_log.read";
        self.step(|store, now| {
            let Some(log) = store.data.logs.get(job_id, now) else {
                return Ok(None);
            };
            let oldest = log
                .entries
                .front()
                .map_or(log.end.sequence + 1, |entry| entry.sequence);
            let base = log.base.as_ref().filter(|_| limit > 0 && after < oldest);
            Ok(Some(Log {
                job: record::decode_job(&log.state).map_err(corrupt(OPERATION))?,
                oldest,
                base: base
                    .map(|base| record::decode_job(base))
                    .transpose()
                    .map_err(corrupt(OPERATION))?,
                entries: log
                    .entries
                    .iter()
                    .skip_while(|entry| entry.sequence <= after)
                    .take(limit)
                    .cloned()
                    .collect(),
            }))
        })
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        self.step(|store, now| {
            let logs = &store.data.logs;
            let end = |id| logs.get(id, now).map(|log| log.end);
            Ok(job_ids.iter().map(end).collect())
        })
    }

    async fn latest(&self, buckets: &[Bucket]) -> Result<Vec<Option<Stamp>>> {
        self.step(|store, _| {
            let latest = |bucket| store.data.latest.get(bucket).cloned();
            Ok(buckets.iter().map(latest).collect())
        })
    }

    async fn now(&self) -> Result<Timestamp> {
        self.step(|store, now| Ok(store.clock.tell(now)))
    }

    async fn ping(&self) -> Result<()> {
        self.step(|_, _| Ok(()))
    }
}
