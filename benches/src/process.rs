//! Processes that a measurement starts: found, started, looked at from outside, ended.
//!
//! Every process is ended when its handle is dropped. Nothing here ever touches a process that it
//! did not start itself.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
    },
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

/// How long a process may take to listen.
const START: Duration = Duration::from_secs(20);
/// How long a process may take to end before it is killed.
const DRAIN: Duration = Duration::from_secs(5);

/// A process that ends with its handle.
pub(crate) struct Process {
    child: Child,
    name: String,
    /// Where its standard error goes, quoted when it fails.
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to `<directory>/<name>.log`.
    pub(crate) fn start(name: &str, mut command: Command, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| {
                format!(
                    "starting {name} ({})",
                    command.get_program().to_string_lossy()
                )
            })?;
        Ok(Self {
            child,
            name: name.to_owned(),
            log,
        })
    }

    /// Waits until something listens on `address`; fails when the process ends first.
    pub(crate) fn listening(&mut self, address: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            self.still_runs()?;
            if Instant::now() > deadline {
                bail!(
                    "{} doesn't listen on {address} after {START:?}:\n{}",
                    self.name,
                    self.tail()
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Fails, quoting what the process said last, when it has ended.
    pub(crate) fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}:\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its only child process, such as nginx's one worker.
    pub(crate) fn only_child(&self) -> Result<u32> {
        let pid = self.pid();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let deadline = Instant::now() + START;
        loop {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
            let children: Vec<u32> = text
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            if let [child] = children[..] {
                return Ok(child);
            }
            ensure!(
                Instant::now() < deadline,
                "{} has children {children:?}",
                self.name
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn tail(&self) -> String {
        let mut text = String::new();
        match File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text)) {
            Ok(_) if text.trim().is_empty() => "(it said nothing)".to_owned(),
            Ok(_) => {
                let lines: Vec<&str> = text.lines().collect();
                lines[lines.len().saturating_sub(12)..].join("\n")
            }
            Err(error) => format!("(its log can't be read: {error})"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM first: nginx's master takes its worker along only then.
        let asked = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).is_ok();
        let deadline = Instant::now() + DRAIN;
        while asked && Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        if self.child.kill().is_ok() {
            // Reaps it; nothing useful can be done when that fails.
            drop(self.child.wait());
        }
    }
}

/// The processor time, user and system, that a process has used, in all its threads. From the
/// process's own clock: nanoseconds, where `/proc/PID/stat` has ticks of ten milliseconds.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid as i32))
        .with_context(|| format!("the processor clock of process {pid}"))?;
    Ok(clock_gettime(clock)
        .with_context(|| format!("reading the clock of process {pid}"))?
        .into())
}

/// The processor time that this process, the load generator, has used.
pub(crate) fn own_cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// Nanoseconds by the clock that all processes of this machine share and nobody sets.
pub(crate) fn monotonic_nanos() -> Result<u64> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    Ok(now.as_nanos() as u64)
}

/// How often the threads of a process have gone to sleep of their own accord. Threads that have ended are
/// not counted.
pub(crate) fn voluntary_switches(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/task");
    let mut sum = 0;
    for task in fs::read_dir(&path).with_context(|| format!("reading {path}"))? {
        // A thread may end between the two looks.
        let Ok(text) = fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        sum += status_figure(&text, "voluntary_ctxt_switches:")?;
    }
    Ok(sum)
}

/// The number in the line of a `/proc/…/status` that begins with `name`.
fn status_figure(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find(|line| line.starts_with(name));
    let figure = line
        .and_then(|line| line.split_whitespace().nth(1))
        .with_context(|| format!("no {name}"))?;
    figure
        .parse()
        .with_context(|| format!("{name} isn't a number"))
}

/// Resident memory in KiB.
pub(crate) fn resident_kib(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    status_figure(&text, "VmRSS:")
}

/// An address on loopback that was free a moment ago.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("binding a free port")?;
    Ok(listener.local_addr()?)
}

/// Raises the limit on open descriptors to the most that is allowed, for this process and those it
/// starts, and fails when `watchers` don't fit.
pub(crate) fn raise_descriptor_limit(watchers: usize) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising RLIMIT_NOFILE")?;
    ensure!(
        hard >= watchers as u64 + 200,
        "{watchers} watchers need {} open descriptors per process and the limit is {hard}: raise it \
         with `ulimit -Hn`, or pass fewer --watchers",
        watchers + 200
    );
    Ok(())
}

/// A program on the `PATH`, or the reason why a measurement can't be made and what to install.
pub(crate) fn installed(program: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps nginx in sbin, which is not on every user's path.
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    for place in places {
        let candidate = place.join(program);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!("{program} isn't installed: apt-get install {package}")
}

/// One of our own binaries: it lies beside this one.
pub(crate) fn own_binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program's own path")?;
    let candidate = own.with_file_name(name);
    ensure!(
        candidate.is_file(),
        "{} isn't built: cargo build --release -p conch",
        candidate.display()
    );
    Ok(candidate)
}

/// This program again, in another role: a peer is a process of its own.
pub(crate) fn this_program(
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Command> {
    let own = std::env::current_exe().context("finding this program's own path")?;
    let mut command = Command::new(own);
    command.args(arguments);
    Ok(command)
}
