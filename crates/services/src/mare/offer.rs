//! Offering an event to a log that this process doesn't write: external events and derived ones.
//!
//! Every instance that heard of the event offers it; the log's compare-and-set and its event ids see
//! to it that one append wins and all others learn its place (law 6).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conch_domain::{
    Applied, Event, EventCap, EventKind, Illegal, Job, JobId, JobRecord, JobStatus, Origin,
    Position,
};
use conch_ports::{
    Appended, Commit, Error, ErrorKind, Fence, JobLog, NewEvent, QueueEffect, Quota,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::append::{RACES, log_published, lost_races};
use crate::mare::folds::Folds;
use crate::mare::origins::KnownOrigins;
use crate::{entropy, limits};

/// Who says what is offered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// A publisher; its job takes as many as this.
    Publisher(EventCap),
    /// Triton; said of the job after it had gone on from this many ends.
    Triton { past_epochs: usize },
}

impl Source {
    fn fence(self) -> Fence {
        match self {
            Self::Publisher(_) => Fence::Foreign,
            Self::Triton { .. } => Fence::Open,
        }
    }

    fn check(self, job: &Job, event: &Event) -> Result<(), Illegal> {
        match self {
            // Progress that is told late, or twice: what the job has done is known.
            Self::Publisher(_)
                if job.status == JobStatus::Running
                    && matches!(event.kind, EventKind::Progress { progress, .. } if progress < job.progress) =>
            {
                Err(Illegal::Behind)
            }
            Self::Publisher(cap) => job.check(event, cap),
            // What was true of an epoch says nothing of the next one.
            Self::Triton { past_epochs } if job.past.len() != past_epochs => {
                Err(Illegal::OfAnEarlierEpoch)
            }
            Self::Triton { .. } => job.check(event, EventCap::NONE),
        }
    }
}

/// Who says where a job comes from.
#[derive(Clone, Copy)]
pub(crate) enum Origins<'a> {
    /// Triton, which told of the job.
    Told(&'a Origin),
    /// Triton, when it is asked: not about a new job while there is no room for one.
    Asked(&'a KnownOrigins, &'a NoRoom),
}

impl Origins<'_> {
    async fn of(self, job_id: &JobId, is_new: bool) -> Option<Origin> {
        match self {
            Self::Told(origin) => Some(origin.clone()),
            Self::Asked(origins, no_room) if is_new && no_room.was_found_lately() => {
                origins.known(job_id)
            }
            Self::Asked(origins, _) => origins.ask(job_id).await,
        }
    }

    /// A new job was refused. That its event alone is too large says nothing about others.
    fn refused(self, error: &Error) {
        let is_full = matches!(error.quota(), Some(Quota::ForeignJobs | Quota::ForeignMib))
            || error.kind() == ErrorKind::OutOfSpace;
        if is_full && let Self::Asked(_, no_room) = self {
            *no_room.found_at.lock() = Some(Instant::now());
        }
    }
}

/// For how long no room is expected for a further job once one was refused.
const NO_ROOM_LASTS: Duration = Duration::from_secs(5);

/// When the store last had no room for a new external job. Anyone who may publish can begin jobs, and each
/// that finds no room would cost Triton a request.
#[derive(Default)]
pub(crate) struct NoRoom {
    found_at: Mutex<Option<Instant>>,
}

impl NoRoom {
    fn was_found_lately(&self) -> bool {
        let found_at = *self.found_at.lock();
        found_at.is_some_and(|at| at.elapsed() < NO_ROOM_LASTS)
    }
}

/// An event that this offer appended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InLog {
    /// The fold after it.
    pub(crate) job: Job,
    /// As it was appended.
    pub(crate) line: Bytes,
}

/// What became of an offer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Offered {
    /// It is in the log now, at the end of this.
    Appended(Box<InLog>),
    /// It was there already.
    Duplicate(Position),
    /// It can't follow what the job has been through.
    Illegal(Illegal),
    /// The job is our own Triton's, and only its log may change it.
    OwnJob,
}

