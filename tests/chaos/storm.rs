//! A storm: many faults at moments that a seed decides, while people submit, watch, poll, cancel, and
//! others publish what they should or shouldn't.
//!
//! The schedule is a function of the seed and the form alone, printed and written down before it begins;
//! what the processes make of it is theirs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::cluster::Shape;
use super::run::Terms;
use super::{Dice, Kind, Run, Verdict, store};
use crate::{Persistence, Weather, chaos::foreign};

/// How much of everything.
#[derive(Debug, Clone)]
pub struct Form {
    /// How long faults come.
    pub lasting: Duration,
    /// Between two faults, on average.
    pub every: Duration,
    /// Jobs, spread over the time.
    pub jobs: usize,
    /// Watchers of each.
    pub watchers: usize,
    /// Jobs of a foreign publisher.
    pub foreign: usize,
    /// The bug that is planted.
    pub sabotage: Option<String>,
    /// Which store; none: the seed decides.
    pub persistence: Option<Persistence>,
}

impl Form {
    /// Some seconds, for every test run.
    pub fn short() -> Self {
        Self {
            lasting: Duration::from_millis(3500),
            every: Duration::from_millis(350),
            jobs: 14,
            watchers: 4,
            foreign: 3,
            sabotage: None,
            persistence: None,
        }
    }

    /// Half a minute, with a kill or two a second.
    pub fn long() -> Self {
        Self {
            lasting: Duration::from_secs(30),
            every: Duration::from_millis(170),
            jobs: 60,
            watchers: 6,
            foreign: 8,
            sabotage: None,
            persistence: None,
        }
    }
}

/// Something that happens.
#[derive(Debug, Clone, Copy)]
enum Act {
    KillRedis,
    StopRedis,
    CutSubscribers,
    Api(usize, Kind),
    Worker(usize, Kind),
}

/// When what happens, and for how long.
#[derive(Debug, Clone)]
pub struct Schedule {
    seed: u64,
    shape: Shape,
    prompt: bool,
    acts: Vec<(Duration, Act, Duration)>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = &self.shape;
        writeln!(
            f,
            "SEED={}: {} APIs, {} workers, Redis {}, lease {} s, position check {} s",
            self.seed,
            shape.apis,
            shape.workers,
            shape.class(),
            shape.lease,
            shape.position_check
        )?;
        for (at, act, lasting) in &self.acts {
            writeln!(
                f,
                "  {:>6} ms  {act:?} for {} ms",
                at.as_millis(),
                lasting.as_millis()
            )?;
        }
        Ok(())
    }
}

impl Schedule {
    /// The schedule of a seed.
    pub fn new(seed: u64, form: &Form) -> Self {
        let mut dice = Dice::new(seed);
        let persistence = match dice.place(4) {
            0 => Persistence::None,
            1 => Persistence::Always,
            _ => Persistence::EverySec,
        };
        let persistence = form.persistence.unwrap_or(persistence);
        // Every other seed does without the position check: announcements alone must do. Not where a
        // record may be lost, which is found out by position checks.
        let prompt = seed.is_multiple_of(2) && persistence != Persistence::None;
        let shape = Shape {
            persistence,
            apis: 2,
            workers: 2 + dice.place(2),
            pace: 40 + dice.number(0..=120) as u32,
            position_check: if prompt { 30.0 } else { 1.0 },
            sabotage: form.sabotage.clone(),
            ..Shape::default()
        };
        let mut acts = Vec::new();
        let mut at = Duration::from_millis(300);
        let mean = form.every.as_millis() as u64;
        while at < form.lasting {
            let act = throw(&mut dice, &shape, prompt);
            let lasting = match act {
                Act::KillRedis => dice.millis(0..=400),
                Act::CutSubscribers => Duration::ZERO,
                // Beyond the lease: what was on its way arrives when it is another's.
                Act::Worker(_, Kind::Stop) => dice.millis(1700..=2600),
                Act::Worker(_, Kind::Redis(_)) => dice.millis(1200..=2600),
                Act::Worker(_, Kind::Kill) | Act::Api(_, Kind::Kill) => dice.millis(0..=300),
                _ => dice.millis(100..=1200),
            };
            acts.push((at, act, lasting));
            at += dice.millis(mean / 2..=mean * 3 / 2);
        }
        Self {
            seed,
            shape,
            prompt,
            acts,
        }
    }
}

