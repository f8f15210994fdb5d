//! Counts the instructions that an event, and a job, cost in user space, and fails where a count has moved
//! from the baseline beside it.
//!
//! ```text
//! cargo run --profile guard -p conch-guard -- check            # fails beyond ±2 %
//! cargo run --profile guard -p conch-guard -- check --update   # writes the baseline
//! cargo run --profile guard -p conch-guard -- run append       # one path by itself, for a profiler
//! ```
//!
//! A count doesn't depend on what else the machine does, so that noise can't hide a regression; it says
//! nothing of waiting, wake-ups and the kernel, which `conch-bench` measures. Each path is called through a
//! function that is never inlined and counted by callgrind from its entry to its return. What is prepared for
//! it must not be done in there.

#![allow(clippy::print_stdout, clippy::print_stderr)] // Results are printed.

mod append;
mod baseline;
mod callgrind;
mod deliver;
mod encode;
mod job;

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::baseline::Baseline;

/// By how much a count may differ from its baseline, in per cent.
const TOLERANCE: f64 = 2.0;

#[derive(Parser)]
#[command(name = "conch-guard", about = "Counts instructions", version)]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Counts every path under callgrind and compares the counts with the baseline.
    Check {
        /// Write the counts down as the new baseline.
        #[arg(long)]
        update: bool,
    },
    /// Goes one path, uncounted.
    Run {
        /// Which.
        path: Path,
    },
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Path {
    /// An event of an own job: fold, check, encoding, the arguments of its script.
    Append,
    /// A template, its event, and the job as a lookup answers it.
    Encode,
    /// An event from the bus to five watchers' frames.
    Deliver,
    /// A job from its claim to its end, in memory.
    Job,
}

impl Path {
    /// The name of the path and of its line in the baseline.
    fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Encode => "encode",
            Self::Deliver => "deliver",
            Self::Job => "job",
        }
    }

    /// How often it is gone, so that what happens now and then evens out.
    fn times(self) -> usize {
        match self {
            Self::Append | Self::Encode => 500,
            Self::Deliver => 300,
            Self::Job => 40,
        }
    }

    /// The function that callgrind counts.
    fn function(self) -> &'static str {
        match self {
            Self::Append => "conch_guard::append::counted_append",
            Self::Encode => "conch_guard::encode::counted_encode",
            Self::Deliver => "conch_guard::deliver::counted_deliver",
            Self::Job => "conch_guard::job::counted_job",
        }
    }

    fn run(self) -> Result<()> {
        match self {
            Self::Append => append::run(self.times()),
            Self::Encode => {
                encode::run(self.times());
                Ok(())
            }
            Self::Deliver => deliver::run(self.times()),
            Self::Job => job::run(self.times()),
        }
    }
}

fn main() -> Result<ExitCode> {
    match Cli::parse().part {
        Part::Run { path } => path.run().map(|()| ExitCode::SUCCESS),
        Part::Check { update } => check(update),
    }
}

fn check(update: bool) -> Result<ExitCode> {
    let mut counts = Vec::new();
    for path in Path::value_variants() {
        counts.push((path.name(), callgrind::count(*path)? / path.times() as u64));
    }
    if update {
        let text = Baseline::write(&counts)?;
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    let baseline = Baseline::read()?;
    let mut report = String::new();
    let mut moved = false;
    for (name, count) in counts {
        let before = baseline.count(name)?;
        let change = 100.0 * (count as f64 / before as f64 - 1.0);
        let verdict = if change.abs() <= TOLERANCE {
            "as before"
        } else {
            moved = true;
            "MOVED"
        };
        writeln!(
            report,
            "{name:<8} {count:>9} instructions, {before:>9} in the baseline, {change:+6.2} %: {verdict}"
        )?;
    }
    print!("{report}");
    if !moved {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "A count moved by more than {TOLERANCE} %. If it was meant to, write the new baseline in the same change:\n\
         make bench-guard UPDATE=1"
    );
    if let Some(difference) = baseline.compiler_differs()? {
        eprintln!("{difference}");
    }
    Ok(ExitCode::FAILURE)
}
