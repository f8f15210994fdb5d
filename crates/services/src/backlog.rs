//! External events that wait for their turn to be offered to their jobs' logs: bounded in bytes, and
//! fair to each job. A job gets one event in, then the next job has its turn, so one that chatters costs
//! its neighbours nothing.
//!
//! Never in here: an event that changes a job's life dropped for one that doesn't, or an end dropped and
//! forgotten. What finds no room at all is owed: the job is read from Triton when its turn comes.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use conch_domain::{EventKind, JobId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a waiting event, and a job that has any, costs beside its bytes.
const OVERHEAD: usize = 256;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes of all events.
    pub(crate) bytes: usize,
    /// Bytes of one job's.
    pub(crate) bytes_per_job: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            bytes_per_job: 1 << 20,
        }
    }
}

/// How much depends on an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// How far its job is. A later one that says as much or more says all that it says.
    Progress(u8),
    /// Its job goes the same way without it.
    Light,
    /// Its job's life.
    Vital,
}

impl Weight {
    fn of(kind: &EventKind) -> Self {
        match kind {
            vital if vital.is_vital() => Self::Vital,
            EventKind::Progress { progress, .. } => Self::Progress(*progress),
            _ => Self::Light,
        }
    }
}

/// An event as it came.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) line: Bytes,
    pub(crate) received_at: Timestamp,
}

/// What is due for a job.
#[derive(Debug)]
pub(crate) enum Due {
    /// This event is to be offered.
    Event(Heard),
    /// Events that matter found no room: what became of the job is to be asked.
    Owed,
}

/// How many events a push cost: of the same job or of others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// A later one says all that they said.
    pub(crate) superseded: usize,
    /// There was no room for them.
    pub(crate) overflow: usize,
}

struct Waiting {
    heard: Heard,
    weight: Weight,
}

impl Waiting {
    fn cost(&self) -> usize {
        self.heard.line.len() + OVERHEAD
    }
}

#[derive(Default)]
struct Job {
    events: VecDeque<Waiting>,
    bytes: usize,
    /// An event of it is being offered.
    at_work: bool,
    owed: bool,
}

#[derive(Default)]
struct State {
    jobs: HashMap<JobId, Job>,
    /// Jobs with something due, in the order of their turns.
    turns: VecDeque<JobId>,
    /// Jobs that have events waiting which may be dropped, by the bytes of all that waits.
    heaviest: BTreeSet<(usize, JobId)>,
    bytes: usize,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Backlog {
    bounds: Bounds,
    state: Mutex<State>,
    more: Notify,
}

impl Backlog {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Lets an event wait, if there is or can be made room for it.
    pub(crate) fn push(&self, job_id: &JobId, kind: &EventKind, heard: Heard) -> Dropped {
        let waiting = Waiting {
            heard,
            weight: Weight::of(kind),
        };
        let dropped = self.state.lock().push(self.bounds, job_id, waiting);
        self.more.notify_one();
        dropped
    }

    /// What is due next, of a job of which nothing is being offered; none once it is closed and nothing
    /// waits. To be followed by [`Backlog::done`]. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<(JobId, Due)> {
        loop {
            let more = self.more.notified();
            {
                let mut state = self.state.lock();
                if let Some(due) = state.take() {
                    // Another one may be due for whoever waits.
                    if !state.turns.is_empty() {
                        self.more.notify_one();
                    }
                    return Some(due);
                }
                if state.closed {
                    self.more.notify_one();
                    return None;
                }
            }
            more.await;
        }
    }

    /// What was due of the job is done.
    pub(crate) fn done(&self, job_id: &JobId) {
        let mut state = self.state.lock();
        let Some(job) = state.jobs.get_mut(job_id) else {
            return;
        };
        job.at_work = false;
        if job.events.is_empty() && !job.owed {
            state.jobs.remove(job_id);
            state.bytes -= OVERHEAD;
        } else {
            state.turns.push_back(job_id.clone());
            self.more.notify_one();
        }
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        // A permit for who comes, and word for those who wait.
        self.more.notify_waiters();
        self.more.notify_one();
    }
}

