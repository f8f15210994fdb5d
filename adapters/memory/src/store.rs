//! What the store holds. Each field is changed only by the port whose file bears its name, and by
//! `commit`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use conch_domain::{
    Audience, Category, ClientId, EventId, JobId, JobStatus, Position, TemplateId, Timestamp,
    ValuePropositionId,
};
use conch_ports::{Bucket, Entry, Stamp};
use tokio::time::Instant;

use crate::Settings;
use crate::clock::Clock;
use crate::expiring::Expiring;
#[cfg(feature = "faults")]
use crate::faults::feed::Disturbed as Feed;
#[cfg(not(feature = "faults"))]
use crate::feed::Feed;
use crate::queue::Queue;
use crate::shelf::Shelf;
use crate::tickets::Tickets;

pub(crate) struct Store {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) feed: Feed,
    pub(crate) data: Data,
}

/// What a store that forgets everything forgets.
#[derive(Clone)]
pub(crate) struct Data {
    pub(crate) logs: Expiring<JobId, JobLog>,
    /// The latest commit of each bucket of logs.
    pub(crate) latest: HashMap<Bucket, Stamp>,
    /// Jobs that are not our own, as long as their log, and its bytes.
    pub(crate) unfinished_foreign: Expiring<JobId, usize>,
    pub(crate) ended_foreign: Expiring<JobId, usize>,
    /// The bytes of all of these logs.
    pub(crate) foreign_bytes: usize,
    pub(crate) results: Expiring<JobId, Bytes>,
    pub(crate) queue: Queue,
    /// Own jobs that have not ended, and whether each runs.
    pub(crate) unfinished: BTreeMap<JobId, bool>,
    pub(crate) submissions: Expiring<String, Submitted>,
    pub(crate) clients: Shelf<ClientId, Option<String>>,
    pub(crate) value_propositions: Shelf<ValuePropositionId, ClientId>,
    pub(crate) jobs: Shelf<JobId, JobRow>,
    pub(crate) templates: Shelf<TemplateId, TemplateRow>,
    /// The templates of each job by their place in its plan.
    pub(crate) places: HashMap<JobId, BTreeMap<u32, TemplateId>>,
    pub(crate) tickets: Tickets,
}

/// One job's log with its state beside it.
#[derive(Clone)]
pub(crate) struct JobLog {
    /// The fold of all events, trimmed ones included, as its record.
    pub(crate) state: Bytes,
    pub(crate) own: bool,
    pub(crate) end: Position,
    pub(crate) ended: bool,
    /// The newest events, without gaps; the last one is at `end`.
    pub(crate) entries: VecDeque<Entry>,
    /// The fold before the first of them, where that isn't the job's first.
    pub(crate) base: Option<Bytes>,
    /// The fold at which the log may be trimmed next, and its sequence.
    pub(crate) mark: Option<(u64, Bytes)>,
    /// The store was told that it may have lost events of this log.
    pub(crate) doubtful: bool,
    /// The newest event ids, in the order of their events, those of earlier epochs that the job has
    /// gone on from among them; the last one is at `end`.
    pub(crate) event_ids: VecDeque<EventId>,
    /// The same ids with the places of their events.
    pub(crate) places: HashMap<EventId, Position>,
}

/// What an idempotency key stands for.
#[derive(Clone)]
pub(crate) struct Submitted {
    pub(crate) digest: String,
    pub(crate) job_id: JobId,
}

#[derive(Clone)]
pub(crate) struct JobRow {
    pub(crate) client_id: Option<ClientId>,
    pub(crate) status: JobStatus,
    pub(crate) updated_at: Option<Timestamp>,
}

#[derive(Clone)]
pub(crate) struct TemplateRow {
    pub(crate) client_id: ClientId,
    pub(crate) job_id: JobId,
    pub(crate) index: u32,
    pub(crate) category: Category,
    pub(crate) target_audience: Audience,
}

impl Store {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            clock: Clock::new(settings.begins),
            feed: Feed::new(settings.subscriber_queue),
            data: Data::new(&settings),
            settings,
        }
    }

    /// Removes a bounded part of what has run out. Every write begins with it.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let data = &mut self.data;
        data.logs.sweep(now);
        let unfinished = data.unfinished_foreign.sweep(now);
        for (_, bytes) in unfinished.into_iter().chain(data.ended_foreign.sweep(now)) {
            data.foreign_bytes -= bytes;
        }
        data.results.sweep(now);
        data.submissions.sweep(now);
        data.clients.sweep(now);
        data.value_propositions.sweep(now);
        for (id, _) in data.jobs.sweep(now) {
            data.unfinished.remove(&id);
        }
        for (id, row) in data.templates.sweep(now) {
            if let Some(places) = data.places.get_mut(&row.job_id) {
                // The place may have been taken anew since this one ran out.
                if places.get(&row.index) == Some(&id) {
                    places.remove(&row.index);
                }
                if places.is_empty() {
                    data.places.remove(&row.job_id);
                }
            }
        }
    }
}

impl Data {
    /// Lists the log of a job that is not our own, which lives until then, with its bytes.
    pub(crate) fn list_foreign(
        &mut self,
        job_id: &JobId,
        ended: bool,
        bytes: usize,
        until: Instant,
    ) {
        self.unlist_foreign(job_id);
        let list = if ended {
            &mut self.ended_foreign
        } else {
            &mut self.unfinished_foreign
        };
        list.insert(job_id.clone(), bytes, until);
        self.foreign_bytes += bytes;
    }

    pub(crate) fn unlist_foreign(&mut self, job_id: &JobId) {
        let unfinished = self.unfinished_foreign.remove(job_id);
        let listed = unfinished.or_else(|| self.ended_foreign.remove(job_id));
        self.foreign_bytes -= listed.unwrap_or_default();
    }

    /// Takes the log of a job that is not our own away, with the result that its end left.
    pub(crate) fn forget_foreign(&mut self, job_id: &JobId) {
        self.logs.remove(job_id);
        self.latest.remove(&Bucket::of(job_id));
        self.unlist_foreign(job_id);
        self.results.remove(job_id);
    }

    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            logs: Expiring::default(),
            latest: HashMap::new(),
            unfinished_foreign: Expiring::default(),
            ended_foreign: Expiring::default(),
            foreign_bytes: 0,
            results: Expiring::default(),
            queue: Queue::default(),
            unfinished: BTreeMap::new(),
            submissions: Expiring::default(),
            clients: Shelf::new(settings.retention),
            value_propositions: Shelf::new(settings.retention),
            jobs: Shelf::new(settings.retention),
            templates: Shelf::new(settings.retention),
            places: HashMap::new(),
            tickets: Tickets::default(),
        }
    }
}
