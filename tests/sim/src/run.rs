//! One run: everything happens in steps of a virtual millisecond, each of which is one decision and what
//! the system makes of it.
//!
//! Never in here: how a decision is made, or what it means that something happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::JobId;
use conch_services::entropy;
use tokio::time::Instant;

use crate::board::{Call, Peer};
use crate::check::{self, Verdict};
use crate::clients::Crowd;
use crate::digest::Digest;
use crate::history::{Fault, Millis, Record, What};
use crate::moves::{Chooser, Lost, Move, View};
use crate::plan::{self, Plan};
use crate::planted::Planted;
use crate::process::Role;
use crate::world::World;

/// Between two decisions everything that can go on goes on.
const STEP: Duration = Duration::from_millis(1);
/// Decisions of a run, at most: a run that needs more goes round in circles.
const MAX_STEPS: u64 = 60_000;
/// How long after its lease a dead program's last words arrive.
const LATE: Duration = Duration::from_millis(100);
/// A call may be held up for as long and nobody would notice.
const HARMLESS: Duration = Duration::from_millis(100);
/// What is looked at again after all have what they came for.
const EPILOGUE: Duration = Duration::from_secs(3);

/// All that a run brought.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) records: Vec<Record>,
    pub(crate) steps: u64,
    /// Virtual.
    pub(crate) lasted: Duration,
    /// Each decision in words with its moment, if that was asked for.
    pub(crate) schedule: Vec<(Millis, String)>,
}

/// Runs `plan`, each decision made by `chooser`.
pub(crate) fn run(
    plan: Plan,
    planted: Option<Planted>,
    chooser: impl FnOnce(&Plan) -> Box<dyn Chooser>,
    tell: bool,
) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets needs nothing");
    let _seeded = entropy::seed_this_thread(plan.seed);
    let mut chooser = chooser(&plan);
    runtime.block_on(async {
        let mut run = Run::new(plan, planted, tell);
        run.go(&mut *chooser).await;
        run.end()
    })
}

struct Run {
    world: Arc<World>,
    crowd: Arc<Crowd>,
    steps: u64,
    healed_at: Option<Instant>,
    over_at: Option<Instant>,
    began: Instant,
    /// Until when whom the store is out of reach for.
    unreachable: BTreeMap<Option<Role>, Instant>,
    has_backup: bool,
    schedule: Option<Vec<(Millis, String)>>,
    digest: Digest,
}

impl Run {
    fn new(plan: Plan, planted: Option<Planted>, tell: bool) -> Self {
        let world = World::new(plan, planted);
        for n in 0..world.plan.workers {
            world.start(Role::Worker(n));
        }
        for n in 0..world.plan.apis {
            world.start(Role::Api(n));
        }
        Self {
            crowd: Crowd::gather(&world),
            world,
            steps: 0,
            healed_at: None,
            over_at: None,
            began: Instant::now(),
            unreachable: BTreeMap::new(),
            has_backup: false,
            schedule: tell.then(Vec::new),
            digest: Digest::default(),
        }
    }

    async fn go(&mut self, chooser: &mut dyn Chooser) {
        let deadline = check::patience(&self.world.plan);
        while self.steps < MAX_STEPS {
            self.settle().await;
            self.heal_if_due();
            if let Some(healed_at) = self.healed_at {
                let over_at = self.over_at.take().filter(|_| self.is_over());
                let over_at = over_at.or_else(|| self.is_over().then(Instant::now));
                self.over_at = over_at;
                if over_at.is_some_and(|at| at.elapsed() >= self.epilogue())
                    || healed_at.elapsed() > deadline
                {
                    break;
                }
            }
            let view = self.view(chooser.wants_state());
            if view.is_idle() && (view.healed || self.world.plan.odds.wait == 0) {
                self.wait_for_something().await;
                continue;
            }
            self.steps += 1;
            let decided = chooser.choose(&view);
            if let Some(schedule) = &mut self.schedule {
                let at = self.world.history.now();
                schedule.push((at, format!("{at:>7} ms  {}", view.say(&decided))));
            }
            self.perform(&view, decided).await;
            self.overdue();
        }
        self.settle().await;
    }

    /// What comes by itself has to have come by then.
    fn epilogue(&self) -> Duration {
        if self.world.plan.open_watchers > 0 {
            plan::POSITION_CHECK + EPILOGUE
        } else {
            EPILOGUE
        }
    }

    /// Lets everybody go on until all wait: the clock moves only then.
    async fn settle(&self) {
        tokio::time::sleep(STEP).await;
    }

    /// Until something waits for a decision, or something is due by itself.
    async fn wait_for_something(&self) {
        let channel = &self.world.channel;
        let latest = Instant::now() + Duration::from_millis(500);
        let due = channel.next_due().map_or(latest, |at| at.min(latest));
        let held = self
            .world
            .board
            .calls()
            .into_iter()
            .filter_map(|call| call.held_until);
        let due = held.fold(due, Instant::min);
        tokio::select! {
            biased;
            () = self.world.board.arrived.notified() => {}
            () = channel.arrived.notified() => {}
            () = tokio::time::sleep_until(due) => {}
        }
    }

    fn is_over(&self) -> bool {
        self.crowd.is_content() && check::all_ended(&self.world, &self.crowd.known())
    }

    fn heal_if_due(&mut self) {
        if self.healed_at.is_some() || self.began.elapsed() < self.world.plan.chaos {
            return;
        }
        self.healed_at = Some(Instant::now());
        self.unreachable.clear();
        for role in self.all_roles() {
            if self.world.is_draining(role) {
                self.world.crash(role);
            }
            if !self.world.is_up(role) {
                self.world.start(role);
            }
        }
        self.world.history.note(What::Healed);
    }