fn throw(dice: &mut Dice, shape: &Shape, prompt: bool) -> Act {
    let api = dice.place(shape.apis);
    let worker = dice.place(shape.workers);
    let weathers = [
        Weather::Stall,
        Weather::CutToServer,
        Weather::CutToClient,
        Weather::Delay(Duration::from_millis(80)),
        Weather::Drip(40, Duration::from_millis(2)),
        Weather::Refuse,
    ];
    let weather = weathers[dice.place(weathers.len())];
    // Kills above all: half of what happens.
    match dice.place(20) {
        0..=4 => Act::Worker(worker, Kind::Kill),
        5..=6 => Act::Api(api, Kind::Kill),
        7..=8 => Act::KillRedis,
        9 => Act::Api(api, Kind::Restart),
        10 => Act::Worker(worker, Kind::Restart),
        11 if !prompt => Act::StopRedis,
        11..=12 => Act::CutSubscribers,
        13 => Act::Worker(worker, Kind::Stop),
        14 => Act::Api(api, Kind::Redis(weather)),
        15..=16 => Act::Worker(worker, Kind::Redis(weather)),
        17 if dice.once_in(2) => Act::Api(api, Kind::RedisReset),
        17 => Act::Api(api, Kind::RedisStrand),
        18 => Act::Api(api, Kind::FrontReset),
        _ => Act::Worker(worker, Kind::Front(weather)),
    }
}

/// Runs the storm of a seed, and judges it.
pub async fn run(seed: u64, form: &Form, name: &str) -> Verdict {
    let schedule = Schedule::new(seed, form);
    let terms = Terms {
        prompt: schedule.prompt.then(|| Duration::from_secs(1)),
        ..Terms::default()
    };
    let run = Run::start(name, schedule.shape.clone(), terms, seed).await;
    run.history
        .note("schedule", json!({ "text": schedule.to_string() }));
    let run = Arc::new(run);
    let mut people = JoinSet::new();
    for i in 0..form.jobs {
        let when = form.lasting.mul_f64(i as f64 / form.jobs as f64);
        people.spawn(submitter(Arc::clone(&run), when, i, form.watchers));
    }
    if schedule.shape.persistence != Persistence::None {
        for i in 0..form.foreign {
            let when = form.lasting.mul_f64(i as f64 / form.foreign as f64);
            people.spawn(publisher(Arc::clone(&run), when, i, form.watchers));
        }
    }
    let mut others = vec![tokio::spawn(poller(Arc::clone(&run)))];
    // A store that forgot a job of our own can't tell a forged one from it (docs/operations.md). And a
    // forgery is a hint: where announcements alone must do, it would make up for a lost one.
    if schedule.shape.persistence != Persistence::None && !schedule.prompt {
        others.push(tokio::spawn(forger(Arc::clone(&run))));
    }
    let begun = Instant::now();
    let mut faults = JoinSet::new();
    for (at, act, lasting) in schedule.acts {
        let run = Arc::clone(&run);
        faults.spawn(async move {
            sleep_until(begun + at).await;
            // One that finds its target hurt already is passed over.
            match act {
                Act::KillRedis => run.kill_redis(lasting).await,
                Act::StopRedis => run.stop_redis(lasting).await,
                Act::CutSubscribers => run.cut_subscribers(),
                Act::Api(i, kind) => run.hurt_api(i, kind, lasting).await,
                Act::Worker(i, kind) => run.hurt_worker(i, kind, lasting).await,
            }
        });
    }
    while let Some(undone) = faults.join_next().await {
        undone.expect("every fault is undone");
    }
    while people.join_next().await.is_some() {}
    for task in others {
        task.abort();
        drop(task.await);
    }
    let run = Arc::into_inner(run).expect("everybody has gone");
    run.finish().await
}

/// Submits, watches, sometimes submits again under the same key, sometimes cancels.
async fn submitter(run: Arc<Run>, when: Duration, i: usize, watchers: usize) {
    sleep(when).await;
    let mut person = run.person();
    let mut dice = run.dice();
    let mut client = run.clients[i % run.clients.len()].clone();
    let mut key = format!("storm-key-{i}");
    let mut job = person.submit(&client, &key).await;
    for again in 0..5 {
        // A store that forgets forgets clients, too.
        if job.is_none()
            && let Some(fresh) = person.new_client().await
        {
            client = fresh;
            key = format!("storm-key-{i}-{again}");
            job = person.submit(&client, &key).await;
        }
    }
    let Some(job) = job else {
        return;
    };
    run.know(&job);
    run.watch(&job, watchers);
    if dice.once_in(3) {
        person.submit(&client, &key).await;
    }
    if dice.once_in(6) {
        sleep(dice.millis(0..=500)).await;
        person.cancel(&job).await;
    }
}

