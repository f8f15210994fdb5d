//! The system's own programs as processes: `conch run`, `conch-api`, `conch-worker`.
//!
//! They see no setting but those that the test names. Intervals are short, so that a fault shows within
//! seconds; [`Conch::stop`] checks the drain, and a process that a passing test leaves behind is stopped
//! so too.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::eventually::{LOOK_AGAIN, PATIENCE};
use crate::http::{Answer, client};
use crate::nats::Nats;
use crate::{Mare, Process, Redis, port};

/// Within this a drain must be over: `DRAIN_SECONDS` below, and as much again.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// What every program is started with, unless the test says otherwise.
const DEFAULTS: [(&str, &str); 5] = [
    ("DRAIN_SECONDS", "5"),
    ("LEASE_SECONDS", "2"),
    ("POSITION_CHECK_SECONDS", "1"),
    ("RUST_LOG", "info"),
    ("RUST_BACKTRACE", "1"),
];

/// Names the bug that is planted in a program; it is then the one that was built with bugs in it.
pub const SABOTAGE: &str = "SABOTAGE";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    AllInOne,
    Api,
    Worker,
}

/// A program with its settings, not yet started.
#[derive(Debug, Clone)]
pub struct Plan {
    program: Program,
    env: BTreeMap<String, String>,
    shell: Option<String>,
}

impl Plan {
    /// `conch run`: everything in one process, in memory.
    pub fn all_in_one() -> Self {
        Self::new(Program::AllInOne)
    }

    /// `conch-api` on that Redis, with that Triton behind it.
    pub fn api(redis: &Redis, triton_url: &str) -> Self {
        Self::api_at(&redis.url(), triton_url)
    }

    /// `conch-api` on the Redis with that address.
    pub fn api_at(redis_url: &str, triton_url: &str) -> Self {
        Self::new(Program::Api)
            .env("REDIS_URL", redis_url)
            .env("TRITON_BASE_URL", triton_url)
    }

    /// `conch-worker` on that Redis, serving Triton's HTTP.
    pub fn worker(redis: &Redis) -> Self {
        Self::worker_at(&redis.url())
    }

    /// `conch-worker` on the Redis with that address.
    pub fn worker_at(redis_url: &str) -> Self {
        Self::new(Program::Worker).env("REDIS_URL", redis_url)
    }

    /// `conch-worker` on that Redis, without Triton's HTTP.
    pub fn silent_worker(redis: &Redis) -> Self {
        Self::worker(redis).env("TRITON_API_ADDR", "off")
    }

