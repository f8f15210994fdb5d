//! `conch-api` and `conch-worker` with a planted bug, which `SABOTAGE` names: what the chaos harness has
//! to find. Never released: it is built with the feature `sabotage` alone.

use std::io::Write as _;
use std::process::ExitCode;

use conch::config::Program;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (program, name) = match arguments.next().as_deref() {
        Some("conch-api") => (Program::Api, "conch-api"),
        Some("conch-worker") => (Program::Worker, "conch-worker"),
        Some("list") => {
            let list = conch::sabotage::BUGS
                .iter()
                .try_for_each(|(name, what)| writeln!(std::io::stdout(), "{name}\t{what}"));
            return list.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
        }
        _ => {
            let usage = "conch-sabotaged conch-api|conch-worker|list";
            drop(writeln!(std::io::stderr(), "{usage}"));
            return ExitCode::FAILURE;
        }
    };
    let flags = conch::command(name, "with a planted bug", program)
        .get_matches_from(std::iter::once(name.to_owned()).chain(arguments));
    conch::main(program, &flags, |_| None)
}
