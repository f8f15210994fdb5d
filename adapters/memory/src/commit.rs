//! The one step that appends an event: every check first, then the append and all that belongs to
//! it, then the announcement. Nothing is changed before the last check has passed.

use std::collections::{HashMap, VecDeque};

use conch_domain::{Job, JobId, JobStatus, Position, Timestamp};
use conch_ports::{
    Commit, EVENT_IDS_REMEMBERED, EVENT_OVERHEAD, Entry, Error, ErrorKind, Fence, Published,
    QueueEffect, Quota, Result, Weighed,
};
use conch_wire::{event, job, record};
use tokio::time::Instant;

use crate::store::{JobLog, JobRow, Store};

impl Store {
    pub(crate) fn commit(&mut self, commit: Commit, now: Instant) -> Result<Published> {
        self.sweep(now);
        if let Some(refusal) = self.refuses(&commit, now)? {
            return Ok(refusal);
        }
        let job_id = commit.job.id.clone();
        let position = commit.job.position;
        self.append(&commit, now);
        if commit.job.own {
            self.put_job_record(&commit.job, now);
        }
        self.apply_effect(&job_id, commit.effect, now);
        if commit.job.status.is_terminal() {
            self.cache_result(&job_id, job::encode(&commit.job), now);
        }
        if commit.announce {
            self.feed.announce(&job_id, position.sequence, commit.line);
        }
        Ok(Published::Appended)
    }

    fn refuses(&self, commit: &Commit, now: Instant) -> Result<Option<Published>> {
        let job_id = &commit.job.id;
        let log = self.data.logs.get(job_id, now);
        if let Some(place) = log.and_then(|log| log.place_of(commit)) {
            return Ok(Some(Published::Duplicate(place)));
        }
        if log.is_some_and(|log| log.ended) && !commit.reopens() {
            return Ok(Some(Published::Ended));
        }
        let queue = &self.data.queue;
        let passes = match &commit.fence {
            Fence::Open => true,
            Fence::Foreign => {
                !self.data.jobs.contains(job_id, now) && log.is_none_or(|log| !log.own)
            }
            Fence::Held(token) => queue.lease_end(job_id, token).is_some_and(|end| end > now),
            Fence::Expired(token) => queue.lease_end(job_id, token).is_some_and(|end| end <= now),
            Fence::Unclaimed => !queue.is_leased(job_id),
        };
        if !passes {
            return Ok(Some(Published::Fenced));
        }
        if let Some(log) = log
            && log.doubtful
            && commit.replaces.is_none()
        {
            return Ok(Some(Published::Doubtful(log.end)));
        }
        let place = commit.job.position;
        let fits = match (log, commit.replaces) {
            (None, None) => place.sequence == 1,
            (None, Some(_)) => false,
            (Some(log), None) => place == log.end.next(),
            (Some(log), Some(seen)) => {
                let follows = log.ended == commit.reopens();
                seen == log.end && place.sequence == 1 && place.epoch != log.end.epoch && follows
            }
        };
        if !fits {
            return Ok(Some(Published::Conflict(log.map(|log| log.end))));
        }
        let quotas = self.settings.quotas;
        let is_full = self.data.unfinished_foreign.len() >= quotas.foreign_jobs
            || self.data.ended_foreign.len() >= quotas.ended_foreign_jobs();
        if !commit.job.own && !self.data.jobs.contains(job_id, now) {
            let kept = log.filter(|_| commit.replaces.is_none());
            self.weigh(commit, log.is_none(), kept.map_or(0, JobLog::bytes))?;
        }
        let goes_on = commit.reopens() && !commit.job.status.is_terminal();
        if goes_on && self.data.unfinished_foreign.len() >= quotas.foreign_jobs {
            return Err(quotas.refusal(Quota::ForeignJobs, "event_bus.publish"));
        }
        // Of a job that our own Triton has a record of nobody can make logs up.
        let is_recorded = commit.job.own || self.data.jobs.contains(job_id, now);
        if log.is_none() && !is_recorded && is_full {
            return Err(quotas.refusal(Quota::ForeignJobs, "event_bus.publish"));
        }
        if log.is_none() && self.data.logs.len() >= self.settings.max_logs {
            return Err(Error::new(
                ErrorKind::OutOfSpace,
                "event_bus.publish",
                "the store in memory holds as many logs as it may (max_logs)",
            ));
        }
        Ok(None)
    }