    fn new(program: Program) -> Self {
        let env = DEFAULTS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            program,
            env: env.into(),
            shell: None,
        }
    }

    /// Has a shell start it with this script, in which `"$@"` is the program with its arguments.
    #[must_use]
    pub fn shell(mut self, script: impl Into<String>) -> Self {
        self.shell = Some(script.into());
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Announces on that NATS, as one of the users that the documentation names.
    #[must_use]
    pub fn on_nats(self, nats: &Nats) -> Self {
        let user = match self.program {
            Program::Api => "conch-api",
            Program::Worker | Program::AllInOne => "conch-worker",
        };
        self.env("BUS_URL", nats.url(user))
            .env("NATS_PROBE_SECONDS", "0.5")
            .env("NATS_TIMEOUT_SECONDS", "1")
    }

    /// The time that the built-in generator takes per template, in milliseconds.
    #[must_use]
    pub fn pace(self, millis: u32) -> Self {
        self.env("BUILTIN_PACE_MS", millis.to_string())
    }

    /// Starts it on free ports and waits until it is ready.
    ///
    /// # Panics
    /// When it doesn't become ready.
    pub async fn start(self) -> Conch {
        for _ in 0..5 {
            let mut conch = self.clone().start_on(port::free(), port::free());
            if conch.is_up().await {
                return conch;
            }
            let words = conch.process.last_words();
            assert!(
                words.contains("in use") || words.contains("EADDRINUSE"),
                "{:?} ended before it was ready\n{words}",
                self.program
            );
        }
        panic!("five ports in turn were taken");
    }

    /// Starts it on ports that were its own before, and waits until it is ready.
    async fn start_again(self, mare: u16, triton: u16) -> Conch {
        let mut conch = self.start_on(mare, triton);
        let up = conch.is_up().await;
        assert!(up, "did not start again\n{}", conch.process.last_words());
        conch
    }

    fn start_on(self, mare: u16, triton: u16) -> Conch {
        let name = match self.program {
            Program::AllInOne => "conch",
            Program::Api => "conch-api",
            Program::Worker => "conch-worker",
        };
        let address = |port: u16| format!("127.0.0.1:{port}");
        let mut command = if self.env.contains_key(SABOTAGE) {
            let mut command = program("conch-sabotaged");
            command.arg(name);
            command
        } else {
            program(name)
        };
        if self.program == Program::AllInOne {
            command.arg("run");
        }
        if let Some(script) = &self.shell {
            command = in_shell(script, &command);
        }
        if self.program != Program::Worker {
            command.env("MARE_API_ADDR", address(mare));
        }
        if self.program != Program::Api {
            command.env("TRITON_API_ADDR", address(triton));
        }
        let silent = self.env.get("TRITON_API_ADDR").is_some_and(|v| v == "off");
        if silent {
            command.env("WORKER_OPS_ADDR", address(triton));
        }
        command.envs(&self.env);
        Conch {
            process: Process::start(name, &mut command),
            plan: self,
            mare,
            triton,
            stopped: false,
        }
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Conch {
    plan: Plan,
    process: Process,
    mare: u16,
    triton: u16,
    stopped: bool,
}

impl Conch {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its edge API.
    pub fn mare(&self) -> Mare {
        Mare::on(self.mare)
    }

    /// The port of its edge API.
    pub fn mare_port(&self) -> u16 {
        self.mare
    }

    /// The port of its Triton, or of its operations when that is off.
    pub fn triton_port(&self) -> u16 {
        self.triton
    }

    /// Where a gateway finds its Triton.
    pub fn triton_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.triton)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// What it has printed.
    pub fn printed(&self) -> String {
        self.process.stdout()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
        self.stopped = true;
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// `SIGTERM`, and doesn't wait: [`Conch::stop`] does.
    pub fn ask_to_stop(&mut self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Starts it again on its ports, after a kill if it still runs.
    ///
    /// # Panics
    /// When it doesn't become ready.
    pub async fn restart(&mut self) {
        self.kill();
        *self = self.plan.clone().start_again(self.mare, self.triton).await;
        // The one that was dropped gave them back.
        port::claim(self.mare);
        port::claim(self.triton);
    }

    /// `SIGTERM`, and checks that it ends with 0 within the drain's limit.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.process.signal(Signal::SIGTERM);
        let status = self.process.wait(DRAIN_LIMIT);
        assert!(
            status.success(),
            "SIGTERM ended it with {status}\n{}",
            self.process.last_words()
        );
    }

    /// Waits for an end that it comes to without a signal.
    ///
    /// # Panics
    /// When it doesn't end within the drain's limit.
    pub fn end(&mut self) -> ExitStatus {
        self.stopped = true;
        self.process.wait(DRAIN_LIMIT)
    }

    /// What it has counted, as `/metrics` shows it.
    pub async fn metrics(&self) -> String {
        Answer::to(client().get(self.ops_url("/metrics")))
            .await
            .body
    }

    /// Whether it answers at all.
    pub async fn answers(&self) -> bool {
        let answer = Answer::attempt(client().get(self.ops_url("/livez"))).await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// The end of what it said, for a message about a failure.
    pub fn last_words(&self) -> String {
        self.process.last_words()
    }

    /// The most memory that it has held at once, in KiB; 0 when it has ended.
    ///
    /// # Panics
    /// When the kernel says something else.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let digits = peak.map(|text| text.trim().trim_end_matches(" kB"));
        digits.map_or(0, |digits| digits.parse().expect("a number"))
    }

    /// Where it tells how it is.
    fn ops_url(&self, path: &str) -> String {
        let port = match self.plan.program {
            Program::Worker => self.triton,
            Program::AllInOne | Program::Api => self.mare,
        };
        format!("http://127.0.0.1:{port}{path}")
    }

    async fn is_up(&mut self) -> bool {
        let http = client();
        let url = self.ops_url("/readyz");
        let deadline = Instant::now() + PATIENCE;
        // By hand: the future of an async closure can't be told to be Send, and who restarts a process
        // in a task of its own needs that.
        let up = loop {
            if self.process.ended().is_some() {
                break false;
            }
            let answer = Answer::attempt(http.get(&url)).await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                break true;
            }
            assert!(
                Instant::now() < deadline,
                "waited {PATIENCE:?} in vain: {url} answers 200\n{}",
                self.process.last_words()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        if !up {
            self.stopped = true;
        }
        up
    }
}

impl Drop for Conch {
    fn drop(&mut self) {
        // A test that failed wants its own message; Process does the rest.
        if !self.stopped && !std::thread::panicking() {
            self.stop();
        }
        port::give_back(self.mare);
        port::give_back(self.triton);
    }
}

/// One API and one worker on a Redis of their own.
#[derive(Debug)]
pub struct Pair {
    /// The edge.
    pub api: Conch,
    /// The job service.
    pub worker: Conch,
    /// What joins them. Last, so that it ends last.
    pub redis: Redis,
}

impl Pair {
    /// Starts them, with that pace of the built-in generator.
    pub async fn start(redis: Redis, pace: u32) -> Self {
        let worker = Plan::worker(&redis).pace(pace).start().await;
        let api = Plan::api(&redis, &worker.triton_url()).start().await;
        Self { api, worker, redis }
    }
}

/// One of the programs, with an environment that holds no setting.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(binary(name));
    command.env_clear();
    for inherited in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(inherited) {
            command.env(inherited, value);
        }
    }
    command
}

/// The same command, started by a shell with this script, in which `"$@"` is the command.
pub fn in_shell(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(command.get_program());
    shell.args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell
}

/// A program of the workspace, as `cargo build --bins -p conch` leaves it beside this test's own.
fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its program");
    let beside = own.parent().expect("a program lies somewhere");
    // Tests lie in target/<profile>/deps, the chaos harness one above.
    let directory = if beside.ends_with("deps") {
        beside.parent().expect("target/<profile>")
    } else {
        beside
    };
    let path = directory.join(name);
    assert!(
        path.exists(),
        "{} is missing: `make test` builds it, or `cargo build --bins -p conch -p conch-sabotage`",
        path.display()
    );
    path
}
