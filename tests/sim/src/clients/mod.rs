//! Whoever uses the system from outside. Each is a task of its own that never dies; what it sends waits
//! on the board like everything else.

mod asker;
mod publisher;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use conch_domain::JobId;
use conch_ports::Result;
use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::board::{Effect, Peer};
use crate::history::{Said, What};
use crate::process::{Process, Role};
use crate::shown::Shown;
use crate::world::{Api, World};

/// What all clients of a run share.
pub(crate) struct Crowd {
    pub(crate) world: Arc<World>,
    /// Jobs that somebody may watch, as they become known.
    jobs: Shown<Vec<JobId>>,
    /// Connections that may be cut, by client.
    pub(crate) cuts: Mutex<Vec<(usize, Arc<Notify>)>>,
    tasks: Mutex<JoinSet<()>>,
    /// Clients that will come to an end by themselves, and how many of them have.
    finite: Mutex<(usize, usize)>,
}

/// One client.
pub(crate) struct Client {
    crowd: Arc<Crowd>,
    process: Arc<Process>,
    index: usize,
    rng: Xoshiro256PlusPlus,
}

impl Crowd {
    /// Everybody whom the plan asks for.
    pub(crate) fn gather(world: &Arc<World>) -> Arc<Self> {
        let crowd = Arc::new(Self {
            world: Arc::clone(world),
            jobs: Shown::default(),
            cuts: Mutex::default(),
            tasks: Mutex::new(JoinSet::new()),
            finite: Mutex::default(),
        });
        let plan = &world.plan;
        let mut index = 0;
        let mut add = |finite: bool, run: Box<dyn FnOnce(Client) -> Run>| {
            crowd.add(index, finite, run);
            index += 1;
        };
        for n in 0..plan.jobs {
            add(true, Box::new(move |client| Box::pin(client.submit(n))));
        }
        for n in 0..plan.foreign_jobs {
            add(true, Box::new(move |client| Box::pin(client.publish(n))));
        }
        for n in 0..plan.jobs + plan.foreign_jobs {
            for _ in 0..plan.watchers_per_job {
                add(true, Box::new(move |client| Box::pin(client.watch_one(n))));
            }
        }
        for _ in 0..plan.named_watchers {
            let jobs = plan.jobs;
            add(
                true,
                Box::new(move |client| Box::pin(client.watch_named(jobs))),
            );
        }
        for _ in 0..plan.open_watchers {
            add(false, Box::new(|client| Box::pin(client.watch_every())));
        }
        for _ in 0..plan.pollers {
            add(false, Box::new(|client| Box::pin(client.poll())));
        }
        for _ in 0..plan.cancellers {
            add(false, Box::new(|client| Box::pin(client.cancel())));
        }
        if plan.forger {
            add(false, Box::new(|client| Box::pin(client.forge())));
        }
        crowd
    }

    fn add(self: &Arc<Self>, index: usize, finite: bool, run: impl FnOnce(Client) -> Run) {
        let role = Role::Client(index);
        let client = Client {
            crowd: Arc::clone(self),
            process: Process::new(role, 1),
            index,
            rng: self.world.rng(role, 3),
        };
        let run = run(client);
        let crowd = Arc::clone(self);
        if finite {
            self.finite.lock().0 += 1;
        }
        self.tasks.lock().spawn(async move {
            run.await;
            if finite {
                crowd.finite.lock().1 += 1;
            }
        });
    }

    /// Whether everybody who comes for something has it.
    pub(crate) fn is_content(&self) -> bool {
        let (all, done) = *self.finite.lock();
        all == done
    }

    fn know(&self, job: JobId) {
        self.jobs.change(|jobs| {
            if !jobs.contains(&job) {
                jobs.push(job);
            }
        });
    }

    /// Jobs that anybody was told of.
    pub(crate) fn known(&self) -> Vec<JobId> {
        self.jobs.look(Clone::clone)
    }
}

type Run = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Client {
    fn note(&self, said: Said) {
        let client = self.index;
        self.crowd.world.history.note(What::Client { client, said });
    }

    fn name(&self, id: &JobId) -> String {
        self.crowd.world.history.job(id)
    }

    /// An edge that can be reached, once the request has come there.
    async fn reach(&mut self, what: &'static str, about: String) -> Option<Arc<Api>> {
        let world = Arc::clone(&self.crowd.world);
        let n = self.rng.random_range(0..world.plan.apis);
        let at = Arc::clone(&world);
        let effect: Effect<Option<Arc<Api>>> = Effect::Now(Box::new(move || Ok(at.api(n))));
        let reached = world
            .board
            .call(&self.process, Peer::Api(n), what, about, effect);
        reached.await.ok().flatten()
    }

    /// The answer of an edge, unless it dies over it.
    async fn of<T>(&self, api: &Api, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = api.process.gone.cancelled() => None,
            answer = answer => Some(answer),
        }
    }

    async fn pause(&mut self, least: u64, most: u64) {
        if self.crowd.world.plan.hurry {
            return tokio::time::sleep(Duration::from_millis(least.min(50))).await;
        }
        let millis = self.rng.random_range(least..=most);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Whether something happens that happens only now and then.
    fn now_and_then(&mut self, of: u32) -> bool {
        !self.crowd.world.plan.hurry && self.rng.random_ratio(1, of)
    }

    /// Until a watcher comes: while most happens, some time after, or right when something happens.
    async fn before_watching(&mut self, job: &JobId) {
        let busy = 7 * self.crowd.world.plan.pace.as_millis() as u64 + 200;
        let most = [100, busy, 3000][self.rng.random_range(0..3)];
        if self.now_and_then(3) {
            let nth = [1, 2, 8, 9, 15, 16, 17][self.rng.random_range(0..7)];
            let world = Arc::clone(&self.crowd.world);
            let there = world
                .store
                .ends
                .until(|ends| ends.get(job).filter(|end| **end >= nth).copied());
            let patience = Duration::from_secs(5);
            drop(tokio::time::timeout(patience, there).await);
        } else {
            self.pause(0, most).await;
        }
    }

    /// The `n`th job that is known, of its kind.
    async fn nth(&self, n: usize) -> JobId {
        let own = self.crowd.world.plan.jobs;
        let (foreign, n) = if n < own { (false, n) } else { (true, n - own) };
        let is_of_its_kind = |id: &&JobId| id.as_str().starts_with("foreign") == foreign;
        let nth = |jobs: &Vec<JobId>| jobs.iter().filter(is_of_its_kind).nth(n).cloned();
        self.crowd.jobs.until(nth).await
    }

    async fn step<T: Send + 'static>(
        &self,
        peer: Peer,
        what: &'static str,
        about: String,
        effect: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let board = Arc::clone(&self.crowd.world.board);
        board
            .call(
                &self.process,
                peer,
                what,
                about,
                Effect::Now(Box::new(effect)),
            )
            .await
    }
}