    /// Whether there is room for the bytes of one more event of a job that isn't our own, of which so
    /// many are kept.
    fn weigh(&self, commit: &Commit, begins: bool, kept: usize) -> Result<()> {
        let quotas = self.settings.quotas;
        let glance = event::glance(&commit.line);
        let weighed = Weighed {
            bytes: commit.line.len() + EVENT_OVERHEAD,
            vital: glance.vital,
            ends: commit.job.status.is_terminal(),
            begins,
        };
        let (of_job, of_all) = weighed.most(&quotas);
        let full = if kept + weighed.bytes > of_job {
            Quota::ForeignJobKib
        } else if self.data.foreign_bytes + weighed.bytes > of_all {
            Quota::ForeignMib
        } else {
            return Ok(());
        };
        Err(quotas.refusal(full, "event_bus.publish"))
    }

    fn append(&mut self, commit: &Commit, now: Instant) {
        let job = &commit.job;
        let history_limit = self.settings.history_limit;
        let logs = &mut self.data.logs;
        let mut log = match logs.remove(&job.id) {
            Some(log) if commit.replaces.is_none() && job.position == log.end.next() => log,
            Some(ended) if commit.reopens() => {
                self.data.results.remove(&job.id);
                JobLog {
                    event_ids: ended.event_ids,
                    places: ended.places,
                    ..JobLog::new(commit)
                }
            }
            // There is none, it has run out, or the commit replaces it.
            _ => JobLog::new(commit),
        };
        log.state = record::encode_job(job);
        log.end = job.position;
        log.ended = job.status.is_terminal();
        log.entries.push_back(Entry {
            sequence: job.position.sequence,
            line: commit.line.clone(),
        });
        log.trim(history_limit as u64);
        log.event_ids.push_back(commit.event_id.clone());
        log.places.insert(commit.event_id.clone(), job.position);
        while log.event_ids.len() > EVENT_IDS_REMEMBERED + 1 {
            if let Some(oldest) = log.event_ids.pop_front() {
                log.places.remove(&oldest);
            }
        }
        let lifetime = if log.ended {
            self.settings.ended_log_ttl
        } else {
            self.settings.unfinished_ttl
        };
        let (ended, bytes) = (log.ended, log.bytes());
        logs.insert(job.id.clone(), log, now + lifetime);
        if !job.own && !self.data.jobs.contains(&job.id, now) {
            self.data
                .list_foreign(&job.id, ended, bytes, now + lifetime);
        }
    }

    /// Writes the catalogue's record of an own job.
    pub(crate) fn put_job_record(&mut self, job: &Job, now: Instant) {
        let row = JobRow {
            client_id: job.client_id.clone(),
            status: job.status,
            updated_at: job.updated_at,
        };
        if job.status.is_terminal() {
            self.data.unfinished.remove(&job.id);
        } else {
            let runs = job.status == JobStatus::Running;
            self.data.unfinished.insert(job.id.clone(), runs);
        }
        // Lists order by creation; a job that never told of its own comes last.
        let created_at = job.created_at.unwrap_or(Timestamp::from_micros(0));
        let bytes = record::encode_job(job);
        self.data
            .jobs
            .put(job.id.clone(), created_at, row, bytes, now);
    }

    pub(crate) fn apply_effect(&mut self, job_id: &JobId, effect: QueueEffect, now: Instant) {
        let queue = &mut self.data.queue;
        match effect {
            QueueEffect::Keep => {}
            QueueEffect::Requeue { after, counts } => {
                queue.requeue(job_id, now + after, counts);
            }
            QueueEffect::Remove => queue.remove(job_id),
        }
    }
}

impl JobLog {
    fn new(commit: &Commit) -> Self {
        let job = &commit.job;
        Self {
            base: commit.base.as_ref().map(record::encode_job),
            mark: None,
            doubtful: false,
            state: bytes::Bytes::new(),
            own: job.own,
            end: job.position,
            ended: false,
            entries: VecDeque::new(),
            event_ids: VecDeque::new(),
            places: HashMap::new(),
        }
    }

    /// Notes the state at each multiple of `limit` and cuts the log off there at the next one: so at
    /// least `limit` events are kept, fewer than twice as many, and the state before them.
    fn trim(&mut self, limit: u64) {
        if !self.end.sequence.is_multiple_of(limit) {
            return;
        }
        let mark = self.mark.replace((self.end.sequence, self.state.clone()));
        if let Some((sequence, state)) = mark {
            self.entries.retain(|entry| entry.sequence > sequence);
            self.base = Some(state);
        }
    }

    /// What its kept events cost.
    pub(crate) fn bytes(&self) -> usize {
        let cost = |entry: &Entry| entry.line.len() + EVENT_OVERHEAD;
        self.entries.iter().map(cost).sum()
    }

    /// Where the commit's event is, if it was appended before.
    pub(crate) fn place_of(&self, commit: &Commit) -> Option<Position> {
        self.places.get(&commit.event_id).copied()
    }
}
