//! W5: lookups of finished jobs, from the process's own cache, and with each going to Redis, against the
//! same axum answering a constant and against Redis itself.
//!
//! Each connection asks for a job of its own, so that no two lookups are answered by one read. That
//! lookups went to Redis, or didn't, is checked on Redis's own count of commands: a figure must never
//! stand under the wrong name.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::Options;
use crate::{
    exchange,
    http_load::{self, Load},
    machine::Steal,
    process::{Process, cpu_time, free_address, installed, this_program},
    publisher::{CLIENT, announce_until},
    report::{Section, Table, Verdict, median, middle, spread},
    resp,
    stage::{start_api, start_redis},
};

/// What to measure.
pub(crate) struct Plan {
    /// Connections, each with one request under way.
    pub connections: usize,
    /// How often each server is measured.
    pub runs: usize,
    /// How long one run counts.
    pub window: Duration,
    /// More environment variables for Conch.
    pub settings: Vec<(String, String)>,
}

impl Plan {
    /// The plan for the full report, or for a smoke run.
    pub(crate) fn of(options: &Options) -> Self {
        Self {
            connections: 50,
            runs: options.runs(),
            window: options.window(5),
            settings: options.settings.clone(),
        }
    }
}

const SHAPE: &str = "W5 lookups";
const CONSTANT: &str = "axum, a constant";
const LOCAL: &str = "Conch, own cache";
const REMOTE: &str = "Conch, each to Redis";
const REDIS: &str = "redis-benchmark GET";
/// The setting that turns the process's own cache of finished jobs off.
const NO_LOCAL_CACHE: (&str, &str) = ("LOCAL_RESULTS", "0");

/// The figures of one run.
struct Run {
    name: &'static str,
    per_second: f64,
    p50_millis: f64,
    p99_millis: f64,
    /// Processor time of the server per lookup; Redis is not looked at.
    cpu_micros: Option<f64>,
    generator_percent: Option<f64>,
    steal: f64,
}

/// Every process that takes part.
struct Stage {
    constant: (Process, SocketAddr),
    local: (Process, SocketAddr),
    remote: (Process, SocketAddr),
    control: resp::Connection,
    redis: (Process, SocketAddr),
    paths: Vec<String>,
    answer_bytes: usize,
    body_bytes: usize,
    _directory: TempDir,
}

/// Measures and reports.
pub(crate) fn measure(plan: &Plan) -> Result<Section> {
    installed("redis-benchmark", "redis-tools")?;
    let mut stage = Stage::set(plan)?;
    let mut runs = Vec::new();
    for round in 1..=plan.runs {
        for name in [CONSTANT, LOCAL, REMOTE, REDIS] {
            let run = stage.run(name, plan).with_context(|| name.to_owned())?;
            eprintln!(
                "lookups run {round} {name:<22} {:>9.0}/s, p99 {:.2} ms, steal {:.1} %",
                run.per_second, run.p99_millis, run.steal
            );
            runs.push(run);
        }
    }
    Ok(report(plan, &stage, &runs))
}

impl Stage {
    /// Starts everything and lets a foreign publisher run one job per connection to its end.
    fn set(plan: &Plan) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let redis = start_redis(path)?;
        let triton = free_address()?;
        let mut local = start_api(path, "conch-api-local", redis.1, triton, &plan.settings)?;
        let mut settings = plan.settings.clone();
        settings.push((NO_LOCAL_CACHE.0.to_owned(), NO_LOCAL_CACHE.1.to_owned()));
        let mut remote = start_api(path, "conch-api-remote", redis.1, triton, &settings)?;
        let mut control = resp::Connection::open(redis.1)?;
        let jobs: Vec<String> = (0..plan.connections)
            .map(|index| format!("bench-{index:04}"))
            .collect();
        for job in &jobs {
            let events = finished_job(job);
            announce_until(
                &mut control,
                &mut local.0,
                local.1,
                job,
                "completed",
                &events,
            )?;
            announce_until(&mut control, &mut remote.0, remote.1, job, "completed", &[])?;
        }
        let paths: Vec<String> = jobs
            .iter()
            .map(|job| format!("/v1/triton/jobs/{job}"))
            .collect();

