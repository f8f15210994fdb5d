//! Streams over many jobs on threads, where reads, announcements, forgeries and watchers race: nobody
//! is told of a job in any other order than its log's, nor twice, nor misses an end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use conch_ports::ErrorKind;
use conch_services::mare::hub::{Next, Selection, Settings};
use tokio::task::JoinSet;

use crate::world::{Eyes, Seen, World, named};

const JOBS: usize = 100;
const ROUNDS: usize = 6;

fn name(number: usize) -> String {
    format!("j{number}")
}

/// Reads until all jobs have ended, or the stream has.
async fn reads_all(mut eyes: Eyes, names_jobs: bool) {
    let mut seen_up_to: HashMap<String, u64> = HashMap::new();
    let mut ended = 0;
    let mut is_over = false;
    while !is_over {
        let (seen, next) = eyes.look().await;
        for seen in seen {
            let Seen::Event(_, data) = seen else {
                continue;
            };
            let job = data["job_id"].as_str().expect("a job").to_owned();
            let sequence = data["sequence"].as_u64().expect("a number");
            let before = seen_up_to.insert(job, sequence).unwrap_or(0);
            assert!(before < sequence, "{before} was told before {data}");
            ended += usize::from(data["status"] == "completed");
        }
        is_over = if names_jobs {
            next == Next::End
        } else {
            ended == JOBS
        };
    }
    assert_eq!(ended, JOBS);
}

async fn race() {
    let settings = Settings {
        attach_patience: Duration::from_millis(5),
        ..Settings::default()
    };
    let world = Arc::new(World::with(conch_memory::Settings::default(), settings));
    // So that whoever names a job that has not begun must wait for it.
    world
        .triton
        .fail_at("triton_gateway.job", ErrorKind::Unavailable);
    let names: Vec<String> = (0..JOBS).map(name).collect();
    let names = named(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let eyes = world.watch_many(Selection::default(), None).await;
        tasks.spawn(reads_all(eyes, false));
        let eyes = world.watch_many(names.clone(), None).await;
        tasks.spawn(reads_all(eyes, true));
    }
    for part in 0..4 {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            let numbers = (0..JOBS).filter(|number| number % 4 == part);
            let mut jobs: Vec<_> = numbers.map(|number| world.job(&name(number))).collect();
            for job in &mut jobs {
                job.start().await;
                world.triton.set_job(job.job.clone());
                tokio::task::yield_now().await;
            }
            for progress in [10, 20, 30] {
                for job in &mut jobs {
                    job.progress(progress).await;
                }
                tokio::task::yield_now().await;
            }
            for job in &mut jobs {
                job.complete().await;
                tokio::task::yield_now().await;
            }
        });
    }
    tasks.spawn(async move {
        for step in 0..10 * JOBS {
            world.forge(&name(step * 7 % JOBS), step as u64 % 8);
            if step % 10 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    let all = async {
        while tasks
            .join_next()
            .await
            .transpose()
            .expect("no panic")
            .is_some()
        {}
    };
    let in_time = tokio::time::timeout(Duration::from_mins(1), all).await;
    in_time.expect("everybody is told of all ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_races_everybody_is_told_of_every_job_in_order_to_its_end() {
    for _ in 0..ROUNDS {
        race().await;
    }
}
