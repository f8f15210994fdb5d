//! One event to many watchers: what it costs the server, how long it takes, what waiting costs.
//!
//! Runs are interleaved, each with a fresh server, so that whatever else the machine does falls on
//! all of them. The events are padded until each delivery has the same size on the wire, whatever a
//! server adds. It must never let two events overlap: the next waits until all have the last.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    machine::Steal,
    process::{cpu_time, raise_descriptor_limit, resident_kib},
    report::{Section, Table, Verdict, median, middle, quantile, spread},
    servers::{Kind, Server, stamped_event},
    watchers::Watchers,
};

/// What one delivery weighs on the wire, headers and framing of the stream included.
const WIRE_BYTES: u64 = 400;
/// Connections that come before the first look at the memory, so that what a server allocates once
/// isn't counted as a watcher's.
const FIRST: usize = 16;
/// A server may still tidy up after the last byte is out; that is part of the price.
const SETTLE: Duration = Duration::from_millis(20);
/// Heartbeats come each 15 s: this window holds two.
const REST: Duration = Duration::from_secs(30);

/// What to measure.
pub(crate) struct Plan {
    /// The sizes of the audience.
    pub watchers: Vec<usize>,
    /// How often each server is measured at each size.
    pub runs: usize,
    /// Which servers.
    pub servers: Vec<Kind>,
    /// How long the watchers sit idle; at the largest size alone.
    pub rest: Duration,
    /// More environment variables for Conch.
    pub settings: Vec<(String, String)>,
}

impl Plan {
    /// The plan for the full report.
    pub(crate) fn full(settings: Vec<(String, String)>) -> Self {
        let servers = vec![Kind::Conch, Kind::Writeloop, Kind::Nchan];
        Self {
            watchers: vec![100, 1_000, 10_000],
            runs: 3,
            servers,
            rest: REST,
            settings,
        }
    }
}

/// The figures of one run.
struct Run {
    kind: Kind,
    watchers: usize,
    cpu_micros: f64,
    idle_kib: f64,
    used_kib: f64,
    p50_millis: f64,
    p99_millis: f64,
    wire_bytes: f64,
    rest: Option<RestRun>,
    steal: f64,
}

/// The figures of the watchers at rest.
struct RestRun {
    cpu_percent: f64,
    heartbeats: f64,
}

/// Measures and reports.
pub(crate) fn measure(plan: &Plan) -> Result<Section> {
    raise_descriptor_limit(plan.watchers.iter().copied().max().unwrap_or(0))?;
    let mut runs = Vec::new();
    let largest = plan.watchers.iter().copied().max().unwrap_or(0);
    for &watchers in &plan.watchers {
        for round in 1..=plan.runs {
            for &kind in &plan.servers {
                let rest = (watchers == largest && kind.has_heartbeats()).then_some(plan.rest);
                let run = run(kind, watchers, rest, &plan.settings)
                    .with_context(|| format!("{} with {watchers} watchers", kind.name()))?;
                eprintln!(
                    "fan-out {watchers:>6} run {round} {:<14} {:6.2} µs, {:5.1} KiB, p99 {:.1} ms, steal {:.1} %",
                    kind.name(),
                    run.cpu_micros,
                    run.idle_kib,
                    run.p99_millis,
                    run.steal
                );
                runs.push(run);
            }
        }
    }
    Ok(report(plan, &runs))
}

fn run(
    kind: Kind,
    count: usize,
    rest: Option<Duration>,
    settings: &[(String, String)],
) -> Result<Run> {
    let steal = Steal::now()?;
    let mut server = Server::start(kind, settings)?;
    let mut watchers = Watchers::new()?;
    let (address, path) = (server.address, server.path.clone());
    watchers.grow_to(FIRST, address, &path)?;
    let empty = resident_kib(server.pid)?;
    watchers.grow_to(count, address, &path)?;
    let idle = resident_kib(server.pid)?;

    let rest = rest
        .map(|duration| at_rest(&mut watchers, &server, count, duration))
        .transpose()?;

    let mut number = 0;
    let mut deliver = |watchers: &mut Watchers, server: &mut Server, padding: usize| {
        number += 1;
        let delivery = watchers
            .deliver(|stamp| server.publish(&stamped_event(stamp, number, padding)))
            .with_context(|| format!("event {number}"))?;
        server.settle()?;
        thread::sleep(SETTLE);
        anyhow::Ok(delivery)
    };
    // The first two warm the server up, the third says how much it adds to an event.
    let mut weight = 0;
    for _ in 0..3 {
        weight = deliver(&mut watchers, &mut server, 0)?.bytes / count as u64;
    }
    let padding = WIRE_BYTES.saturating_sub(weight) as usize;
    deliver(&mut watchers, &mut server, padding)?;

    let events = events_at(count);
    let before = cpu_time(server.pid)?;
    let mut latencies = Vec::with_capacity(events * count);
    let mut bytes = 0;
    for _ in 0..events {
        let delivery = deliver(&mut watchers, &mut server, padding)?;
        bytes += delivery.bytes;
        latencies.extend(delivery.latencies);
    }
    let cpu = cpu_time(server.pid)?.saturating_sub(before);
    let used = resident_kib(server.pid)?;

    latencies.sort_unstable();
    let deliveries = (events * count) as f64;
    let per_watcher = |kib: u64| kib.saturating_sub(empty) as f64 / (count - FIRST) as f64;
    Ok(Run {
        kind,
        watchers: count,
        cpu_micros: cpu.as_secs_f64() * 1e6 / deliveries,
        idle_kib: per_watcher(idle),
        used_kib: per_watcher(used),
        p50_millis: quantile(&latencies, 0.5) as f64 / 1e6,
        p99_millis: quantile(&latencies, 0.99) as f64 / 1e6,
        wire_bytes: bytes as f64 / deliveries,
        rest,
        steal: Steal::now()?.percent_since(steal),
    })
}

