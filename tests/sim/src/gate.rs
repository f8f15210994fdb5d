//! Every store port as one process sees it: each call waits on the board, before its effect on the real
//! store and after it. Where a process sits behind a planted bug, the bug is in front of this.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{
    Client, ClientId, Job, JobId, LeaseToken, Position, Template, TemplateId, Timestamp,
    ValueProposition, ValuePropositionId,
};
use conch_ports::{
    Announcement, Appended, Bucket, BusId, Carries, Catalogue, Claimed, ClientFilter, Commit,
    EventBus, Fence, Guarantees, Idempotency, JobFilter, JobLog, JobQueue, Lease, Log, Page,
    Paging, PutTemplate, QueueEffect, QueuePlace, Result, ResultCache, Signals, Stamp, Submission,
    Submitted, Sweep, Swept, TemplateFilter,
};

use crate::board::{Board, Effect, Peer};
use crate::history::What;
use crate::process::Process;
use crate::store::{Store, at_once};

/// One process's way to the store.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) process: Arc<Process>,
    pub(crate) board: Arc<Board>,
    pub(crate) store: Arc<Store>,
}

impl Gate {
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        about: String,
        effect: impl FnOnce(&Store, &Process) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (store, process) = (Arc::clone(&self.store), Arc::clone(&self.process));
        let effect = Effect::Now(Box::new(move || effect(&store, &process)));
        self.board
            .call(&self.process, Peer::Store, operation, about, effect)
            .await
    }

    /// The process knows that this event is in the log. Where that announces nothing, the process has to.
    fn owes(&self, job_id: &JobId, place: Position, at_once: bool) {
        if self.store.log.announces().is_none() {
            self.store.history.note(What::Owed {
                by: self.process.role,
                job: self.job(job_id),
                place: place.to_string(),
                at_once,
            });
        }
    }

    fn job(&self, id: &JobId) -> String {
        self.store.history.job(id)
    }

    /// A queue effect by itself: what a store does that acknowledges outside the step.
    pub(crate) async fn acknowledge(
        &self,
        job_id: JobId,
        effect: QueueEffect,
        fence: Fence,
    ) -> Result<()> {
        let about = format!("{} {effect:?}", self.job(&job_id));
        self.call("planted.acknowledge", about, move |store, by| {
            store.acknowledge(by, &job_id, effect, &fence);
            Ok(())
        })
        .await
    }
}

/// The line of a commit's event.
pub(crate) fn line_of(commit: &Commit) -> &[u8] {
    commit.events.first().map_or(&[], |event| &event.line[..])
}

fn fence(fence: &Fence) -> &'static str {
    match fence {
        Fence::Open => "open",
        Fence::Foreign => "foreign",
        Fence::Held(_) => "held",
        Fence::Expired(_) => "expired",
        Fence::Unclaimed => "unclaimed",
    }
}

#[async_trait]
impl JobLog for Gate {
    fn guarantees(&self) -> Guarantees {
        self.store.log.guarantees()
    }

    fn announces(&self) -> Option<BusId> {
        self.store.log.announces().map(|_| self.id())
    }

    async fn append(&self, commit: Commit) -> Result<Appended> {
        let line = conch_wire::event::decode(line_of(&commit), Timestamp::from_micros(0));
        let kind = line.map_or("?", |incoming| match incoming.event.kind.event_type() {
            "job:queued" => "queued",
            "job:started" => "started",
            "job:progress" => "progress",
            "job:template_completed" => "template_completed",
            "job:template_failed" => "template_failed",
            "job:retrying" => "retrying",
            "job:cancel_requested" => "cancel_requested",
            "job:completed" => "completed",
            "job:failed" => "failed",
            "job:cancelled" => "cancelled",
            _ => "another",
        });
        let job = self.job(&commit.job.id);
        let epoch = commit.job.position.epoch.to_string();
        let about = format!(
            "{job} {kind} at {}-{} ({}{})",
            self.store.history.epoch(&job, &epoch),
            commit.job.position.sequence,
            fence(&commit.fence),
            if commit.replaces.is_some() {
                ", replaces"
            } else {
                ""
            },
        );
        let (job_id, first, announce) = (commit.job.id.clone(), commit.first(), commit.announce);
        let appended = self.call("job_log.append", about, move |store, by| {
            store.append(by, commit)
        });
        let appended = appended.await?;
        match appended {
            Appended::Appended if announce => self.owes(&job_id, first, true),
            Appended::Duplicate(first) if announce => self.owes(&job_id, first, true),
            _ => {}
        }
        Ok(appended)
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        let id = job_id.clone();
        let about = format!("{} after {after}", self.job(&id));
        let what = if limit == 0 {
            "job_log.read"
        } else {
            "job_log.read entries"
        };
        self.call(what, about, move |store, _| {
            at_once(store.log.read(&id, after, limit))
        })
        .await
    }

