//! W1 live: many running jobs, one watcher each, and events spread over them, each delivered once.
//!
//! A delivery is paid for by a wake-up of each process on its way, so the yardsticks are measured at the
//! same pace: the write loop, a bare PUBLISH → SUBSCRIBE, and nchan.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{
    Options,
    watched::{self, BUS, Paces, Run, Subject},
};
use crate::{
    flow::Pace,
    meter::Cost,
    report::{Section, Table, Verdict, median, middle, spread},
    servers::Kind,
};

const SHAPE: &str = "W1 live";
/// Events per second, over all jobs.
pub(super) const PER_SECOND: f64 = 200.0;
/// At which pace the latency is looked at.
const FAST: f64 = 1_000.0;
pub(super) const SUBJECTS: [Subject; 4] = [
    Subject::Own,
    Subject::External(Kind::Conch),
    Subject::External(Kind::Nchan),
    Subject::External(Kind::Writeloop),
];

/// Measures and reports.
pub(crate) fn measure(options: &Options) -> Result<Section> {
    let jobs = options.size(5_000);
    let usual = Pace {
        per_second: PER_SECOND,
        duration: options.window(30),
    };
    let paces = Paces {
        rest: options.window(30),
        usual,
        fast: Some(Pace {
            per_second: FAST,
            duration: options.window(8),
        }),
    };
    let (runs, buses) = measure_all(SHAPE, jobs, 1, paces, options)?;
    Ok(Section {
        title: "W1 live: many running jobs, one watcher each, 200 events/s",
        method: method(options, jobs, 1, paces),
        tables: vec![table(&runs, &buses)],
        verdicts: verdicts(&runs, &buses),
    })
}

fn verdicts(runs: &[Run], buses: &[Cost]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let nchan = micros(runs, Subject::External(Kind::Nchan), server);
    let external = Subject::External(Kind::Conch);
    let floor = micros(runs, Subject::External(Kind::Writeloop), server)
        .zip(median(buses.iter().map(|bus| bus.server.micros)))
        .map(|(written, received)| written + received);
    let bare = median(buses.iter().map(|bus| bus.redis.micros));
    for (subject, api_limit, redis_limit, api_times, redis_times) in [
        (Subject::Own, 100.0, 50.0, OWN_API, OWN_REDIS),
        (external, 150.0, 80.0, EXTERNAL_API, EXTERNAL_REDIS),
    ] {
        let name = subject.name();
        let (api, redis) = (micros(runs, subject, server), micros(runs, subject, redis));
        let ratio = |figure: Option<f64>, of: Option<f64>| Some(figure? / of?);
        let p99 = median(
            runs.iter()
                .filter(|run| run.name == name)
                .filter_map(|run| run.fast_p99_millis),
        );
        verdicts.extend([
            Verdict::at_most(
                SHAPE,
                format!("{name}: API per event"),
                api,
                api_limit,
                " µs",
            )
            .beside("nchan", nchan, " µs"),
            Verdict::at_most(
                SHAPE,
                format!("{name}: Redis per event"),
                redis,
                redis_limit,
                " µs",
            )
            .beside(BUS, bare, " µs"),
            Verdict::at_most(
                SHAPE,
                format!("{name}: API, of write loop + SUBSCRIBE"),
                ratio(api, floor),
                api_times,
                " ×",
            )
            .beside("the two", floor, " µs"),
            Verdict::at_most(
                SHAPE,
                format!("{name}: Redis, of a bare PUBLISH"),
                ratio(redis, bare),
                redis_times,
                " ×",
            )
            .beside(BUS, bare, " µs"),
            Verdict::at_most(
                SHAPE,
                format!("{name}: p99 at 1,000 events/s"),
                p99,
                2.0,
                " ms",
            ),
        ]);
    }
    verdicts
}

/// The goals in multiples of what the yardsticks cost in the same run: 100 and 50 µs, 150 and 80 µs, over
/// what those came to where the goals were set.
const OWN_API: f64 = 1.5;
const OWN_REDIS: f64 = 2.5;
const EXTERNAL_API: f64 = 2.25;
const EXTERNAL_REDIS: f64 = 4.0;

