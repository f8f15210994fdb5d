//! One run: a cluster, the people who use it, the faults, and at the end the verdict.
//!
//! ```text
//!   start ─► submit, watch, fault … ─► finish: all is healed ─► every watcher told to stop, or T is over
//!                                              └─► lookups, histories, the store ─► checker
//! ```

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::audience::Watchers;
use super::checker::{self, Judgement};
use super::cluster::{Cluster, Shape};
use super::faults::{self, Kind};
use super::history::History;
use super::people::Person;
use super::publishers::ExternalJob;
use super::store::Lifetimes;
use super::{Dice, store};
use crate::{Mare, http};

/// What a busy machine may take beside T.
const SLACK: Duration = Duration::from_secs(6);

/// A run that goes on.
#[derive(Debug)]
pub struct Run {
    /// The processes.
    pub cluster: Arc<Cluster>,
    /// What was seen.
    pub history: History,
    /// For requests of a test's own.
    pub http: Client,
    /// The clients whose jobs are submitted.
    pub clients: Vec<String>,
    pub(super) shape: Shape,
    dice: Mutex<Dice>,
    jobs: Mutex<Vec<String>>,
    external: Mutex<Vec<ExternalJob>>,
    pub(super) watchers: Mutex<Watchers>,
    /// The storm is over: no watcher leaves by itself any more.
    pub(super) calm: tokio::sync::watch::Sender<bool>,
    tap: JoinHandle<()>,
    pub(super) terms: Terms,
}

/// What is agreed on before a run, beside its shape.
#[derive(Debug, Clone)]
pub struct Terms {
    /// In calm an event must be with every watcher after this; none: not judged.
    pub prompt: Option<Duration>,
    /// Whether results still stand in the cache when the run is over.
    pub results_live: bool,
    /// Whether every job ends before the run does.
    pub ends: bool,
    /// `HISTORY_LIMIT`.
    pub history_limit: u64,
    /// How long a log lives after its end, where a run is longer.
    pub history_ttl: Option<Duration>,
    /// Whether some of the watchers leave by themselves and come back.
    pub restless: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            prompt: None,
            results_live: true,
            ends: true,
            history_limit: 100,
            history_ttl: None,
            restless: false,
        }
    }
}

/// How a run went.
#[derive(Debug)]
pub struct Verdict {
    /// The checker's word.
    pub judgement: Judgement,
    /// What was recorded.
    pub records: Vec<Value>,
    /// Where that stands.
    pub path: std::path::PathBuf,
    /// What it was called.
    pub name: String,
}

impl Verdict {
    /// Passes on what was counted.
    ///
    /// # Panics
    /// When an invariant was broken.
    pub fn expect_clean(self) -> checker::Figures {
        assert!(
            self.judgement.violations.is_empty(),
            "{}: {}\njudge it again: conch-chaos judge {}",
            self.name,
            self.judgement.told(),
            self.path.display()
        );
        self.judgement.figures
    }
}

impl Run {
    /// Starts a cluster with two clients.
    pub async fn start(name: &str, shape: Shape, terms: Terms, seed: u64) -> Self {
        let history = History::begin(name);
        history.note(
            "terms",
            json!({
                "run": name,
                "seed": seed,
                "class": shape.class(),
                "t_ms": shape.t_ms(),
                "prompt_ms": terms.prompt.map(|p| p.as_millis() as u64),
                // Subscriptions are tried again and probed within this.
                "settle_ms": 1500,
                "history_limit": terms.history_limit,
                "history_ttl_ms": terms.history_ttl.map(|ttl| ttl.as_millis() as u64),
                "results_live": terms.results_live,
                "ends": terms.ends,
                "sabotage": shape.sabotage,
            }),
        );
        let cluster = Arc::new(Cluster::start(&shape).await);
        let tap = tokio::spawn(store::tap(
            cluster.redis_port,
            cluster.channel(),
            history.clone(),
        ));
        let run = Self {
            cluster,
            history,
            http: http::client(),
            clients: Vec::new(),
            shape,
            dice: Mutex::new(Dice::new(seed)),
            jobs: Mutex::default(),
            external: Mutex::default(),
            watchers: Mutex::default(),
            calm: tokio::sync::watch::Sender::new(false),
            tap,
            terms,
        };
        let mare = run.mare(0);
        let clients = [
            mare.new_client("Fabrikam Health").await,
            mare.new_client("Contoso Care").await,
        ];
        Self {
            clients: clients.into(),
            ..run
        }
    }

