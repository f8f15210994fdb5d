//! A standard error that takes nothing: full, closed, or a pipe that nothing reads. The program works on,
//! counts what it could not log, says so once it can, and ends when it is told to.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conch_harness::conch::{Conch, Plan, in_shell, program};
use conch_harness::eventually::{PATIENCE, eventually, eventually_blocking};
use conch_harness::http::{Answer, client};
use conch_harness::sse::assert_whole;
use conch_harness::{Persistence, Process, Redis};
use futures::future::join_all;
use tempfile::TempDir;

/// `O_NONBLOCK` of Linux.
const NON_BLOCKING: i32 = 0o4000;
const SAYS_WHAT_WAS_LOST: &str = "log lines were lost before this one";

/// A named pipe.
struct Pipe {
    path: PathBuf,
    /// Keeps it open, so that a writer meets neither an error nor a reader.
    held: File,
    _directory: TempDir,
}

impl Pipe {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("pipe");
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("coreutils are installed").success());
        let held = File::options()
            .read(true)
            .write(true)
            .custom_flags(NON_BLOCKING)
            .open(&path);
        Self {
            path,
            held: held.expect("it was just made"),
            _directory: directory,
        }
    }

    /// As many bytes as it takes.
    fn fill(&mut self) {
        loop {
            match self.held.write(&[b'x'; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// A disk of 64 KiB that is nobody else's.
struct SmallDisk {
    /// Has the name space that it is mounted in.
    keeper: Process,
    directory: TempDir,
}

impl SmallDisk {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mount = format!(
            "mount -t tmpfs -o size=64k none '{}' && echo mounted && exec sleep 600",
            directory.path().display()
        );
        // As root without name spaces of users, else with them.
        let script = "unshare -m true 2>&- && exec unshare -m \"$@\" || exec unshare -Urm \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", "sh", "-c", &mount]);
        let mut keeper = Process::start("a small disk", &mut command);
        eventually_blocking("the disk is mounted", || {
            assert!(
                keeper.ended().is_none(),
                "this test mounts a tmpfs: it needs unshare(1), and root or name spaces for users\n{}",
                keeper.last_words()
            );
            keeper.stdout().contains("mounted").then_some(())
        });
        Self { keeper, directory }
    }

    /// A file on it, by a path that is good outside of its name space, too.
    fn file(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.pid()));
        let inside = self
            .directory
            .path()
            .strip_prefix("/")
            .expect("it is absolute");
        root.join(inside).join(name)
    }
}

async fn dropped(conch: &Conch) -> u64 {
    let metrics = conch.metrics().await;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("conch_log_lines_dropped_total "));
    line.unwrap_or_else(|| panic!("it is not counted: {metrics}"))
        .parse()
        .expect("a number")
}

/// A job from its submission to its end, and what probes are told.
async fn works(conch: &Conch) {
    let mare = conch.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let events = mare.subscribe(&job_id).await.read_to_end().await;
    assert_whole(&events, 1);
    assert_eq!(mare.job(&job_id).await["status"], "completed");
    for path in ["/livez", "/readyz"] {
        let url = format!("http://127.0.0.1:{}{path}", conch.mare_port());
        assert_eq!(Answer::to(client().get(url)).await.status, 200, "{path}");
    }
}

/// Logs until lines are dropped, and works all the while.
async fn works_until_lines_are_dropped(conch: &Conch) {
    works(conch).await;
    let mare = conch.mare();
    eventually("lines are dropped", async || {
        // Each is logged by Mare, its gateway and Triton.
        for answer in join_all((0..50).map(|_| mare.get("/clients"))).await {
            assert_eq!(answer.status, 200);
        }
        (dropped(conch).await > 0).then_some(())
    })
    .await;
    works(conch).await;
}

