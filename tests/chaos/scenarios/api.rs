//! An API goes with all its streams; two of them are one system.

use std::time::Duration;

use super::{Scale, start};
use crate::Persistence;
use crate::chaos::{Figures, Kind, Shape};

/// Kill -9 with hundreds of streams open: all of them come back and go on, nothing lost or doubled.
pub(super) async fn killed_with_hundreds_of_streams(scale: Scale) -> Figures {
    let shape = Shape {
        pace: scale.of(200, 600),
        ..Shape::default()
    };
    let run = start("api-killed", shape).await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let job = run.submit().await;
        run.watch_at(&job, scale.of(100, 334), &[run.cluster.fronts()[0]]);
        jobs.push(job);
    }
    let api = run.cluster.apis[0].clone();
    let port = api.conch.lock().await.mare_port();
    crate::http::until_streams(port, scale.of(300, 1002)).await;
    assert!(run.hurt_api(0, Kind::Kill, Duration::ZERO).await);
    for job in &jobs {
        run.until_ended(job).await;
    }
    let figures = run.finish().await.expect_clean();
    assert_eq!(figures.seen, scale.of(300, 1002));
    assert!(figures.connections >= 2 * figures.seen, "each came back");
    figures
}

/// Two APIs and two workers: the same ids and bytes everywhere, and each job run by one at a time.
pub(super) async fn two_apis_and_two_workers_are_one_system(scale: Scale) -> Figures {
    let shape = Shape {
        persistence: Persistence::None,
        // A busy machine must not look like a silent worker.
        lease: 10.0,
        concurrency: 2,
        pace: 40,
        ..Shape::default()
    };
    let run = start("api-two", shape).await;
    let fronts = run.cluster.fronts();
    let mut jobs = Vec::new();
    // More than one worker runs at once.
    for _ in 0..scale.of(8, 200) {
        let job = run.submit().await;
        for front in &fronts {
            run.watch_at(&job, 1, &[*front]);
        }
        jobs.push(job);
    }
    for job in &jobs {
        run.until_ended(job).await;
        let steps = run.history.heard(job);
        assert!(
            !steps.contains(&"job:retrying".to_owned()),
            "one run was enough: {steps:?}"
        );
    }
    for worker in &run.cluster.workers {
        let log = worker.conch.lock().await.log();
        assert!(
            log.contains("Published event 'job:completed'"),
            "both took their part\n{log}"
        );
    }
    run.finish().await.expect_clean()
}
