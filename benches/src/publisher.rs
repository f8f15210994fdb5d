//! What an external program publishes: jobs that it begins, and events that carry the moment of their
//! publication.
//!
//! It knows nothing of Conch but the events' contract, and looks at jobs through the edge API alone.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{exchange, process::Process, resp, stage::Stage, watchers::stamp};

const PATIENCE: Duration = Duration::from_secs(20);
/// The client that it names.
pub(crate) const CLIENT: &str = "00000000-0000-7000-8000-0000000000c1";

/// The id of the nth job.
pub(crate) fn job_name(job: usize) -> String {
    format!("bench-{job:05}")
}

/// An event of a job, which carries the moment of its publication.
pub(crate) fn stamped_event(job: usize, nanos: u64, number: usize, padding: usize) -> Vec<u8> {
    let (job, stamp, pad) = (job_name(job), stamp(nanos), "x".repeat(padding));
    format!(
        r#"{{"event_type":"bench:tick","timestamp":"2026-01-01T00:00:00Z","job_id":"{job}","client_id":"{CLIENT}","number":{number:>5},"stamp":"{stamp}","pad":"{pad}"}}"#
    )
    .into_bytes()
}

/// How an external publisher begins a job.
pub(crate) fn started_event(job: &str) -> String {
    let now = chrono::Utc::now().to_rfc3339();
    format!(
        r#"{{"event_type":"job:started","timestamp":"{now}","job_id":"{job}","client_id":"{CLIENT}","status":"running","started_at":"{now}"}}"#
    )
}

/// Lets an external publisher start `count` jobs, and waits until the API at `address` knows them all.
pub(crate) fn start_external_jobs(
    publisher: &mut resp::Connection,
    stage: &mut Stage,
    address: SocketAddr,
    count: usize,
) -> Result<()> {
    let (first, _) = &mut stage.apis[0];
    let events: Vec<String> = (0..count)
        .map(|job| started_event(&job_name(job)))
        .collect();
    let mut connection = exchange::Connection::open(address)?;
    let mut known = |publisher: &mut resp::Connection, job: usize| {
        let event = std::slice::from_ref(&events[job]);
        announce(
            publisher,
            first,
            &mut connection,
            &job_name(job),
            "running",
            event,
        )
    };
    // Once it knows one of them, its subscription stands, and it hears of the others.
    known(publisher, 0)?;
    for event in &events[1..] {
        publisher.publish("triton:jobs:all", event.as_bytes())?;
    }
    (1..count).try_for_each(|job| known(publisher, job))
}

/// Publishes the events of a job, the same bytes again and again (which makes them duplicates),
/// until the API at `address` says that the job has the status.
pub(crate) fn announce_until(
    publisher: &mut resp::Connection,
    api: &mut Process,
    address: SocketAddr,
    job: &str,
    status: &str,
    events: &[String],
) -> Result<()> {
    let mut connection = exchange::Connection::open(address)?;
    announce(publisher, api, &mut connection, job, status, events)
}

fn announce(
    publisher: &mut resp::Connection,
    api: &mut Process,
    connection: &mut exchange::Connection,
    job: &str,
    status: &str,
    events: &[String],
) -> Result<()> {
    let path = format!("/v1/triton/jobs/{job}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = connection.call("GET", &path, None)?;
        if answer.status == 200 && answer.json(200)?["status"] == status {
            return Ok(());
        }
        api.still_runs()?;
        ensure!(
            Instant::now() < deadline,
            "the job {job} isn't {status} {PATIENCE:?} after its events were published: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        // Nobody listens before the API's subscription stands, and then it is told again.
        for event in events {
            publisher.publish("triton:jobs:all", event.as_bytes())?;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