        let answer = exchange::Connection::open(local.1)?.call("GET", &paths[0], None)?;
        let mut constant = b"HTTP/1.1 200 OK\r\n".to_vec();
        for (name, value) in &answer.headers {
            constant.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        constant.extend_from_slice(b"\r\n");
        constant.extend_from_slice(&answer.body);
        let constant = start_constant(path, &constant)?;
        let same = exchange::Connection::open(constant.1)?.call("GET", &paths[0], None)?;
        ensure!(
            same.body == answer.body,
            "the constant answers another body"
        );
        ensure!(
            same.headers.len() == answer.headers.len(),
            "the constant answers other headers: {:?} instead of {:?}",
            same.headers,
            answer.headers
        );
        let head: usize = same
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 4)
            .sum();
        Ok(Self {
            constant,
            local,
            remote,
            control,
            redis,
            paths,
            answer_bytes: "HTTP/1.1 200 OK\r\n\r\n".len() + head + same.body.len(),
            body_bytes: same.body.len(),
            _directory: directory,
        })
    }

    fn run(&mut self, name: &'static str, plan: &Plan) -> Result<Run> {
        let steal = Steal::now()?;
        let (process, address) = match name {
            CONSTANT => &mut self.constant,
            LOCAL => &mut self.local,
            REMOTE => &mut self.remote,
            _ => {
                let (per_second, p50_millis, p99_millis) = redis_benchmark(self.redis.1, plan)?;
                let steal = Steal::now()?.percent_since(steal);
                let (cpu_micros, generator_percent) = (None, None);
                return Ok(Run {
                    name,
                    per_second,
                    p50_millis,
                    p99_millis,
                    cpu_micros,
                    generator_percent,
                    steal,
                });
            }
        };
        process.still_runs()?;
        let pid = process.pid();
        let commands = self.control.commands_processed()?;
        let mut cpu = Duration::ZERO;
        let requests: Vec<Vec<u8>> = self
            .paths
            .iter()
            .map(|path| http_load::get(*address, path))
            .collect();
        let load = http_load::run(*address, &requests, 200, plan.window, || {
            cpu = cpu_time(pid)?;
            Ok(())
        })?;
        let cpu = cpu_time(pid)?.saturating_sub(cpu);
        let commands = self.control.commands_processed()? - commands;
        check_where(name, &load, commands)?;
        Ok(Run {
            name,
            per_second: load.per_second,
            p50_millis: load.p50.as_secs_f64() * 1e3,
            p99_millis: load.p99.as_secs_f64() * 1e3,
            cpu_micros: Some(cpu.as_secs_f64() * 1e6 / load.answers as f64),
            generator_percent: Some(load.generator_percent),
            steal: Steal::now()?.percent_since(steal),
        })
    }
}

/// Fails when the lookups were not answered from where the figure would say.
fn check_where(name: &str, load: &Load, commands: u64) -> Result<()> {
    let share = commands as f64 / load.all_answers as f64;
    match name {
        LOCAL => ensure!(
            share < 0.05,
            "{commands} commands reached Redis for {} lookups: they were not answered from the \
             process's own cache",
            load.all_answers
        ),
        REMOTE => ensure!(
            share >= 0.95,
            "only {commands} commands reached Redis for {} lookups: {}={} doesn't switch the \
             process's own cache off",
            load.all_answers,
            NO_LOCAL_CACHE.0,
            NO_LOCAL_CACHE.1
        ),
        _ => {}
    }
    Ok(())
}

fn start_constant(directory: &Path, answer: &[u8]) -> Result<(Process, SocketAddr)> {
    let file = directory.join("answer");
    std::fs::write(&file, answer)?;
    let address = free_address()?;
    let mut command = this_program(["peer-constant".to_owned(), address.to_string()])?;
    command.arg(file);
    let mut process = Process::start("constant", command, directory)?;
    process.listening(address)?;
    Ok((process, address))
}

/// `redis-benchmark` asking for a cached result of ours, as often as takes about the window.
fn redis_benchmark(address: SocketAddr, plan: &Plan) -> Result<(f64, f64, f64)> {
    // Its number of requests is fixed beforehand: a short round says how many fill the window.
    let (rate, ..) = redis_benchmark_of(address, plan, 20_000)?;
    redis_benchmark_of(address, plan, (rate * plan.window.as_secs_f64()) as u64)
}

