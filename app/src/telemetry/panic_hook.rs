//! Logs each panic once, as a log line, so that standard error can't block a panicking thread either.
//!
//! Never in here: ending the process (see the supervisor).

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write as _;
use std::panic::PanicHookInfo;

/// The lines' target; it is logged whatever `RUST_LOG` says.
pub(super) const TARGET: &str = "conch::panic";

/// From now on, panics are logged. Before logging is set up, they are written to standard error as by
/// default.
pub(super) fn install() {
    std::panic::set_hook(Box::new(tell));
}

fn tell(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("<unnamed>");
    let place = info.location().map_or_else(
        || "an unknown place".to_owned(),
        std::string::ToString::to_string,
    );
    let message = info.payload_as_str().unwrap_or("without a message");
    // Only if RUST_BACKTRACE requests it.
    let backtrace = Backtrace::capture();
    if !tracing::enabled!(target: TARGET, tracing::Level::ERROR) {
        let line = format!("thread '{thread}' panicked at {place}: {message}\n");
        drop(std::io::stderr().write_all(line.as_bytes()));
    } else if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(target: TARGET, panic = message, %backtrace, "thread '{thread}' panicked at {place}");
    } else {
        tracing::error!(target: TARGET, panic = message, "thread '{thread}' panicked at {place}");
    }
}
