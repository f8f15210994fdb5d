//! Redis is killed, stopped, full, or throws its subscribers out.

use serde_json::json;

use super::{Scale, seconds, start};
use crate::chaos::{Figures, Run, Shape};
use crate::http::Answer;
use crate::{Persistence, Stream, chaos::publishers};

/// Kill -9 and restart with an append-only file: a pause, then the rest; no reset.
pub(super) async fn killed_with_an_append_only_file(scale: Scale) -> Figures {
    let mut figures = Figures::default();
    let classes = [Persistence::EverySec, Persistence::Always];
    for persistence in &classes[..scale.of(1, 2)] {
        let shape = Shape {
            persistence: *persistence,
            pace: scale.of(60, 150),
            ..Shape::default()
        };
        let run = start("redis-killed-aof", shape).await;
        let mut job = String::new();
        for _ in 0..4 {
            job = run.submit_watched(3).await;
        }
        for kill in 0..scale.of(2, 6) {
            run.until_templates(&job, kill + 1).await;
            assert!(run.kill_redis(seconds(0.1)).await);
        }
        let counted = run.finish().await.expect_clean();
        assert_eq!(counted.resets, 0, "nothing was lost");
        figures.add(&counted);
    }
    figures
}

/// Kill -9 and restart without persistence: a reset, then the end, from whoever still knows the job.
pub(super) async fn killed_without_persistence(scale: Scale) -> Figures {
    let mut figures = Figures::default();
    for round in 0..scale.of(1, 10) {
        let shape = Shape {
            persistence: Persistence::None,
            pace: 100,
            ..Shape::default()
        };
        let run = start("redis-killed-none", shape).await;
        let running = run.submit_watched(3).await;
        let other = run.submit_watched(3).await;
        run.until_templates(&running, 2).await;
        run.until_templates(&other, 2).await;
        if round % 2 == 1 {
            // Nobody is left to put the job back: its watchers are told that its record is lost.
            for worker in 0..2 {
                run.cluster.workers[worker].conch.lock().await.kill();
            }
            run.kill_redis(seconds(0.1)).await;
            for worker in 0..2 {
                run.cluster.workers[worker]
                    .conch
                    .lock()
                    .await
                    .restart()
                    .await;
            }
        } else {
            run.kill_redis(seconds(0.1)).await;
        }
        let counted = run.finish().await.expect_clean();
        assert!(counted.resets > 0, "lost history is said");
        figures.add(&counted);
    }
    figures
}

/// SIGSTOP for several position checks: heartbeats go on, then the rest within T.
pub(super) async fn stopped(scale: Scale) -> Figures {
    let run = start("redis-stopped", Shape::default()).await;
    let job = run.submit_watched(5).await;
    run.until_templates(&job, 2).await;
    let url = run.mare(0).subscribe_url(&job);
    let mut stream = Stream::open(&url, None).await;
    stream.next_event().await.expect("its history");
    let stop = run.stop_redis(seconds(scale.of(2.5, 30.0)));
    let beats = async {
        // Twice, so that one of them was due after the stop.
        for _ in 0..scale.of(3, 50) {
            stream.until_comment("keep-alive").await;
        }
    };
    let (struck, ()) = tokio::join!(stop, beats);
    assert!(struck);
    drop(stream);
    run.finish().await.expect_clean()
}

/// Out of memory: submissions are answered 503, open streams live on, and go on once there is room.
pub(super) async fn out_of_memory(scale: Scale) -> Figures {
    let shape = Shape {
        pace: 150,
        ..Shape::default()
    }
    // Triton itself waits two seconds for a store that doesn't answer.
    .env("TRITON_TIMEOUT_SECONDS", "5");
    let run = start("redis-full", shape).await;
    let job = run.submit_watched(3).await;
    run.until_templates(&job, 1).await;
    let url = run.mare(0).subscribe_url(&job);
    let mut stream = Stream::open(&url, None).await;
    for _ in 0..scale.of(1, 5) {
        let fields = json!({ "fault": "out-of-memory", "target": "redis" });
        run.history.note("fault", fields.clone());
        configure(&run, &["maxmemory", "1mb"]).await;
        let mare = run.mare(0);
        let path = format!("/clients/{}/generate-templates", run.clients[0]);
        let refused = Answer::to(mare.request(reqwest::Method::POST, &path)).await;
        refused.expect_problem(503, "store-full");
        stream.until_comment("keep-alive").await;
        configure(&run, &["maxmemory", "0"]).await;
        run.history.note("healed", fields);
    }
    let events = stream.read_to_end().await;
    assert!(
        events.last().is_some_and(crate::Event::is_terminal),
        "{events:#?}"
    );
    run.finish().await.expect_clean()
}

async fn configure(run: &Run, setting: &[&str]) {
    let redis = run.cluster.redis.lock().await;
    let answer = redis.cli(&[&["CONFIG", "SET"], setting].concat());
    assert_eq!(answer, "OK");
}

/// Redis cuts every subscriber for its output buffer: no gap.
pub(super) async fn cuts_the_subscriber(scale: Scale) -> Figures {
    let shape = Shape {
        // What the announcements lack the position check must not make up for.
        position_check: 30.0,
        ..Shape::default()
    };
    let terms = crate::chaos::run::Terms {
        prompt: Some(seconds(3.0)),
        ..Default::default()
    };
    let run = super::start_on("redis-output-buffer", shape, terms).await;
    configure(&run, &["client-output-buffer-limit", "pubsub 65536 0 0"]).await;
    let subscribers = async || {
        let redis = run.cluster.redis.lock().await;
        let list = redis.cli(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        let ids = list.lines().filter_map(|line| line.split(' ').next());
        ids.map(str::to_owned).collect::<Vec<_>>()
    };
    for _ in 0..scale.of(2, 20) {
        let job = run.submit_watched(3).await;
        run.until_templates(&job, 1).await;
        let before = subscribers().await;
        let fields = json!({ "fault": "output-buffer", "target": "redis" });
        run.history.note("fault", fields.clone());
        let filler = "x".repeat(200_000);
        let line = publishers::forged(&job, "data:generated", &json!({ "filler": filler }));
        publishers::forge_line(run.cluster.channel(), &run.history, &job, &line).await;
        let all_cut = crate::eventually::eventually("all of them are cut", async || {
            let now = subscribers().await;
            before.iter().all(|id| !now.contains(id)).then_some(())
        });
        all_cut.await;
        run.history.note("healed", fields);
    }
    run.finish().await.expect_clean()
}