impl State {
    fn push(&mut self, bounds: Bounds, job_id: &JobId, waiting: Waiting) -> Dropped {
        let mut dropped = Dropped::default();
        if let Weight::Progress(percent) = waiting.weight {
            let says_no_more =
                |w: &Waiting| matches!(w.weight, Weight::Progress(p) if p <= percent);
            dropped.superseded = self.drop_from(job_id, says_no_more);
        }
        let is_vital = waiting.weight == Weight::Vital;
        let mut cost = waiting.cost();
        if !self.jobs.contains_key(job_id) {
            cost += OVERHEAD;
        }
        let of_job = |state: &Self| state.jobs.get(job_id).map_or(0, |job| job.bytes);
        if is_vital && of_job(self) + cost > bounds.bytes_per_job {
            dropped.overflow += self.drop_from(job_id, |w| w.weight != Weight::Vital);
        }
        // Whoever takes most makes room: for what matters always, else for who takes less.
        while self.bytes + cost > bounds.bytes {
            let heaviest = self.heaviest.last().cloned();
            let Some((bytes, heaviest)) =
                heaviest.filter(|(bytes, _)| is_vital || *bytes > of_job(self) + cost)
            else {
                break;
            };
            let before = self.bytes;
            dropped.overflow += self.drop_one(&heaviest);
            debug_assert!(
                self.bytes < before,
                "some of {bytes} bytes of {heaviest} could go"
            );
        }
        let fits = of_job(self) + cost <= bounds.bytes_per_job && self.bytes + cost <= bounds.bytes;
        if fits {
            self.job(job_id).events.push_back(waiting);
            self.add(job_id, cost);
        } else {
            dropped.overflow += 1;
            // The mark is small; where not even that has room, the position check asks.
            let is_known = self.jobs.contains_key(job_id);
            if is_vital && (is_known || self.bytes + OVERHEAD <= bounds.bytes) {
                self.job(job_id).owed = true;
                if !is_known {
                    self.bytes += OVERHEAD;
                }
            }
        }
        dropped
    }

    /// The job, which has its turn if it is new here.
    fn job(&mut self, job_id: &JobId) -> &mut Job {
        let turns = &mut self.turns;
        self.jobs.entry(job_id.clone()).or_insert_with(|| {
            turns.push_back(job_id.clone());
            Job::default()
        })
    }

    /// An event was added that costs so much, its job's own place included if that is new.
    fn add(&mut self, job_id: &JobId, cost: usize) {
        self.bytes += cost;
        self.change(job_id, |job| {
            job.bytes += job.events.back().map_or(0, Waiting::cost);
        });
    }

    /// Changes what waits of a job, and lists it anew.
    fn change<T>(&mut self, job_id: &JobId, change: impl FnOnce(&mut Job) -> T) -> Option<T> {
        let job = self.jobs.get_mut(job_id)?;
        let before = (job.bytes, job_id.clone());
        let answer = change(job);
        let can_drop = job.events.iter().any(|w| w.weight != Weight::Vital);
        let after = (job.bytes, job_id.clone());
        self.heaviest.remove(&before);
        if can_drop {
            self.heaviest.insert(after);
        }
        Some(answer)
    }

    /// Takes a job's events out that are so. How many they were.
    fn drop_from(&mut self, job_id: &JobId, is_so: impl Fn(&Waiting) -> bool) -> usize {
        let freed = self.change(job_id, |job| {
            let (count, bytes) = (job.events.len(), job.bytes);
            job.events.retain(|waiting| !is_so(waiting));
            job.bytes = job.events.iter().map(Waiting::cost).sum();
            (count - job.events.len(), bytes - job.bytes)
        });
        let (count, bytes) = freed.unwrap_or_default();
        self.bytes -= bytes;
        count
    }

    /// Takes the oldest of a job's events out that may be dropped.
    fn drop_one(&mut self, job_id: &JobId) -> usize {
        let freed = self.change(job_id, |job| {
            let at = job.events.iter().position(|w| w.weight != Weight::Vital);
            let gone = at.and_then(|at| job.events.remove(at));
            let bytes = gone.map_or(0, |waiting| waiting.cost());
            job.bytes -= bytes;
            bytes
        });
        self.bytes -= freed.unwrap_or_default();
        usize::from(freed.is_some_and(|bytes| bytes > 0))
    }

