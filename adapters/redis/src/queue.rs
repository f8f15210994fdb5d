//! The queue: sorted sets of claimable and of held jobs, and a hash per job with its attempts and
//! token. Every moment in here is Redis's own, so workers' clocks don't matter. None of these keys has a
//! time to live: a job leaves them when it ends.

use std::time::Duration;

use async_trait::async_trait;
use conch_domain::{Job, JobId, JobStatus, LeaseToken, Timestamp};
use conch_ports::{
    Appended, Bucket, Claimed, EXACT_PLACES, Error, ErrorKind, Idempotency, JobQueue, Lease,
    MAX_PLACES_ASKED, QueuePlace, Quota, Result, Rotation, Submission, Submitted, Sweep, Swept,
};
use conch_wire::record;
use serde_json::json;

use crate::commit::wait_of;
use crate::log::{Redis, outcome, unexpected};
use crate::records::{Record, micros, millis};
use crate::run::Run;

#[async_trait]
impl JobQueue for Redis {
    async fn submit(&self, submission: Submission) -> Result<Submitted> {
        const OPERATION: &str = "job_queue.submit";
        let Submission {
            commit,
            idempotency,
        } = submission;
        let quotas = self.settings.quotas;
        let known_by = idempotency.as_ref();
        let lifetime = known_by.map(|known| millis(known.lifetime));
        let run_at = commit.job.schedule.run_at;
        let submitted = json!({
            "key": known_by.map_or_else(String::new, |known| self.keys.idempotency(&known.key)),
            "digest": known_by.map(|known| known.digest.as_str()),
            "lifetime": lifetime,
            "max_queued": quotas.queued_jobs,
            "max_jobs": quotas.jobs,
            "run_at": run_at.map_or(0, Timestamp::as_micros),
        });
        let more = [submitted, self.place_in_queue(&commit.job)];
        let events = commit.events(OPERATION)?;
        let call = |run: &Run| self.commit(&self.scripts.submit, &commit, events, &more, run);
        // Once more does no harm: it is the same job.
        let answer = self.connections.script_of_run(OPERATION, &[], call).await?;
        let words: Vec<&str> = answer.iter().map(String::as_str).collect();
        match words[..] {
            ["new"] => Ok(Submitted::New),
            ["existing", id] => existing(OPERATION, id),
            ["reused"] => Ok(Submitted::KeyReused),
            ["full", "queue"] => Err(quotas.refusal(Quota::QueuedJobs, OPERATION)),
            ["full", "catalogue"] => Err(quotas.refusal(Quota::Jobs, OPERATION)),
            _ => Err(match outcome(OPERATION, &answer)? {
                Appended::Conflict(_) | Appended::Ended => Error::new(
                    ErrorKind::Refused,
                    OPERATION,
                    "a job with this id has a log already: submit under a new id",
                ),
                _ => Error::new(
                    ErrorKind::Internal,
                    OPERATION,
                    "a submission must have an open fence",
                ),
            }),
        }
    }

    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        const OPERATION: &str = "job_queue.recall";
        let mut command = redis::cmd("HMGET");
        command
            .arg(self.keys.idempotency(&idempotency.key))
            .arg(&["digest", "job_id"]);
        let known: (Option<String>, Option<String>) =
            self.connections.ask_shared(OPERATION, &command).await?;
        match known {
            (None, _) => Ok(None),
            (Some(digest), _) if digest != idempotency.digest => Ok(Some(Submitted::KeyReused)),
            (Some(_), Some(id)) => existing(OPERATION, &id).map(Some),
            (Some(_), None) => Err(unexpected(OPERATION)),
        }
    }

    async fn claim(
        &self,
        worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Claimed>> {
        const OPERATION: &str = "job_queue.claim";
        let mut call = self.scripts.claim.prepare_invoke();
        call.key(self.keys.ready())
            .key(self.keys.leases())
            .arg(self.keys.entry_of(""))
            .arg(self.keys.state_of(""))
            .arg(self.keys.job_of(""))
            .arg(token.as_str())
            .arg(worker)
            .arg(micros(duration))
            .arg(self.keys.claim(token));
        let (fold, answer): (Vec<u8>, Vec<String>) =
            self.connections.script_shared(OPERATION, &call).await?;
        let [id, attempt, set_aside @ ..] = &answer[..] else {
            return Err(unexpected(OPERATION));
        };
        report(set_aside);
        if id.is_empty() {
            return Ok(None);
        }
        let attempt = attempt.parse().map_err(|_| unexpected(OPERATION))?;
        let lease = lease(OPERATION, id, attempt, token.as_str())?;
        // What can't be read is told by who reads it.
        let job = record::decode_job(&fold).ok();
        let job = job.filter(|job| job.own && job.id == lease.job_id);
        Ok(Some(Claimed { lease, job }))
    }

    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        let mut call = self.scripts.renew.prepare_invoke();
        call.key(self.keys.entry(&lease.job_id))
            .key(self.keys.leases())
            .arg(lease.job_id.as_str())
            .arg(lease.token.as_str())
            .arg(micros(duration));
        self.connections
            .script_shared("job_queue.renew", &call)
            .await
    }

    async fn expired(&self, limit: usize) -> Result<Vec<Lease>> {
        const OPERATION: &str = "job_queue.expired";
        let mut call = self.scripts.expired.prepare_invoke();
        call.key(self.keys.leases())
            .arg(self.keys.entry_of(""))
            .arg(self.keys.state_of(""))
            .arg(limit.min(1000));
        let answer: Vec<String> = self.connections.script(OPERATION, &call).await?;
        answer
            .chunks_exact(3)
            .map(|found| {
                let attempt = found[1].parse().map_err(|_| unexpected(OPERATION))?;
                lease(OPERATION, &found[0], attempt, &found[2])
            })
            .collect()
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        const OPERATION: &str = "job_queue.sweep";
        // The token of no worker, for jobs whose lease is lost: they are taken back.
        let token = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let mut call = self.scripts.sweep.prepare_invoke();
        call.key(self.keys.ready())
            .key(self.keys.leases())
            .key(self.keys.jobs(None, Some(JobStatus::Running)))
            .key(self.keys.jobs(None, Some(JobStatus::Pending)))
            .arg(self.keys.entry_of(""))
            .arg(self.keys.state_of(""))
            .arg(self.keys.job_of(""))
            .arg(sweep.from)
            .arg(sweep.limit)
            .arg(micros(sweep.grace))
            .arg(LeaseToken::from_uuid(token).as_str());
        let answer: Vec<String> = self.connections.script(OPERATION, &call).await?;
        let read = |text: Option<&String>| text.and_then(|text| text.parse::<usize>().ok());
        let (Some(next), Some(count)) = (read(answer.first()), read(answer.get(1))) else {
            return Err(unexpected(OPERATION));
        };
        let (found, set_aside) = answer[2..]
            .split_at_checked(count)
            .ok_or_else(|| unexpected(OPERATION))?;
        report(set_aside);
        Ok(Swept {
            next: (next > 0).then_some(next),
            found: found
                .iter()
                .filter_map(|id| JobId::parse(id).ok())
                .collect(),
        })
    }

    async fn places(&self, job_ids: &[JobId]) -> Result<Vec<Option<QueuePlace>>> {
        const OPERATION: &str = "job_queue.places";
        let mut places = Vec::with_capacity(job_ids.len());
        for asked in job_ids.chunks(MAX_PLACES_ASKED) {
            let mut call = self.scripts.places.prepare_invoke();
            call.arg(self.keys.ready())
                .arg(self.keys.turns())
                .arg(self.keys.entry_of(""))
                .arg(self.keys.due_of(""))
                .arg(EXACT_PLACES);
            for job_id in asked {
                call.arg(job_id.as_str());
            }
            let answer: Vec<i64> = self.connections.script_shared(OPERATION, &call).await?;
            let found = places_in(&answer).ok_or_else(|| unexpected(OPERATION))?;
            if found.len() != asked.len() {
                return Err(unexpected(OPERATION));
            }
            places.extend(found);
        }
        Ok(places)
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        let mut call = self.scripts.next_due.prepare_invoke();
        call.key(self.keys.ready());
        let wait: Option<u64> = self
            .connections
            .script_shared("job_queue.next_due", &call)
            .await?;
        Ok(wait.map(Duration::from_micros))
    }

    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        let record = Record::of_job(&self.keys, job);
        let mut call = self.scripts.restore.prepare_invoke();
        call.key(self.keys.log(&job.id))
            .key(self.keys.state(&job.id))
            .key(self.keys.entry(&job.id))
            .key(self.keys.ready())
            .key(self.keys.leases())
            .key(&record.key)
            .key(self.keys.retention())
            .key(self.keys.seen(&job.id))
            .key(self.keys.result(&job.id))
            .key(self.keys.unfinished_foreign())
            .key(self.keys.ended_foreign())
            .key(self.keys.latest());
        call.arg(lease.job_id.as_str())
            .arg(lease.token.as_str())
            .arg("restored")
            .arg(lease.attempt.saturating_sub(1))
            .arg(micros(duration))
            .arg(u8::from(job.own))
            .arg(Bucket::of(&job.id).number());
        let retention = self.settings.retention.map(|kept| kept + wait_of(job));
        record.append_to(&mut call, retention);
        self.connections
            .script_shared("job_queue.restore", &call)
            .await
    }
}

