//! One watched job: the tail of its log as frames that are encoded once, shared by all who watch.
//!
//! A topic holds no queue per watcher: each watcher has a cursor into the same frames. Law 4 (attach
//! without a hole) is kept here once for all of them: a topic is open for hints from its creation on,
//! and only then reads its log; every hint makes it read again from where it stands.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use conch_domain::{Job, JobId, Position};
use conch_ports::Log;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::calls::{Calls, Reason};
use super::looks::Look;
use super::payers::Payers;
use super::state::{Absence, History, Phase, State};
use super::wake::Slots;
use super::{Shared, pump};

pub(super) struct Topic {
    pub(super) job_id: JobId,
    /// Set for a decoy: the job that its watchers asked for and may not know of. What is looked for
    /// is `job_id`, which nobody has, so that they are told what they are of any absent job.
    pub(super) instead_of: Option<JobId>,
    /// Who watches.
    pub(super) slots: Slots,
    /// Changes with every change of the state, so that a watcher woken for a heartbeat needs no lock.
    version: AtomicU64,
    state: Mutex<State>,
    /// What was announced of the job since streams that name none were last told of it.
    announced: AtomicU64,
    /// Where its pump runs.
    hub: Weak<Shared>,
    /// Why the pump is to look at the job.
    pub(super) calls: Calls,
    /// The subscription was interrupted: read again, but not all topics at once.
    pub(super) lapsed: AtomicBool,
    /// The pump is gone before its time: nothing comes here any more.
    broken_off: AtomicBool,
    /// Whether a watcher holds a cursor of this job, which proves that it existed.
    pub(super) claimed: AtomicBool,
    /// The answer to whether there is a log, where the job is looked for together with others.
    look: Mutex<Option<Look>>,
    /// Whose questions those are that are asked because there is no log.
    pub(super) payers: Payers,
    /// From when on Triton is to be asked, though the job isn't silent.
    pub(super) inquiry: Mutex<Option<Instant>>,
    /// A stream named the job: whose it is matters even once it has ended.
    pub(super) is_named: AtomicBool,
    /// Held while the log is read, so that what is read is taken in in order.
    pub(super) reading: tokio::sync::Mutex<()>,
    /// Watchers and feeds that need the topic.
    pub(super) interest: AtomicUsize,
    /// When the last of them went.
    pub(super) idle_since: Mutex<Instant>,
    /// Tells those who are attaching that something is known now.
    pub(super) settled: Notify,
}

/// That a job was announced, perhaps with a number, perhaps by a forger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced(u64);

const NOT_ANNOUNCED: u64 = 0;
/// No log gets that far.
const WITHOUT_A_NUMBER: u64 = u64::MAX;

impl Announced {
    /// Whether it was this event that was announced.
    pub(super) fn is(self, sequence: u64) -> bool {
        self.0 == sequence
    }
}

/// What reading the log brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absorbed {
    /// Nothing new.
    Nothing,
    /// New events, or another incarnation.
    News,
    /// The log is another incarnation, or shorter than it was: read it from its beginning.
    Elsewhere,
}

impl Topic {
    pub(super) fn new(job_id: JobId) -> Self {
        Self {
            job_id,
            instead_of: None,
            slots: Slots::default(),
            version: AtomicU64::new(0),
            state: Mutex::new(State::new()),
            announced: AtomicU64::new(NOT_ANNOUNCED),
            hub: Weak::new(),
            calls: Calls::new(),
            lapsed: AtomicBool::new(false),
            broken_off: AtomicBool::new(false),
            claimed: AtomicBool::new(false),
            look: Mutex::new(None),
            payers: Payers::default(),
            inquiry: Mutex::new(None),
            is_named: AtomicBool::new(false),
            reading: tokio::sync::Mutex::new(()),
            interest: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
            settled: Notify::new(),
        }
    }

    /// A topic in which nothing is ever found.
    pub(super) fn decoy(job_id: JobId, instead_of: JobId) -> Self {
        Self {
            instead_of: Some(instead_of),
            ..Self::new(job_id)
        }
    }

    /// A topic whose pump runs there once it is called.
    pub(super) fn of(self, hub: &Arc<Shared>) -> Self {
        Self {
            hub: Arc::downgrade(hub),
            ..self
        }
    }

    /// Has the pump look at the job, and starts it if it rests.
    pub(super) fn call(self: &Arc<Self>, reason: Reason) {
        if self.calls.call(reason)
            && let Some(hub) = self.hub.upgrade()
        {
            pump::start(&hub, self);
        }
    }

    /// A topic of a job that is looked for together with others.
    pub(super) fn looked_for(self, look: Option<Look>) -> Self {
        Self {
            look: Mutex::new(look),
            ..self
        }
    }