    fn take(&mut self) -> Option<(JobId, Due)> {
        loop {
            let job_id = self.turns.pop_front()?;
            let taken = self.change(&job_id, |job| {
                let event = job.events.pop_front();
                job.bytes -= event.as_ref().map_or(0, Waiting::cost);
                job.at_work = true;
                // Asked once all that waits has been told.
                let owed = event.is_none() && std::mem::take(&mut job.owed);
                (event, owed)
            });
            match taken {
                Some((Some(event), _)) => {
                    self.bytes -= event.cost();
                    return Some((job_id, Due::Event(event.heard)));
                }
                Some((None, true)) => return Some((job_id, Due::Owed)),
                // All that waited of it was dropped meanwhile.
                Some((None, false)) => {
                    self.jobs.remove(&job_id);
                    self.bytes -= OVERHEAD;
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        bytes: 20_000,
        bytes_per_job: 8_000,
    };

    fn id(name: &str) -> JobId {
        JobId::parse(name).unwrap()
    }

    fn at() -> Timestamp {
        Timestamp::from_micros(0)
    }

    fn progress() -> EventKind {
        progress_of(1)
    }

    fn progress_of(progress: u8) -> EventKind {
        EventKind::Progress {
            progress,
            completed_templates: 0,
            total_templates: 7,
            message: None,
        }
    }

    fn other() -> EventKind {
        EventKind::Other {
            event_type: "data:generated".to_owned(),
        }
    }

    fn started() -> EventKind {
        EventKind::Started { started_at: at() }
    }

    fn end() -> EventKind {
        EventKind::Cancelled {
            template_ids: Vec::new(),
            completed_at: at(),
        }
    }

    fn push(backlog: &Backlog, job: &str, kind: &EventKind, text: &str) -> Dropped {
        let heard = Heard {
            line: Bytes::copy_from_slice(text.as_bytes()),
            received_at: at(),
        };
        let dropped = backlog.push(&id(job), kind, heard);
        check(backlog);
        dropped
    }

    /// What is counted is what is there, and within its bounds.
    fn check(backlog: &Backlog) {
        let state = backlog.state.lock();
        let of = |job: &Job| job.events.iter().map(Waiting::cost).sum::<usize>();
        assert!(state.jobs.values().all(|job| job.bytes == of(job)));
        assert!(
            state
                .jobs
                .values()
                .all(|job| of(job) <= BOUNDS.bytes_per_job)
        );
        let sum: usize = state.jobs.values().map(|job| of(job) + OVERHEAD).sum();
        assert_eq!(state.bytes, sum);
        assert!(sum <= BOUNDS.bytes, "{sum}");
    }

    /// All that is due, in its order, as one worker would take it.
    fn all(backlog: &Backlog) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let taken = backlog.state.lock().take();
            let Some((job_id, due)) = taken else {
                assert_eq!(backlog.state.lock().bytes, 0, "nothing is left");
                return told;
            };
            told.push(match due {
                Due::Event(heard) => {
                    let text = String::from_utf8_lossy(&heard.line[..heard.line.len().min(8)])
                        .into_owned();
                    format!("{job_id} {text}")
                }
                Due::Owed => format!("{job_id} owed"),
            });
            backlog.done(&job_id);
            check(backlog);
        }
    }

    #[test]
    fn superseded_progress_takes_one_place_and_the_end_comes_after_it() {
        let backlog = Backlog::new(BOUNDS);
        push(&backlog, "j", &started(), "started");
        let mut superseded = 0;
        for number in 0..3000 {
            let dropped = push(&backlog, "j", &progress(), &format!("p{number}"));
            assert_eq!(dropped.overflow, 0);
            superseded += dropped.superseded;
        }
        push(&backlog, "j", &end(), "end");
        assert_eq!(superseded, 2999);
        assert_eq!(all(&backlog), ["j started", "j p2999", "j end"]);
    }

    #[test]
    fn late_progress_takes_no_place_of_what_says_more() {
        let backlog = Backlog::new(BOUNDS);
        for (percent, superseded) in [(40, 0), (80, 1), (20, 0), (20, 1), (60, 1)] {
            let dropped = push(&backlog, "j", &progress_of(percent), &percent.to_string());
            assert_eq!((dropped.superseded, dropped.overflow), (superseded, 0));
        }
        // Of the run that goes on after the failure.
        push(&backlog, "j", &started(), "started");
        push(&backlog, "j", &progress_of(30), "30");
        assert_eq!(all(&backlog), ["j 80", "j 60", "j started", "j 30"]);
    }

    #[test]
    fn each_job_has_its_turn() {
        let backlog = Backlog::new(BOUNDS);
        for number in 0..9 {
            push(&backlog, "chatty", &other(), &format!("{number}"));
        }
        push(&backlog, "quiet", &started(), "started");
        push(&backlog, "quiet", &end(), "end");
        let told = all(&backlog);
        assert_eq!(told[1], "quiet started");
        assert_eq!(told[3], "quiet end");
        assert_eq!(told.len(), 11);
    }

    #[test]
    fn what_matters_makes_room_among_what_does_not() {
        let backlog = Backlog::new(BOUNDS);
        let large = "x".repeat(1000);
        // Three jobs take all there is, each within its own bound.
        for job in ["a", "b", "c"] {
            for _ in 0..6 {
                push(&backlog, job, &other(), &large);
            }
            if job == "a" {
                let one_more = push(&backlog, "a", &other(), &large);
                assert_eq!(one_more.overflow, 1, "its own bound");
            }
        }
        // A neighbour finds room where most is taken, even for what may be dropped.
        let dropped = push(&backlog, "quiet", &other(), "a word");
        assert!(dropped.overflow > 0, "{dropped:?}");
        for job in ["d", "e", "f", "g"] {
            push(&backlog, job, &started(), &large);
            push(&backlog, job, &end(), &large);
        }
        let told = all(&backlog);
        assert!(told.contains(&"quiet a word".to_owned()), "{told:?}");
        for job in ["d", "e", "f", "g"] {
            let of = told.iter().filter(|line| line.starts_with(job)).count();
            assert_eq!(of, 2, "{told:?}");
        }
    }

    #[test]
    fn what_matters_has_room_also_where_its_own_job_takes_most() {
        let backlog = Backlog::new(BOUNDS);
        let large = "x".repeat(1000);
        for job in ["a", "b"] {
            for _ in 0..5 {
                push(&backlog, job, &other(), &large);
            }
        }
        push(&backlog, "mine", &started(), &"x".repeat(6000));
        let dropped = push(&backlog, "mine", &end(), &large);
        assert!(dropped.overflow > 0, "{dropped:?}");
        let told = all(&backlog);
        let mine: Vec<_> = told
            .iter()
            .filter(|line| line.starts_with("mine"))
            .collect();
        assert_eq!(mine, ["mine xxxxxxxx", "mine xxxxxxxx"]);
    }

    #[test]
    fn a_mebibyte_of_a_job_and_sixteen_of_all_wait_and_no_more() {
        let backlog = Backlog::default();
        let line = Bytes::from(vec![b'x'; 64 << 10]);
        let push = |job: &str| {
            let line = line.clone();
            let received_at = at();
            backlog.push(&id(job), &other(), Heard { line, received_at })
        };
        let fitted = (0..20).filter(|_| push("j").overflow == 0).count();
        assert_eq!(fitted, 15);
        for job in 1..20 {
            for _ in 0..15 {
                push(&format!("j-{job}"));
            }
        }
        let bytes = backlog.state.lock().bytes;
        assert!((15 << 20..=16 << 20).contains(&bytes), "{bytes}");
    }

    #[test]
    fn an_end_that_finds_no_room_is_owed() {
        let backlog = Backlog::new(BOUNDS);
        let large = "s".repeat(2000);
        for _ in 0..9 {
            push(&backlog, "j", &started(), &large);
        }
        assert_eq!(push(&backlog, "j", &end(), &large).overflow, 1);
        for job in ["k", "l", "m", "n"] {
            for _ in 0..3 {
                push(&backlog, job, &started(), &large);
            }
            push(&backlog, job, &end(), &large);
        }
        let told = all(&backlog);
        for job in ["j", "m", "n"] {
            let last = told.iter().rfind(|line| line.starts_with(job));
            assert_eq!(last, Some(&format!("{job} owed")), "{told:?}");
        }
    }

    #[tokio::test]
    async fn one_event_of_a_job_is_out_at_a_time() {
        let backlog = Backlog::new(BOUNDS);
        push(&backlog, "j", &started(), "one");
        push(&backlog, "j", &end(), "two");
        let (first, _) = backlog.next().await.expect("one is due");
        assert!(
            backlog.state.lock().take().is_none(),
            "the other waits for it"
        );
        push(&backlog, "j", &other(), "three");
        assert!(backlog.state.lock().take().is_none());
        backlog.done(&first);
        assert!(backlog.next().await.is_some());
        backlog.close();
        assert!(backlog.next().await.is_none());
    }
}
