//! The one step that appends a commit's events: every check first, then the append and all that belongs to
//! it, then the announcement. Nothing is changed before the last check has passed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use conch_domain::{Job, JobId, JobStatus, Position, Timestamp};
use conch_ports::{
    Announcement, Appended, Bucket, Commit, EVENT_IDS_REMEMBERED, EVENT_OVERHEAD, Entry, Error,
    ErrorKind, Fence, NewEvent, QueueEffect, Quota, Result, Stamp, Weighed,
};
use conch_wire::{envelope, event, job, record};
use tokio::time::Instant;

use crate::queue::Standing;
use crate::store::{JobLog, JobRow, Store};

impl Store {
    pub(crate) fn commit(
        &mut self,
        commit: &Commit,
        operation: &'static str,
        now: Instant,
    ) -> Result<Appended> {
        self.sweep(now);
        let events = commit.events(operation)?;
        let templates = commit.templates(operation)?;
        if let Some(refusal) = self.refuses(commit, events, operation, now)? {
            return Ok(refusal);
        }
        let job_id = commit.job.id.clone();
        self.append(commit, events, now);
        if commit.job.own {
            self.put_job_record(&commit.job, now);
        }
        for template in templates {
            self.keep_template(template, now);
        }
        self.apply_effect(&job_id, commit.effect, now);
        if commit.job.status.is_terminal() {
            self.cache_result(&job_id, job::encode(&commit.job), now);
        }
        if !self.settings.announces {
            return Ok(Appended::Appended);
        }
        if let Some(secret) = commit.job.secret {
            let lines: Vec<_> = events.iter().map(|event| &event.line).collect();
            let (first, last) = (commit.first(), commit.job.position);
            let sealed = envelope::seal(&secret, &job_id, last, &lines);
            let places = first.sequence..=last.sequence;
            self.feed.announce_sealed(&job_id, places, sealed);
        } else if commit.announce {
            for (sequence, event) in (commit.first().sequence..).zip(events) {
                self.feed.announce(&Announcement {
                    job_id: job_id.clone(),
                    position: Some(Position {
                        sequence,
                        ..commit.job.position
                    }),
                    line: event.line.clone(),
                    secret: None,
                });
            }
        }
        Ok(Appended::Appended)
    }

