//! Polling against streaming, for one job of three minutes that is polled each two seconds.
//!
//! The jobs are real and run on an API, a worker and a Redis of their own; only time is simulated:
//! a job and the pause between two polls are both shortened by the same factor. Every request is
//! made, every byte is counted at the socket. It must never count what was not on the wire; what is
//! computed (when an end falls between two polls) is said to be computed.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Utc};
use tempfile::TempDir;

use super::Options;
use crate::{
    exchange::{Connection, find},
    machine::Steal,
    process::{Process, free_address},
    publisher::{announce_until, started_event},
    report::{Section, Table, median, middle},
    resp,
    stage::{conch_command, new_client, start_api, start_redis},
    triton_tap::Tap,
};

/// The job as it is simulated.
const JOB: Duration = Duration::from_mins(3);
/// The pause between two polls, likewise.
const POLL: Duration = Duration::from_secs(2);
/// By how much both are shortened.
const SPEED: u32 = 60;
/// The default plan of a job.
const TEMPLATES: u32 = 7;
/// How often a stream says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// A job that takes ten times as long as planned has failed.
const PATIENCE: Duration = Duration::from_secs(30);

const TRITON: &str = "polling Triton itself";
const LOOKUP: &str = "polling through Conch";
const STREAM: &str = "streaming from Conch";

/// What one job cost its watcher.
struct Run {
    name: &'static str,
    requests: u64,
    up: u64,
    down: u64,
    upstream: u64,
    /// For the polls: a round trip. For the stream: the time stamp in the last event to its receipt.
    delay: Duration,
}

/// The processes, ended in this order.
struct Stage {
    api: (Process, SocketAddr),
    _worker: Process,
    tap: Tap,
    client: String,
    idle: Connection,
    _redis: Process,
    _directory: TempDir,
}

/// Measures and reports.
pub(crate) fn measure(options: &Options) -> Result<Section> {
    let steal = Steal::now()?;
    let mut stage = Stage::set(options)?;
    let mut runs = Vec::new();
    for round in 1..=options.runs() {
        for name in [STREAM, LOOKUP, TRITON] {
            let run = stage.run(name).with_context(|| name.to_owned())?;
            eprintln!(
                "polling run {round} {name:<22} {} requests, {} bytes, {} upstream lookups, {:?}",
                run.requests,
                run.up + run.down,
                run.upstream,
                run.delay
            );
            runs.push(run);
        }
    }
    let heartbeat = stage.heartbeat()?;
    Ok(report(
        options,
        &runs,
        heartbeat,
        Steal::now()?.percent_since(steal),
    ))
}

impl Stage {
    fn set(options: &Options) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let (redis, redis_address) = start_redis(path)?;
        let triton = free_address()?;
        let mut command = conch_command("conch-worker", redis_address)?;
        let pace = JOB / SPEED / TEMPLATES;
        command.env("TRITON_API_ADDR", triton.to_string());
        command.env("GENERATOR", "builtin");
        command.env("BUILTIN_PACE_MS", pace.as_millis().to_string());
        command.envs(options.settings.iter().map(|(name, value)| (name, value)));
        let mut worker = Process::start("conch-worker", command, path)?;
        worker.listening(triton)?;
        let tap = Tap::start(triton)?;
        let mut api = start_api(
            path,
            "conch-api",
            redis_address,
            tap.address,
            &options.settings,
        )?;

        // A job of which nothing is heard after its start: its stream carries heartbeats alone.
        let event = started_event("bench-idle");
        let mut publisher = resp::Connection::open(redis_address)?;
        announce_until(
            &mut publisher,
            &mut api.0,
            api.1,
            "bench-idle",
            "running",
            &[event],
        )?;
        let mut idle = Connection::open(api.1)?;
        idle.send("GET", "/v1/triton/jobs/bench-idle/subscribe", None)?;

        let client = new_client(triton)?;
        Ok(Self {
            api,
            _worker: worker,
            tap,
            client,
            idle,
            _redis: redis,
            _directory: directory,
        })
    }

    fn run(&mut self, name: &'static str) -> Result<Run> {
        self.api.0.still_runs()?;
        let mut setup = Connection::open(self.api.1)?;
        let path = format!("/v1/triton/clients/{}/generate-templates", self.client);
        let job = setup.call("POST", &path, None)?.json(202)?;
        let job = job["job_id"]
            .as_str()
            .context("a submission answers a job_id")?;
        let before = self.tap.lookups();
        let mut run = match name {
            STREAM => stream(self.api.1, &format!("/v1/triton/jobs/{job}/subscribe"))?,
            LOOKUP => poll(LOOKUP, self.api.1, &format!("/v1/triton/jobs/{job}"))?,
            // Through the tap, so that these are counted like all others.
            _ => poll(TRITON, self.tap.address, &format!("/jobs/{job}"))?,
        };
        run.upstream = self.tap.lookups() - before;
        Ok(run)
    }

    /// The bytes of one heartbeat, as it came on the stream that was opened at the beginning.
    fn heartbeat(&mut self) -> Result<usize> {
        let mark = b"keep-alive";
        while find(self.idle.unread(), mark).is_none() {
            ensure!(self.idle.read_more()? > 0, "the idle stream was closed");
        }
        let bytes = self.idle.unread();
        // What comes after the last event, and after the end of the chunk that carried it.
        let end = bytes
            .windows(2)
            .rposition(|two| two == b"\n\n")
            .context("no event came")?
            + 2;
        let rest = &bytes[end..];
        let rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        let beats = rest.windows(mark.len()).filter(|part| part == mark).count();
        ensure!(beats > 0, "a heartbeat is followed by a blank line");
        Ok(rest.len() / beats)
    }
}

