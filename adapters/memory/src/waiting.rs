//! The jobs that wait, in the order in which they are claimed: each client that has a due job has its turn, and
//! within a client the most urgent job is first, then the one that has been due longest.
//!
//! Never in here: what is held, and who may claim.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use conch_domain::{ClientId, Job, JobId, Priority};
use conch_ports::{EXACT_PLACES, QueuePlace, Rotation};
use tokio::time::Instant;

/// Whose turn a job waits for, and how urgent it is. Jobs without a client count as one client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claimant {
    pub(crate) client_id: Option<ClientId>,
    pub(crate) priority: Priority,
}

impl Claimant {
    pub(crate) fn of(job: &Job) -> Self {
        Self {
            client_id: job.client_id.clone(),
            priority: job.schedule.priority,
        }
    }
}

/// Every job that is claimable or will be.
#[derive(Default, Clone)]
pub(crate) struct Waiting {
    jobs: HashMap<JobId, Spot>,
    /// Those that aren't due yet, by the moment at which they are.
    later: BTreeSet<(Instant, u64, JobId)>,
    /// The due ones of each client. No client is listed without one.
    due: HashMap<Option<ClientId>, DueJobs>,
    /// The clients that have a due job, by turn.
    turns: BTreeMap<u64, Option<ClientId>>,
    last_turn: u64,
    last_arrival: u64,
}

#[derive(Clone)]
struct Spot {
    claimant: Claimant,
    due: Instant,
    /// Tells jobs apart that became due at the same moment.
    arrival: u64,
    /// Whether it waits for its client's turn, else for its time.
    is_due: bool,
}

#[derive(Clone)]
struct DueJobs {
    turn: u64,
    jobs: BTreeSet<(Reverse<Priority>, Instant, u64, JobId)>,
}

impl Spot {
    fn among_the_due(&self, job_id: &JobId) -> (Reverse<Priority>, Instant, u64, JobId) {
        let urgency = Reverse(self.claimant.priority);
        (urgency, self.due, self.arrival, job_id.clone())
    }
}

impl Waiting {
    pub(crate) fn contains(&self, job_id: &JobId) -> bool {
        self.jobs.contains_key(job_id)
    }

    /// Since when or from when on the job is claimable.
    pub(crate) fn due(&self, job_id: &JobId) -> Option<Instant> {
        self.jobs.get(job_id).map(|spot| spot.due)
    }

    /// Adds a job, in the place of what was known of it.
    pub(crate) fn add(&mut self, job_id: JobId, claimant: Claimant, due: Instant, now: Instant) {
        self.remove(&job_id);
        self.last_arrival += 1;
        let spot = Spot {
            claimant,
            due,
            arrival: self.last_arrival,
            is_due: false,
        };
        self.later.insert((due, spot.arrival, job_id.clone()));
        self.jobs.insert(job_id, spot);
        self.promote(now);
    }

    pub(crate) fn remove(&mut self, job_id: &JobId) {
        let Some(spot) = self.jobs.remove(job_id) else {
            return;
        };
        if !spot.is_due {
            self.later.remove(&(spot.due, spot.arrival, job_id.clone()));
            return;
        }
        let client_id = &spot.claimant.client_id;
        if let Some(due) = self.due.get_mut(client_id) {
            due.jobs.remove(&spot.among_the_due(job_id));
            if due.jobs.is_empty() {
                self.turns.remove(&due.turn);
                self.due.remove(client_id);
            }
        }
    }

    /// Takes the next job that is due: the first one of the client whose turn it is, whose next turn is then
    /// after all others'.
    pub(crate) fn take_next(&mut self, now: Instant) -> Option<(JobId, Claimant)> {
        self.promote(now);
        let (_, client_id) = self.turns.first_key_value()?;
        let client_id = client_id.clone();
        let due = self.due.get_mut(&client_id)?;
        let (.., job_id) = due.jobs.first()?.clone();
        self.last_turn += 1;
        self.turns.remove(&due.turn);
        self.turns.insert(self.last_turn, client_id);
        due.turn = self.last_turn;
        let claimant = self.jobs.get(&job_id)?.claimant.clone();
        self.remove(&job_id);
        Some((job_id, claimant))
    }

    /// How long until the next job is claimable; none if none waits.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Duration> {
        self.promote(now);
        if !self.turns.is_empty() {
            return Some(Duration::ZERO);
        }
        let (due, ..) = self.later.first()?;
        Some(due.saturating_duration_since(now))
    }

    /// The place of each job that is due.
    pub(crate) fn places(&mut self, job_ids: &[JobId], now: Instant) -> Vec<Option<QueuePlace>> {
        self.promote(now);
        let clients: HashMap<_, u64> = self.turns.values().zip(0..).collect();
        let counted = self.turns.len() <= EXACT_PLACES;
        let jobs_of = |client_id| {
            self.due
                .get(client_id)
                .map_or(0, |due| due.jobs.len() as u64)
        };
        let jobs: Vec<u64> = if counted {
            self.turns.values().map(jobs_of).collect()
        } else {
            Vec::new()
        };
        let rotation = Rotation {
            jobs: &jobs,
            clients: self.turns.len() as u64,
            waiting: self.jobs.len() as u64,
        };
        let mut ahead: HashMap<&JobId, u64> = HashMap::new();
        let asked: HashSet<&JobId> = job_ids.iter().collect();
        let spots = job_ids.iter().filter_map(|job_id| self.jobs.get(job_id));
        let claimants: HashSet<_> = spots.map(|spot| &spot.claimant.client_id).collect();
        // Each client's jobs are passed once, however many are asked about.
        for client_id in claimants {
            let jobs = self
                .due
                .get(client_id)
                .into_iter()
                .flat_map(|due| &due.jobs);
            let ranked = jobs.map(|(.., job_id)| job_id).zip(0..);
            ahead.extend(ranked.filter(|(job_id, _)| asked.contains(job_id)));
        }
        let place = |job_id: &JobId| {
            let turn = clients.get(&self.jobs.get(job_id)?.claimant.client_id)?;
            Some(rotation.place(*turn, *ahead.get(job_id)?))
        };
        job_ids.iter().map(place).collect()
    }

    /// Lets those whose time has come wait for their clients' turns.
    fn promote(&mut self, now: Instant) {
        while let Some((due, ..)) = self.later.first()
            && *due <= now
            && let Some((_, _, job_id)) = self.later.pop_first()
        {
            let Some(spot) = self.jobs.get_mut(&job_id) else {
                continue;
            };
            spot.is_due = true;
            let client_id = spot.claimant.client_id.clone();
            let due = self.due.entry(client_id.clone()).or_insert_with(|| {
                self.last_turn += 1;
                self.turns.insert(self.last_turn, client_id);
                DueJobs {
                    turn: self.last_turn,
                    jobs: BTreeSet::new(),
                }
            });
            due.jobs.insert(spot.among_the_due(&job_id));
        }
    }
}
