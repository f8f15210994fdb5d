//! One child process: its output is kept in files, it ends with the test, and when the test fails it
//! says its last words.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How much of a process's output is shown when a test fails, in bytes.
const TAIL: usize = 6 * 1024;

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: TempDir,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it. Its standard input stays open until [`Process::stdin`] is taken and dropped.
    ///
    /// # Panics
    /// When the program can't be started.
    pub fn start(name: impl Into<String>, command: &mut Command) -> Self {
        let name = name.into();
        let output = tempfile::tempdir().expect("a temporary directory can be made");
        let file = |which: &str| File::create(output.path().join(which)).expect("it is ours");
        let child = command
            .stdin(Stdio::piped())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|e| panic!("{name} can't be started as {command:?}: {e}"));
        Self {
            name,
            child,
            output,
            ended: None,
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has written to its standard output.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// Everything that it has written to its standard error.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn read(&self, which: &str) -> String {
        let path = self.output.path().join(which);
        std::fs::read(path).map_or_else(
            |e| format!("({which} can't be read: {e})"),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Its standard input.
    ///
    /// # Panics
    /// The second time.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("it is taken once")
    }

    /// Writes one line to its standard input.
    ///
    /// # Panics
    /// When it no longer reads.
    pub fn write_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it was not taken");
        writeln!(stdin, "{line}").unwrap_or_else(|e| panic!("{} no longer reads: {e}", self.name));
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the kernel won't say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("it is our child");
        }
        self.ended
    }

    /// Sends a signal; to a process that has ended it is a no-op.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill(Pid::from_raw(self.child.id() as i32), signal).expect("it is our child");
        }
    }

    /// `SIGKILL`, and waits until it is gone.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended = Some(self.child.wait().expect("it is our child"));
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it doesn't end within `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} has not ended within {limit:?}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The end of what it said, for a message about a failure.
    pub fn last_words(&self) -> String {
        let tail = |text: String| {
            let from = text.len().saturating_sub(TAIL);
            let from = (from..=text.len())
                .find(|i| text.is_char_boundary(*i))
                .unwrap_or(0);
            text[from..].trim_end().to_owned()
        };
        format!(
            "--- {} (pid {}), stdout:\n{}\n--- {}, stderr:\n{}",
            self.name,
            self.child.id(),
            tail(self.stdout()),
            self.name,
            tail(self.stderr())
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
        }
        if self.ended.is_none() {
            // Whatever these say, there is nobody left to tell.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// The repository's root.
///
/// # Panics
/// Never: this crate lies in it.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the repository")
}
