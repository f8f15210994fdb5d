//! Triton: the job service, and the worker that runs jobs and publishes their events.

use std::process::ExitCode;

use conch::config::Program;

fn main() -> ExitCode {
    let about = "Triton, the job service and its worker: accepts and runs jobs, publishes every change of their status";
    let flags = conch::command("conch-worker", about, Program::Worker).get_matches();
    conch::main(Program::Worker, &flags, |_| None)
}
