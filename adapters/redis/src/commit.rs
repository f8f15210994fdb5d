//! A commit on its way into its script: `lua/append.lua` reads it in the same order, `lua/own.lua` and
//! `lua/append_external.lua` what belongs to one kind of job. Never decides whether it may be appended.

use std::time::Duration;

use bytes::Bytes;
use conch_domain::{ClientId, Job};
use conch_ports::{
    Bucket, Commit, EVENT_IDS_REMEMBERED, EVENT_OVERHEAD, Fence, NewEvent, QueueEffect, Weighed,
};
use conch_wire::{envelope, event, job, record};
use redis::{Script, ScriptInvocation};
use serde_json::{Map, Value, json};

use crate::log::Redis;
use crate::records::{self, micros, millis};
use crate::run::Run;

/// By how much longer than promised what a commit writes may live: so seldom are lifetimes renewed. An eighth
/// of the shortest, an hour at most.
fn slack(of: impl IntoIterator<Item = Duration>) -> Duration {
    of.into_iter()
        .map(|lifetime| lifetime / 8)
        .fold(Duration::from_hours(1), Duration::min)
}

/// How long after its latest event the job may run: by so much longer lives what is kept of it.
pub(crate) fn wait_of(job: &Job) -> Duration {
    let wait = job.updated_at.map(|at| job.schedule.wait_after(at));
    Duration::from_millis(wait.unwrap_or(0))
}

/// Longest seal that is announced, in bytes: what is longer is read from the log.
const MAX_SEALED_BYTES: usize = 256 * 1024;

/// The sealed form of a commit's events; empty where its log has no secret.
fn sealed(commit: &Commit, events: &[NewEvent]) -> Bytes {
    let job = &commit.job;
    let bytes: usize = events.iter().map(|event| event.line.len()).sum();
    let Some(secret) = job.secret.filter(|_| bytes <= MAX_SEALED_BYTES) else {
        return Bytes::new();
    };
    let lines: Vec<_> = events.iter().map(|event| &event.line).collect();
    envelope::seal(&secret, &job.id, job.position, &lines)
}

impl Redis {
    /// The script that appends to the log of such a job.
    pub(crate) fn appending(&self, job: &Job) -> &Script {
        if job.own {
            &self.scripts.append_own
        } else {
            &self.scripts.append_external
        }
    }

