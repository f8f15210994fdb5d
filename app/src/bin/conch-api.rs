//! Mare, the edge API: streams and looks up.

use std::process::ExitCode;

use conch::config::Program;

fn main() -> ExitCode {
    let about = "Mare, the edge API: streams each change of a job's state, and looks results up";
    let flags = conch::command("conch-api", about, Program::Api).get_matches();
    conch::main(Program::Api, &flags, |_| None)
}