/// Speaks the old contract.
async fn publisher(run: Arc<Run>, when: Duration, i: usize, watchers: usize) {
    sleep(when).await;
    let mut dice = run.dice();
    let job = run.foreign_job(&format!("foreign-{i}")).await;
    run.watch(&job.id, watchers);
    for rows in 0..dice.number(1..=4) {
        sleep(dice.millis(50..=300)).await;
        job.data(rows).await;
    }
    job.complete().await;
}

/// Asks again and again for half of the jobs: the others' results must be cached without it.
async fn poller(run: Arc<Run>) {
    let mut person = run.person();
    let mut dice = run.dice();
    loop {
        let jobs = run.jobs();
        if !jobs.is_empty() {
            let job = &jobs[dice.place(jobs.len()) / 2 * 2 % jobs.len()];
            person.look_up("poller", job).await;
        }
        sleep(dice.millis(20..=120)).await;
    }
}

/// Publishes forgeries.
async fn forger(run: Arc<Run>) {
    let mut dice = run.dice();
    let port = run.cluster.redis_port;
    loop {
        foreign::forge(port, &run.history, &mut dice, &run.jobs()).await;
        sleep(dice.millis(50..=200)).await;
    }
}

/// Which worker holds a job now.
pub(super) async fn holder_of(run: &Run, job: &str) -> Option<usize> {
    let pid = store::holder(run.cluster.redis_port, job).await?;
    for (i, worker) in run.cluster.workers.iter().enumerate() {
        if let Ok(conch) = worker.conch.try_lock()
            && conch.pid() == pid
        {
            return Some(i);
        }
    }
    None
}

/// `conch-chaos storm`: one seed after the other. True: none broke anything.
pub async fn command() -> bool {
    let form = match setting("FORM").as_deref() {
        Some("short") => Form::short(),
        _ => Form::long(),
    };
    let first =
        setting("SEED").map_or_else(fresh_seed, |seed| seed.parse().expect("SEED= is a number"));
    let rounds = setting("ROUNDS").map(|n| n.parse::<u64>().expect("ROUNDS= is a number"));
    let minutes = setting("MINUTES").map(|n| n.parse::<f64>().expect("MINUTES= is a number"));
    let until = Instant::now() + Duration::from_secs_f64(minutes.unwrap_or(5.0) * 60.0);
    let summary = rounds_of(first, &form, |summary| match rounds {
        Some(rounds) => summary.rounds < rounds,
        None => summary.rounds == 0 || Instant::now() < until,
    })
    .await;
    let rounds = summary.rounds;
    println!(
        "{rounds} rounds, {} of them broke something",
        summary.broken.len()
    );
    summary.broken.is_empty()
}

/// A variable that isn't empty.
pub(super) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.as_secs() % 1_000_000)
}

/// What several storms came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many.
    pub rounds: u64,
    /// By class of the store.
    pub classes: std::collections::BTreeMap<&'static str, super::Figures>,
    /// The seeds that broke something, and what.
    pub broken: Vec<(u64, String)>,
}

impl Summary {
    /// For other programs.
    pub fn json(&self) -> serde_json::Value {
        let classes: serde_json::Map<String, serde_json::Value> = self
            .classes
            .iter()
            .map(|(class, figures)| ((*class).to_owned(), figures.json()))
            .collect();
        json!({ "rounds": self.rounds, "classes": classes, "broken": self.broken })
    }
}

/// Storms from a seed on, for as long as is wanted; each is told of on standard output.
pub(super) async fn rounds_of(first: u64, form: &Form, more: impl Fn(&Summary) -> bool) -> Summary {
    let mut summary = Summary::default();
    while more(&summary) {
        let seed = first + summary.rounds;
        let schedule = Schedule::new(seed, form);
        print!("{schedule}");
        let verdict = run(seed, form, &format!("storm-{seed}")).await;
        let figures = &verdict.judgement.figures;
        println!(
            "  {} kills, {} jobs, ends {}/{} seen, {} doubled, {} resets, recovery p99 {:.0} ms",
            figures.kills,
            figures.jobs,
            figures.seen,
            figures.expected,
            figures.doubled,
            figures.resets,
            figures.recovery(0.99)
        );
        if verdict.judgement.violations.is_empty() {
            drop(std::fs::remove_file(&verdict.path));
        } else {
            let told = verdict.judgement.told();
            println!("  BROKEN, see {}\n{told}", verdict.path.display());
            summary.broken.push((seed, told));
        }
        summary
            .classes
            .entry(schedule.shape.class())
            .or_default()
            .add(figures);
        summary.rounds += 1;
    }
    summary
}