    fn refuses(
        &self,
        commit: &Commit,
        events: &[NewEvent],
        operation: &'static str,
        now: Instant,
    ) -> Result<Option<Appended>> {
        let job_id = &commit.job.id;
        let log = self.data.logs.get(job_id, now);
        if let Some(log) = log
            && let Some(place) = log.known(events, operation)?
        {
            return Ok(Some(Appended::Duplicate(place)));
        }
        if log.is_some_and(|log| log.ended) && !commit.reopens() {
            return Ok(Some(Appended::Ended));
        }
        let queue = &self.data.queue;
        let passes = match &commit.fence {
            Fence::Open => true,
            Fence::Foreign => {
                !self.data.jobs.contains(job_id, now) && log.is_none_or(|log| !log.own)
            }
            Fence::Held(token) => queue.holds(job_id, token, now),
            Fence::Expired(token) => queue.lease(job_id, token, now) == Some(Standing::Expired),
            Fence::Unclaimed => !queue.is_leased(job_id),
        };
        if !passes {
            return Ok(Some(Appended::Fenced));
        }
        if let Some(log) = log
            && log.doubtful
            && commit.replaces.is_none()
        {
            return Ok(Some(Appended::Doubtful(log.end)));
        }
        let place = commit.first();
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
            return Ok(Some(Appended::Conflict(log.map(|log| log.end))));
        }
        let quotas = self.settings.quotas;
        let is_full = self.data.unfinished_foreign.len() >= quotas.foreign_jobs
            || self.data.ended_foreign.len() >= quotas.ended_foreign_jobs();
        // A job that our own Triton has a record of can't have been made up by a publisher.
        let is_recorded = commit.job.own || self.data.jobs.contains(job_id, now);
        if !is_recorded {
            let goes_on = log.filter(|_| commit.replaces.is_none());
            self.weigh(commit, events, log.is_none(), goes_on)
                .map_err(|full| quotas.refusal(full, operation))?;
        }
        let goes_on = commit.reopens() && !commit.job.status.is_terminal();
        if goes_on && self.data.unfinished_foreign.len() >= quotas.foreign_jobs {
            return Err(quotas.refusal(Quota::ForeignJobs, operation));
        }
        if log.is_none() && !is_recorded && is_full {
            return Err(quotas.refusal(Quota::ForeignJobs, operation));
        }
        if log.is_none() && self.data.logs.len() >= self.settings.max_logs {
            return Err(Error::new(
                ErrorKind::OutOfSpace,
                operation,
                "the store in memory holds as many logs as it may (max_logs)",
            ));
        }
        let mut templates = commit.templates.iter();
        let taken = templates.find(|template| self.rival(template, now).is_some());
        Ok(taken.map(|template| Appended::PlaceTaken(template.index)))
    }

    /// Whether there is room for the bytes of more events of a job that isn't our own, in the log that
    /// it goes on if there is one.
    fn weigh(
        &self,
        commit: &Commit,
        events: &[NewEvent],
        begins: bool,
        log: Option<&JobLog>,
    ) -> Result<(), Quota> {
        let quotas = self.settings.quotas;
        let weighed = Weighed {
            bytes: cost_of(events),
            vital: events.iter().any(|event| event::glance(&event.line).vital),
            ends: commit.job.status.is_terminal(),
            begins,
        };
        let (of_job, of_all) = weighed.most(&quotas);
        let (kept, freed) = log.map_or((0, 0), |log| {
            let room = log.room_for(weighed.bytes, quotas.bytes_per_job());
            (room.kept, log.bytes() - room.kept)
        });
        let full = if kept + weighed.bytes > of_job {
            Quota::ForeignJobKib
        } else if (self.data.foreign_bytes + weighed.bytes).saturating_sub(freed) > of_all {
            Quota::ForeignMib
        } else {
            return Ok(());
        };
        Err(full)
    }

    fn append(&mut self, commit: &Commit, events: &[NewEvent], now: Instant) {
        let job = &commit.job;
        let history_limit = self.settings.history_limit;
        let bytes_per_job = self.settings.quotas.bytes_per_job();
        let is_bounded = !job.own && !self.data.jobs.contains(&job.id, now);
        let logs = &mut self.data.logs;
        let mut log = match logs.remove(&job.id) {
            Some(mut log) if commit.replaces.is_none() && commit.first() == log.end.next() => {
                if is_bounded {
                    log.make_room_for(cost_of(events), bytes_per_job);
                }
                log
            }
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
        for (sequence, event) in (commit.first().sequence..).zip(events) {
            log.entries.push_back(Entry {
                sequence,
                line: event.line.clone(),
            });
            let place = Position {
                sequence,
                ..job.position
            };
            log.event_ids.push_back(event.event_id.clone());
            log.places.insert(event.event_id.clone(), place);
        }
        log.trim(history_limit as u64);
        while log.event_ids.len() > EVENT_IDS_REMEMBERED + 1 {
            if let Some(oldest) = log.event_ids.pop_front() {
                log.places.remove(&oldest);
            }
        }
        let lifetime = if log.ended {
            self.settings.ended_log_ttl
        } else {
            self.settings.unfinished_ttl + wait_of(job)
        };
        let (ended, bytes) = (log.ended, log.bytes());
        logs.insert(job.id.clone(), log, now + lifetime);
        let stamp = Stamp::of(&job.id, job.position);
        self.data.latest.insert(Bucket::of(&job.id), stamp);
        if is_bounded {
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
        let from = now + wait_of(job);
        let jobs = &mut self.data.jobs;
        jobs.put(job.id.clone(), created_at, row, bytes, from);
    }

    pub(crate) fn apply_effect(&mut self, job_id: &JobId, effect: QueueEffect, now: Instant) {
        let queue = &mut self.data.queue;
        match effect {
            QueueEffect::Keep => {}
            QueueEffect::Requeue { after, counts } => {
                queue.requeue(job_id, after, counts, now);
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

    /// Closes a log of `limit` events behind its mark: so at least as many are kept, fewer than twice
    /// as many, unless those of an external job take too many bytes.
    fn trim(&mut self, limit: u64) {
        let mark = self.mark.as_ref().map_or(0, |(sequence, _)| *sequence);
        if self.end.sequence - mark >= limit {
            self.close();
        }
    }

    /// Cuts the log off at its mark, whose state becomes the base, and notes the state at its head as the
    /// next mark: the store can't fold, so a log can only be cut where a state was noted.
    fn close(&mut self) {
        let mark = self.mark.replace((self.end.sequence, self.state.clone()));
        if let Some((sequence, state)) = mark {
            self.entries.retain(|entry| entry.sequence > sequence);
            self.base = Some(state);
        }
    }

    /// How often a log of an external job is closed before its next event, so that this fits into the bytes
    /// that its job may have. No more than half of the bound lies behind a mark, so what is cut off is the
    /// older half; only an event that is larger than that may leave less.
    fn room_for(&self, bytes: usize, bound: usize) -> Room {
        let mark = self.mark.as_ref().map_or(0, |(sequence, _)| *sequence);
        let behind_the_mark = self.entries.iter().filter(|entry| entry.sequence > mark);
        let mut latest: usize = behind_the_mark.map(|entry| cost(&entry.line)).sum();
        let mut room = Room {
            closes: 0,
            kept: self.bytes(),
        };
        if latest > 0 && latest + bytes > bound / 2 {
            room.closes += 1;
            room.kept = if self.mark.is_some() {
                latest
            } else {
                room.kept
            };
            latest = 0;
        }
        if room.kept > 0 && room.kept + bytes > bound {
            room.closes += 1;
            room.kept = latest;
        }
        room
    }

    fn make_room_for(&mut self, bytes: usize, bound: usize) {
        for _ in 0..self.room_for(bytes, bound).closes {
            self.close();
        }
    }

    /// What its kept events cost.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| cost(&entry.line)).sum()
    }

    /// Where the first event is, if all were appended before.
    ///
    /// # Errors
    /// When only some were.
    pub(crate) fn known(
        &self,
        events: &[NewEvent],
        operation: &'static str,
    ) -> Result<Option<Position>> {
        let places = events.iter().map(|event| self.places.get(&event.event_id));
        let known: Vec<_> = places.flatten().collect();
        if known.is_empty() || known.len() == events.len() {
            return Ok(known.first().map(|place| **place));
        }
        Err(Error::new(
            ErrorKind::Refused,
            operation,
            "some events of the commit are in the log already, and others are not",
        ))
    }
}

/// How long after its latest event the job may run: by so much longer lives what is kept of it.
fn wait_of(job: &Job) -> Duration {
    let wait = job.updated_at.map(|at| job.schedule.wait_after(at));
    Duration::from_millis(wait.unwrap_or(0))
}

/// What is done to a log before its next event.
struct Room {
    /// How often it is closed.
    closes: usize,
    /// The bytes that are then kept.
    kept: usize,
}

/// What an event costs while it is kept.
fn cost(line: &bytes::Bytes) -> usize {
    line.len() + EVENT_OVERHEAD
}

/// What events cost together.
fn cost_of(events: &[NewEvent]) -> usize {
    events.iter().map(|event| cost(&event.line)).sum()
}
