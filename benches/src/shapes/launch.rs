//! W3: one job, one event at a time to all its many watchers. What that costs the server, how long it
//! takes, what waiting costs.
//!
//! Runs are interleaved, each with a fresh server, so that whatever else the machine does falls on
//! all of them. The events are padded until each delivery has the same size on the wire, whatever a
//! server adds. It must never let two events overlap: the next waits until all have the last.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};

use super::Options;
use crate::{
    machine::Steal,
    process::{cpu_time, raise_descriptor_limit, resident_kib},
    publisher::stamped_event,
    report::{Section, Table, Verdict, median, middle, quantile, spread},
    servers::{Kind, Server},
    watchers::Watchers,
};

const SHAPE: &str = "W3 launch";
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
    /// The plan for the full report, or for a smoke run.
    pub(crate) fn of(options: &Options) -> Self {
        let (watchers, rest) = if options.quick {
            (vec![100, 1_000], Duration::from_secs(1))
        } else {
            (vec![100, 1_000, 10_000], REST)
        };
        Self {
            watchers,
            runs: options.runs(),
            servers: vec![Kind::Conch, Kind::Writeloop, Kind::Nchan],
            rest,
            settings: options.settings.clone(),
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
    server.open_jobs(1)?;
    let mut watchers = Watchers::new()?;
    watchers.grow_to(FIRST, server.address, |_| server.path(0))?;
    let empty = resident_kib(server.pid)?;
    watchers.grow_to(count, server.address, |_| server.path(0))?;
    let idle = resident_kib(server.pid)?;

    let rest = rest
        .map(|duration| at_rest(&mut watchers, &server, count, duration))
        .transpose()?;

    let mut number = 0;
    let mut deliver = |watchers: &mut Watchers, server: &mut Server, padding: usize| {
        number += 1;
        let delivery = watchers
            .deliver(|stamp| server.publish(0, &stamped_event(0, stamp, number, padding)))
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
    Section {
        title: "W3 launch: one job, one event to all its watchers",
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
        verdicts: verdicts(plan, runs),
    }
}

/// The goals, each in the audience that was measured.
fn verdicts(plan: &Plan, runs: &[Run]) -> Vec<Verdict> {
    let of = |kind: Kind, watchers: usize| {
        runs.iter()
            .filter(move |run| run.kind == kind && run.watchers == watchers)
    };
    let ratio = |kind, watchers| {
        let cpu = |kind| median(of(kind, watchers).map(|run| run.cpu_micros));
        Some(cpu(kind)? / cpu(Kind::Writeloop)?)
    };
    let mut verdicts = Vec::new();
    for (watchers, limit) in [(100, 1.5), (1_000, 1.3), (10_000, 1.2)] {
        if plan.watchers.contains(&watchers) {
            let what = format!("API per delivery, {watchers} watchers, of the write loop");
            let (figure, nchan) = (ratio(Kind::Conch, watchers), ratio(Kind::Nchan, watchers));
            verdicts.push(
                Verdict::at_most(SHAPE, what, figure, limit, " ×").beside("nchan", nchan, " ×"),
            );
        }
    }
    if plan.watchers.contains(&10_000) {
        // KB are 1,000 bytes, which is what the goal says.
        let memory = |kind| median(of(kind, 10_000).map(|run| run.idle_kib * 1.024));
        let rest =
            |kind| median(of(kind, 10_000).filter_map(|run| Some(run.rest.as_ref()?.cpu_percent)));
        verdicts.push(
            Verdict::at_most(SHAPE, "memory per watcher", memory(Kind::Conch), 1.2, " KB").beside(
                "nchan",
                memory(Kind::Nchan),
                " KB",
            ),
        );
        verdicts.push(
            Verdict::at_most(
                SHAPE,
                "10,000 idle watchers, API",
                rest(Kind::Conch),
                1.5,
                " %",
            )
            .beside("nchan", rest(Kind::Nchan), " %"),
        );
    }
    verdicts
}
