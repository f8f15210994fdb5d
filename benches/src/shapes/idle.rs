//! W1 idle: many running jobs, one watcher each, and nothing happens. What that costs the API and Redis,
//! beside the same watchers all on one job, and beside nchan.
//!
//! It must never publish anything in the window that it measures.

use anyhow::{Context as _, Result};

use super::{
    Options,
    watched::{Audience, Subject},
};
use crate::{
    machine::Steal,
    meter::Cost,
    report::{Section, Table, Verdict, median, middle, spread},
    servers::Kind,
};

const SHAPE: &str = "W1 idle";
const SUBJECTS: [Subject; 5] = [
    Subject::Own,
    Subject::External(Kind::Conch),
    Subject::Answered,
    Subject::OneJob,
    Subject::External(Kind::Nchan),
];

struct Run {
    subject: Subject,
    cost: Cost,
    kb: f64,
    steal: f64,
}

/// Measures and reports.
pub(crate) fn measure(options: &Options) -> Result<Section> {
    let (jobs, window) = (options.size(10_000), options.window(30));
    let mut runs = Vec::new();
    for round in 1..=options.runs() {
        for subject in SUBJECTS {
            let steal = Steal::now()?;
            let measure = || {
                let mut audience = Audience::gather(subject, jobs, 1, options)?;
                let cost = audience.rest(window)?;
                anyhow::Ok(Run {
                    subject,
                    cost,
                    kb: audience.kb_per_watcher,
                    steal: Steal::now()?.percent_since(steal),
                })
            };
            let run = measure().with_context(|| subject.name())?;
            eprintln!(
                "idle run {round} {:<36} server {:6.2} %, redis {:6.2} %, {:5.1} KB, steal {:.1} %",
                subject.name(),
                run.cost.server.percent(run.cost.seconds),
                run.cost.redis.percent(run.cost.seconds),
                run.kb,
                run.steal
            );
            runs.push(run);
        }
    }
    Ok(report(options, jobs, &runs))
}

fn report(options: &Options, jobs: usize, runs: &[Run]) -> Section {
    let all = |subject, figure: fn(&Run) -> f64| all(runs, subject, figure);
    let mut table = Table::new(&[
        "server",
        "server, % of a core",
        "Redis, % of a core",
        "Redis commands/s",
        "voluntary switches/s",
        "KB per watcher",
        "steal %",
    ]);
    for subject in SUBJECTS {
        table.row(vec![
            subject.name().to_owned(),
            spread(&all(subject, server), 2),
            spread(&all(subject, redis), 2),
            middle(all(subject, |run| run.cost.commands / run.cost.seconds), 0),
            middle(
                all(subject, |run| run.cost.server.switches / run.cost.seconds),
                0,
            ),
            spread(&all(subject, |run| run.kb), 1),
            middle(all(subject, |run| run.steal), 1),
        ]);
    }
    Section {
        title: "W1 idle: many running jobs, one watcher each, no events",
        method: format!(
            "Medians of {runs} interleaved runs (with the span), fresh processes each: {jobs} jobs with a watcher \
             each, looked at for {window} s in which nothing is published. Own jobs are claimed by a worker and \
             wait for their generator; external ones were begun by another program's `PUBLISH`, once without a job \
             service and once with one that says that they run. In \"one job\" as many watchers look at one external job. Heartbeats each 15 s \
             everywhere. Memory is resident memory of the API (nginx: of its worker).",
            runs = options.runs(),
            window = options.window(30).as_secs(),
        ),
        tables: vec![table],
        verdicts: verdicts(runs),
    }
}

fn all(runs: &[Run], subject: Subject, figure: fn(&Run) -> f64) -> Vec<f64> {
    let of = runs.iter().filter(|run| run.subject == subject);
    of.map(figure).collect()
}

/// The server's share of a core, in per cent.
fn server(run: &Run) -> f64 {
    run.cost.server.percent(run.cost.seconds)
}

/// Redis's share of a core, in per cent.
fn redis(run: &Run) -> f64 {
    run.cost.redis.percent(run.cost.seconds)
}

fn verdicts(runs: &[Run]) -> Vec<Verdict> {
    let of = |subject, figure: fn(&Run) -> f64| median(all(runs, subject, figure));
    let (one, nchan) = (of(Subject::OneJob, server), Subject::External(Kind::Nchan));
    let mut verdicts = Vec::new();
    for subject in &SUBJECTS[..3] {
        let name = subject.name();
        let ratio = of(*subject, server).zip(one).map(|(many, one)| many / one);
        verdicts.extend([
            Verdict::at_most(
                SHAPE,
                format!("{name}: API, of one job's"),
                ratio,
                1.2,
                " ×",
            )
            .beside("one job", one, " % of a core"),
            Verdict::at_most(
                SHAPE,
                format!("{name}: API"),
                of(*subject, server),
                4.1,
                " % of a core",
            )
            .beside("nchan", of(nchan, server), " % of a core"),
            Verdict::at_most(
                SHAPE,
                format!("{name}: Redis"),
                of(*subject, redis),
                0.5,
                " % of a core",
            ),
            Verdict::at_most(
                SHAPE,
                format!("{name}: memory"),
                of(*subject, |run| run.kb),
                3.0,
                " KB",
            )
            .beside("nchan", of(nchan, |run| run.kb), " KB"),
        ]);
    }
    verdicts
}
