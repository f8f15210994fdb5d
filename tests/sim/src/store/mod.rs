//! The real store in memory, with all that is done to it written down.
//!
//! Never in here: a judgement, or a call that the gate hasn't let through.

mod faults;
mod looking;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conch_domain::{EventKind, Job, JobId, LeaseToken, LogSecret, Template, Timestamp};
use conch_memory::{Backup, Faults, Memory};
use conch_ports::{
    Announcement, Appended, Catalogue, Claimed, Commit, EventBus, Fence, JobLog, JobQueue, Lease,
    PutTemplate, QueueEffect, Result, ResultCache, Signals, Submission, Submitted,
};
use conch_wire::envelope::seal;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;

use crate::channel::Channel;
use crate::fold::Fold;
use crate::gate::line_of;
use crate::history::{History, Millis, What, Write};
use crate::process::Process;
use crate::shown::Shown;

/// The store's clock at the beginning of a run: 2026-01-01T00:00:00Z.
pub(crate) const BEGINNING: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

#[derive(Default)]
struct Notes {
    logs: BTreeMap<JobId, looking::Seen>,
    cached: BTreeMap<JobId, Option<Bytes>>,
    records: BTreeMap<JobId, Option<Fold>>,
    backup: Option<(Millis, Backup)>,
}

pub(crate) struct Store {
    pub(crate) log: Arc<dyn JobLog>,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) catalogue: Arc<dyn Catalogue>,
    pub(crate) cache: Arc<dyn ResultCache>,
    pub(crate) history: Arc<History>,
    pub(crate) channel: Arc<Channel>,
    /// How far each log has come.
    pub(crate) ends: Shown<BTreeMap<JobId, u64>>,
    faults: Faults,
    announced: Mutex<Signals>,
    notes: Mutex<Notes>,
}

/// The answer of a store that never keeps anybody waiting.
pub(crate) fn at_once<T>(answer: impl Future<Output = T>) -> T {
    answer
        .now_or_never()
        .expect("the store in memory answers at once")
}

impl Store {
    pub(crate) fn new(memory: &Memory, history: Arc<History>, channel: Arc<Channel>) -> Self {
        let bus = memory.bus();
        let mut announced = bus.subscribe();
        drop(at_once(announced.next()));
        Self {
            announced: Mutex::new(announced),
            log: memory.log(),
            bus,
            queue: memory.queue(),
            catalogue: memory.catalogue(),
            cache: memory.cache(),
            faults: memory.faults(),
            history,
            channel,
            ends: Shown::default(),
            notes: Mutex::default(),
        }
    }

    /// The store's own clock.
    pub(crate) fn now(&self) -> Timestamp {
        at_once(self.log.now()).expect("no fault of the clock is planned")
    }

    pub(crate) fn append(&self, by: &Process, commit: Commit) -> Result<Appended> {
        let id = commit.job.id.clone();
        let (event, effect) = (
            conch_wire::event::decode(line_of(&commit), self.now()),
            commit.effect,
        );
        let expired = matches!(commit.fence, Fence::Expired(_));
        let templates = self.templates_of(&commit);
        let answer = at_once(self.log.append(commit));
        if let Ok(Appended::Appended) = answer {
            for template in templates {
                self.wrote(&id, by, template);
            }
        }
        if let (Ok(Appended::Appended), Ok(incoming)) = (&answer, event) {
            let releases = !matches!(effect, QueueEffect::Keep);
            let write = Write::Event {
                attempt: incoming.event.attempt,
                kind: match &incoming.event.kind {
                    EventKind::Retrying { reason, .. } => format!("retrying {}", reason.as_str()),
                    EventKind::TemplateFailed { .. } if expired => {
                        "template_failed expired".to_owned()
                    }
                    kind => kind.event_type().trim_start_matches("job:").to_owned(),
                },
                releases,
            };
            self.wrote(&id, by, write);
        }
        self.look_at(&id);
        answer
    }

    /// What a commit writes into the catalogue beside the record.
    fn templates_of(&self, commit: &Commit) -> Vec<Write> {
        let Fence::Held(token) = &commit.fence else {
            return Vec::new();
        };
        let token = self.history.token(token);
        let templates = commit.templates.iter();
        let written = templates.map(|template| Write::Template {
            token: token.clone(),
            index: template.index,
        });
        written.collect()
    }

