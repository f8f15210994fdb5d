//! W2 submit: jobs submitted through the edge API, one connection and sixty-four; none of them run, and once
//! more while the worker of the same process runs them.
//!
//! BullMQ stands beside it without any HTTP: one `add` after the other, and in bulk.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Options;
use crate::{
    http_load,
    machine::Steal,
    meter::Cost,
    peers::{bullmq::BullMq, worker::Mode},
    report::{Section, Table, Verdict, median, middle, spread},
    stage::{Stage, new_client},
};

const SHAPE: &str = "W2 submit";
/// How many connections, and how many jobs run at once meanwhile.
const LOADS: [(usize, usize); 3] = [(1, 0), (64, 0), (1, 2)];
const BULK: usize = 10_000;
const SINGLE: usize = 1_000;

struct Run {
    load: (usize, usize),
    per_second: f64,
    p50_millis: f64,
    p99_millis: f64,
    /// Per submission.
    submission: Cost,
    generator_percent: f64,
    steal: f64,
}

/// What BullMQ came to in one run.
struct Peer {
    p50_millis: f64,
    bulk_per_second: f64,
}

/// Measures and reports.
pub(crate) fn measure(options: &Options) -> Result<Section> {
    let window = options.window(5);
    let (mut runs, mut peers) = (Vec::new(), Vec::new());
    for round in 1..=options.runs() {
        for load @ (connections, running) in LOADS {
            let run =
                run(load, window, options).with_context(|| format!("{connections} connections"))?;
            eprintln!(
                "{SHAPE} run {round} {connections:>2} connections, {running} jobs at once: {:6.0}/s, p50 {:.2} ms; each redis {:5.0} µs, API {:5.0} µs, Triton {:5.0} µs, steal {:.1} %",
                run.per_second,
                run.p50_millis,
                run.submission.redis.micros,
                run.submission.server.micros,
                run.submission.worker.micros,
                run.steal
            );
            runs.push(run);
        }
        let peer = bullmq().context("BullMQ")?;
        eprintln!(
            "{SHAPE} run {round} BullMQ: add p50 {:.2} ms, addBulk {:.0}/s",
            peer.p50_millis, peer.bulk_per_second
        );
        peers.push(peer);
    }
    Ok(report(options, window, &runs, &peers))
}

fn run(load: (usize, usize), window: Duration, options: &Options) -> Result<Run> {
    let steal = Steal::now()?;
    let mut stage = Stage::new()?;
    let (connections, running) = load;
    let mode = if running == 0 {
        Mode::Service
    } else {
        Mode::Ready
    };
    let triton = stage.start_worker(mode, running, Duration::ZERO, &options.settings)?;
    let api = stage.start_api(&options.api_settings())?;
    let requests: Vec<Vec<u8>> = (0..connections)
        .map(|_| request(triton, api))
        .collect::<Result<_>>()?;
    let mut meter = stage.meter()?;
    let mut begun = None;
    let answered = http_load::run(api, &requests, 202, window, || {
        begun = Some(meter.read()?);
        Ok(())
    })?;
    let cost = meter.since(&begun.context("the load began")?)?;
    Ok(Run {
        load,
        per_second: answered.per_second,
        p50_millis: answered.p50.as_secs_f64() * 1e3,
        p99_millis: answered.p99.as_secs_f64() * 1e3,
        submission: cost.per(answered.answers as usize),
        generator_percent: answered.generator_percent,
        steal: Steal::now()?.percent_since(steal),
    })
}

/// Each connection submits for a client of its own.
fn request(triton: SocketAddr, api: SocketAddr) -> Result<Vec<u8>> {
    let client = new_client(triton)?;
    let path = format!("/v1/triton/clients/{client}/generate-templates");
    Ok(http_load::post(api, &path))
}

