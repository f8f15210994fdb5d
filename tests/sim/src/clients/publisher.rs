//! Programs that know only the old contract, and those that lie: both publish straight on the channel.

use std::time::Duration;

use bytes::Bytes;
use conch_domain::{Epoch, Job, JobId, JobRecord, JobStatus, TemplateId, Timestamp};
use rand::RngExt;
use serde_json::{Value, json};

use super::Client;
use crate::board::Peer;
use crate::history::Said;
use std::sync::Arc;

/// Runs of one job, the first one included.
const TRIES: usize = 3;

impl Client {
    /// Runs an external job: the three events of the old contract and one of another type between them,
    /// some of them twice. A job that fails is mostly tried again.
    pub(super) async fn publish(mut self, n: usize) {
        let id = JobId::parse(&format!("foreign-{}", n + 1)).expect("an id");
        self.pause(0, 4000).await;
        let mut job = Job::initial(id, Epoch::from_random([0; 4]), false);
        let mut tries = 0;
        loop {
            tries += 1;
            let failed = self.run(&mut job).await;
            if !failed || tries == TRIES || self.rng.random_ratio(1, 4) {
                return;
            }
            self.pause(200, 6000).await;
        }
    }

    /// One run of the job; whether it failed.
    async fn run(&mut self, job: &mut Job) -> bool {
        let id = job.id.clone();
        let known = self.crowd.world.plan.foreign_known;
        let now = self.crowd.world.now();
        *job = changed(job, |record| {
            record.status = JobStatus::Running;
            record.created_at = record.created_at.or(Some(now));
            record.started_at = Some(now);
            record.updated_at = Some(now);
            record.completed_at = None;
            record.error_message = None;
        });
        self.tell_service(known, job);
        let time = naive(now);
        let started = json!({"event_type": "job:started", "timestamp": time, "job_id": id.as_str(),
            "client_id": "client", "status": "running", "started_at": time});
        self.say(&id, &started).await;
        self.crowd.know(id.clone());
        self.pause(200, 3000).await;
        let time = naive(self.crowd.world.now());
        let data = json!({"event_type": "data:generated", "timestamp": time, "job_id": id.as_str(), "rows": 42});
        self.say(&id, &data).await;
        self.pause(200, 3000).await;
        let now = self.crowd.world.now();
        let failed = self.rng.random_ratio(1, 3);
        *job = changed(job, |record| {
            record.completed_at = Some(now);
            record.updated_at = Some(now);
            if failed {
                record.status = JobStatus::Failed;
                record.error_message = Some("the model is tired".to_owned());
            } else {
                record.status = JobStatus::Completed;
                record.progress = 100;
                record.template_ids = vec![TemplateId::parse("t1").expect("an id")];
                record.template_count = 1;
            }
        });
        self.tell_service(known, job);
        let time = naive(now);
        let mut end = json!({"event_type": "job:completed", "timestamp": time, "job_id": id.as_str(),
            "client_id": "client", "status": "completed", "template_ids": ["t1"], "template_count": 1});
        if failed {
            end = json!({"event_type": "job:failed", "timestamp": time, "job_id": id.as_str(),
                "client_id": "client", "status": "failed", "error_message": "the model is tired"});
        }
        self.say(&id, &end).await;
        if self.rng.random_ratio(1, 2) {
            self.pause(0, 1000).await;
            self.say(&id, &end).await;
        }
        failed
    }

    fn tell_service(&self, known: bool, job: &Job) {
        if known {
            self.crowd.world.foreign.set(job.clone());
        }
    }

    /// Announces what never happened, now and then.
    pub(super) async fn forge(mut self) {
        loop {
            self.pause(500, 3000).await;
            let known = self.crowd.known();
            let own = known
                .iter()
                .filter(|id| !id.as_str().starts_with("foreign"));
            let own: Vec<_> = own.cloned().collect();
            if own.is_empty() {
                continue;
            }
            let id = own[self.rng.random_range(0..own.len())].clone();
            let mut forged = json!({"event_type": "job:failed", "timestamp": "2025-12-01T08:55:49",
                "job_id": id.as_str(), "client_id": "client", "status": "failed",
                "error_message": "forged", "forged": true, "nonce": self.rng.random::<u32>()});
            if self.rng.random_ratio(1, 3) {
                let (store, job) = (Arc::clone(&self.crowd.world.store), id.clone());
                let about = format!("{} sealed", self.name(&id));
                let forge = move || {
                    store.forge_seal(&job, &forged);
                    Ok(())
                };
                drop(self.step(Peer::Store, "PUBLISH", about, forge).await);
                continue;
            }
            if self.rng.random_ratio(1, 2) {
                forged["sequence"] = json!(self.rng.random_range(1..40));
                forged["epoch"] = json!("00000bad");
            }
            self.say(&id, &forged).await;
        }
    }

    async fn say(&self, id: &JobId, event: &Value) {
        let line = Bytes::from(event.to_string());
        let job = self.name(id);
        let about = format!("{job} {}", event["event_type"]);
        let (store, said) = (Arc::clone(&self.crowd.world.store), line.clone());
        let publish = move || {
            store.publish_raw(said);
            Ok(())
        };
        // It doesn't look whether anybody heard.
        drop(self.step(Peer::Store, "PUBLISH", about, publish).await);
        self.note(Said::Published { line });
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn changed(job: &Job, change: impl FnOnce(&mut JobRecord)) -> Job {
    let mut record = (**job).clone();
    change(&mut record);
    Job::restore(record)
}

/// As Python's `datetime` writes it: without an offset.
fn naive(moment: Timestamp) -> String {
    conch_wire::time::format(moment)
        .trim_end_matches('Z')
        .to_owned()
}
