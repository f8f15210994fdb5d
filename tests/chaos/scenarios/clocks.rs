//! Clocks an hour ahead and an hour behind: leases and times are the store's, so nothing of it shows.

use std::path::PathBuf;

use serde_json::Value;

use super::{Scale, start};
use crate::chaos::{Figures, Shape};

/// Debian's libfaketime, which `scripts/set-up` installs.
fn library() -> PathBuf {
    let triplets = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let paths =
        triplets.map(|t| PathBuf::from(format!("/usr/lib/{t}/faketime/libfaketimeMT.so.1")));
    let found = paths.into_iter().find(|path| path.exists());
    found.expect("`scripts/set-up test` installs faketime")
}

/// APIs an hour ahead, workers an hour behind, only by the wall: their monotonic clocks are left alone.
pub(super) async fn an_hour_apart(scale: Scale) -> Figures {
    let faked = |offset: &str| -> Vec<(String, String)> {
        let library = library().display().to_string();
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            set("LD_PRELOAD", &library),
            set("FAKETIME", offset),
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            set("DONT_FAKE_MONOTONIC", "1"),
        ]
    };
    let shape = Shape {
        api_env: faked("+3600s"),
        worker_env: faked("-3600s"),
        ..Shape::default()
    };
    let run = start("clocks", shape).await;
    for node in run.cluster.nodes() {
        let log = node.conch.lock().await.log();
        let noticed = log.contains("this machine's clock differs from the store's");
        assert!(noticed, "{}: its clock is not wrong\n{log}", node.name);
    }
    let job = run.submit_watched(4).await;
    run.until_templates(&job, 2).await;
    // A lease that runs out while clocks disagree.
    for worker in 0..scale.of(1, 2) {
        let kill = crate::chaos::Kind::Kill;
        run.hurt_worker(worker, kill, std::time::Duration::ZERO)
            .await;
    }
    for _ in 0..scale.of(2, 50) {
        run.submit_watched(2).await;
    }
    let mut verdict = run.finish().await;
    let records = std::mem::take(&mut verdict.records);
    let figures = verdict.expect_clean();
    let begun = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("it is after 1970")
        .as_secs();
    for record in records.iter().filter(|r| r["what"] == "announced") {
        let event: Value =
            serde_json::from_str(record["line"].as_str().unwrap_or("")).unwrap_or_default();
        let stamp = event["timestamp"].as_str().unwrap_or("");
        assert!(
            is_near(stamp, begun),
            "{stamp} is not the store's time: {event}"
        );
    }
    figures
}

/// Whether a time is less than ten minutes from that second: by hours and minutes, as a person would.
fn is_near(stamp: &str, now: u64) -> bool {
    let part = |at: usize| {
        stamp
            .get(at..at + 2)
            .and_then(|two| two.parse::<u64>().ok())
    };
    let (Some(hours), Some(minutes)) = (part(11), part(14)) else {
        return false;
    };
    let of_day = hours * 60 + minutes;
    let apart = (of_day + 1440 - now / 60 % 1440) % 1440;
    !(10..=1430).contains(&apart)
}
