//! The benchmarks: the shapes of use that Conch is measured on, each beside its peers in the same run.
//!
//! ```text
//! cargo build --release -p conch -p conch-bench
//! target/release/conch-bench all --write docs/benchmarks.md
//! target/release/conch-bench idle --quick
//! target/release/conch-bench jobs --runs 1
//! target/release/conch-bench launch --watchers 1000 --only conch,writeloop
//! ```
//!
//! This process is the load generator. Every server under measurement, and every peer, is a process
//! of its own that it starts on a free port and ends. It needs Conch's programs beside itself,
//! `redis-server` and `redis-benchmark`, nginx with nchan, and Node with BullMQ; what is missing it names,
//! with what to install. It must never print a figure that it didn't measure.

#![allow(clippy::print_stdout, clippy::print_stderr)] // Tables are printed.

mod exchange;
mod flow;
mod http_load;
mod machine;
mod meter;
mod peers;
mod process;
mod publisher;
mod report;
mod resp;
mod servers;
mod shapes;
mod stage;
mod triton_tap;
mod watchers;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::{
    peers::worker::Mode,
    report::Section,
    servers::Kind,
    shapes::{Options, external, five, idle, jobs, launch, live, lookups, polling, submit},
};

#[derive(Parser)]
#[command(
    name = "conch-bench",
    about = "Measures Conch against its peers",
    version
)]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Everything, in about forty minutes.
    All {
        #[command(flatten)]
        common: Common,
    },
    /// W1: many jobs, one watcher each, no events.
    Idle {
        #[command(flatten)]
        common: Common,
    },
    /// W1: many jobs, one watcher each, 200 events a second.
    Live {
        #[command(flatten)]
        common: Common,
    },
    /// W1: a thousand jobs, five watchers each, 200 events a second.
    Five {
        #[command(flatten)]
        common: Common,
    },
    /// W2: a full queue and one worker.
    Jobs {
        #[command(flatten)]
        common: Common,
    },
    /// W2: jobs submitted through the edge API.
    Submit {
        #[command(flatten)]
        common: Common,
    },
    /// W3: one job, one event to all its watchers.
    Launch {
        /// The sizes of the audience (16 are there before the measurement: more than that).
        #[arg(long, value_delimiter = ',')]
        watchers: Option<Vec<usize>>,
        /// Only these servers.
        #[arg(long, value_delimiter = ',')]
        only: Option<Vec<Kind>>,
        /// Seconds for which the watchers sit idle, at the largest size.
        #[arg(long)]
        rest: Option<u64>,
        #[command(flatten)]
        common: Common,
    },
    /// W4: external events that nobody watches.
    External {
        #[command(flatten)]
        common: Common,
    },
    /// W5: lookups of finished jobs.
    Lookups {
        /// Connections, each with one request under way.
        #[arg(long)]
        connections: Option<usize>,
        #[command(flatten)]
        common: Common,
    },
    /// Polling against streaming for one job.
    Polling {
        #[command(flatten)]
        common: Common,
    },
    /// A peer: blocking writes to one socket after the other.
    #[command(hide = true)]
    PeerWriteLoop {
        /// Where to listen.
        address: SocketAddr,
    },
    /// A peer: axum answering a constant, which is read from a file.
    #[command(hide = true)]
    PeerConstant {
        /// Where to listen.
        address: SocketAddr,
        /// A whole HTTP answer.
        answer: PathBuf,
    },
    /// A peer: a subscriber that only reads.
    #[command(hide = true)]
    PeerBus {
        /// Where to listen when it hears.
        address: SocketAddr,
        /// Which Redis.
        redis: SocketAddr,
    },
    /// A job service that knows external jobs.
    #[command(hide = true)]
    PeerJobService {
        /// Where to listen.
        address: SocketAddr,
        /// How many jobs it knows.
        jobs: usize,
    },
    /// Conch's worker with a generator of the bench.
    #[command(hide = true)]
    PeerWorker {
        /// What its generator does.
        #[arg(long)]
        mode: Mode,
        /// Jobs at once.
        #[arg(long)]
        concurrency: usize,
        /// How long each template takes.
        #[arg(long)]
        pace_millis: u64,
        /// Where it takes orders.
        #[arg(long)]
        control: SocketAddr,
    },
}