fn redis_benchmark_of(address: SocketAddr, plan: &Plan, requests: u64) -> Result<(f64, f64, f64)> {
    let output = Command::new(installed("redis-benchmark", "redis-tools")?)
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &address.port().to_string(),
            "--csv",
        ])
        .args([
            "-c",
            &plan.connections.to_string(),
            "-n",
            &requests.to_string(),
        ])
        .args(["GET", "triton:job:result:bench-0000"])
        .output()
        .context("running redis-benchmark")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95…","p99…","max…"
    let line = text.lines().rev().find(|line| line.starts_with("\"GET "));
    let line = line.with_context(|| format!("redis-benchmark said: {text}"))?;
    let cells: Vec<&str> = line.trim_matches('"').split("\",\"").collect();
    let figure = |index: usize| -> Result<f64> {
        let cell = cells
            .get(index)
            .with_context(|| format!("redis-benchmark said: {line}"))?;
        cell.parse()
            .with_context(|| format!("redis-benchmark said: {line}"))
    };
    Ok((figure(1)?, figure(4)?, figure(6)?))
}

/// What a foreign publisher says of a job from its start to its end.
fn finished_job(job: &str) -> [String; 2] {
    let now = chrono::Utc::now().to_rfc3339();
    let templates: Vec<String> = (0..7)
        .map(|index| format!("\"00000000-0000-7000-8000-{index:012}\""))
        .collect();
    let head = format!(r#""timestamp":"{now}","job_id":"{job}","client_id":"{CLIENT}""#);
    [
        format!(r#"{{"event_type":"job:started",{head},"status":"running","started_at":"{now}"}}"#),
        format!(
            r#"{{"event_type":"job:completed",{head},"status":"completed","template_ids":[{}],"template_count":7,"generation_duration_ms":180000,"completed_at":"{now}"}}"#,
            templates.join(",")
        ),
    ]
}

fn report(plan: &Plan, stage: &Stage, runs: &[Run]) -> Section {
    let of = |name: &'static str| runs.iter().filter(move |run| run.name == name);
    let mut table = Table::new(&[
        "server",
        "lookups/s",
        "p50 ms",
        "p99 ms",
        "server CPU µs",
        "generator CPU %",
        "steal %",
    ]);
    for name in [CONSTANT, LOCAL, REMOTE, REDIS] {
        table.row(vec![
            name.to_owned(),
            spread(&of(name).map(|run| run.per_second).collect::<Vec<_>>(), 0),
            middle(of(name).map(|run| run.p50_millis), 2),
            middle(of(name).map(|run| run.p99_millis), 2),
            middle(of(name).filter_map(|run| run.cpu_micros), 1),
            middle(of(name).filter_map(|run| run.generator_percent), 0),
            middle(of(name).map(|run| run.steal), 1),
        ]);
    }
    let rate = |name| median(of(name).map(|run| run.per_second));
    let share = |part, whole| Some(100.0 * rate(part)? / rate(whole)?);
    Section {
        title: "W5 lookups: of finished jobs",
        method: format!(
            "Medians of {runs} interleaved runs (with the span) of {window} s each after a warm-up, \
             {connections} kept-alive connections with one request under way on each, {connections} \
             different jobs, an answer of {answer} bytes of which {body} are the body. The load \
             generator is one thread on the same machine: where its share of a core is near 100 %, \
             it and not the server was the limit, and the server's CPU per lookup is the better \
             figure. `redis-benchmark` asks for the same cached result with as many connections, \
             unpipelined. That lookups went to Redis, or didn't, is checked on Redis's own count of \
             commands.",
            runs = plan.runs,
            window = plan.window.as_secs(),
            connections = plan.connections,
            answer = stage.answer_bytes,
            body = stage.body_bytes
        ),
        tables: vec![table],
        verdicts: vec![
            Verdict::at_least(
                SHAPE,
                "from the own cache, of the constant",
                share(LOCAL, CONSTANT),
                70.0,
                " %",
            )
            .beside(CONSTANT, rate(CONSTANT), "/s"),
            Verdict::at_least(
                SHAPE,
                "each to Redis, of redis-benchmark",
                share(REMOTE, REDIS),
                50.0,
                " %",
            )
            .beside(REDIS, rate(REDIS), "/s"),
        ],
    }
}
