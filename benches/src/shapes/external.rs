//! W4: a thousand external events a second for jobs that nobody watches, with one API and with two.
//!
//! Every API hears every event, so the second one is where the cost of telling them apart shows.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::Options;
use crate::{
    exchange,
    flow::{self, Pace, Source},
    machine::Steal,
    meter::Cost,
    process::monotonic_nanos,
    publisher::{job_name, stamped_event, start_external_jobs},
    report::{Section, Table, Verdict, median, middle, spread},
    resp,
    stage::Stage,
};

const SHAPE: &str = "W4 external";
const PER_SECOND: f64 = 1_000.0;
/// Between two looks: what an API still has to do after the last event is part of the price.
const SETTLE: Duration = Duration::from_millis(300);
/// For how long it may have something to do.
const PATIENCE: Duration = Duration::from_mins(1);
/// What an event is padded with, for about 400 bytes on a stream.
const PADDING: usize = 130;

struct Run {
    apis: usize,
    /// Per event, all APIs together.
    event: Cost,
    steal: f64,
}

struct InTurn {
    redis: resp::Connection,
    jobs: usize,
}

impl Source for InTurn {
    fn publish(&mut self, number: usize) -> Result<()> {
        let event = stamped_event(number % self.jobs, monotonic_nanos()?, number, PADDING);
        self.redis.publish("triton:jobs:all", &event)?;
        Ok(())
    }
}

/// Measures and reports.
pub(crate) fn measure(options: &Options) -> Result<Section> {
    let jobs = options.size(1_000);
    let pace = Pace {
        per_second: PER_SECOND,
        duration: options.window(20),
    };
    let mut runs = Vec::new();
    for round in 1..=options.runs() {
        for apis in [1, 2] {
            let run = run(apis, jobs, pace, options).with_context(|| format!("{apis} API(s)"))?;
            eprintln!(
                "{SHAPE} run {round} {apis} API(s): per event redis {:6.1} µs, APIs {:6.1} µs, {:4.2} scripts, {:5.1} commands, steal {:.1} %",
                run.event.redis.micros,
                run.event.server.micros,
                run.event.scripts,
                run.event.commands,
                run.steal
            );
            runs.push(run);
        }
    }
    Ok(report(options, jobs, pace, &runs))
}

fn run(apis: usize, jobs: usize, pace: Pace, options: &Options) -> Result<Run> {
    let steal = Steal::now()?;
    let mut stage = Stage::new()?;
    for _ in 0..apis {
        stage.start_api(&options.api_settings())?;
    }
    let mut redis = stage.redis()?;
    let (first, last) = (stage.apis[0].1, stage.apis[apis - 1].1);
    start_external_jobs(&mut redis, &mut stage, first, jobs)?;
    // The other one's subscription stands, too, before anything is counted.
    start_external_jobs(&mut redis, &mut stage, last, jobs)?;
    thread::sleep(SETTLE);
    let mut meter = stage.meter()?;
    let begun = meter.read()?;
    thread::sleep(pace.duration / 4);
    let idle = meter.since(&begun)?;
    let begun = meter.read()?;
    flow::unwatched(pace, &mut InTurn { redis, jobs })?;
    wait_until_appended(first, jobs, pace.events() / jobs)?;
    let cost = meter.since(&begun)?;
    Ok(Run {
        apis,
        event: cost.without(idle).per(pace.events()),
        steal: Steal::now()?.percent_since(steal),
    })
}

/// Waits until the last event of some jobs is in their logs; fails when one was dropped: a figure per event
/// would be of fewer. Three lookups are nothing beside thousands of events.
fn wait_until_appended(api: SocketAddr, jobs: usize, events: usize) -> Result<()> {
    let mut connection = exchange::Connection::open(api)?;
    // The start is one more.
    let expected = events + 1;
    let deadline = Instant::now() + PATIENCE;
    for job in [jobs - 1, jobs / 2, 0] {
        loop {
            thread::sleep(SETTLE);
            let path = format!("/v1/triton/jobs/{}/events", job_name(job));
            let log = connection.call("GET", &path, None)?.json(200)?;
            let found = log["events"].as_array().context("a log has events")?.len();
            if found == expected {
                break;
            }
            ensure!(
                found < expected && Instant::now() < deadline,
                "{} has {found} events instead of {expected}",
                job_name(job)
            );
        }
    }
    Ok(())
}

fn report(options: &Options, jobs: usize, pace: Pace, runs: &[Run]) -> Section {
    let all = |apis: usize, figure: fn(&Cost) -> f64| -> Vec<f64> {
        let of = runs.iter().filter(|run| run.apis == apis);
        of.map(|run| figure(&run.event)).collect()
    };
    let mut table = Table::new(&[
        "per event",
        "Redis µs",
        "APIs together µs",
        "scripts",
        "commands",
        "switches of the APIs",
        "steal %",
    ]);
    for (apis, name) in [(1, "one API"), (2, "two APIs")] {
        table.row(vec![
            name.to_owned(),
            spread(&all(apis, |cost| cost.redis.micros), 1),
            spread(&all(apis, |cost| cost.server.micros), 1),
            middle(all(apis, |cost| cost.scripts), 2),
            middle(all(apis, |cost| cost.commands), 1),
            middle(all(apis, |cost| cost.server.switches), 1),
            middle(
                runs.iter()
                    .filter(|run| run.apis == apis)
                    .map(|run| run.steal),
                1,
            ),
        ]);
    }
    let redis = |apis| median(all(apis, |cost| cost.redis.micros));
    let ratio = redis(2).zip(redis(1)).map(|(two, one)| two / one);
    Section {
        title: "W4 external: a thousand external events a second that nobody watches",
        method: format!(
            "Medians of {runs} interleaved runs (with the span), fresh processes each: {rate} events a second of about \
             400 bytes over {jobs} external jobs for {window} s, from one connection. What the same processes used at \
             rest just before is taken off. That every event got into the log is checked on three jobs.",
            runs = options.runs(),
            rate = pace.per_second,
            window = pace.duration.as_secs(),
        ),
        tables: vec![table],
        verdicts: vec![
            Verdict::at_most(SHAPE, "one API: Redis per event", redis(1), 60.0, " µs"),
            Verdict::at_most(
                SHAPE,
                "one API: API per event",
                median(all(1, |cost| cost.server.micros)),
                80.0,
                " µs",
            ),
            Verdict::at_most(SHAPE, "two APIs: Redis, of one", ratio, 1.3, " ×"),
        ],
    }
}