    fn all_roles(&self) -> Vec<Role> {
        let workers = (0..self.world.plan.workers).map(Role::Worker);
        workers
            .chain((0..self.world.plan.apis).map(Role::Api))
            .collect()
    }

    fn is_unreachable(&self, call: &Call) -> bool {
        let now = Instant::now();
        let cut = |role| {
            self.unreachable
                .get(&role)
                .is_some_and(|until| *until > now)
        };
        call.peer == Peer::Store && (cut(None) || cut(Some(call.from.role)))
    }

    fn view(&mut self, with_state: bool) -> View {
        let now = Instant::now();
        let all = self.world.board.calls();
        let lines = self.world.channel.lines();
        let running = self.world.up();
        let state = if with_state {
            self.digest.of(&self.world.history, &all, &lines, &running)
        } else {
            0
        };
        let free = |call: &Call| call.held_until.is_none_or(|at| at <= now);
        let calls: Vec<Call> = all.into_iter().filter(free).collect();
        let unreachable = calls.iter().filter(|call| self.is_unreachable(call));
        let unreachable = unreachable.map(|call| call.id).collect();
        let mut down = self.all_roles();
        down.retain(|role| !running.contains(role));
        let mut up = running;
        up.retain(|role| !self.world.is_draining(*role));
        let cuts = self.crowd.cuts.lock();
        let connected = cuts.iter().map(|(client, _)| *client).collect();
        drop(cuts);
        View {
            calls,
            unreachable,
            lines,
            up,
            down,
            connected,
            losable: self.losable(),
            has_backup: self.has_backup,
            healed: self.healed_at.is_some(),
            state,
        }
    }

    /// Jobs whose tail could be lost, if that is what this run loses.
    fn losable(&self) -> Vec<(JobId, usize)> {
        if self.world.plan.loss != plan::Loss::Tail || self.healed_at.is_some() {
            return Vec::new();
        }
        let known = self.crowd.known().into_iter();
        let with_most = known.map(|id| (self.world.store.can_lose(&id), id));
        let some = with_most.filter(|(most, _)| *most > 0);
        some.map(|(most, id)| (id, most)).collect()
    }

    async fn perform(&mut self, view: &View, decided: Move) {
        let world = Arc::clone(&self.world);
        match decided {
            Move::CarryOut(id) => world.board.carry_out(id),
            Move::Deliver(id) => world.board.deliver(id, None),
            Move::Fail(id, kind) => {
                self.disturbed(view.call(id));
                world.board.deliver(id, Some(kind));
            }
            Move::GiveUp(id) => {
                self.disturbed(view.call(id));
                world.board.give_up(id);
            }
            Move::Discard(id) => world.board.discard(id),
            Move::Hold(id, long) => {
                if long > HARMLESS {
                    self.disturbed(view.call(id));
                }
                world.board.hold(id, long);
            }
            Move::Announce { to, index, again } => world.channel.deliver(to, index, again),
            Move::LoseAnnouncement {
                to,
                index,
                told_after,
            } => {
                world.channel.lose(to, index, told_after);
            }
            Move::Lapse(to) => world.channel.lapse(to),
            Move::Interrupt(to, long) => world.channel.interrupt(to, long),
            Move::Crash(role) => world.crash(role),
            Move::CrashLate(role) => {
                for call in view.calls.iter().filter(|call| call.from.role == role) {
                    world.board.hold(call.id, plan::LEASE + LATE);
                }
                world.crash(role);
            }
            Move::Drain(role) => world.drain(role),
            Move::Start(role) => world.start(role),
            Move::Cut(client) => {
                let cuts = self.crowd.cuts.lock();
                for (_, cut) in cuts.iter().filter(|(of, _)| *of == client) {
                    cut.notify_one();
                }
            }
            Move::Lose(lost) => self.lose(lost),
            Move::BackUp => {
                world.store.back_up();
                self.has_backup = true;
            }
            Move::RestartStore => world.store.restart(),
            Move::Unreachable(role, long) => {
                world.history.note(What::Fault(Fault::Unreachable(role)));
                self.unreachable.insert(role, Instant::now() + long);
                world.channel.interrupt_process(role, long);
            }
            Move::Wait(long) => {
                if !view.is_idle() {
                    world.history.note(What::Fault(Fault::Stood));
                }
                tokio::time::sleep(long).await;
            }
        }
    }

    fn lose(&mut self, lost: Lost) {
        let store = &self.world.store;
        match lost {
            Lost::Everything => {
                store.wipe();
                self.has_backup = false;
                self.world.seed_client();
            }
            Lost::SinceBackup => {
                store.go_back();
            }
            Lost::Tail(job, count) if self.world.planted == Some(Planted::LossUnnoticed) => {
                store.cut_unnoticed(&job, count);
            }
            Lost::Tail(job, count) => store.cut(&job, count),
        }
    }

    fn disturbed(&self, call: Option<&Call>) {
        if let Some(call) = call {
            let who = call.from.role;
            self.world.history.note(What::Disturbed { who });
        }
    }

    /// Calls that have taken too long fail.
    fn overdue(&self) {
        for call in self.world.board.calls() {
            if call.awaited && call.since.elapsed() > plan::CALL_LIMIT {
                self.disturbed(Some(&call));
                self.world.board.give_up(call.id);
            }
        }
    }

    fn end(self) -> Outcome {
        let records = self.world.history.records();
        let gave_up = self.steps >= MAX_STEPS;
        let verdict = check::judge(&self.world.plan, &records, gave_up);
        Outcome {
            verdict,
            records,
            steps: self.steps,
            lasted: self.began.elapsed(),
            schedule: self.schedule.unwrap_or_default(),
        }
    }
}
