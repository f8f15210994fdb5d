//! Triton, the worker: runs jobs and publishes what becomes of them.

use std::process::ExitCode;

use conch::config::Program;

fn main() -> ExitCode {
    let about = "Triton, the worker: runs jobs, publishes each change of their state, serves the job service";
    let flags = conch::command("conch-worker", about, Program::Worker).get_matches();
    conch::main(Program::Worker, &flags, |_| None)
}
