//! The benchmarks: polling against streaming, one event to many watchers, lookups of finished jobs.
//!
//! ```text
//! cargo build --release -p conch
//! cargo run --release -p conch-bench -- all --write docs/benchmarks.md
//! cargo run --release -p conch-bench -- fanout --watchers 1000 --runs 3 --only conch,writeloop
//! ```
//!
//! This process is the load generator. Every server under measurement, and every peer, is a process
//! of its own that it starts on a free port and ends. It needs Conch's programs beside itself,
//! `redis-server` and `redis-benchmark`, and nginx with nchan; what is missing it names, with what to
//! install. It must never print a figure that it didn't measure.

#![allow(clippy::print_stdout, clippy::print_stderr)] // Tables are printed.

mod exchange;
mod fanout;
mod lookup_load;
mod lookups;
mod machine;
mod peer_constant;
mod peer_write_loop;
mod polling;
mod process;
mod report;
mod resp;
mod servers;
mod triton_tap;
mod watchers;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::{report::Section, servers::Kind};

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
    /// Everything, in about eight minutes.
    All {
        #[command(flatten)]
        common: Common,
    },
    /// Polling against streaming for one job.
    Polling {
        #[command(flatten)]
        common: Common,
    },
    /// One event to many watchers.
    Fanout {
        /// The sizes of the audience (16 are there before the measurement: more than that).
        #[arg(long, value_delimiter = ',')]
        watchers: Option<Vec<usize>>,
        /// Interleaved runs of each server at each size.
        #[arg(long)]
        runs: Option<usize>,
        /// Only these servers.
        #[arg(long, value_delimiter = ',')]
        only: Option<Vec<Kind>>,
        /// Seconds for which the watchers sit idle, at the largest size.
        #[arg(long)]
        rest: Option<u64>,
        #[command(flatten)]
        common: Common,
    },
    /// Lookups of finished jobs.
    Lookups {
        /// Connections, each with one request under way.
        #[arg(long)]
        connections: Option<usize>,
        /// Interleaved runs.
        #[arg(long)]
        runs: Option<usize>,
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
}

#[derive(Args)]
struct Common {
    /// A smoke run of about a minute: one run of each, small sizes.
    #[arg(long)]
    quick: bool,
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

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a setting is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> Result<()> {
    match Cli::parse().part {
        Part::PeerWriteLoop { address } => peer_write_loop::serve(address),
        Part::PeerConstant { address, answer } => peer_constant::serve(address, &answer),
        Part::All { common } => {
            let mut sections = vec![polling::measure(&polling_plan(&common))?];
            sections.push(fanout::measure(&fanout_plan(&common))?);
            sections.push(lookups::measure(&lookups_plan(&common))?);
            publish(&common, &sections)
        }
        Part::Polling { common } => publish(&common, &[polling::measure(&polling_plan(&common))?]),
        Part::Fanout {
            watchers,
            runs,
            only,
            rest,
            common,
        } => {
            let mut plan = fanout_plan(&common);
            plan.watchers = watchers.unwrap_or(plan.watchers);
            plan.runs = runs.unwrap_or(plan.runs);
            plan.servers = only.unwrap_or(plan.servers);
            plan.rest = rest.map_or(plan.rest, Duration::from_secs);
            ensure!(
                plan.watchers.iter().all(|count| *count > 16),
                "--watchers must be above 16"
            );
            publish(&common, &[fanout::measure(&plan)?])
        }
        Part::Lookups {
            connections,
            runs,
            common,
        } => {
            let mut plan = lookups_plan(&common);
            plan.connections = connections.unwrap_or(plan.connections);
            plan.runs = runs.unwrap_or(plan.runs);
            publish(&common, &[lookups::measure(&plan)?])
        }
    }
}

fn fanout_plan(common: &Common) -> fanout::Plan {
    let mut plan = fanout::Plan::full(common.conch_env.clone());
    if common.quick {
        plan.watchers = vec![100, 1_000];
        plan.runs = 1;
        plan.rest = Duration::from_secs(1);
    }
    plan
}

fn lookups_plan(common: &Common) -> lookups::Plan {
    let mut plan = lookups::Plan::full(common.conch_env.clone());
    if common.quick {
        plan.runs = 1;
        plan.window = Duration::from_secs(1);
    }
    plan
}

fn polling_plan(common: &Common) -> polling::Plan {
    let runs = if common.quick { 1 } else { 3 };
    polling::Plan {
        runs,
        settings: common.conch_env.clone(),
    }
}

/// Prints the report, and writes it where the caller wants it.
fn publish(common: &Common, sections: &[Section]) -> Result<()> {
    let date = match &common.date {
        Some(date) => date.clone(),
        None => chrono::Utc::now().date_naive().to_string(),
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = format!(
        "cargo run --release -p conch-bench -- {}",
        arguments.join(" ")
    );
    let mut text = format!(
        "# Benchmarks\n\nMeasured on {date} by `{command}`\n(`make bench` runs all of it). In brackets stands the \
         span of the runs.\n\n{}\n",
        machine::describe()
    );
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