/// Polls as often as a poller does, until the job has ended.
fn poll(name: &'static str, host: SocketAddr, path: &str) -> Result<Run> {
    let mut connection = Connection::open(host)?;
    let begun = Instant::now();
    let mut trips = Vec::new();
    loop {
        let asked = Instant::now();
        let job = connection.call("GET", path, None)?.json(200)?;
        trips.push(asked.elapsed().as_secs_f64());
        match job["status"].as_str() {
            Some("completed") => break,
            Some("pending" | "running") => {}
            other => anyhow::bail!("the job is {other:?}"),
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "the job didn't end within {PATIENCE:?}"
        );
        // Due at multiples of the pause, so that the time of a poll doesn't stretch it.
        let due = POLL / SPEED * trips.len() as u32;
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    Ok(Run {
        name,
        requests: trips.len() as u64,
        up: connection.sent,
        down: connection.received,
        upstream: 0,
        delay: Duration::from_secs_f64(median(trips).context("a poll was made")?),
    })
}

/// Reads the stream until the server ends it.
fn stream(host: SocketAddr, path: &str) -> Result<Run> {
    let mut connection = Connection::open(host)?;
    connection.send("GET", path, None)?;
    let mut delay = None;
    loop {
        let whole = find(connection.unread(), b"job:completed").is_some();
        if delay.is_none() && whole {
            let at =
                find(connection.unread(), b"\"job:completed\"").context("as the event's type")?;
            if let Some(end) = find(&connection.unread()[at..], b"\n\n") {
                let received = Utc::now();
                delay = Some(since_stamp(&connection.unread()[..at + end], received)?);
            }
        }
        let closing = find(connection.unread(), b"Connection closing - job completed").is_some();
        // The chunked body's own end, where the connection is kept alive.
        if closing && connection.unread().ends_with(b"\r\n0\r\n\r\n") {
            break;
        }
        if connection.read_more()? == 0 {
            ensure!(closing, "the stream ended without its closing comment");
            break;
        }
    }
    Ok(Run {
        name: STREAM,
        requests: 1,
        up: connection.sent,
        down: connection.received,
        upstream: 0,
        delay: delay.context("the stream ended without the job's end")?,
    })
}

/// From the time stamp in the last `data:` line to `received`.
fn since_stamp(bytes: &[u8], received: DateTime<Utc>) -> Result<Duration> {
    let text = String::from_utf8_lossy(bytes);
    let (_, data) = text.rsplit_once("data: ").context("an event has data")?;
    let data: serde_json::Value =
        serde_json::from_str(data.trim_end()).context("an event is JSON")?;
    let stamp = data["timestamp"]
        .as_str()
        .context("an event has a timestamp")?;
    let stamp: DateTime<Utc> = stamp
        .parse()
        .with_context(|| format!("the time {stamp:?}"))?;
    // A clock that is set back within the run is the only way to a negative one.
    (received - stamp)
        .to_std()
        .context("the event came before its time stamp")
}

fn report(options: &Options, runs: &[Run], heartbeat: usize, steal: f64) -> Section {
    let beats = JOB.as_secs() / HEARTBEAT.as_secs();
    let mut table = Table::new(&[
        "way",
        "requests",
        "bytes up",
        "bytes down",
        "upstream lookups",
        "delay until the end is known",
    ]);
    for name in [TRITON, LOOKUP, STREAM] {
        let of = || runs.iter().filter(move |run| run.name == name);
        let delay = middle(of().map(|run| run.delay.as_secs_f64() * 1e3), 1);
        let (more, delay) = if name == STREAM {
            (beats * heartbeat as u64, format!("{delay} ms, measured"))
        } else {
            let (mean, most) = (POLL.as_secs_f64() / 2.0, POLL.as_secs_f64());
            (
                0,
                format!("mean {mean:.1} s, at most {most:.1} s, + {delay} ms"),
            )
        };
        table.row(vec![
            name.to_owned(),
            middle(of().map(|run| run.requests as f64), 0),
            middle(of().map(|run| run.up as f64), 0),
            middle(of().map(|run| (run.down + more) as f64), 0),
            middle(of().map(|run| run.upstream as f64), 0),
            delay,
        ]);
    }
    Section {
        title: "Polling against streaming: one job of 3 minutes, polled each 2 s",
        method: format!(
            "Medians of {runs} interleaved jobs in each way, run by `conch-worker` behind `conch-api`; \
             time is simulated, the job and the pause between polls both {SPEED} times as short as \
             said. Every request was made; bytes are those of HTTP, counted at the watcher's socket \
             (one kept-alive connection, which favours polling). The stream's bytes contain the {beats} \
             heartbeats of three minutes, {heartbeat} bytes each as measured on a stream that waited \
             for one. Upstream lookups were counted by a tap between API and Triton. A poll's delay is \
             computed: the end falls anywhere between two polls; its round trip is measured. The \
             stream's delay is from the time stamp in the last event, taken before the event is \
             stored, to its receipt. The machine's steal time meanwhile: {steal:.1} %.",
            runs = options.runs(),
        ),
        tables: vec![table],
        verdicts: Vec::new(),
    }
}