    pub(crate) fn submit(&self, submission: Submission) -> Result<Submitted> {
        let id = submission.commit.job.id.clone();
        let answer = at_once(self.queue.submit(submission));
        self.look_at(&id);
        answer
    }

    pub(crate) fn claim(
        &self,
        by: &Process,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Claimed>> {
        let answer = at_once(self.queue.claim(&by.name, token, duration));
        if let Ok(Some(lease)) = &answer {
            let write = Write::Claimed {
                attempt: lease.attempt,
                token: self.history.token(&lease.token),
                until: self.until(duration),
            };
            self.wrote(&lease.job_id, by, write);
        }
        answer
    }

    pub(crate) fn renew(&self, by: &Process, lease: &Lease, duration: Duration) -> Result<bool> {
        let answer = at_once(self.queue.renew(lease, duration));
        if let Ok(true) = answer {
            let write = Write::Renewed {
                token: self.history.token(&lease.token),
                until: self.until(duration),
            };
            self.wrote(&lease.job_id, by, write);
        }
        answer
    }

    pub(crate) fn restore(
        &self,
        by: &Process,
        lease: &Lease,
        job: &Job,
        duration: Duration,
    ) -> Result<bool> {
        let answer = at_once(self.queue.restore(lease, job, duration));
        if let Ok(true) = answer {
            let write = Write::Restored {
                attempt: lease.attempt,
                token: self.history.token(&lease.token),
                until: self.until(duration),
            };
            self.wrote(&lease.job_id, by, write);
            self.look_at(&lease.job_id);
        }
        answer
    }

    pub(crate) fn expired(&self, by: &Process, limit: usize) -> Result<Vec<Lease>> {
        let answer = at_once(self.queue.expired(limit));
        for lease in answer.iter().flatten() {
            self.wrote(&lease.job_id, by, Write::Expired);
        }
        answer
    }

    pub(crate) fn put_template(
        &self,
        by: &Process,
        template: &Template,
        lease: &Lease,
    ) -> Result<PutTemplate> {
        let answer = at_once(self.catalogue.put_template(template, lease));
        if let Ok(PutTemplate::Stored) = answer {
            let write = Write::Template {
                token: self.history.token(&lease.token),
                index: template.index,
            };
            self.wrote(&lease.job_id, by, write);
        }
        answer
    }

    pub(crate) fn put_result(&self, id: &JobId, result: Bytes) -> Result<()> {
        let answer = at_once(self.cache.put(id, result));
        self.look_at(id);
        answer
    }

    /// Does what belongs to a commit without it: only for planted bugs.
    pub(crate) fn acknowledge(&self, by: &Process, id: &JobId, effect: QueueEffect, fence: &Fence) {
        self.faults.acknowledge(id, effect);
        let token = match fence {
            Fence::Held(token) | Fence::Expired(token) => Some(self.history.token(token)),
            _ => None,
        };
        self.wrote(id, by, Write::Acknowledged { token });
    }

    pub(crate) fn announce(&self, announcement: &Announcement) -> Result<()> {
        let answer = at_once(self.bus.announce(announcement));
        self.pass_on();
        answer
    }

    /// What a foreign program publishes.
    pub(crate) fn publish_raw(&self, line: Bytes) {
        self.faults.announce_raw(line);
        self.pass_on();
    }

    /// What a foreign program makes up on the channel of ours that it should have no right to: the next event of
    /// this job, sealed with a secret that isn't its log's.
    pub(crate) fn forge_seal(&self, id: &JobId, event: &serde_json::Value) {
        let Ok(Some(log)) = at_once(self.log.read(id, 0, 0)) else {
            return;
        };
        let position = log.job.position.next();
        let mut event = event.clone();
        event["sequence"] = position.sequence.into();
        event["epoch"] = position.epoch.to_string().into();
        let secret = LogSecret::from_random([0; 16]);
        let announcement = Announcement {
            job_id: id.clone(),
            position: None,
            line: seal(&secret, id, position, &[event.to_string()]),
            secret: None,
        };
        drop(at_once(self.bus.announce(&announcement)));
        self.pass_on();
    }

    fn wrote(&self, id: &JobId, by: &Process, write: Write) {
        let job = self.history.job(id);
        let by = by.name.clone();
        self.history.note(What::Wrote { job, by, write });
    }

    fn until(&self, duration: Duration) -> Millis {
        self.history.moment(tokio::time::Instant::now() + duration)
    }
}
