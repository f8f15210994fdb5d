//! Output of the programs other than their log.
//!
//! Never in here, nor anywhere else in the programs: `println!` and `eprintln!`, which panic if the output
//! is closed or full; and no unlimited wait for a reader that doesn't read.

use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a program that is about to end waits for its last line to be written.
const LAST_LINE: Duration = Duration::from_secs(1);

/// Prints to standard output without waiting.
pub(crate) fn print(text: String) {
    write(std::io::stdout(), text, Duration::ZERO);
}

/// Prints to standard error why the program ends.
pub(crate) fn print_error(error: &dyn std::fmt::Display) {
    write(std::io::stderr(), format!("{error}\n"), LAST_LINE);
}

/// Whether it was written in time. If not, there is nowhere else to say it.
fn write(mut to: impl Write + Send + 'static, text: String, limit: Duration) -> bool {
    let (done, is_done) = mpsc::channel();
    let write = move || {
        let written = to.write_all(text.as_bytes()).and_then(|()| to.flush());
        // After the time limit nothing receives it.
        drop(done.send(written));
    };
    let thread = thread::Builder::new().name("output".to_owned());
    thread.spawn(write).is_ok()
        && is_done
            .recv_timeout(limit)
            .is_ok_and(|written| written.is_ok())
}