fn plan(script: impl Into<String>) -> Plan {
    Plan::all_in_one().pace(10).shell(script)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_standard_error_loses_lines_and_nothing_else() {
    for script in [
        r#"exec "$@" 2>/dev/full"#,
        r#"exec "$@" >/dev/full 2>/dev/full"#,
    ] {
        let mut conch = plan(script).start().await;
        works(&conch).await;
        assert!(dropped(&conch).await > 0);
        conch.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_standard_error_is_no_failure() {
    for script in [r#"exec "$@" 2>&-"#, r#"exec "$@" <&- >&- 2>&-"#] {
        let mut conch = plan(script).start().await;
        works(&conch).await;
        conch.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_after_one_line_is_no_failure() {
    let pipe = Pipe::new();
    let path = pipe.path.display().to_string();
    let script = format!("exec head -1 <'{path}'");
    let mut head = Process::start("head -1", Command::new("sh").args(["-c", &script]));
    let starting = tokio::spawn(plan(format!(r#"exec "$@" >'{path}' 2>&1"#)).start());
    assert!(head.wait(Duration::from_secs(20)).success());
    drop(pipe);
    let mut conch = starting.await.expect("it starts");
    works(&conch).await;
    assert!(dropped(&conch).await > 0);
    conch.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_nothing_reads_holds_up_nothing() {
    let mut pipe = Pipe::new();
    // The banner finds no room either.
    pipe.fill();
    let path = pipe.path.display().to_string();
    let mut conch = plan(format!(r#"exec "$@" >'{path}' 2>&1"#))
        .env("RUST_LOG", "trace")
        .start()
        .await;
    works_until_lines_are_dropped(&conch).await;
    conch.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_is_read_again_says_how_much_is_missing() {
    let pipe = Pipe::new();
    let path = pipe.path.display().to_string();
    let mut conch = plan(format!(r#"exec "$@" 2>'{path}'"#))
        .env("RUST_LOG", "trace")
        .start()
        .await;
    works_until_lines_are_dropped(&conch).await;
    let reader = File::open(&pipe.path).expect("it has a writer");
    let read = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(reader).lines();
        let mut lines = lines.map(|line| line.expect("text"));
        lines.find(|line| line.contains(SAYS_WHAT_WAS_LOST))
    });
    let line = tokio::time::timeout(PATIENCE, read).await;
    let line = line.expect("it is said in time").expect("it is read");
    let line = line.expect("it is said");
    let (_, said) = line.split_once("lines=").expect("it says how many");
    let said: u64 = said.parse().expect("a number");
    let counted = dropped(&conch).await;
    assert!(said > 0 && said <= counted, "{line}; counted: {counted}");
    drop(pipe);
    conch.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_gets_room_again_is_told_what_is_missing() {
    let disk = SmallDisk::new();
    let log = disk.file("log");
    let mut conch = plan(format!(r#"exec "$@" 2>>'{}'"#, log.display()))
        .env("RUST_LOG", "trace")
        .env("LOG_FORMAT", "json")
        .start()
        .await;
    works_until_lines_are_dropped(&conch).await;
    let file = File::options().write(true).open(&log).expect("it is there");
    file.set_len(0).expect("it can be emptied");
    // Once more than nothing is logged, whether or not anything else is.
    let line = eventually("the loss is told", async || line_of_loss(&log)).await;
    assert!(line.starts_with(r#"{"timestamp":""#), "{line}");
    assert!(line.contains(r#""lines":"#), "{line}");
    conch.stop();
}

fn line_of_loss(log: &Path) -> Option<String> {
    let mut text = Vec::new();
    File::open(log).ok()?.read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(str::to_owned)
        .find(|line| line.contains(SAYS_WHAT_WAS_LOST))
}

/// How a program ends whose output goes nowhere.
#[test]
fn exit_codes_are_right_whatever_becomes_of_the_output() {
    let mut pipe = Pipe::new();
    pipe.fill();
    let unread = format!(r#"exec "$@" 2>'{}'"#, pipe.path.display());
    let scripts = [
        r#"exec "$@" >/dev/full 2>/dev/full"#,
        r#"exec "$@" >&- 2>&-"#,
        unread.as_str(),
    ];
    let runs: [(&str, &[&str], i32); 9] = [
        ("conch", &["--help"], 0),
        ("conch", &["run", "--help"], 0),
        ("conch", &["--version"], 0),
        ("conch-api", &["--help"], 0),
        ("conch-worker", &["--version"], 0),
        ("conch", &[], 2),
        ("conch-api", &["--no-such-flag"], 2),
        ("conch-api", &["--triton-base-url", "nonsense"], 78),
        (
            "conch",
            &["run", "--mare-api-addr", "203.0.113.1:1", "--insecure"],
            1,
        ),
    ];
    for script in scripts {
        for (name, arguments, code) in runs {
            // What clap prints waits for its reader, as every tool does.
            if script == unread && code == 2 {
                continue;
            }
            let mut command = program(name);
            command.args(arguments);
            let mut process = Process::start(name, &mut in_shell(script, &command));
            let status = process.wait(Duration::from_secs(10));
            assert_eq!(
                status.code(),
                Some(code),
                "{name} {arguments:?} by {script}"
            );
        }
    }
}

/// A pipe whose reader is gone before anything is written.
#[test]
fn help_into_a_closed_pipe_is_no_failure() {
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let status = program("conch").args(arguments).stdout(writer).status();
        assert_eq!(status.expect("it starts").code(), Some(0), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_on_redis_work_without_a_standard_error() {
    let redis = Redis::start(Persistence::None);
    let full = r#"exec "$@" 2>/dev/full"#;
    let mut worker = Plan::worker(&redis).pace(10).shell(full).start().await;
    let mut api = Plan::api(&redis, &worker.triton_url())
        .shell(full)
        .start()
        .await;
    works(&api).await;
    for process in [&mut api, &mut worker] {
        assert!(dropped(process).await > 0);
        process.stop();
    }
}