    /// The edge API of a process.
    pub fn mare(&self, api: usize) -> Mare {
        Mare::on(self.cluster.apis[api].port())
    }

    /// Chance of its own.
    pub fn dice(&self) -> Dice {
        self.dice.lock().fork()
    }

    pub(super) fn person(&self) -> Person {
        Person {
            http: self.http.clone(),
            history: self.history.clone(),
            ports: self.cluster.fronts(),
            dice: self.dice(),
        }
    }

    /// Submits a job under a key of its own, at whichever API answers.
    ///
    /// # Panics
    /// When none does.
    pub async fn submit(&self) -> String {
        let mut dice = self.dice();
        let client = &self.clients[dice.place(self.clients.len())];
        let key = format!("key-{:016x}", dice.number(0..=u64::MAX - 1));
        let submitted = self.person().submit(client, &key).await;
        let job = submitted.expect("somebody takes it in time");
        self.jobs.lock().push(job.clone());
        job
    }

    /// Takes note of a job that somebody submitted.
    pub(super) fn know(&self, job: &str) {
        self.jobs.lock().push(job.to_owned());
    }

    /// The jobs so far.
    pub fn jobs(&self) -> Vec<String> {
        self.jobs.lock().clone()
    }

    /// A job of an external publisher, begun and known; not yet watched.
    pub(super) async fn external_job(&self, id: &str) -> ExternalJob {
        let job = ExternalJob::new(id, self.cluster.channel(), &self.history);
        let mut person = self.person();
        let by = Instant::now() + Duration::from_secs(30);
        // An announcement that no API received is repeated, word for word.
        while Instant::now() < by {
            let published = job.start().await;
            sleep(Duration::from_millis(50)).await;
            if published && person.knows(id).await {
                break;
            }
        }
        self.external.lock().push(job.clone());
        job
    }

