//! Everything in one process: for a first try and for small installations.

use std::process::ExitCode;

use clap::Command;
use conch::config::{Program, Settings, reachable};

fn main() -> ExitCode {
    let run = conch::command(
        "run",
        "Runs Mare, Triton and a worker in one process, with a demo client",
        Program::AllInOne,
    );
    let matches = Command::new("conch")
        .about("Streams the progress of long-running jobs as server-sent events")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(run)
        .get_matches();
    match matches.subcommand() {
        Some(("run", flags)) => conch::main(Program::AllInOne, flags, announce),
        _ => ExitCode::FAILURE,
    }
}

/// Prints the addresses and the commands to try next.
fn announce(settings: &Settings) -> Option<String> {
    let (mare, worker) = (settings.mare.as_ref()?, settings.worker.as_ref()?);
    let mare = reachable(mare.address);
    let Some(triton) = worker.address.map(reachable) else {
        return Some(format!(
            "\nConch is up. Mare: http://{mare} (Triton's HTTP is off)\n\n"
        ));
    };
    Some(format!(
        r#"
Conch is up.  Mare (edge API): http://{mare}   Triton (job service): http://{triton}

Three commands to try, in a second terminal (they need curl and jq):

  CLIENT_ID=$(curl -s http://{triton}/clients/ | jq -r '.clients[0].id')
  JOB_ID=$(curl -s -X POST "http://{mare}/v1/triton/clients/$CLIENT_ID/generate-templates" | jq -r '.job_id')
  curl -N "http://{mare}/v1/triton/jobs/$JOB_ID/subscribe"

Ctrl-C ends it.

"#
    ))
}
