//! The faults of the logs, and of what an append announces.

use std::time::Duration;

use async_trait::async_trait;
use conch_conformance::build;
use conch_domain::{Job, JobId, Position, Timestamp};
use conch_ports::{
    Appended, Bucket, BusId, Commit, Fence, Guarantees, JobLog, Lease, Log, QueueEffect, Quota,
    Result, Stamp,
};

use super::{Broken, at};

use crate::Fault;
use crate::subject::LIMITS;

#[async_trait]
impl JobLog for Broken {
    fn guarantees(&self) -> Guarantees {
        Guarantees {
            shared: self.is(Fault::ClaimsToBeShared),
            ..self.log.guarantees()
        }
    }

    fn announces(&self) -> Option<BusId> {
        match self.fault {
            Fault::AnnouncesElsewhere => Some(BusId::new()),
            _ => self.log.announces(),
        }
    }

    async fn append(&self, mut commit: Commit) -> Result<Appended> {
        let job_id = commit.job.id.clone();
        let event = commit.events.first();
        let line = event.map(|event| event.line.clone()).unwrap_or_default();
        match self.fault {
            Fault::RequeuedGoLast if matches!(commit.effect, QueueEffect::Requeue { .. }) => {
                self.seen().requeued.insert(job_id);
            }
            Fault::AnnounceBeforeAppend => {
                commit.announce = false;
                self.announce_line(line);
                tokio::task::yield_now().await;
            }
            Fault::AnnounceOtherBytes if commit.announce => {
                commit.announce = false;
                let answer = self.log.append(commit).await;
                let text = String::from_utf8_lossy(&line).replace("schema_version", "version");
                self.announce_line(text.into());
                return answer;
            }
            Fault::AnnounceFenced => {
                let answer = self.log.append(commit).await?;
                if answer == Appended::Fenced {
                    self.announce_line(line);
                }
                return Ok(answer);
            }
            Fault::LoseOrder => {
                commit.announce = false;
                let answer = self.log.append(commit).await;
                // Every other announcement of a job waits for the next one, and comes after it.
                if let Some(earlier) = self.seen().held.remove(&job_id) {
                    self.announce_line(line);
                    self.announce_line(earlier);
                } else {
                    self.seen().held.insert(job_id, line);
                }
                return answer;
            }
            Fault::ForgetHeldFence if matches!(commit.fence, Fence::Held(_)) => {
                commit.fence = Fence::Open;
            }
            Fault::ForgetExpiredFence if matches!(commit.fence, Fence::Expired(_)) => {
                commit.fence = Fence::Open;
            }
            Fault::ForgetForeignFence if commit.fence == Fence::Foreign => {
                commit.fence = Fence::Open;
            }
            Fault::AppendAnywhere if commit.replaces.is_none() => {
                commit = self.moved_to_the_end(commit).await?;
            }
            Fault::AppendDuplicates => {
                let answer = self.log.append(commit.clone()).await?;
                if matches!(answer, Appended::Duplicate(_)) {
                    commit = build::with_event_id(&build::event_id(), commit);
                    commit = self.moved_to_the_end(commit).await?;
                    return self.log.append(commit).await;
                }
                return Ok(answer);
            }
            Fault::FenceBeforeEventId => {
                if let Fence::Held(token) = &commit.fence {
                    let lease = Lease {
                        job_id,
                        attempt: 1,
                        token: token.clone(),
                    };
                    if !self.queue.renew(&lease, Duration::from_mins(1)).await? {
                        return Ok(Appended::Fenced);
                    }
                }
            }
            Fault::AppendAfterTheEnd => {
                let answer = self.log.append(commit).await?;
                return Ok(match answer {
                    Appended::Ended => Appended::Appended,
                    other => other,
                });
            }
            Fault::AppendAllButOne if commit.events.len() > 2 => {
                commit.events.remove(1);
                let mut place = commit.job.position;
                place.sequence -= 1;
                commit.job = self::at(&commit.job, place);
            }
            Fault::AppendOneByOne if commit.events.len() > 1 => {
                return self.append_one_by_one(commit).await;
            }
            Fault::AnnounceOnlyTheLast if commit.events.len() > 1 => {
                commit.announce = false;
                let last = commit.events.last().map(|event| event.line.clone());
                let answer = self.log.append(commit).await?;
                if answer == Appended::Appended {
                    self.announce_line(last.unwrap_or_default());
                }
                return Ok(answer);
            }
            Fault::TemplatesOfAnyCommit | Fault::DropTakenTemplates
                if !commit.templates.is_empty() =>
            {
                return self.append_whatever_its_templates(commit).await;
            }
            Fault::TemplatesBeforeTheCommit => {
                self.seen().templates.extend(commit.templates.clone());
            }
            Fault::ForgetTemplatesOfCommits if commit.templates("append").is_ok() => {
                commit.templates.clear();
            }
            Fault::KeepTheOldResult if commit.reopens() => {
                let old = self.cache.get(&job_id).await?;
                let answer = self.log.append(commit).await?;
                if let Some(old) = old.filter(|_| answer == Appended::Appended) {
                    self.cache.put(&job_id, old).await?;
                }
                return Ok(answer);
            }
            Fault::MuteFullLogs if commit.job.position.sequence > 1 => {
                let log = self.log.read(&job_id, 0, usize::MAX >> 32).await?;
                let kept = log.map_or(0, |log| log.entries.iter().map(|e| e.line.len()).sum());
                if kept + line.len() > LIMITS.quotas.bytes_per_job() {
                    return Err(LIMITS.quotas.refusal(Quota::ForeignJobKib, "append"));
                }
            }
            Fault::ReplaceAnyLog if commit.replaces.is_some() => {
                let log = self.log.read(&job_id, 0, 0).await?;
                commit.replaces = log.map(|log| log.job.position);
            }
            Fault::GoOnAfterALoss => {
                let answer = self.log.append(commit.clone()).await?;
                let Appended::Doubtful(at) = answer else {
                    return Ok(answer);
                };
                commit.job = commit.job.with_epoch(build::epoch());
                commit.job = self::at(&commit.job, commit.job.position.next());
                commit.replaces = Some(at);
            }
            Fault::KeepQueueEntry => commit.effect = QueueEffect::Keep,
            Fault::RequeueAtOnce => {
                if let QueueEffect::Requeue { after, .. } = &mut commit.effect {
                    *after = Duration::ZERO;
                }
            }
            Fault::AttemptsStay => {
                if let QueueEffect::Requeue { counts, .. } = &mut commit.effect {
                    *counts = false;
                }
            }
            _ => {}
        }
        self.log.append(commit).await
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        let log = self.log.read(job_id, after, limit).await?;
        Ok(match (self.fault, log) {
            (Fault::EmptyLogForNone, None) => Some(Log {
                job: Job::initial(job_id.clone(), build::epoch(), false),
                oldest: 1,
                base: None,
                entries: Vec::new(),
            }),
            (Fault::RenumberOnRead, Some(mut log)) => {
                for entry in &mut log.entries {
                    entry.sequence += 1;
                }
                Some(log)
            }
            (Fault::TrimTheState, Some(mut log)) if log.oldest > 1 => {
                let mut record = (*log.job).clone();
                record.template_ids.clear();
                record.template_count = 0;
                log.job = Job::restore(record);
                Some(log)
            }
            (Fault::LoseTheBase, Some(log)) => Some(Log { base: None, ..log }),
            (_, log) => log,
        })
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        let mut positions = self.log.positions(job_ids).await?;
        if self.is(Fault::PassOverAbsentLogs) {
            positions.retain(Option::is_some);
        }
        Ok(positions)
    }

    async fn latest(&self, buckets: &[Bucket]) -> Result<Vec<Option<Stamp>>> {
        let latest = self.log.latest(buckets).await?;
        if self.is(Fault::KeepStamps) {
            let stamps = &mut self.seen().stamps;
            let first = |(bucket, stamp): (&Bucket, Option<Stamp>)| {
                let kept = stamps.entry(*bucket).or_insert(stamp?);
                Some(kept.clone())
            };
            return Ok(buckets.iter().zip(latest).map(first).collect());
        }
        Ok(latest)
    }

    async fn now(&self) -> Result<Timestamp> {
        self.log.now().await
    }

    async fn ping(&self) -> Result<()> {
        self.log.ping().await
    }
}