fn bullmq() -> Result<Peer> {
    let stage = Stage::new()?;
    let bodies = stage.directory().join("bodies");
    std::fs::write(&bodies, "none\n")?;
    let mut peer = BullMq::start(stage.redis_address(), &bodies, stage.directory())?;
    let p50_millis = peer.order(&json!({ "single": SINGLE }), "p50_millis")?;
    let seconds = peer.order(&json!({ "add": BULK }), "seconds")?;
    Ok(Peer {
        p50_millis,
        bulk_per_second: BULK as f64 / seconds,
    })
}

fn report(options: &Options, window: Duration, runs: &[Run], peers: &[Peer]) -> Section {
    let mut table = Table::new(&[
        "submissions",
        "per second",
        "p50 ms",
        "p99 ms",
        "Redis µs",
        "API µs",
        "Triton µs",
        "scripts",
        "commands",
        "generator CPU %",
        "steal %",
    ]);
    for load @ (connections, running) in LOADS {
        let all = |figure: fn(&Run) -> f64| all(runs, load, figure);
        let meanwhile = match running {
            0 => String::new(),
            running => format!(", {running} jobs at once run"),
        };
        table.row(vec![
            format!("Conch, {connections} connection(s){meanwhile}"),
            spread(&all(|run| run.per_second), 0),
            spread(&all(|run| run.p50_millis), 2),
            middle(all(|run| run.p99_millis), 2),
            middle(all(|run| run.submission.redis.micros), 0),
            middle(all(|run| run.submission.server.micros), 0),
            middle(all(|run| run.submission.worker.micros), 0),
            middle(all(|run| run.submission.scripts), 1),
            middle(all(|run| run.submission.commands), 1),
            middle(all(|run| run.generator_percent), 0),
            middle(all(|run| run.steal), 1),
        ]);
    }
    let single: Vec<f64> = peers.iter().map(|peer| peer.p50_millis).collect();
    let bulk: Vec<f64> = peers.iter().map(|peer| peer.bulk_per_second).collect();
    let row = |name: &str, rate: String, p50: String| {
        let mut row = vec![name.to_owned(), rate, p50];
        row.resize(11, "–".to_owned());
        row
    };
    table.row(row(
        "BullMQ, add, no HTTP",
        "–".to_owned(),
        spread(&single, 2),
    ));
    table.row(row(
        "BullMQ, addBulk, no HTTP",
        spread(&bulk, 0),
        "–".to_owned(),
    ));
    Section {
        title: "W2 submit: jobs submitted through the edge API",
        method: format!(
            "Medians of {runs} interleaved runs (with the span) of {window} s each after a warm-up, fresh processes \
             each: `POST …/generate-templates` at the edge API, which passes it on to the job service, on kept-alive \
             connections with one request under way on each. No worker claims the jobs, but in the row that says so: there \
             the job service's own worker runs what is in the queue, and the figures per submission contain that. BullMQ adds from within its \
             process, without HTTP: {SINGLE} jobs one by one, then {BULK} by `addBulk` , 500 at a time.",
            runs = options.runs(),
            window = window.as_secs(),
        ),
        tables: vec![table],
        verdicts: verdicts(runs, &single, &bulk),
    }
}

fn all(runs: &[Run], load: (usize, usize), figure: fn(&Run) -> f64) -> Vec<f64> {
    let of = runs.iter().filter(|run| run.load == load);
    of.map(figure).collect()
}

fn verdicts(runs: &[Run], single: &[f64], bulk: &[f64]) -> Vec<Verdict> {
    let of = |load, figure: fn(&Run) -> f64| median(all(runs, load, figure));
    vec![
        Verdict::at_most(
            SHAPE,
            "1 connection: p50",
            of(LOADS[0], |run| run.p50_millis),
            1.0,
            " ms",
        )
        .beside("BullMQ add", median(single.iter().copied()), " ms"),
        Verdict::at_most(
            SHAPE,
            "1 connection, while 2 jobs at once run: p50",
            of(LOADS[2], |run| run.p50_millis),
            1.0,
            " ms",
        ),
        Verdict::at_least(
            SHAPE,
            "64 connections",
            of(LOADS[1], |run| run.per_second),
            3_000.0,
            "/s",
        )
        .beside("BullMQ addBulk", median(bulk.iter().copied()), "/s"),
    ]
}
