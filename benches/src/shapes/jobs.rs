//! W2 jobs: a full queue, one worker process, bodies that are ready. How many jobs a second, and what each
//! costs, beside BullMQ with the same bodies and as many events, and beside the bare commands.
//!
//! The clock runs from the first start of a job to the last end, by the jobs' own time stamps, and every
//! job must have its seven templates.

use std::{
    net::SocketAddr,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Options;
use crate::{
    exchange,
    machine::Steal,
    meter::{Cost, Meter, Role},
    peers::{bullmq::BullMq, worker::Mode},
    report::{Section, Table, Verdict, median, middle, spread},
    resp,
    stage::{Stage, jobs_with, submit},
};

const SHAPE: &str = "W2 jobs";
const CONCURRENCIES: [usize; 2] = [8, 64];
/// Clients that the jobs are for: claims take turns among them.
const CLIENTS: usize = 20;
const TEMPLATES: usize = 7;
/// Events of a job from its claim to its end; the first of its seventeen comes with the submission.
const EVENTS: usize = 16;
const PATIENCE: Duration = Duration::from_mins(3);
/// Between two looks at how many jobs have ended.
const LOOK: Duration = Duration::from_millis(100);

const CONCH: &str = "Conch";
const SLOW_CONCH: &str = "Conch, 20 ms per body";
const BULLMQ: &str = "BullMQ";
const SLOW_BULLMQ: &str = "BullMQ, 20 ms per body";
const FLOOR: &str = "bare XADD, PUBLISH, HSET";
const SLOW: Duration = Duration::from_millis(20);

struct Run {
    name: &'static str,
    concurrency: usize,
    per_second: f64,
    /// Per job.
    job: Cost,
    steal: f64,
}

/// Measures and reports.
pub(crate) fn measure(options: &Options) -> Result<Section> {
    let jobs = options.size(2_000);
    let bodies = Bodies::new()?;
    let mut runs = Vec::new();
    for round in 1..=options.runs() {
        for concurrency in CONCURRENCIES {
            // Conch first: BullMQ gets its bodies.
            for (name, pace) in [
                (CONCH, Duration::ZERO),
                (BULLMQ, Duration::ZERO),
                (SLOW_CONCH, SLOW),
                (SLOW_BULLMQ, SLOW),
                (FLOOR, Duration::ZERO),
            ] {
                let slow = !pace.is_zero();
                if (slow || name == FLOOR) && concurrency != CONCURRENCIES[1] {
                    continue;
                }
                let steal = Steal::now()?;
                let (per_second, job) = match name {
                    CONCH | SLOW_CONCH => conch(jobs, concurrency, pace, &bodies, options),
                    BULLMQ | SLOW_BULLMQ => bullmq(jobs, concurrency, pace, &bodies),
                    _ => floor(jobs, &bodies),
                }
                .with_context(|| format!("{name}, concurrency {concurrency}"))?;
                let run = Run {
                    name,
                    concurrency,
                    per_second,
                    job,
                    steal: Steal::now()?.percent_since(steal),
                };
                eprintln!(
                    "{SHAPE} run {round} {name:<24} {concurrency:>2}: {per_second:6.0}/s; per job redis {:6.0} µs, worker {:6.0} µs, {:5.1} scripts, {:6.1} commands, steal {:.1} %",
                    job.redis.micros, job.worker.micros, job.scripts, job.commands, run.steal
                );
                runs.push(run);
            }
        }
    }
    Ok(report(options, jobs, &bodies, &runs))
}

/// The templates of a job of Conch's, a line each.
struct Bodies {
    file: PathBuf,
    _directory: TempDir,
}

impl Bodies {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        Ok(Self {
            file: directory.path().join("bodies"),
            _directory: directory,
        })
    }

    /// Takes those of a job that has ended, once.
    fn take(&self, triton: SocketAddr, job: &str) -> Result<()> {
        if self.file.exists() {
            return Ok(());
        }
        let path = format!("/templates?job_id={job}");
        let page = exchange::Connection::open(triton)?.call("GET", &path, None)?;
        let page = page.json(200)?;
        let templates = page["templates"].as_array().context("no templates")?;
        ensure!(
            templates.len() == TEMPLATES,
            "{} templates",
            templates.len()
        );
        let lines: Vec<String> = templates.iter().map(|body| format!("{body}\n")).collect();
        Ok(std::fs::write(&self.file, lines.concat())?)
    }

    fn read(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(&self.file).context("Conch's run comes first")?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// Jobs per second, and what a job costs.
fn conch(
    jobs: usize,
    concurrency: usize,
    pace: Duration,
    bodies: &Bodies,
    options: &Options,
) -> Result<(f64, Cost)> {
    let mut stage = Stage::new()?;
    let triton = stage.start_worker(Mode::Service, 1, Duration::ZERO, &options.settings)?;
    submit(triton, CLIENTS, jobs)?;
    let triton = stage.start_worker(Mode::Ready, concurrency, pace, &options.settings)?;
    let mut meter = stage.meter()?;
    let begun = meter.read()?;
    let mut connection = exchange::Connection::open(triton)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        thread::sleep(LOOK);
        let ended = jobs_with(&mut connection, "completed")?;
        if ended as usize == jobs {
            break;
        }
        stage.still_runs()?;
        ensure!(
            Instant::now() < deadline,
            "{ended} of {jobs} jobs have ended after {PATIENCE:?}"
        );
    }
    let cost = meter.since(&begun)?.per(jobs);
    let (seconds, one) = span(&mut connection, jobs)?;
    bodies.take(triton, &one)?;
    Ok((jobs as f64 / seconds, cost))
}

/// From the first start to the last end of all jobs, by their time stamps; and the id of one of them.
fn span(connection: &mut exchange::Connection, jobs: usize) -> Result<(f64, String)> {
    let moment = |job: &Value, field: &str| -> Result<DateTime<Utc>> {
        let text = job[field].as_str().context("a job that ran says when")?;
        text.parse().with_context(|| format!("the time {text:?}"))
    };
    let (mut first, mut last, mut one, mut seen) = (None, None, None, 0);
    for page in 1..=jobs.div_ceil(100) {
        let path = format!("/jobs?status=completed&page_size=100&page={page}");
        let answer = connection.call("GET", &path, None)?.json(200)?;
        for job in answer["jobs"].as_array().context("a page has jobs")? {
            let templates = job["template_ids"].as_array().map_or(0, Vec::len);
            ensure!(
                templates == TEMPLATES,
                "a job has {templates} templates: {job}"
            );
            let (start, end) = (moment(job, "started_at")?, moment(job, "completed_at")?);
            first = Some(first.map_or(start, |first: DateTime<Utc>| first.min(start)));
            last = Some(last.map_or(end, |last: DateTime<Utc>| last.max(end)));
            one = job["job_id"].as_str().map(str::to_owned);
            seen += 1;
        }
    }
    let (Some(first), Some(last), Some(one)) = (first, last, one) else {
        bail!("no job has ended");
    };
    ensure!(seen == jobs, "the lists have {seen} of {jobs} jobs");
    Ok(((last - first).as_seconds_f64(), one))
}

/// The same in BullMQ.
fn bullmq(jobs: usize, concurrency: usize, pace: Duration, bodies: &Bodies) -> Result<(f64, Cost)> {
    let stage = Stage::new()?;
    let mut peer = BullMq::start(stage.redis_address(), &bodies.file, stage.directory())?;
    peer.order(&json!({ "add": jobs }), "seconds")?;
    let processes = vec![(Role::Worker, peer.pid()), (Role::Redis, stage.redis_pid())];
    let mut meter = Meter::new(processes, Some(stage.redis()?));
    let begun = meter.read()?;
    let order =
        json!({ "work": jobs, "concurrency": concurrency, "pace": pace.as_millis() as u64 });
    let seconds = peer.order(&order, "seconds")?;
    Ok((jobs as f64 / seconds, meter.since(&begun)?.per(jobs)))
}

/// What no design can go below: an entry and a message per event, the bodies as they are, one pipeline
/// per job.
fn floor(jobs: usize, bodies: &Bodies) -> Result<(f64, Cost)> {
    let stage = Stage::new()?;
    let mut redis = stage.redis()?;
    let bodies = bodies.read()?;
    let event = "x".repeat(440);
    let mut meter = Meter::new(vec![(Role::Redis, stage.redis_pid())], Some(stage.redis()?));
    let begun = meter.read()?;
    let from = Instant::now();
    for job in 0..jobs {
        let log = format!("log:{job}");
        let mut pipeline = Vec::new();
        for _ in 0..EVENTS {
            resp::encode(
                &mut pipeline,
                &[b"XADD", log.as_bytes(), b"*", b"e", event.as_bytes()],
            );
            resp::encode(&mut pipeline, &[b"PUBLISH", b"jobs:all", event.as_bytes()]);
        }
        for (place, body) in bodies.iter().enumerate() {
            let key = format!("template:{job}:{place}");
            resp::encode(
                &mut pipeline,
                &[b"HSET", key.as_bytes(), b"body", body.as_bytes()],
            );
        }
        redis.pipeline(&pipeline, 2 * EVENTS + bodies.len())?;
    }
    let seconds = from.elapsed().as_secs_f64();
    Ok((jobs as f64 / seconds, meter.since(&begun)?.per(jobs)))
}

fn report(options: &Options, jobs: usize, bodies: &Bodies, runs: &[Run]) -> Section {
    let of = |name: &'static str, concurrency: usize| {
        runs.iter()
            .filter(move |run| run.name == name && run.concurrency == concurrency)
    };
    let mut table = Table::new(&[
        "queue, jobs at once",
        "jobs/s",
        "Redis µs per job",
        "worker µs per job",
        "Redis µs per event",
        "scripts per job",
        "commands per job",
        "switches of the worker per job",
        "steal %",
    ]);
    for concurrency in CONCURRENCIES {
        for name in [CONCH, BULLMQ, SLOW_CONCH, SLOW_BULLMQ, FLOOR] {
            if of(name, concurrency).next().is_none() {
                continue;
            }
            let all = |figure: fn(&Run) -> f64| -> Vec<f64> {
                of(name, concurrency).map(figure).collect()
            };
            table.row(vec![
                format!("{name}, {concurrency}"),
                spread(&all(|run| run.per_second), 0),
                spread(&all(|run| run.job.redis.micros), 0),
                spread(&all(|run| run.job.worker.micros), 0),
                middle(all(|run| run.job.redis.micros / EVENTS as f64), 1),
                middle(all(|run| run.job.scripts), 1),
                middle(all(|run| run.job.commands), 1),
                middle(all(|run| run.job.worker.switches), 1),
                middle(all(|run| run.steal), 1),
            ]);
        }
    }
    let size = bodies.read().map_or(0, |bodies| {
        bodies.iter().map(String::len).sum::<usize>() / TEMPLATES
    });
    Section {
        title: "W2 jobs: a full queue and one worker process",
        method: format!(
            "Medians of {runs} interleaved runs (with the span), fresh processes each: {jobs} jobs of {CLIENTS} clients \
             are in the queue before one worker process starts, whose generator has its {TEMPLATES} templates ready \
             ({size} bytes each on average); the clock runs from the first start to the last end. BullMQ runs as many \
             jobs on the same kind of Redis, each with 17 progress events and the same {TEMPLATES} bodies stored under \
             keys of their own; the first of Conch's 17 events was written with the submission, so {EVENTS} fall into \
             its run. The bare commands are what neither can go below: one XADD and one PUBLISH per event and one HSET \
             per body, in one pipeline per job. \"20 ms per body\" has each body take that long, so that a job can't run \
             ahead of its writes.",
            runs = options.runs(),
        ),
        tables: vec![table],
        verdicts: verdicts(runs),
    }
}