/// Appends the event where it fits, if its job takes so many; if the job goes on with it after its end,
/// in a new epoch. `encode` writes it down, given the fold after it; `origins` say where a job comes from that
/// lacks it; `folds` are where the fold of its log is kept.
///
/// # Errors
/// When the store is out of reach; offering again is safe.
pub(crate) async fn offer(
    log: &Arc<dyn JobLog>,
    event: &Event,
    source: Source,
    origins: Origins<'_>,
    folds: Option<&Folds>,
    encode: impl Fn(&Job) -> Bytes,
) -> Result<Offered, Error> {
    let fence = source.fence();
    let mut doubtful = None;
    for race in 0..RACES {
        // Once: whatever refuses it may do so because that fold is behind.
        let kept = folds.filter(|_| race == 0);
        let kept = kept.and_then(|folds| folds.get(&event.job_id));
        let is_certain = kept.is_none();
        let found = if is_certain {
            let found = log.read(&event.job_id, 0, 0).await?.map(|log| log.job);
            if let Some(folds) = folds {
                folds.see(&event.job_id, found.as_ref());
            }
            found
        } else {
            kept
        };
        let is_new = found.is_none();
        let mut job = match found {
            Some(found) => found,
            None => Job::initial(event.job_id.clone(), entropy::epoch(), false)
                .with_secret(entropy::log_secret()),
        };
        if fence == Fence::Foreign && job.own {
            return Ok(Offered::OwnJob);
        }
        let mut replaces = doubtful.filter(|place| *place == job.position);
        let mut base = None;
        let reopened = job.reopen(event, entropy::epoch());
        if let Some(reopened) = reopened.filter(|_| fence == Fence::Foreign) {
            replaces = Some(job.position);
            job = reopened.with_secret(entropy::log_secret());
        } else if replaces.is_some() {
            job = job
                .with_epoch(entropy::epoch())
                .with_secret(entropy::log_secret());
            base = Some(job.clone());
        }
        // A repeated end is a duplicate where the log remembers it: let the log say so.
        match source.check(&job, event) {
            Ok(()) | Err(Illegal::Ended(_)) => {}
            // By a fold that may be behind.
            Err(_) if !is_certain => continue,
            Err(illegal) => {
                if matches!(illegal, Illegal::TooManyEvents { .. }) {
                    limits::hit(limits::EVENTS_PER_JOB);
                }
                return Ok(Offered::Illegal(illegal));
            }
        }
        let ended = job.status;
        // Asked where a log begins, and once more before it ends.
        let lacks_origin = !job.own && (job.created_at.is_none() || job.client_id.is_none());
        let begins = job.position.sequence == 0;
        let turns = begins || event.kind.is_terminal();
        if lacks_origin
            && turns
            && !ended.is_terminal()
            && let Some(origin) = origins.of(&job.id, is_new).await
        {
            job.learn(&origin);
        }
        let position = job.position.next();
        if ended.is_terminal() {
            // Behind the head: at the head's own place the commit would begin the log again, should the
            // store lose it meanwhile.
            job = Job::restore(JobRecord {
                position,
                ..(*job).clone()
            });
        } else {
            let applied = job.apply(position, event);
            debug_assert_eq!(applied, Ok(Applied::Applied), "checked right before");
        }
        let announce = fence != Fence::Foreign;
        let line = encode(&job);
        let after = job.clone();
        let commit = Commit {
            events: vec![NewEvent {
                line: line.clone(),
                event_id: event.event_id.clone(),
            }],
            // Of what isn't ours nothing is in the queue.
            effect: QueueEffect::Keep,
            announce,
            templates: Vec::new(),
            fence: fence.clone(),
            replaces,
            base,
            job,
        };
        let appended = log.append(commit).await;
        match appended.inspect_err(|error| {
            if is_new {
                origins.refused(error);
            }
        })? {
            Appended::Appended => {
                if announce {
                    log_published(event, position);
                }
                if let Some(folds) = folds {
                    folds.keep(after.clone());
                }
                return Ok(Offered::Appended(Box::new(InLog { job: after, line })));
            }
            Appended::Duplicate(place) => return Ok(Offered::Duplicate(place)),
            // A fold that goes on is behind.
            Appended::Ended if !is_certain => {}
            Appended::Ended => return Ok(Offered::Illegal(Illegal::Ended(ended))),
            Appended::Fenced => return Ok(Offered::OwnJob),
            Appended::Conflict(_) | Appended::PlaceTaken(_) => {}
            Appended::Doubtful(place) => doubtful = Some(place),
        }
    }
    Err(lost_races())
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use conch_domain::{EventId, EventKind, Timestamp};
    use conch_memory::Faults;
    use conch_ports::{BusId, Guarantees, Log, Result};

    use super::*;

    /// Forgets everything right before it is written to.
    struct Forgetful {
        log: Arc<dyn JobLog>,
        faults: Faults,
    }

    #[async_trait]
    impl JobLog for Forgetful {
        fn guarantees(&self) -> Guarantees {
            self.log.guarantees()
        }

        fn announces(&self) -> Option<BusId> {
            self.log.announces()
        }

        async fn append(&self, commit: Commit) -> Result<Appended> {
            self.faults.wipe();
            self.log.append(commit).await
        }

        async fn read(
            &self,
            job_id: &conch_domain::JobId,
            after: u64,
            limit: usize,
        ) -> Result<Option<Log>> {
            self.log.read(job_id, after, limit).await
        }

        async fn positions(
            &self,
            job_ids: &[conch_domain::JobId],
        ) -> Result<Vec<Option<Position>>> {
            self.log.positions(job_ids).await
        }

        async fn now(&self) -> Result<Timestamp> {
            self.log.now().await
        }

        async fn ping(&self) -> Result<()> {
            self.log.ping().await
        }
    }

    fn failure(error: &str) -> Event {
        Event {
            event_id: EventId::from_uuid(entropy::random_uuid()),
            job_id: "f".parse().expect("an id"),
            client_id: None,
            timestamp: Timestamp::from_micros(0),
            kind: EventKind::Failed {
                error_message: error.to_owned(),
                completed_at: Timestamp::from_micros(0),
                generation_duration_ms: None,
            },
            attempt: None,
            making: None,
            derived: false,
        }
    }

    #[tokio::test]
    async fn a_second_end_begins_no_lost_log_again_in_its_old_epoch() {
        let memory = conch_memory::Settings::default().build();
        let log = memory.log();
        let line = |job: &Job| Bytes::from(format!("{}", job.position));
        let offer = async |log: &Arc<dyn JobLog>, error: &str| {
            let event = failure(error);
            let source = Source::Publisher(EventCap::default());
            let origin = Origin::default();
            let offered = offer(log, &event, source, Origins::Told(&origin), None, line).await;
            match offered.expect("memory answers") {
                Offered::Appended(appended) => appended.job.position,
                other => panic!("{other:?}"),
            }
        };
        let first = offer(&log, "one").await;
        let forgetful: Arc<dyn JobLog> = Arc::new(Forgetful {
            log: Arc::clone(&log),
            faults: memory.faults(),
        });
        let second = offer(&forgetful, "two").await;
        assert_eq!((first.sequence, second.sequence), (1, 1));
        assert_ne!(first.epoch, second.epoch);
    }
}