/// What `lua/places.lua` answers; none if it is something else.
fn places_in(answer: &[i64]) -> Option<Vec<Option<QueuePlace>>> {
    let count = |number: &i64| u64::try_from(*number).ok();
    let [waiting, clients, counted, numbers @ ..] = answer else {
        return None;
    };
    let (jobs, asked) = numbers.split_at_checked(usize::try_from(*counted).ok()?)?;
    let jobs: Vec<u64> = jobs.iter().map(count).collect::<Option<_>>()?;
    let rotation = Rotation {
        jobs: &jobs,
        clients: count(clients)?,
        waiting: count(waiting)?,
    };
    let place = |of_one: &[i64]| Some(rotation.place(count(&of_one[0])?, count(&of_one[1])?));
    Some(asked.chunks_exact(2).map(place).collect())
}

/// Each key is told of once, whichever process asks next.
fn report(set_aside: &[String]) {
    for key in set_aside {
        tracing::warn!(%key, "a key of ours was written to by something else: it was set aside");
        metrics::counter!("conch_redis_keys_set_aside_total").increment(1);
    }
}

fn existing(operation: &'static str, id: &str) -> Result<Submitted> {
    JobId::parse(id)
        .map(Submitted::Existing)
        .map_err(|error| unexpected(operation).with_source(error))
}

fn lease(operation: &'static str, id: &str, attempt: u32, token: &str) -> Result<Lease> {
    match (JobId::parse(id), LeaseToken::parse(token)) {
        (Ok(job_id), Ok(token)) => Ok(Lease {
            job_id,
            attempt,
            token,
        }),
        _ => Err(unexpected(operation)),
    }
}