/// All subjects, and the bare bus, in turn.
pub(super) fn measure_all(
    shape: &str,
    jobs: usize,
    each: usize,
    paces: Paces,
    options: &Options,
) -> Result<(Vec<Run>, Vec<Cost>)> {
    let (mut runs, mut buses) = (Vec::new(), Vec::new());
    for round in 1..=options.runs() {
        for subject in SUBJECTS {
            let run = watched::run(subject, jobs, each, paces, options)
                .with_context(|| subject.name())?;
            eprintln!(
                "{shape} run {round} {:<21} per delivery: server {:6.1} µs, redis {:6.1} µs, {:5.1} commands; p99 {:.2} ms, steal {:.1} %",
                run.name,
                run.delivery.server.micros,
                run.delivery.redis.micros,
                run.delivery.commands,
                run.p99_millis,
                run.steal
            );
            runs.push(run);
        }
        let bus = watched::bus(paces.usual).context(BUS)?;
        eprintln!(
            "{shape} run {round} {BUS:<21} per message: subscriber {:6.1} µs, redis {:6.1} µs",
            bus.server.micros, bus.redis.micros
        );
        buses.push(bus);
    }
    Ok((runs, buses))
}

/// The server's own microseconds.
pub(super) fn server(cost: &Cost) -> f64 {
    cost.server.micros
}

/// Redis's microseconds.
pub(super) fn redis(cost: &Cost) -> f64 {
    cost.redis.micros
}

/// The median of a figure of one subject.
pub(super) fn micros(runs: &[Run], subject: Subject, figure: fn(&Cost) -> f64) -> Option<f64> {
    let of = runs.iter().filter(|run| run.name == subject.name());
    median(of.map(|run| figure(&run.delivery)))
}

pub(super) fn table(runs: &[Run], buses: &[Cost]) -> Table {
    let mut table = Table::new(&[
        "per delivery",
        "server µs",
        "Redis µs",
        "worker µs",
        "scripts",
        "commands",
        "switches of the server",
        "p50 ms",
        "p99 ms",
        "p99 ms, 1,000/s",
        "steal %",
    ]);
    for subject in SUBJECTS {
        let of = || runs.iter().filter(|run| run.name == subject.name());
        let all = |figure: fn(&Cost) -> f64| -> Vec<f64> {
            of().map(|run| figure(&run.delivery)).collect()
        };
        table.row(vec![
            subject.name().to_owned(),
            spread(&all(server), 1),
            spread(&all(redis), 1),
            middle(all(|cost| cost.worker.micros), 1),
            middle(all(|cost| cost.scripts), 2),
            middle(all(|cost| cost.commands), 1),
            middle(all(|cost| cost.server.switches), 1),
            middle(of().map(|run| run.p50_millis), 2),
            middle(of().map(|run| run.p99_millis), 2),
            middle(of().filter_map(|run| run.fast_p99_millis), 2),
            middle(of().map(|run| run.steal), 1),
        ]);
    }
    let all = |figure: fn(&Cost) -> f64| -> Vec<f64> { buses.iter().map(figure).collect() };
    let none = || "–".to_owned();
    table.row(vec![
        format!("{BUS}, a message"),
        spread(&all(server), 1),
        spread(&all(redis), 1),
        none(),
        none(),
        middle(all(|cost| cost.commands), 1),
        middle(all(|cost| cost.server.switches), 1),
        none(),
        none(),
        none(),
        none(),
    ]);
    table
}

pub(super) fn method(options: &Options, jobs: usize, each: usize, paces: Paces) -> String {
    let seconds = |duration: Duration| duration.as_secs();
    format!(
        "Medians of {runs} interleaved runs (with the span), fresh processes each: {jobs} jobs with {each} watcher(s) \
         each, {rate} events a second spread over the jobs for {usual} s, of about 400 bytes each. What the same \
         processes used at rest in {rest} s before is taken off. Own events are appended by the real worker, \
         whose generator gives up a template when the bench says so, which is one event without a template; \
         their latency runs from before the append to the watcher. External events are published by one \
         connection (nchan: POST; write loop: a line), and their latency runs from before the publish. \
         {BUS} is one message of the same size from one connection to one process that only reads. \
         Switches are voluntary context switches.",
        runs = options.runs(),
        rate = paces.usual.per_second,
        usual = seconds(paces.usual.duration),
        rest = seconds(paces.rest),
    )
}
