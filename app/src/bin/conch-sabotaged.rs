//! `conch-api` and `conch-worker` with a planted bug, which `SABOTAGE` names: what the chaos harness has
//! to find. Never released: it is built with the feature `sabotage` alone.

use std::process::ExitCode;

use conch::config::Program;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (program, name) = match arguments.next().as_deref() {
        Some("conch-api") => (Program::Api, "conch-api"),
        Some("conch-worker") => (Program::Worker, "conch-worker"),
        Some("list") => {
            for (name, what) in conch::sabotage::BUGS {
                println!("{name}\t{what}");
            }
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("conch-sabotaged conch-api|conch-worker|list");
            return ExitCode::FAILURE;
        }
    };
    let flags = conch::command(name, "with a planted bug", program)
        .get_matches_from(std::iter::once(name.to_owned()).chain(arguments));
    conch::main(program, &flags, |_| {})
}
