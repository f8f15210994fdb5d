//! A worker is killed at each step of a job, or stands still beyond its lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Scale, seconds, start};
use crate::chaos::{Figures, Kind, Run, Shape};

/// Events of a job that runs through: queued, started, seven times a template and progress, completed.
const STEPS: usize = 17;

/// Kill -9 after each event of a job: the next attempt, finished templates kept, one end.
pub(super) async fn killed_at_every_step(scale: Scale) -> Figures {
    let mut figures = Figures::default();
    for round in 0..scale.of(1, 10) {
        let shape = Shape {
            workers: 3,
            concurrency: 8,
            lease: 1.0,
            ..Shape::default()
        };
        let run = Arc::new(start("worker-every-step", shape).await);
        let mut kills = JoinSet::new();
        let every = scale.of(2, 1);
        for step in (1..STEPS).step_by(every) {
            let job = run.submit_watched(2).await;
            kills.spawn(kill_after(Arc::clone(&run), job, step));
        }
        let mut killed = 0;
        while let Some(struck) = kills.join_next().await {
            killed += usize::from(struck.expect("it doesn't panic"));
        }
        // A worker that is down already when its turn comes can't be killed again.
        assert!(
            killed >= STEPS / every / 2,
            "round {round}: {killed} workers were killed"
        );
        let run = Arc::into_inner(run).expect("all have struck");
        figures.add(&run.finish().await.expect_clean());
    }
    figures
}

/// Kills the worker that holds the job, once so many of its events were announced.
async fn kill_after(run: Arc<Run>, job: String, step: usize) -> bool {
    run.history
        .until("the step", &job, |kinds| kinds.len() >= step)
        .await;
    match run.holder_of(&job).await {
        Some(worker) => run.hurt_worker(worker, Kind::Kill, Duration::ZERO).await,
        // Nobody has claimed it yet: any of them may be about to.
        None => run.hurt_worker(step % 3, Kind::Kill, Duration::ZERO).await,
    }
}

/// SIGSTOP beyond the lease, then SIGCONT: nothing of the zombie.
pub(super) async fn paused_beyond_its_lease(scale: Scale) -> Figures {
    let shape = Shape {
        lease: 1.0,
        concurrency: 2,
        ..Shape::default()
    };
    let run = start("worker-paused", shape).await;
    for round in 0..scale.of(1, 10) {
        let mut job = String::new();
        for _ in 0..4 {
            job = run.submit_watched(2).await;
        }
        run.until_templates(&job, 1).await;
        // Long enough for another to take the jobs and end them; the zombie wakes into that.
        assert!(run.hurt_worker(round % 2, Kind::Stop, seconds(2.5)).await);
    }
    let figures = run.finish().await.expect_clean();
    assert_eq!(figures.resets, 0);
    figures
}
