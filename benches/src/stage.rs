//! Conch's processes and their Redis, each started on a free port with nothing of this shell's
//! environment, and the jobs that a measurement needs.
//!
//! Nothing here may set what a user of Conch would not set, except that a lease is long: renewals of
//! thousands of jobs that were made to wait are no part of any figure. Logs are as they are by default.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{
    exchange,
    flow::Source,
    meter::{Meter, Role},
    peers::worker::{Mode, RELEASE, WAITING},
    process::{Process, free_address, installed, own_binary, this_program},
    resp,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// Submitting or claiming thousands of jobs takes a while.
const MORE_PATIENCE: Duration = Duration::from_mins(3);
/// Connections that submit at once.
const SUBMITTERS: usize = 4;

/// Settings for Conch: environment variables.
pub(crate) type Settings = [(String, String)];

/// Redis, a worker of the bench that is also the job service, and edge APIs.
pub(crate) struct Stage {
    /// The edge APIs with their addresses.
    pub apis: Vec<(Process, SocketAddr)>,
    /// The worker, where there is one, and the address of its job service.
    pub worker: Option<(Process, SocketAddr)>,
    /// A job service that knows external jobs, where there is one.
    job_service: Option<(Process, SocketAddr)>,
    /// Where the worker takes orders.
    pub control: SocketAddr,
    redis: (Process, SocketAddr),
    directory: TempDir,
}

