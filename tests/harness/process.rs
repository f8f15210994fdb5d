//! One child process: its output is kept in files, it ends with the test, and when the test fails it
//! says its last words.
//!
//! Nor does it outlive a test that is killed and can drop nothing: a keeper, a shell whose standard input
//! is this process's, ends whatever still runs once that input closes.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tempfile::TempDir;

/// How much of a process's output is shown when a test fails, in bytes.
const TAIL: usize = 6 * 1024;

/// Reads `+ <pid>` and `- <pid>`, and at the end kills whoever is left.
const KEEPER: &str = r#"
while read -r sign pid; do
  if [ "$sign" = + ]; then
    pids="$pids $pid"
  else
    left=
    for known in $pids; do [ "$known" = "$pid" ] || left="$left $known"; done
    pids=$left
  fi
done
[ -z "$pids" ] || kill -KILL $pids
"#;

/// The keeper. Not the kernel's death signal: that comes when the *thread* ends which started the child,
/// and threads of a runtime end as they please.
static KEPT: LazyLock<Mutex<Child>> = LazyLock::new(|| {
    let keeper = Command::new("sh")
        .args(["-c", KEEPER])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Of a group of its own, so that what ends all of ours doesn't end it.
        .process_group(0)
        .spawn();
    Mutex::new(keeper.expect("there is a shell"))
});

/// Tells the keeper of a child that began (`+`) or ended (`-`).
fn keep(sign: char, pid: u32) {
    let mut keeper = KEPT.lock();
    let stdin = keeper.stdin.as_mut().expect("it is piped");
    // If somebody has ended the keeper, children end as they do when no test is killed.
    drop(writeln!(stdin, "{sign} {pid}"));
}

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
        keep('+', child.id());
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
            if self.ended.is_some() {
                keep('-', self.pid());
            }
        }
        self.ended
    }

    /// Sends a signal; to a process that has ended it is a no-op.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let pid = Pid::from_raw(self.pid() as i32);
            kill(pid, signal).expect("it is our child");
            if signal == Signal::SIGSTOP {
                // Its threads stop one by one, and some may still answer. How it ends is left to be asked for.
                let stopped_or_ended =
                    WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
                waitid(Id::Pid(pid), stopped_or_ended).expect("it is our child");
            }
        }
    }

    /// `SIGKILL`, and waits until it is gone.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        if self.ended.is_none() {
            self.ended = Some(self.child.wait().expect("it is our child"));
            keep('-', self.pid());
        }
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
            self.pid(),
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
            keep('-', self.pid());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually::eventually_blocking;

    /// In its environment a run of the test below is the one that is killed.
    const VICTIM: &str = "CONCH_HARNESS_VICTIM";

    /// Whether it runs; one that has ended, and that nobody has asked after, doesn't.
    fn runs(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn a_child_ends_with_a_test_that_is_killed() {
        if std::env::var_os(VICTIM).is_some() {
            let child = Process::start("sleep", Command::new("sleep").arg("600"));
            // What has ended is no longer the keeper's, and its number anybody's.
            Process::start("true", &mut Command::new("true")).kill();
            println!("child {}", child.pid());
            std::thread::sleep(Duration::from_mins(10));
        }
        let own = std::env::current_exe().expect("a process knows its program");
        let name = "process::tests::a_child_ends_with_a_test_that_is_killed";
        let mut victim = Process::start(
            "a test that is killed",
            Command::new(own)
                .args(["--exact", name, "--nocapture"])
                .env(VICTIM, "1"),
        );
        let child = eventually_blocking("it has a child", || {
            let said = victim.stdout();
            let (_, pid) = said.split_once("child ")?;
            pid.split_once('\n').map(|(pid, _)| pid.to_owned())
        });
        assert!(runs(&child), "{child} was started");
        victim.kill();
        eventually_blocking("its child ends, too", || (!runs(&child)).then_some(()));
    }
}
