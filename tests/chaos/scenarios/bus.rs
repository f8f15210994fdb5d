//! Redis keeps and NATS announces, and it is NATS that fails: what isn't announced comes within T.

use std::time::Duration;

use tokio::time::sleep;

use super::{Scale, seconds, start, start_on};
use crate::Weather;
use crate::chaos::channel::Channel;
use crate::chaos::run::Terms;
use crate::chaos::{Figures, Kind, Run, Shape, publishers, store};
use crate::eventually::eventually;

fn on_nats() -> Shape {
    Shape {
        pace: 100,
        nats: Some(String::new()),
        ..Shape::default()
    }
}

/// A job that waits, one that runs, and one of an external publisher, all of them watched.
async fn three_jobs(run: &Run) -> Vec<String> {
    let job = run.submit_watched(4).await;
    let external = run.external_job("external-on-nats").await;
    run.watch(&external.id, 4);
    external.data(1).await;
    run.until_templates(&job, 1).await;
    vec![job, run.submit_watched(4).await]
}

/// Killed while jobs run, and away for a while: jobs are taken and end, and their watchers learn of it.
pub(super) async fn killed(scale: Scale) -> Figures {
    let run = start("bus-killed", on_nats()).await;
    for _ in 0..scale.of(1, 10) {
        three_jobs(&run).await;
        let (struck, job) = tokio::join!(run.kill_nats(seconds(scale.of(1.2, 10.0))), async {
            sleep(Duration::from_millis(200)).await;
            run.submit_watched(4).await
        });
        assert!(struck);
        run.until_ended(&job).await;
    }
    run.finish().await.expect_clean()
}

/// Some of the processes are cut from it, in one direction or both.
pub(super) async fn cut_from_some(scale: Scale) -> Figures {
    let run = start("bus-cut", on_nats()).await;
    let lasting = seconds(scale.of(1.2, 20.0));
    for round in 0..scale.of(1, 6) {
        three_jobs(&run).await;
        let weather = [Weather::Stall, Weather::Refuse][round % 2];
        let struck = tokio::join!(
            run.hurt_api(0, Kind::Nats(weather), lasting),
            run.hurt_api(1, Kind::Nats(Weather::CutToClient), lasting),
            run.hurt_worker(0, Kind::Nats(Weather::CutToServer), lasting),
        );
        assert_eq!(struck, (true, true, true));
    }
    run.finish().await.expect_clean()
}

/// An API that takes nothing for a while is cut off by the server, without a word. It misses what was sent
/// meanwhile, and no watcher of it does.
pub(super) async fn slow_consumer_cut_off(scale: Scale) -> Figures {
    let shape = Shape {
        nats: Some("max_pending: 1048576\nwrite_deadline: \"200ms\"\n".to_owned()),
        ..on_nats()
    };
    let run = start("bus-slow-consumer", shape).await;
    for _ in 0..scale.of(1, 10) {
        three_jobs(&run).await;
        let flood = async {
            sleep(Duration::from_millis(100)).await;
            // More than the buffers of its connection hold.
            let noise = vec![b'x'; 900 << 10];
            for _ in 0..16 {
                publishers::forge_line(run.cluster.channel(), &run.history, "noise", &noise).await;
            }
        };
        let (struck, ()) = tokio::join!(run.hurt_api(0, Kind::Stop, seconds(1.5)), flood);
        assert!(struck);
    }
    let nats = run.cluster.nats.as_ref().expect("it is the bus");
    let log = nats.lock().await.log();
    assert!(log.contains("Slow Consumer"), "it was cut off\n{log}");
    run.finish().await.expect_clean()
}

/// Connections are lost again and again, what arrives is late, and comes again in another order.
pub(super) async fn loses_delays_and_repeats(scale: Scale) -> Figures {
    let run = start("bus-lossy", on_nats()).await;
    let jobs = three_jobs(&run).await;
    let mut dice = run.dice();
    for round in 0..scale.of(6, 60) {
        for i in 0..2 {
            let kind = if (round + i) % 3 == 0 {
                Kind::NatsReset
            } else {
                Kind::Nats(Weather::Delay(Duration::from_millis(60)))
            };
            let lasting = Duration::from_millis(100);
            let (api, worker) = tokio::join!(
                run.hurt_api(i, kind, lasting),
                run.hurt_worker(1 - i, kind, lasting)
            );
            assert!(api && worker);
        }
        let announced = store::announced_lines(&run.history);
        for _ in 0..5 {
            let line = &announced[dice.place(announced.len())];
            let sent = run.cluster.channel().publish("all", line.as_bytes()).await;
            sent.expect("it is taken");
        }
        let channel = run.cluster.channel();
        publishers::forge(channel, &run.history, &mut dice, &jobs).await;
    }
    let figures = run.finish().await.expect_clean();
    assert_eq!(figures.resets, 0);
    figures
}

/// A worker's events are in the log, and it is gone before it has announced them.
pub(super) async fn worker_dies_before_announcing(scale: Scale) -> Figures {
    let run = start("bus-worker-dies", on_nats()).await;
    for _ in 0..scale.of(1, 20) {
        let job = run.submit_watched(4).await;
        run.until_templates(&job, 1).await;
        let worker = eventually("somebody runs it", async || run.holder_of(&job).await).await;
        let node = &run.cluster.workers[worker];
        node.to_nats().set(Weather::CutToServer);
        let unsaid = run.sequence(&job).await + 2;
        eventually("events that nobody announces", async || {
            (run.sequence(&job).await >= unsaid).then_some(())
        })
        .await;
        assert!(run.hurt_worker(worker, Kind::Kill, Duration::ZERO).await);
        node.to_nats().set(Weather::Clear);
        run.until_ended(&job).await;
    }
    run.finish().await.expect_clean()
}

/// Every connection to NATS is reset while a job runs, and no position check helps: only the gap that follows
/// tells that something may have been missed.
pub(in crate::chaos) async fn reset_without_position_checks(
    name: &str,
    sabotage: Option<&str>,
) -> crate::chaos::Verdict {
    let shape = Shape {
        position_check: 60.0,
        sabotage: sabotage.map(str::to_owned),
        ..on_nats()
    };
    let terms = Terms {
        prompt: Some(Duration::from_secs(3)),
        ..Terms::default()
    };
    let run = start_on(name, shape, terms).await;
    assert!(matches!(run.cluster.channel(), Channel::Nats(_)));
    let job = run.submit_watched(4).await;
    run.until_templates(&job, 5).await;
    // What ends the job is announced while neither API hears anything.
    let lasting = seconds(1.5);
    let struck = tokio::join!(
        run.hurt_api(0, Kind::Nats(Weather::Refuse), lasting),
        run.hurt_api(1, Kind::Nats(Weather::Refuse), lasting),
    );
    assert_eq!(struck, (true, true));
    run.until_ended(&job).await;
    run.finish().await
}
