//! Who watches in a run, and what: browsers of one job, browsers of many on one stream.
//!
//! Never what they see: that they write down themselves.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::Run;
use super::watch::{Browser, Selection, Subject};

#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// Those whose stream ends.
    pub(super) tasks: JoinSet<()>,
    /// Those whose stream never does: it names no jobs.
    pub(super) open_ended: JoinSet<()>,
    count: usize,
}

impl Run {
    /// Lets so many browsers watch a job, at any API.
    pub fn watch(&self, job: &str, count: usize) {
        self.watch_at(job, count, &self.cluster.fronts());
    }

    /// Lets so many browsers watch a job, at these ports.
    pub fn watch_at(&self, job: &str, count: usize, ports: &[u16]) {
        for place in 0..count {
            let restless = self.terms.restless && place == 0;
            self.let_watch(Subject::Job(job.to_owned()), None, ports, restless);
        }
    }

    /// Lets a browser come back to an external job with the place of its latest failure, if anybody saw it.
    pub(super) fn watch_from_its_failure(&self, job: &str) {
        let records = self.history.records();
        let is_failure = |record: &&Value| {
            let event = || serde_json::from_str(record["data"].as_str()?).ok();
            let event: Value = event().unwrap_or_default();
            record["what"] == "event"
                && event["event_type"] == "job:failed"
                && event["job_id"] == job
                // A stream over many jobs has ids of its own.
                && record["id"].as_str().is_some_and(|id| !id.starts_with("m-"))
        };
        let Some(failure) = records.iter().rev().find(is_failure) else {
            return;
        };
        let last = failure["id"].as_str().map(str::to_owned);
        let subject = Subject::Job(job.to_owned());
        self.let_watch(subject, last, &self.cluster.fronts(), false);
    }

    /// Lets a browser watch many jobs on one stream, at any API.
    pub(super) fn watch_many(&self, selection: Selection) {
        let subject = Subject::Many(selection);
        let restless = self.terms.restless;
        self.let_watch(subject, None, &self.cluster.fronts(), restless);
    }

    fn let_watch(&self, subject: Subject, last: Option<String>, ports: &[u16], restless: bool) {
        let mut watchers = self.watchers.lock();
        watchers.count += 1;
        let open_ended = matches!(&subject, Subject::Many(many) if many.jobs.is_empty());
        let browser = Browser {
            name: format!("w{}", watchers.count),
            subject,
            last,
            ports: ports.to_vec(),
            patience: Duration::from_mins(2),
            restless: restless.then(|| self.calm.subscribe()),
        };
        let task = browser.run(self.http.clone(), self.history.clone(), self.dice());
        if open_ended {
            watchers.open_ended.spawn(task);
        } else {
            watchers.tasks.spawn(task);
        }
    }

    /// Submits a job and lets browsers watch it.
    pub async fn submit_watched(&self, count: usize) -> String {
        let job = self.submit().await;
        self.watch(&job, count);
        job
    }

    /// Waits until every watcher of a job was told to stop.
    ///
    /// # Panics
    /// When one isn't in time.
    pub async fn until_told_to_stop(&self, job: &str) {
        crate::eventually::eventually("every watcher is told to stop", async || {
            let mut open = std::collections::BTreeSet::new();
            for record in self.history.records() {
                let who = record["who"].as_str().unwrap_or("").to_owned();
                if record["what"] == "connect" && record["job"] == job {
                    open.insert(who);
                } else if record["what"] == "status" && record["status"] == 204 {
                    open.remove(&who);
                }
            }
            open.is_empty().then_some(())
        })
        .await;
    }
}