    async fn latest(&self, buckets: &[Bucket]) -> Result<Vec<Option<Stamp>>> {
        let asked = buckets.to_vec();
        let about: Vec<String> = asked.iter().map(ToString::to_string).collect();
        self.call("job_log.latest", about.join(" "), move |store, _| {
            at_once(store.log.latest(&asked))
        })
        .await
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        let ids = job_ids.to_vec();
        let about: Vec<String> = ids.iter().map(|id| self.job(id)).collect();
        self.call("job_log.positions", about.join(" "), move |store, _| {
            at_once(store.log.positions(&ids))
        })
        .await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.call("job_log.now", String::new(), |store, _| Ok(store.now()))
            .await
    }

    async fn ping(&self) -> Result<()> {
        self.call("job_log.ping", String::new(), |_, _| Ok(()))
            .await
    }
}

#[async_trait]
impl EventBus for Gate {
    fn id(&self) -> BusId {
        self.store.bus.id()
    }

    fn carries(&self) -> Carries {
        self.store.bus.carries()
    }

    async fn announce(&self, announcement: &Announcement) -> Result<()> {
        let about = self.job(&announcement.job_id);
        if let Some(place) = announcement.position {
            self.store.history.note(What::Announced {
                by: self.process.role,
                job: about.clone(),
                place: place.to_string(),
            });
        }
        let announcement = announcement.clone();
        self.call("event_bus.announce", about, move |store, _| {
            store.announce(&announcement)
        })
        .await
    }

    fn subscribe(&self) -> Signals {
        self.store.channel.subscribe(&self.process)
    }

    async fn ping(&self) -> Result<()> {
        self.call("event_bus.ping", String::new(), |_, _| Ok(()))
            .await
    }
}

#[async_trait]
impl JobQueue for Gate {
    async fn submit(&self, submission: Submission) -> Result<Submitted> {
        let about = self.job(&submission.commit.job.id);
        let job_id = submission.commit.job.id.clone();
        let submitted = self.call("job_queue.submit", about, move |store, _| {
            store.submit(submission)
        });
        let submitted = submitted.await?;
        let log = at_once(self.store.log.read(&job_id, 0, 0)).ok().flatten();
        if let (Submitted::New, Some(log)) = (&submitted, log) {
            let first = Position {
                sequence: 1,
                ..log.job.position
            };
            self.owes(&job_id, first, false);
        }
        Ok(submitted)
    }

    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        let (about, asked) = (idempotency.key.clone(), idempotency.clone());
        self.call("job_queue.recall", about, move |store, _| {
            at_once(store.queue.recall(&asked))
        })
        .await
    }

    async fn claim(
        &self,
        _worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Claimed>> {
        let token = token.clone();
        self.call("job_queue.claim", String::new(), move |store, by| {
            store.claim(by, &token, duration)
        })
        .await
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        let sweep = *sweep;
        self.call("job_queue.sweep", String::new(), move |store, _| {
            at_once(store.queue.sweep(&sweep))
        })
        .await
    }

    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        let lease = lease.clone();
        let about = format!("{} {}", self.job(&lease.job_id), lease.attempt);
        self.call("job_queue.renew", about, move |store, by| {
            store.renew(by, &lease, duration)
        })
        .await
    }

    async fn expired(&self, limit: usize) -> Result<Vec<Lease>> {
        self.call("job_queue.expired", String::new(), move |store, by| {
            store.expired(by, limit)
        })
        .await
    }

    async fn places(&self, job_ids: &[JobId]) -> Result<Vec<Option<QueuePlace>>> {
        let job_ids = job_ids.to_vec();
        self.call("job_queue.places", String::new(), move |store, _| {
            at_once(store.queue.places(&job_ids))
        })
        .await
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        self.call("job_queue.next_due", String::new(), |store, _| {
            at_once(store.queue.next_due())
        })
        .await
    }

    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        let (lease, job) = (lease.clone(), job.clone());
        let about = format!("{} {}", self.job(&lease.job_id), lease.attempt);
        self.call("job_queue.restore", about, move |store, by| {
            store.restore(by, &lease, &job, duration)
        })
        .await
    }
}