    /// The answer that the topic waits for, if it does.
    pub(super) fn take_look(&self) -> Option<Look> {
        self.look.lock().take()
    }

    /// Its log was looked for, and there is none.
    pub(super) fn has_no_log(&self) {
        self.update(|state| {
            let now = Instant::now();
            state.absent.get_or_insert(Absence {
                since: now,
                looked_at: now,
                unknown_to_triton: false,
            });
            state.lose_shelved();
        });
        if let Some(hub) = self.hub.upgrade() {
            hub.checks.is_to_come(self);
        }
    }

    /// Its log was looked for just now, and there is none.
    pub(super) fn was_looked_for(&self) {
        if let Some(absence) = &mut self.state.lock().absent {
            absence.looked_at = Instant::now();
        }
    }

    /// Whether its log was looked for within that time, and there was none.
    pub(super) fn was_looked_for_within(&self, time: Duration) -> bool {
        let absent = self.state.lock().absent;
        absent.is_some_and(|absence| absence.looked_at.elapsed() <= time)
    }

    /// The job as its watchers know it.
    pub(super) fn asked_for(&self) -> &JobId {
        self.instead_of.as_ref().unwrap_or(&self.job_id)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The job was announced, with this number if any. Of several numbers the last one counts.
    pub(super) fn announce(&self, sequence: Option<u64>) {
        match sequence.filter(|sequence| *sequence != NOT_ANNOUNCED) {
            Some(sequence) => self.announced.store(sequence, Ordering::Release),
            // Says less than a number that is there already.
            None => drop(self.announced.compare_exchange(
                NOT_ANNOUNCED,
                WITHOUT_A_NUMBER,
                Ordering::AcqRel,
                Ordering::Acquire,
            )),
        }
    }

    /// Whether the job was announced and has not been looked at since.
    pub(super) fn is_announced(&self) -> bool {
        self.announced.load(Ordering::Acquire) != NOT_ANNOUNCED
    }

    /// What was announced; asks once.
    pub(super) fn take_announced(&self) -> Option<Announced> {
        let announced = self.announced.swap(NOT_ANNOUNCED, Ordering::AcqRel);
        (announced != NOT_ANNOUNCED).then_some(Announced(announced))
    }

    /// Whether the job, as far as is known, doesn't exist yet: such jobs are looked for together.
    pub(super) fn is_to_come(&self) -> bool {
        let is_claimed = self.claimed.load(Ordering::Acquire);
        self.state.lock().is_to_come(is_claimed)
    }

    /// Whether its log was read, is there, and nothing more is to be done until the pump is called.
    pub(super) fn is_at_rest(&self) -> bool {
        let state = self.state.lock();
        match state.phase {
            Phase::Live | Phase::Ended(_) => state.absent.is_none(),
            Phase::Loading | Phase::EndedWithoutLog(_) | Phase::Lost => false,
        }
    }

    /// Whether nothing more can come, as far as is known.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state.lock();
        match state.phase {
            Phase::Loading | Phase::Live => false,
            Phase::Ended(_) => !(state.is_owner_open && self.is_named.load(Ordering::Acquire)),
            Phase::EndedWithoutLog(_) | Phase::Lost => !state.is_owner_open,
        }
    }

    /// Whether Triton may know more than the log: the job may have ended without its log knowing, because
    /// its log, if there is one, isn't our own Triton's and shows no end; or the log doesn't say whose the
    /// job is.
    pub(super) fn may_know_less_than_triton(&self) -> bool {
        self.state.lock().may_know_less_than_triton()
    }

    /// Has the job looked for again, if it was given up: a new caller asks for it.
    pub(super) fn look_anew(self: &Arc<Self>, look: impl FnOnce() -> Option<Look>) {
        if self.state.lock().phase != Phase::Lost {
            return;
        }
        *self.look.lock() = look();
        self.update(|state| {
            state.phase = Phase::Loading;
            state.absent = None;
        });
        self.call(Reason::Stale);
    }

    /// Whether the job has ended, and no log says so.
    pub(super) fn is_without_log(&self) -> bool {
        matches!(self.state.lock().phase, Phase::EndedWithoutLog(_))
    }

    /// The job has ended, and no log says so.
    pub(super) fn end_without_log(&self, result: Job) {
        self.update(|state| {
            if !matches!(state.phase, Phase::Ended(_)) {
                state.phase = Phase::EndedWithoutLog(result.status);
                // Whoever was cleared for the log's job has to be for this.
                state.generation += 1;
                state.result = Some(Box::new(result));
                state.is_owner_open = false;
            }
        });
    }

