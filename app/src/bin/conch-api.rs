//! Mare, the edge API: streams and lookups.

use std::process::ExitCode;

use conch::config::Program;

fn main() -> ExitCode {
    let about = "Mare, the edge API: streams every change of a job's status and serves lookups";
    let flags = conch::command("conch-api", about, Program::Api).get_matches();
    conch::main(Program::Api, &flags, |_| None)
}
