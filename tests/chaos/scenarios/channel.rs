//! The channel: noise on it, and silence.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::{Scale, start};
use crate::chaos::{Figures, Shape, publishers, store};

/// Duplicate, out-of-order, malformed, unknown, 10 MB and forged events: once, in order; the rest dropped.
pub(super) async fn noise(scale: Scale) -> Figures {
    let shape = Shape {
        pace: 100,
        ..Shape::default()
    };
    let run = start("channel-noise", shape).await;
    let channel = run.cluster.channel();
    let mut jobs = Vec::new();
    for _ in 0..2 {
        jobs.push(run.submit_watched(4).await);
    }
    let external = run.external_job("external-noise").await;
    run.watch(&external.id, 4);
    run.until_templates(&jobs[0], 1).await;
    let mut dice = run.dice();
    for round in 0..scale.of(25, 400) {
        publishers::forge(channel, &run.history, &mut dice, &jobs).await;
        let said = store::announced_lines(&run.history);
        // What was genuine once, again and in the wrong order.
        for _ in 0..2 {
            let line = &said[dice.place(said.len())];
            let sent = channel.publish("all", line.as_bytes()).await;
            sent.expect("it is taken");
        }
        if round % 10 == 0 {
            external.data(round).await;
            external.data(round).await;
        }
    }
    let huge = "x".repeat(10 << 20);
    let line = publishers::forged(&jobs[1], "job:completed", &json!({ "filler": huge }));
    publishers::forge_line(channel, &run.history, &jobs[1], &line).await;
    external.complete().await;
    external.complete().await;
    for job in &jobs {
        run.until_ended(job).await;
    }
    let figures = run.finish().await.expect_clean();
    assert_eq!(figures.resets, 0);
    figures
}

/// No announcement is received, as if each publisher died between append and announcement. The end comes
/// within T all the same.
pub(super) async fn lost_announcements(scale: Scale) -> Figures {
    let shape = Shape {
        // Their Redis user may use no channel, so they receive no announcement.
        deaf_apis: true,
        ..Shape::default()
    };
    let run = start("channel-deaf", shape).await;
    for _ in 0..scale.of(4, 100) {
        run.submit_watched(4).await;
        sleep(Duration::from_millis(30)).await;
    }
    let figures = run.finish().await.expect_clean();
    assert_eq!(figures.resets, 0);
    figures
}
