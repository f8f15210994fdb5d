//! A storm: many faults at moments that a seed decides, while people submit, watch, poll, cancel, and
//! others publish what they should or shouldn't.
//!
//! Never a fault that the schedule doesn't have.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::run::Terms;
use super::schedule::Act;
pub use super::schedule::{Form, Schedule};
use super::watch::Selection;
use super::{Run, Verdict, publishers};
use crate::Persistence;

/// How soon an event must be with every watcher, in calm: far less than half of a position check of
/// a minute, and far more than a busy machine needs.
const PROMPT: Duration = Duration::from_secs(3);

/// Jobs that somebody watches together; once in as many jobs.
const TOGETHER: usize = 5;

/// Runs the storm of a seed, and judges it.
pub async fn run(seed: u64, form: &Form, name: &str) -> Verdict {
    let schedule = Schedule::new(seed, form);
    let terms = Terms {
        prompt: schedule.prompt.then_some(PROMPT),
        restless: true,
        ..Terms::default()
    };
    let run = Run::start(name, schedule.shape.clone(), terms, seed).await;
    run.history
        .note("schedule", json!({ "text": schedule.to_string() }));
    let run = Arc::new(run);
    watch_over_all(&run);
    let mut people = JoinSet::new();
    for i in 0..form.jobs {
        let when = form.lasting.mul_f64(i as f64 / form.jobs as f64);
        people.spawn(submitter(Arc::clone(&run), when, i, form.watchers));
    }
    if schedule.shape.persistence != Persistence::None {
        for i in 0..form.external {
            let when = form.lasting.mul_f64(i as f64 / form.external as f64);
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
    // After the storm everything works as before it: what broke for good shows in the calm.
    for i in 0..form.afterwards {
        let submitter = submitter(
            Arc::clone(&run),
            Duration::ZERO,
            form.jobs + i,
            form.watchers,
        );
        people.spawn(submitter);
    }
    while people.join_next().await.is_some() {}
    for task in others {
        task.abort();
        drop(task.await);
    }
    let run = Arc::into_inner(run).expect("everybody has gone");
    run.finish().await
}

/// People who watch whatever there is, on one stream: of all clients, and of each.
fn watch_over_all(run: &Run) {
    run.watch_many(Selection::default());
    for client in &run.clients {
        run.watch_many(Selection {
            clients: vec![client.clone()],
            ..Selection::default()
        });
    }
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
    if i.is_multiple_of(TOGETHER) {
        watch_together(&run, job.clone());
    }
    if dice.once_in(3) {
        person.submit(&client, &key).await;
    }
    if dice.once_in(6) {
        sleep(dice.millis(0..=500)).await;
        person.cancel(&job).await;
    }
}

/// Somebody watches this job and the latest ones by their names.
fn watch_together(run: &Run, job: String) {
    let mut jobs = vec![job];
    for earlier in run.jobs().into_iter().rev().take(TOGETHER) {
        if !jobs.contains(&earlier) {
            jobs.push(earlier);
        }
    }
    run.watch_many(Selection {
        jobs,
        ..Selection::default()
    });
}

/// How often a publisher of old tries a job again.
const RETRIES: u64 = 2;

/// Speaks the old contract.
async fn publisher(run: Arc<Run>, when: Duration, i: usize, watchers: usize) {
    sleep(when).await;
    let mut dice = run.dice();
    let job = run.external_job(&format!("external-{i}")).await;
    run.watch(&job.id, watchers);
    if i == 0 {
        watch_together(&run, job.id.clone());
    }
    // As Celery does it: what failed is tried again by itself.
    for retries in 0.. {
        for rows in 0..dice.number(1..=4) {
            sleep(dice.millis(50..=300)).await;
            job.data(rows).await;
        }
        if retries > 0 {
            run.watch_from_its_failure(&job.id);
        }
        if retries == RETRIES || dice.once_in(2) {
            break;
        }
        job.fail().await;
        sleep(dice.millis(50..=2000)).await;
        job.start().await;
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
    loop {
        publishers::forge(run.cluster.channel(), &run.history, &mut dice, &run.jobs()).await;
        sleep(dice.millis(50..=200)).await;
    }
}