    /// The same, but it is open whose job it is. False: that was known before, or there is a log.
    pub(super) fn end_without_owner(&self, result: &Job) -> bool {
        self.update(|state| {
            let is_news = state.absent.is_some() && state.result.is_none();
            if is_news {
                state.phase = Phase::EndedWithoutLog(result.status);
                state.result = Some(Box::new(result.clone()));
                state.is_owner_open = true;
            }
            is_news
        })
    }

    /// The result of which it is open whose it is.
    pub(super) fn result_without_owner(&self) -> Option<Job> {
        let state = self.state.lock();
        let is_it = state.has_result_without_owner();
        state.result.as_deref().filter(|_| is_it).cloned()
    }

    /// Whether our own Triton created the job, as far as is known.
    pub(super) fn is_own(&self) -> bool {
        self.state.lock().job.as_ref().is_some_and(|job| job.own)
    }

    /// Whether the job may go on, or turn up, though it seems to be over: nothing but a log of our own
    /// Triton's is the last word.
    pub(super) fn may_go_on(&self) -> bool {
        let state = self.state.lock();
        match state.phase {
            Phase::Ended(_) => state.job.as_ref().is_some_and(|job| !job.own),
            Phase::EndedWithoutLog(_) | Phase::Lost => true,
            Phase::Loading | Phase::Live => false,
        }
    }

    /// See [`State::may_have_gone_on`].
    pub(super) fn may_have_gone_on(&self) -> bool {
        self.state.lock().may_have_gone_on()
    }

    /// Whether nothing comes here any more, though the job may go on: whoever watches has to begin
    /// again, on a topic of its own time.
    pub(super) fn is_broken_off(&self) -> bool {
        self.broken_off.load(Ordering::Acquire)
    }

    /// Tells everybody that nothing comes here any more.
    pub(super) fn break_off(&self) {
        self.broken_off.store(true, Ordering::Release);
        self.update(|_| ());
    }

    /// Whether a watcher with this cursor can be given what follows it.
    pub(super) fn honours(&self, cursor: Position) -> bool {
        self.state.lock().honours(cursor)
    }

    /// Waits until `look` finds an answer; it looks at once, and whenever the topic has settled. No
    /// change between a look and the wait is missed. Cancel-safe.
    pub(super) async fn wait_for<T>(
        self: &Arc<Self>,
        mut look: impl FnMut(&Arc<Self>) -> Option<T>,
    ) -> T {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if let Some(found) = look(self) {
                return found;
            }
            settled.await;
        }
    }

    /// A watcher has a cursor that this topic can't honour, and the log couldn't be read to see why.
    pub(super) fn doubt(self: &Arc<Self>) {
        self.state.lock().doubt();
        self.call(Reason::Stale);
    }

    /// A read of the log begins; the answer is its number.
    pub(super) fn begin_read(&self) -> u64 {
        self.state.lock().begin_read()
    }

    /// A read was answered, and what it brought was taken in.
    pub(super) fn end_read(&self, number: u64) {
        let settles = self.state.lock().is_doubt_settled_by(number);
        if settles {
            self.update(State::believe);
        }
    }

    /// Changes the state and tells everybody.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.state.lock());
        self.version.fetch_add(1, Ordering::Release);
        self.slots.wake_all();
        self.settled.notify_waiters();
        answer
    }

    /// Takes in what was read after sequence `after`. Keeps the newest events as `keep` says, beside those
    /// that were just read. `is_triton_due`: if a log that begins names no owner, Triton may do so.
    pub(super) fn absorb(
        &self,
        log: Log,
        after: u64,
        keep: History,
        is_triton_due: bool,
    ) -> Absorbed {
        let is_known = {
            let mut state = self.state.lock();
            match state.head() {
                Some(head) if after > 0 => {
                    let found = log.job.position;
                    if head.epoch != found.epoch || found.sequence < head.sequence {
                        return Absorbed::Elsewhere;
                    }
                    if found.sequence == head.sequence {
                        state.absent = None;
                        let was_given_up = matches!(state.phase, Phase::Loading | Phase::Lost);
                        if !was_given_up && !state.has_result_without_owner() {
                            return Absorbed::Nothing;
                        }
                        // It is there as it was.
                        drop(state);
                        self.update(|state| {
                            state.drop_result();
                            state.phase = Phase::of(log.job.status);
                        });
                        return Absorbed::Nothing;
                    }
                }
                _ => {}
            }
            state.is_unshelved_by(&log) && state.head() == Some(log.job.position)
        };
        self.update(|state| state.take_in(log, after, keep, is_triton_due));
        if is_known {
            Absorbed::Nothing
        } else {
            Absorbed::News
        }
    }
}