impl Stage {
    /// A Redis and nothing else.
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        Ok(Self {
            apis: Vec::new(),
            worker: None,
            job_service: None,
            control: free_address()?,
            redis: start_redis(directory.path())?,
            directory,
        })
    }

    /// Starts the worker, or another one in its place.
    pub(crate) fn start_worker(
        &mut self,
        mode: Mode,
        concurrency: usize,
        pace: Duration,
        settings: &Settings,
    ) -> Result<SocketAddr> {
        // The old one first: it would take jobs that are the new one's.
        self.worker = None;
        let address = free_address()?;
        self.control = free_address()?;
        let mut command = this_program(["peer-worker"])?;
        let mode = clap::ValueEnum::to_possible_value(&mode).context("no mode is hidden")?;
        command
            .args(["--mode", mode.get_name()])
            .args(["--concurrency", &concurrency.to_string()])
            .args(["--pace-millis", &pace.as_millis().to_string()])
            .args(["--control", &self.control.to_string()]);
        clear_environment(&mut command, self.redis.1);
        command.env("TRITON_API_ADDR", address.to_string());
        command.env("DEMO_CLIENT", "false");
        command.env("LEASE_SECONDS", "900");
        command.env("MAX_QUEUED_JOBS", "1000000");
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start("bench-worker", command, self.directory.path())?;
        process.listening(address)?;
        self.worker = Some((process, address));
        Ok(address)
    }

    /// Starts a job service that knows so many external jobs.
    pub(crate) fn start_job_service(&mut self, jobs: usize) -> Result<()> {
        let address = free_address()?;
        let command = this_program([
            "peer-job-service".to_owned(),
            address.to_string(),
            jobs.to_string(),
        ])?;
        let mut process = Process::start("job-service", command, self.directory.path())?;
        process.listening(address)?;
        self.job_service = Some((process, address));
        Ok(())
    }

    /// Starts one more edge API.
    pub(crate) fn start_api(&mut self, settings: &Settings) -> Result<SocketAddr> {
        // Without a job service nothing listens there.
        let triton = match self.worker.as_ref().or(self.job_service.as_ref()) {
            Some((_, address)) => *address,
            None => free_address()?,
        };
        let name = format!("conch-api-{}", self.apis.len());
        let api = start_api(self.directory.path(), &name, self.redis.1, triton, settings)?;
        let address = api.1;
        self.apis.push(api);
        Ok(address)
    }

    /// A connection to Redis.
    pub(crate) fn redis(&self) -> Result<resp::Connection> {
        resp::Connection::open(self.redis.1)
    }

    /// Where Redis listens.
    pub(crate) fn redis_address(&self) -> SocketAddr {
        self.redis.1
    }

    /// Redis's process.
    pub(crate) fn redis_pid(&self) -> u32 {
        self.redis.0.pid()
    }

    /// The directory of this stage, which goes with it.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Looks at every process of this stage.
    pub(crate) fn meter(&self) -> Result<Meter> {
        let mut processes = vec![(Role::Redis, self.redis.0.pid())];
        processes.extend(self.apis.iter().map(|(api, _)| (Role::Server, api.pid())));
        let worker = self.worker.as_ref();
        processes.extend(worker.map(|(worker, _)| (Role::Worker, worker.pid())));
        Ok(Meter::new(processes, Some(self.redis()?)))
    }

    /// Fails when one of the processes has ended.
    pub(crate) fn still_runs(&mut self) -> Result<()> {
        let worker = self.worker.iter_mut().map(|(worker, _)| worker);
        for process in self.apis.iter_mut().map(|(api, _)| api).chain(worker) {
            process.still_runs()?;
        }
        self.redis.0.still_runs()
    }

    /// Waits until all `jobs` of the worker wait at its gate: they are claimed, started, and silent.
    pub(crate) fn all_at_the_gate(&mut self, jobs: usize) -> Result<Gate> {
        let mut gate = Gate::open(self.control)?;
        let deadline = Instant::now() + MORE_PATIENCE;
        loop {
            let waiting = gate.waiting()?;
            if waiting == jobs {
                return Ok(gate);
            }
            self.still_runs()?;
            ensure!(
                Instant::now() < deadline,
                "{waiting} of {jobs} jobs run after {MORE_PATIENCE:?}"
            );
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The worker's gate, from outside.
pub(crate) struct Gate(BufReader<TcpStream>);

impl Gate {
    fn open(control: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(control).context("connecting to the worker's gate")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn waiting(&mut self) -> Result<usize> {
        self.0.get_mut().write_all(&[WAITING])?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        line.trim().parse().context("the gate answers a number")
    }
}

impl Source for Gate {
    fn publish(&mut self, _: usize) -> Result<()> {
        Ok(self.0.get_mut().write_all(&[RELEASE])?)
    }
}

/// Creates a client with a value proposition at the job service; answers its id.
pub(crate) fn new_client(triton: SocketAddr) -> Result<String> {
    let mut connection = exchange::Connection::open(triton)?;
    let body = br#"{"name":"Bench","industry":"Health"}"#;
    let client = connection.call("POST", "/clients", Some(body))?.json(201)?;
    let client = client["id"]
        .as_str()
        .context("a client has an id")?
        .to_owned();
    let path = format!("/clients/{client}/value-propositions");
    let body = br#"{"content":"Lower the cost of care with better outcomes for members"}"#;
    connection.call("POST", &path, Some(body))?.json(201)?;
    Ok(client)
}

/// Submits jobs to the job service, for so many clients in turn; answers their ids.
pub(crate) fn submit(triton: SocketAddr, clients: usize, jobs: usize) -> Result<Vec<String>> {
    let clients: Vec<String> = (0..clients)
        .map(|_| new_client(triton))
        .collect::<Result<_>>()?;
    let submit = |first: usize| -> Result<Vec<String>> {
        let mut connection = exchange::Connection::open(triton)?;
        let mut ids = Vec::new();
        for job in (first..jobs).step_by(SUBMITTERS) {
            let client = &clients[job % clients.len()];
            let body = format!(r#"{{"client_id":"{client}"}}"#);
            let answer = connection.call("POST", "/jobs", Some(body.as_bytes()))?;
            let job = answer.json(201)?;
            let id = job["id"].as_str().or(job["job_id"].as_str());
            ids.push(id.context("a job has an id")?.to_owned());
        }
        Ok(ids)
    };
    thread::scope(|scope| {
        let submitters: Vec<_> = (0..SUBMITTERS)
            .map(|first| scope.spawn(move || submit(first)))
            .collect();
        let mut ids = Vec::new();
        for submitter in submitters {
            ids.extend(submitter.join().ok().context("a submitter panicked")??);
        }
        Ok(ids)
    })
}

/// How many jobs of a status the job service has.
pub(crate) fn jobs_with(connection: &mut exchange::Connection, status: &str) -> Result<u64> {
    let path = format!("/jobs?status={status}&page_size=1");
    let page = connection.call("GET", &path, None)?.json(200)?;
    page["total"].as_u64().context("a page has a total")
}

/// Starts a private, memory-only Redis.
pub(crate) fn start_redis(directory: &Path) -> Result<(Process, SocketAddr)> {
    let program = installed("redis-server", "redis-server")?;
    let address = free_address()?;
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
    command
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(directory);
    let mut process = Process::start("redis-server", command, directory)?;
    process.listening(address)?;
    Ok((process, address))
}

/// Leaves a program nothing of this shell's environment but the path, and says which Redis is its own.
fn clear_environment(command: &mut Command, redis: SocketAddr) {
    command.env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("REDIS_URL", format!("redis://{redis}/0"));
}

/// One of Conch's programs, with nothing of this shell's environment but the path.
pub(crate) fn conch_command(program: &str, redis: SocketAddr) -> Result<Command> {
    let mut command = Command::new(own_binary(program)?);
    clear_environment(&mut command, redis);
    Ok(command)
}

/// Starts a `conch-api` and waits until it listens.
pub(crate) fn start_api(
    directory: &Path,
    name: &str,
    redis: SocketAddr,
    triton: SocketAddr,
    settings: &Settings,
) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let mut command = conch_command("conch-api", redis)?;
    command.env("MARE_API_ADDR", address.to_string());
    command.env("TRITON_BASE_URL", format!("http://{triton}"));
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    let mut process = Process::start(name, command, directory)?;
    process.listening(address)?;
    Ok((process, address))
}