fn at_rest(
    watchers: &mut Watchers,
    server: &Server,
    count: usize,
    duration: Duration,
) -> Result<RestRun> {
    let before = cpu_time(server.pid)?;
    let rest = watchers.rest(duration)?;
    let cpu = cpu_time(server.pid)?.saturating_sub(before);
    Ok(RestRun {
        cpu_percent: 100.0 * cpu.as_secs_f64() / rest.elapsed.as_secs_f64(),
        heartbeats: rest.reads as f64 / count as f64,
    })
}

/// Enough events for a steady figure, and no job's cap of 1,000 events reached.
fn events_at(watchers: usize) -> usize {
    (200_000 / watchers).clamp(20, 200)
}

fn report(plan: &Plan, runs: &[Run]) -> Section {
    let mut delivery = Table::new(&[
        "server, watchers",
        "CPU µs per delivery",
        "p50 ms",
        "p99 ms",
        "KiB per idle watcher",
        "KiB after the events",
        "bytes each",
        "steal %",
    ]);
    let mut rest = Table::new(&[
        "server, watchers at rest",
        "CPU % of one core",
        "heartbeats per watcher",
    ]);
    let of = |kind: Kind, watchers: usize| {
        runs.iter()
            .filter(move |run| run.kind == kind && run.watchers == watchers)
    };
    for &watchers in &plan.watchers {
        for &kind in &plan.servers {
            let name = format!("{}, {watchers}", kind.name());
            let all = |figure: fn(&Run) -> f64| of(kind, watchers).map(figure).collect::<Vec<_>>();
            delivery.row(vec![
                name.clone(),
                spread(&all(|run| run.cpu_micros), 2),
                middle(all(|run| run.p50_millis), 2),
                middle(all(|run| run.p99_millis), 2),
                spread(&all(|run| run.idle_kib), 1),
                middle(all(|run| run.used_kib), 1),
                middle(all(|run| run.wire_bytes), 0),
                middle(all(|run| run.steal), 1),
            ]);
            let rests: Vec<&RestRun> = of(kind, watchers)
                .filter_map(|run| run.rest.as_ref())
                .collect();
            if !rests.is_empty() {
                rest.row(vec![
                    name,
                    spread(
                        &rests
                            .iter()
                            .map(|rest| rest.cpu_percent)
                            .collect::<Vec<_>>(),
                        2,
                    ),
                    middle(rests.iter().map(|rest| rest.heartbeats), 1),
                ]);
            }
        }
    }
    let cpu = |kind, watchers| median(of(kind, watchers).map(|run| run.cpu_micros));
    let ratio = |watchers| Some(cpu(Kind::Conch, watchers)? / cpu(Kind::Writeloop, watchers)?);
    // KB are 1,000 bytes, which is what the target says.
    let memory = median(of(Kind::Conch, 10_000).map(|run| run.idle_kib * 1.024));
    let percent =
        median(of(Kind::Conch, 10_000).filter_map(|run| Some(run.rest.as_ref()?.cpu_percent)));
    Section {
        title: "Fan-out: one event to many watchers",
        method: format!(
            "Medians of {runs} interleaved runs (with the span), a fresh server process each, {wire} \
             bytes per delivery on the wire for every server, the next event only after everybody has \
             the last. CPU is user and system time of the serving process alone (nginx: its one \
             worker; Redis isn't counted). A publish goes to Conch as a foreign program's `PUBLISH` \
             through Redis, to nchan as a POST, to the write loop as a line on a control connection. \
             Memory is resident memory, without what the kernel keeps for a socket. Heartbeats each \
             15 s where the server has any (Conch's default is 4); the watchers at rest were looked at for {rest} s.",
            runs = plan.runs,
            wire = WIRE_BYTES,
            rest = plan.rest.as_secs()
        ),
        tables: vec![delivery, rest],
        verdicts: vec![
            Verdict::at_most(
                "CPU per delivery, 1,000: at most 2 × the write loop",
                ratio(1_000),
                2.0,
                " ×",
            ),
            Verdict::at_most(
                "CPU per delivery, 10,000: at most 2 × the write loop",
                ratio(10_000),
                2.0,
                " ×",
            ),
            Verdict::at_most(
                "memory per idle watcher, 10,000: at most 18 KB",
                memory,
                18.0,
                " KB",
            ),
            Verdict::at_most(
                "CPU of 10,000 idle watchers: at most 1.5 %",
                percent,
                1.5,
                " %",
            ),
        ],
    }
}