    /// What a publisher announces while no API listens is lost as an event (contract, end of §2): it says
    /// the end again, word for word, until the log has it.
    async fn tell_end(&self, job: &ExternalJob) {
        let by = Instant::now() + Duration::from_secs(30);
        while Instant::now() < by {
            job.complete().await;
            // Whoever heard it is given the time to write it.
            for _ in 0..5 {
                if store::has_completed(self.cluster.redis_port, &job.id).await {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Which worker holds a job now; none when none does, or it is being hurt.
    pub async fn holder_of(&self, job: &str) -> Option<usize> {
        let pid = store::holder(self.cluster.redis_port, job).await?;
        self.cluster.workers.iter().position(|worker| {
            let conch = worker.conch.try_lock();
            conch.is_ok_and(|conch| conch.pid() == pid)
        })
    }

    /// How far a job's log has got.
    pub async fn sequence(&self, job: &str) -> u64 {
        store::sequence(self.cluster.redis_port, job).await
    }

    /// Waits until the n-th template of a job is done.
    pub async fn until_templates(&self, job: &str, count: usize) {
        let done = |kinds: &[String]| {
            let templates = kinds.iter().filter(|k| *k == "job:template_completed");
            templates.count() >= count
        };
        self.history.until("templates are done", job, done).await;
    }

    /// Waits until a job has ended.
    pub async fn until_ended(&self, job: &str) {
        let ended = |kinds: &[String]| {
            let ends = ["job:completed", "job:failed", "job:cancelled"];
            kinds.iter().any(|k| ends.contains(&k.as_str()))
        };
        self.history.until("it has ended", job, ended).await;
    }

    /// Writes down how much of something a process holds, and how much it may.
    pub fn bound(&self, target: &str, name: &str, used: u64, limit: u64) {
        let fields = json!({ "target": target, "name": name, "used": used, "limit": limit });
        self.history.note("bound", fields);
    }

    /// Hurts an API for a while.
    pub async fn hurt_api(&self, api: usize, kind: Kind, lasting: Duration) -> bool {
        faults::strike(&self.history, &self.cluster.apis[api], kind, lasting).await
    }

    /// Hurts a worker for a while.
    pub async fn hurt_worker(&self, worker: usize, kind: Kind, lasting: Duration) -> bool {
        faults::strike(&self.history, &self.cluster.workers[worker], kind, lasting).await
    }

    /// Kills Redis, and starts it again after a while.
    pub async fn kill_redis(&self, lasting: Duration) -> bool {
        faults::kill_redis(&self.history, &self.cluster, lasting).await
    }

    /// Stops Redis for a while.
    pub async fn stop_redis(&self, lasting: Duration) -> bool {
        faults::stop_redis(&self.history, &self.cluster, lasting).await
    }

    /// Kills NATS, and starts it again after a while.
    pub async fn kill_nats(&self, lasting: Duration) -> bool {
        faults::kill_nats(&self.history, &self.cluster, lasting).await
    }

    /// Redis throws every subscriber out.
    pub fn cut_subscribers(&self) -> bool {
        faults::cut_subscribers(&self.history, &self.cluster)
    }

    /// How long what was submitted may take once all is well.
    fn work(&self) -> Duration {
        let shape = &self.shape;
        let job = Duration::from_millis(7 * (u64::from(shape.pace) + 30));
        let places = (shape.workers * shape.concurrency).max(1) as u32;
        job + job * self.jobs().len() as u32 / places
    }

    /// Waits until every watcher was told to stop, looks at everything once more, and judges.
    pub async fn finish(self) -> Verdict {
        self.history.note("calm", json!({}));
        self.calm.send_replace(true);
        let external = self.external.lock().clone();
        for job in external {
            self.tell_end(&job).await;
        }
        let mut watchers = std::mem::take(&mut *self.watchers.lock());
        let t = match self.terms.prompt {
            // What takes a position check was too late already.
            Some(prompt) => prompt + Duration::from_millis(1500),
            None => Duration::from_secs_f64(self.shape.t_ms() / 1000.0),
        };
        let deadline = Instant::now() + t + self.work() + SLACK;
        if self.terms.ends {
            let all = async {
                while watchers.tasks.join_next().await.is_some() {}
                // These are not told to stop: they are done when nothing more is due to them.
                while checker::is_due(&self.history.records()) {
                    sleep(Duration::from_millis(250)).await;
                }
            };
            // The checker judges those that aren't done by then.
            drop(tokio::time::timeout_at(deadline, all).await);
        }
        self.look_at_everything().await;
        watchers.tasks.shutdown().await;
        watchers.open_ended.shutdown().await;
        self.tap.abort();
        let records = self.history.records();
        Verdict {
            judgement: checker::judge(&records),
            path: self.history.path().to_owned(),
            name: run_name(&records),
            records,
        }
    }

    async fn look_at_everything(&self) {
        let mut all = self.jobs();
        let external = self.external.lock().clone();
        all.extend(external.into_iter().map(|job| job.id));
        // Before any lookup, which would repair a cache.
        let lifetimes = Lifetimes {
            result: self.shape.seconds("RESULT_TTL_SECONDS", 3600),
            history: self.shape.seconds("HISTORY_TTL_SECONDS", 86_400),
        };
        let dumped = store::dump(self.cluster.redis_port, &self.history, lifetimes).await;
        dumped.expect("the store is well again");
        for (i, port) in self.cluster.fronts().into_iter().enumerate() {
            let mut person = self.person();
            person.ports = vec![port];
            for job in &all {
                person.look_up(&format!("last-{i}"), job).await;
                person.read_history(job).await;
            }
        }
        for node in self.cluster.nodes() {
            let conch = node.conch.lock().await;
            faults::note_panics(&self.history, &node.name, &conch.log());
        }
        self.history.note("over", json!({}));
    }
}

fn run_name(records: &[Value]) -> String {
    let name = records
        .first()
        .map(|terms| terms["run"].as_str().unwrap_or(""));
    name.unwrap_or("").to_owned()
}