    /// A commit as `read_commit` takes it, for the run of Redis that it is sent to. The objects in `more` are what
    /// its script needs beside.
    pub(crate) fn commit<'a>(
        &self,
        script: &'a Script,
        commit: &Commit,
        events: &[NewEvent],
        more: &[Value],
        run: &Run,
    ) -> ScriptInvocation<'a> {
        let (keys, settings, job) = (&self.keys, &self.settings, &commit.job);
        let ended = job.status.is_terminal();
        let slack = slack(
            [settings.unfinished_ttl]
                .into_iter()
                .chain(settings.retention),
        );
        let ttl = if ended {
            settings.finished_ttl()
        } else {
            settings.unfinished_ttl + slack + wait_of(job)
        };
        let (fence, token) = match &commit.fence {
            Fence::Open => ("open", ""),
            Fence::Foreign => ("foreign", ""),
            Fence::Held(token) => ("held", token.as_str()),
            Fence::Expired(token) => ("expired", token.as_str()),
            Fence::Unclaimed => ("unclaimed", ""),
        };
        let cached = if ended && settings.cache_url.is_none() {
            job::encode(job)
        } else {
            Bytes::new()
        };
        let base = commit.base.as_ref().map(record::encode_job);
        let sealed = if settings.announces {
            sealed(commit, events)
        } else {
            Bytes::new()
        };
        let is_announced = commit.announce && settings.announces;
        let channel = |name: String| if is_announced { name } else { String::new() };
        let listed = if job.own {
            records::listed(job)
        } else {
            String::new()
        };

        let mut call = script.prepare_invoke();
        call.key(keys.log(&job.id))
            .key(keys.state(&job.id))
            .key(keys.seen(&job.id))
            .key(keys.result(&job.id));
        call.arg(job.id.as_str())
            .arg(events.len())
            .arg(job.position.epoch.to_string())
            // As text: a script's numbers are doubles, and its texts of them are rounded.
            .arg(job.position.sequence.to_string())
            .arg(&record::encode_job(job)[..])
            .arg(&cached[..])
            .arg(&base.unwrap_or_default()[..])
            .arg(fence)
            .arg(token)
            .arg(keys.entry(&job.id))
            .arg(keys.leases())
            .arg(keys.job(&job.id))
            .arg(listed)
            .arg(channel(keys.every_job()))
            .arg(channel(keys.one_job(&job.id)))
            .arg(settings.history_limit)
            .arg(EVENT_IDS_REMEMBERED)
            .arg(millis(ttl))
            .arg(micros(slack))
            .arg(self.seldom(commit, more))
            .arg(run.id())
            .arg(run.append_only())
            .arg(keys.sealed())
            .arg(&sealed[..])
            .arg(keys.latest())
            .arg(Bucket::of(&job.id).number());
        for event in events {
            call.arg(event.event_id.as_str());
        }
        for event in events {
            call.arg(&event.line[..]);
        }
        if job.own {
            let longer = if ended { Duration::ZERO } else { slack };
            let longer = longer + wait_of(job);
            records::list(commit, keys, settings.retention, longer, &mut call);
        } else {
            self.weigh(&mut call, events, ended, slack);
        }
        call
    }

    /// What most commits don't have; empty where this one doesn't.
    fn seldom(&self, commit: &Commit, more: &[Value]) -> String {
        let job = &commit.job;
        let mut seldom = Map::new();
        let mut put = |fields: Value| {
            if let Value::Object(fields) = fields {
                seldom.extend(fields);
            }
        };
        more.iter().cloned().for_each(&mut put);
        if let Some(end) = commit.replaces {
            let (epoch, sequence) = (end.epoch.to_string(), end.sequence.to_string());
            put(json!({
                "replaces": { "epoch": epoch, "sequence": sequence },
                "reopens": commit.reopens(),
            }));
        }
        if !job.past.is_empty() {
            let past: Vec<String> = job.past.iter().map(ToString::to_string).collect();
            put(json!({ "past": past.join(","), "past_epochs": past.len() }));
        }
        if job.status.is_terminal() {
            put(json!({ "ended": true, "result_ttl": millis(self.settings.result_ttl) }));
        }
        // Of a job that isn't ours nothing is in the queue, unless its fence says that a worker held it.
        let is_queued = job.own || !matches!(commit.fence, Fence::Open | Fence::Foreign);
        let effect = match commit.effect {
            QueueEffect::Requeue { after, counts } => {
                json!({ "effect": "requeue", "after": micros(after), "counts": counts })
            }
            QueueEffect::Remove => json!({ "effect": "remove" }),
            QueueEffect::Keep => Value::Null,
        };
        if is_queued && !effect.is_null() {
            put(effect);
            put(self.place_in_queue(job));
        }
        if seldom.is_empty() {
            String::new()
        } else {
            Value::from(seldom).to_string()
        }
    }

    /// Where a job waits, and whose turn it waits for.
    pub(crate) fn place_in_queue(&self, job: &Job) -> Value {
        json!({
            "ready": self.keys.ready(),
            "client": job.client_id.as_ref().map_or("", ClientId::as_str),
            "priority": job.schedule.priority.get(),
        })
    }

    /// What external events weigh, and what there may be.
    fn weigh(
        &self,
        call: &mut ScriptInvocation<'_>,
        events: &[NewEvent],
        ends: bool,
        slack: Duration,
    ) {
        let (keys, settings) = (&self.keys, &self.settings);
        let quotas = settings.quotas;
        call.key(keys.unfinished_foreign())
            .key(keys.ended_foreign())
            .key(keys.foreign_bytes());
        let weights = events.iter().map(|event| event.line.len() + EVENT_OVERHEAD);
        let bytes = weights.sum();
        let vital = events.iter().any(|event| event::glance(&event.line).vital);
        call.arg(bytes);
        // Whether it begins a log is known in the step alone.
        for begins in [false, true] {
            let weighed = Weighed {
                bytes,
                vital,
                ends,
                begins,
            };
            let (of_job, of_all) = weighed.most(&quotas);
            call.arg(of_job).arg(of_all);
        }
        let longest = (settings.unfinished_ttl + slack).max(settings.finished_ttl());
        call.arg(quotas.bytes_per_job())
            .arg(quotas.foreign_jobs)
            .arg(quotas.ended_foreign_jobs())
            .arg(millis(longest));
    }
}
