//! The path of log lines to standard error: a bounded queue, and a thread that writes them.
//!
//! Never in here: blocking the thread that logs, whatever standard error does, or a panic. A line that
//! doesn't fit, or can't be written, is dropped and counted; where lines are missing, one line says how
//! many.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long the writer waits before it retries a sink that is not ready.
const NOT_READY: Duration = Duration::from_millis(20);

/// How long the writer leaves other lines the time to come after it has written some. Waking it costs a program that
/// logs much more than the lines themselves.
const LINGER: Duration = Duration::from_millis(2);

/// Limits of the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) lines: usize,
    pub(crate) bytes: usize,
    /// Interval at which a failed report of lost lines is repeated while nothing else is logged.
    pub(crate) report_again: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            lines: 8192,
            bytes: 4 * 1024 * 1024,
            report_again: Duration::from_secs(1),
        }
    }
}

impl Bounds {
    /// The limits for other lines: an eighth is reserved for warnings and errors.
    fn for_others(self) -> Self {
        Self {
            lines: self.lines - self.lines / 8,
            bytes: self.bytes - self.bytes / 8,
            ..self
        }
    }
}

/// The queue. A cheap handle.
#[derive(Clone)]
pub(crate) struct LineQueue(Arc<Shared>);

struct Shared {
    bounds: Bounds,
    state: Mutex<State>,
    /// Signals that the writer has work.
    filled: Condvar,
    /// Signals that everything has been written or dropped.
    emptied: Condvar,
    /// Number of all dropped lines.
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Line>,
    bytes: usize,
    /// Lines dropped since the last one in `waiting` was added.
    dropped: u64,
    /// Whether the writer is busy with a line or a report.
    writing: bool,
}

struct Line {
    text: Box<[u8]>,
    /// Lines dropped between the previous one and this one.
    dropped_before: u64,
}

/// The writer's next step.
enum Step {
    Write(Line),
    /// Report this number of dropped lines; no line is waiting.
    Report(u64),
    /// Repeat the report of lost lines; there is nothing else to do.
    ReportAgain,
}

impl LineQueue {
    /// Starts the thread that writes to `sink`. `report` builds the line that says how many were lost.
    ///
    /// # Errors
    /// When the system can't create another thread.
    pub(crate) fn start(
        bounds: Bounds,
        sink: impl Write + Send + 'static,
        report: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            bounds,
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let queue = Self(Arc::clone(&shared));
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_out(&shared, Sink::new(sink), &report))?;
        Ok(queue)
    }

    /// The number of lines dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything is written or dropped, at most for `limit`. False if lines are left.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.0.state.lock();
        while state.is_busy() {
            if self.0.emptied.wait_until(&mut state, deadline).timed_out() {
                return !state.is_busy();
            }
        }
        true
    }
}

impl State {
    fn is_busy(&self) -> bool {
        self.writing || self.dropped > 0 || !self.waiting.is_empty()
    }
}

impl Shared {
    fn push(&self, text: &[u8], bounds: Bounds) {
        let mut state = self.state.lock();
        if state.waiting.len() < bounds.lines && state.bytes + text.len() <= bounds.bytes {
            state.bytes += text.len();
            let dropped_before = std::mem::take(&mut state.dropped);
            state.waiting.push_back(Line {
                text: text.into(),
                dropped_before,
            });
        } else {
            state.dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Waits for work. `owes_report`: lost lines have not been reported yet. `lingers`: it has just written a line.
    fn next(&self, owes_report: bool, mut lingers: bool) -> Step {
        let mut state = self.state.lock();
        loop {
            state.writing = true;
            if let Some(line) = state.waiting.pop_front() {
                state.bytes -= line.text.len();
                return Step::Write(line);
            }
            if state.dropped > 0 {
                return Step::Report(std::mem::take(&mut state.dropped));
            }
            state.writing = false;
            self.emptied.notify_all();
            if std::mem::take(&mut lingers) {
                MutexGuard::unlocked(&mut state, || thread::sleep(LINGER));
                continue;
            }
            if !owes_report {
                self.filled.wait(&mut state);
            } else if self
                .filled
                .wait_for(&mut state, self.bounds.report_again)
                .timed_out()
            {
                state.writing = true;
                return Step::ReportAgain;
            }
        }
    }
}

/// The writer thread's loop; runs as long as the process.
fn write_out<W: Write>(shared: &Shared, mut sink: Sink<W>, report: &dyn Fn(u64) -> String) {
    let mut unreported = 0;
    let mut has_written = false;
    loop {
        let step = shared.next(unreported > 0, has_written);
        has_written = matches!(step, Step::Write(_));
        let line = match step {
            Step::Write(line) => {
                unreported += line.dropped_before;
                Some(line.text)
            }
            Step::Report(dropped) => {
                unreported += dropped;
                None
            }
            Step::ReportAgain => None,
        };
        if unreported > 0 && sink.write_line(report(unreported).as_bytes()).is_ok() {
            unreported = 0;
        }
        if let Some(line) = line
            // The line is written after the report of the missing ones before it, or not at all.
            && (unreported > 0 || sink.write_line(&line).is_err())
        {
            unreported += 1;
            shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The destination of the lines.
struct Sink<W> {
    inner: W,
    /// Whether the last line was written only in part.
    is_torn: bool,
}

impl<W: Write> Sink<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            is_torn: false,
        }
    }

    /// Writes a line with its line break, after terminating an incomplete one.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_all(b"\n")?;
            self.is_torn = false;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.inner.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Standard error is shared, and another program has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(NOT_READY),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Accepts one line.
pub(crate) struct LineWriter<'a> {
    shared: &'a Shared,
    bounds: Bounds,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.push(line, self.bounds);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineQueue {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter {
            shared: &self.0,
            bounds: self.0.bounds.for_others(),
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineWriter<'a> {
        let is_urgent = *metadata.level() <= Level::WARN;
        let bounds = self.0.bounds;
        LineWriter {
            shared: &self.0,
            bounds: if is_urgent {
                bounds
            } else {
                bounds.for_others()
            },
        }
    }
}

#[cfg(test)]
mod tests;
