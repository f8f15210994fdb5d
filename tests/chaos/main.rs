//! `conch-chaos`: storms, scenarios at length, the proof of the checker, the report. `make chaos` and
//! `make reliability-report` call it; what each does is the library's.

#![allow(clippy::print_stdout, clippy::print_stderr)] // It is a command line tool.

use std::process::ExitCode;

use conch_harness::chaos::{checker, read_file, report, rounds, sabotage, scenarios};

const HELP: &str =
    "conch-chaos storm      storms by seed: SEED=, ROUNDS= or MINUTES=, FORM=short|long
conch-chaos scenarios  every row of the fault matrix at length: ONLY=name
conch-chaos sabotage   every planted bug, until the checker finds it: ONLY=name, ROUNDS=
conch-chaos report     all of that, written to docs/reliability.md
conch-chaos judge FILE judges a history again";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let command = async {
        match words[..] {
            ["storm"] => rounds::command().await,
            ["scenarios"] => scenarios::command().await,
            ["sabotage"] => sabotage::command().await,
            ["report"] => report::command().await,
            ["judge", file] => {
                let judgement = checker::judge(&read_file(file.as_ref()));
                println!("{:#}\n{}", judgement.figures.json(), judgement.told());
                judgement.violations.is_empty()
            }
            _ => {
                println!("{HELP}");
                false
            }
        }
    };
    // Interrupted, everything that was started is dropped, and with it its processes end.
    let good = runtime.block_on(async {
        tokio::select! {
            good = command => good,
            _ = tokio::signal::ctrl_c() => false,
        }
    });
    drop(runtime);
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