#[async_trait]
impl ResultCache for Gate {
    async fn get(&self, job_id: &JobId) -> Result<Option<Bytes>> {
        let id = job_id.clone();
        self.call("result_cache.get", self.job(&id), move |store, _| {
            at_once(store.cache.get(&id))
        })
        .await
    }

    async fn put(&self, job_id: &JobId, result: Bytes) -> Result<()> {
        let id = job_id.clone();
        self.call("result_cache.put", self.job(&id), move |store, _| {
            store.put_result(&id, result)
        })
        .await
    }

    async fn remove(&self, job_id: &JobId) -> Result<()> {
        let id = job_id.clone();
        self.call("result_cache.remove", self.job(&id), move |store, _| {
            at_once(store.cache.remove(&id))
        })
        .await
    }

    async fn ping(&self) -> Result<()> {
        self.call("result_cache.ping", String::new(), |_, _| Ok(()))
            .await
    }
}

#[async_trait]
impl Catalogue for Gate {
    async fn create_client(&self, client: &Client) -> Result<()> {
        let client = client.clone();
        self.call("catalogue.create_client", String::new(), move |store, _| {
            at_once(store.catalogue.create_client(&client))
        })
        .await
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>> {
        let id = id.clone();
        self.call("catalogue.client", String::new(), move |store, _| {
            at_once(store.catalogue.client(&id))
        })
        .await
    }

    async fn clients(&self, filter: &ClientFilter, paging: Paging) -> Result<Page<Client>> {
        let filter = filter.clone();
        self.call("catalogue.clients", String::new(), move |store, _| {
            at_once(store.catalogue.clients(&filter, paging))
        })
        .await
    }

    async fn add_value_proposition(&self, value_proposition: &ValueProposition) -> Result<bool> {
        let added = value_proposition.clone();
        self.call(
            "catalogue.add_value_proposition",
            String::new(),
            move |store, _| at_once(store.catalogue.add_value_proposition(&added)),
        )
        .await
    }

    async fn value_proposition(&self, id: &ValuePropositionId) -> Result<Option<ValueProposition>> {
        let id = id.clone();
        self.call(
            "catalogue.value_proposition",
            String::new(),
            move |store, _| at_once(store.catalogue.value_proposition(&id)),
        )
        .await
    }

    async fn value_propositions(
        &self,
        client_id: &ClientId,
    ) -> Result<Option<Vec<ValueProposition>>> {
        let id = client_id.clone();
        self.call(
            "catalogue.value_propositions",
            String::new(),
            move |store, _| at_once(store.catalogue.value_propositions(&id)),
        )
        .await
    }

    async fn set_value_proposition_active(
        &self,
        client_id: &ClientId,
        id: &ValuePropositionId,
        is_active: bool,
        now: Timestamp,
    ) -> Result<Option<ValueProposition>> {
        let (of, id) = (client_id.clone(), id.clone());
        self.call(
            "catalogue.set_value_proposition_active",
            String::new(),
            move |store, _| {
                at_once(
                    store
                        .catalogue
                        .set_value_proposition_active(&of, &id, is_active, now),
                )
            },
        )
        .await
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>> {
        let (id, about) = (id.clone(), Gate::job(self, id));
        self.call("catalogue.job", about, move |store, _| {
            at_once(store.catalogue.job(&id))
        })
        .await
    }

    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        let filter = filter.clone();
        self.call("catalogue.jobs", String::new(), move |store, _| {
            at_once(store.catalogue.jobs(&filter, paging))
        })
        .await
    }

    async fn put_template(&self, template: &Template, lease: &Lease) -> Result<PutTemplate> {
        let (template, lease) = (template.clone(), lease.clone());
        let about = format!("{} {}", Gate::job(self, &lease.job_id), template.index);
        self.call("catalogue.put_template", about, move |store, by| {
            store.put_template(by, &template, &lease)
        })
        .await
    }

    async fn template(&self, id: &TemplateId) -> Result<Option<Template>> {
        let id = id.clone();
        self.call("catalogue.template", String::new(), move |store, _| {
            at_once(store.catalogue.template(&id))
        })
        .await
    }

    async fn templates_of(&self, job_id: &JobId) -> Result<Vec<Template>> {
        let (id, about) = (job_id.clone(), Gate::job(self, job_id));
        self.call("catalogue.templates_of", about, move |store, _| {
            at_once(store.catalogue.templates_of(&id))
        })
        .await
    }

    async fn templates(&self, filter: &TemplateFilter, paging: Paging) -> Result<Page<Template>> {
        let filter = filter.clone();
        self.call("catalogue.templates", String::new(), move |store, _| {
            at_once(store.catalogue.templates(&filter, paging))
        })
        .await
    }
}