#[derive(Args)]
struct Common {
    /// A smoke run: one run of each, small sizes, short windows.
    #[arg(long)]
    quick: bool,
    /// Interleaved runs of each server.
    #[arg(long)]
    runs: Option<usize>,
    /// Also write the report to this file, as Markdown.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// The date that stands in the report; today's by default.
    #[arg(long)]
    date: Option<String>,
    /// A setting for Conch's programs (an environment variable); repeatable.
    #[arg(long = "conch-env", value_name = "NAME=VALUE", value_parser = setting)]
    conch_env: Vec<(String, String)>,
}

impl Common {
    fn options(&self) -> Options {
        Options {
            runs: self.runs,
            quick: self.quick,
            settings: self.conch_env.clone(),
        }
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a setting is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> Result<ExitCode> {
    match Cli::parse().part {
        Part::PeerWriteLoop { address } => peers::write_loop::serve(address)?,
        Part::PeerConstant { address, answer } => peers::constant::serve(address, &answer)?,
        Part::PeerBus { address, redis } => peers::bus::serve(address, redis)?,
        Part::PeerJobService { address, jobs } => peers::job_service::serve(address, jobs)?,
        Part::PeerWorker {
            mode,
            concurrency,
            pace_millis,
            control,
        } => {
            let pace = Duration::from_millis(pace_millis);
            return peers::worker::serve(mode, concurrency, pace, control);
        }
        part => measure(part)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures a part and publishes what came of it.
fn measure(part: Part) -> Result<()> {
    let (common, sections) = match part {
        Part::All { common } => {
            let sections = all(&common)?;
            (common, sections)
        }
        Part::Idle { common } => one(common, idle::measure)?,
        Part::Live { common } => one(common, live::measure)?,
        Part::Five { common } => one(common, five::measure)?,
        Part::Jobs { common } => one(common, jobs::measure)?,
        Part::Submit { common } => one(common, submit::measure)?,
        Part::External { common } => one(common, external::measure)?,
        Part::Polling { common } => one(common, polling::measure)?,
        Part::Launch {
            watchers,
            only,
            rest,
            common,
        } => {
            let mut plan = launch::Plan::of(&common.options());
            plan.watchers = watchers.unwrap_or(plan.watchers);
            plan.servers = only.unwrap_or(plan.servers);
            plan.rest = rest.map_or(plan.rest, Duration::from_secs);
            ensure!(
                plan.watchers.iter().all(|count| *count > 16),
                "--watchers must be above 16"
            );
            let section = launch::measure(&plan)?;
            (common, vec![section])
        }
        Part::Lookups {
            connections,
            common,
        } => {
            let mut plan = lookups::Plan::of(&common.options());
            plan.connections = connections.unwrap_or(plan.connections);
            let section = lookups::measure(&plan)?;
            (common, vec![section])
        }
        Part::PeerWriteLoop { .. }
        | Part::PeerConstant { .. }
        | Part::PeerBus { .. }
        | Part::PeerJobService { .. }
        | Part::PeerWorker { .. } => unreachable!("peers measure nothing"),
    };
    publish(&common, &sections)
}

fn one(common: Common, measure: fn(&Options) -> Result<Section>) -> Result<(Common, Vec<Section>)> {
    let section = measure(&common.options())?;
    Ok((common, vec![section]))
}

fn all(common: &Common) -> Result<Vec<Section>> {
    let options = common.options();
    Ok(vec![
        idle::measure(&options).context("idle")?,
        live::measure(&options).context("live")?,
        five::measure(&options).context("five")?,
        jobs::measure(&options).context("jobs")?,
        submit::measure(&options).context("submit")?,
        launch::measure(&launch::Plan::of(&options)).context("launch")?,
        external::measure(&options).context("external")?,
        lookups::measure(&lookups::Plan::of(&options)).context("lookups")?,
        polling::measure(&options).context("polling")?,
    ])
}

/// Prints the report, and writes it where the caller wants it.
fn publish(common: &Common, sections: &[Section]) -> Result<()> {
    let date = match &common.date {
        Some(date) => date.clone(),
        None => chrono::Utc::now().date_naive().to_string(),
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("conch-bench {}", arguments.join(" "));
    let mut text = format!(
        "# Benchmarks\n\nMeasured on {date} by `{command}`\n(`make bench` runs all of it). In brackets stands the \
         span of the runs. Figures of one run may be compared with each other, and not with those of another run.\n\n{}\n",
        machine::describe()
    );
    text.push_str(&report::goals(sections));
    for section in sections {
        text.push_str(&section.render());
    }
    let text = format!("{}\n", text.trim_end());
    print!("{text}");
    if let Some(path) = &common.write {
        std::fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
