//! `make sim`: many seeds, all decisions of small systems, the planted bugs; or one seed step by step.
//!
//! `SEED=n` replays a seed, with `BUG=name` one of the planted bugs in it. `SEEDS`, `FIRST`, `STATES`
//! say how much.

#![allow(clippy::print_stdout, clippy::print_stderr)] // It is a command line tool.

use std::process::ExitCode;
use std::time::Duration;

use conch_sim::planted::Planted;
use conch_sim::{Report, explore_all, find, find_by_exploring, replay, run_seeds};

/// Where the reliability report looks for what each part came to.
const SUMMARIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/reliability");
/// Seeds that a planted bug may take.
const MOST_SEEDS: u64 = 4000;
/// How long one small system is explored at most.
const EXPLORATION: Duration = Duration::from_mins(5);
/// How much of the small systems is explored for a planted bug.
const PLANTED_STATES: u64 = 20_000;
const PLANTED_EXPLORATION: Duration = Duration::from_secs(20);

const HELP: &str = "conch-sim: many seeds, all decisions of small systems, the planted bugs. It takes no arguments, but settings:
SEED=n        that seed alone, step by step; BUG=name with a planted bug in it
SEEDS=10000   how many seeds, from FIRST=1 on
STATES=16000  how many states of each small system";

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().unwrap_or_else(|_| {
            eprintln!("{name} must be a number, not {text:?}");
            std::process::exit(2)
        }),
        _ => otherwise,
    }
}

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        println!("{HELP}");
        return ExitCode::from(2);
    }
    if std::env::var("SEED").is_ok_and(|seed| !seed.is_empty()) {
        return tell(number("SEED", 0));
    }
    let mut report = Report::default();
    let (first, seeds) = (number("FIRST", 1), number("SEEDS", 10_000));
    eprintln!("{seeds} seeds from {first} on …");
    report.campaign = run_seeds(first, seeds);
    let states = number("STATES", 16_000);
    eprintln!("small systems, {states} states each …");
    report.explored = explore_all(states, EXPLORATION);
    for planted in Planted::ALL {
        eprintln!("planted: {} …", planted.name());
        let found = find(planted, first, MOST_SEEDS);
        let explored = find_by_exploring(planted, PLANTED_STATES, PLANTED_EXPLORATION);
        report.planted.push((planted, found, explored));
    }
    println!("{}", report.tables());
    let summary = format!("{:#}\n", report.summary());
    let written = std::fs::create_dir_all(SUMMARIES)
        .and_then(|()| std::fs::write(format!("{SUMMARIES}/simulation.json"), summary));
    if let Err(error) = written {
        eprintln!("{SUMMARIES}/simulation.json could not be written: {error}");
    }
    if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// One seed, step by step.
fn tell(seed: u64) -> ExitCode {
    let planted = match std::env::var("BUG") {
        Ok(name) if !name.is_empty() => {
            let planted = Planted::ALL
                .into_iter()
                .find(|planted| planted.name() == name);
            if planted.is_none() {
                eprintln!("BUG must be one of:");
                for planted in Planted::ALL {
                    eprintln!("  {}", planted.name());
                }
                return ExitCode::from(2);
            }
            planted
        }
        _ => None,
    };
    let replay = replay(seed, planted);
    println!("{}", replay.plan);
    for line in &replay.lines {
        println!("{line}");
    }
    for violation in &replay.violations {
        println!("{violation}");
    }
    println!("{} violations", replay.violations.len());
    if replay.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