fn verdicts(runs: &[Run]) -> Vec<Verdict> {
    let of = |name: &'static str, concurrency: usize, figure: fn(&Run) -> f64| {
        let all = runs
            .iter()
            .filter(|run| run.name == name && run.concurrency == concurrency);
        median(all.map(figure))
    };
    let bare = of(FLOOR, CONCURRENCIES[1], |run| run.job.redis.micros);
    let mut verdicts = Vec::new();
    for concurrency in CONCURRENCIES {
        let rate = |name| of(name, concurrency, |run| run.per_second);
        let node = of(BULLMQ, concurrency, |run| run.job.worker.micros);
        let ratio = rate(CONCH)
            .zip(rate(BULLMQ))
            .map(|(ours, theirs)| ours / theirs);
        let redis = of(CONCH, concurrency, |run| run.job.redis.micros);
        let worker = of(CONCH, concurrency, |run| run.job.worker.micros);
        verdicts.extend([
            Verdict::at_least(
                SHAPE,
                format!("{concurrency} at once, of BullMQ (must)"),
                ratio,
                1.0,
                " ×",
            )
            .beside(BULLMQ, rate(BULLMQ), " jobs/s"),
            Verdict::at_least(
                SHAPE,
                format!("{concurrency} at once, of BullMQ (goal)"),
                ratio,
                1.5,
                " ×",
            )
            .beside(BULLMQ, rate(BULLMQ), " jobs/s"),
            Verdict::at_most(
                SHAPE,
                format!("{concurrency} at once: Redis per job"),
                redis,
                420.0,
                " µs",
            )
            .beside("bare commands", bare, " µs"),
            Verdict::at_most(
                SHAPE,
                format!("{concurrency} at once: worker per job"),
                worker,
                450.0,
                " µs",
            )
            .beside("Node", node, " µs"),
        ]);
    }
    verdicts
}
