//! A rolling restart: every process is told to end and started again while all is in use.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Scale, start};
use crate::chaos::{Figures, Kind, Shape};
use crate::http::Answer;

/// How long a probe of readiness may take.
const PROBE: Duration = Duration::from_secs(1);

/// Loses and doubles nothing, gives jobs back without counting it as an attempt, is not ready before its
/// streams end, and brings the watchers back spread over time.
pub(super) async fn a_rolling_restart(scale: Scale) -> Figures {
    let watchers = scale.of(10, 20);
    let shape = Shape {
        concurrency: scale.of(8, 32),
        pace: scale.of(250, 1500),
        ..Shape::default()
    }
    .env("STREAM_RETRY_SECONDS", "0.6");
    let run = start("rolling-restart", shape).await;
    let mut jobs = Vec::new();
    for _ in 0..scale.of(12, 50) {
        jobs.push(run.submit_watched(watchers).await);
    }
    run.until_templates(&jobs[0], 1).await;
    for i in 0..2 {
        assert!(run.hurt_worker(i, Kind::Restart, Duration::ZERO).await);
        let port = run.cluster.apis[i].conch.lock().await.mare_port();
        let probe = tokio::spawn(until_unready(run.history.clone(), port, i));
        assert!(run.hurt_api(i, Kind::Restart, Duration::ZERO).await);
        probe.await.expect("it noticed");
    }
    for job in &jobs {
        run.until_ended(job).await;
    }
    let mut verdict = run.finish().await;
    let records = std::mem::take(&mut verdict.records);
    let figures = verdict.expect_clean();
    given_back_uncounted(&records);
    spread(&records, watchers * jobs.len());
    figures
}

/// Asks `/readyz` again and again; writes down when it first isn't 200, and that it never is again before
/// the process has gone.
async fn until_unready(history: crate::chaos::History, port: u16, api: usize) {
    let url = format!("http://127.0.0.1:{port}/readyz");
    let http = crate::http::client();
    let by = Instant::now() + Duration::from_secs(20);
    while Instant::now() < by {
        // A probe that hangs has failed, as an orchestrator's would.
        let answer = tokio::time::timeout(PROBE, Answer::attempt(http.get(&url))).await;
        if !answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == 200)) {
            history.note("unready", serde_json::json!({ "api": api }));
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{url} was never anything but 200");
}

/// What a shutdown ended is no attempt: the next one has its number.
fn given_back_uncounted(records: &[Value]) {
    let mut left: BTreeMap<String, u64> = BTreeMap::new();
    let mut given_back = 0;
    for record in records.iter().filter(|r| r["what"] == "announced") {
        let event: Value =
            serde_json::from_str(record["line"].as_str().unwrap_or("")).unwrap_or_default();
        let job = event["job_id"].as_str().unwrap_or("").to_owned();
        let attempt = event["attempt"].as_u64();
        if event["event_type"] == "job:retrying" && event["reason"] == "shutdown" {
            given_back += 1;
            left.insert(job, attempt.expect("an attempt ended"));
        } else if let (Some(attempt), Some(before)) = (attempt, left.remove(&job)) {
            assert_eq!(attempt, before, "{event}");
        }
    }
    assert!(given_back > 0, "no job was given back");
}

/// The watchers of a drained API come back over the time of its jittered `retry`, not all at once.
fn spread(records: &[Value], watchers: usize) {
    const WINDOW_MS: f64 = 100.0;
    let mut told = 0;
    let mut back = Vec::new();
    // Of each open stream: what it was told at the beginning, and what at its end, if anything.
    let mut told_so: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let mut waits: BTreeMap<&str, u64> = BTreeMap::new();
    for record in records {
        let who = record["who"].as_str().unwrap_or("");
        match record["what"].as_str().unwrap_or("") {
            "retry" => {
                let millis = record["ms"].as_u64().unwrap_or(0);
                assert!((300..=1200).contains(&millis), "{record}");
                told_so.entry(who).or_default().push(millis);
            }
            "closed" => {
                let retries = told_so.remove(who).unwrap_or_default();
                if let [_, .., last] = retries[..] {
                    told += 1;
                    waits.insert(who, last);
                }
            }
            "connect" if waits.remove(who).is_some() => {
                back.push(record["at"].as_f64().unwrap_or(0.0));
            }
            _ => {}
        }
    }
    assert!(
        told >= watchers / 2,
        "{told} streams were told when to come back"
    );
    back.sort_by(f64::total_cmp);
    let most = (0..back.len())
        .map(|i| {
            back[i..]
                .iter()
                .take_while(|at| **at - back[i] < WINDOW_MS)
                .count()
        })
        .max()
        .unwrap_or(0);
    // Two APIs were drained, each by itself: evenly spread it would be a sixth of one's. All at once it
    // would be half of what both told.
    assert!(
        most <= told / 3,
        "{most} of {told} came back within {WINDOW_MS} ms"
    );
}
