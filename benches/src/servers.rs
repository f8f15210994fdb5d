//! The servers under measurement, each started as processes of its own on free ports: Conch with a
//! private Redis, nginx with nchan, and the write loop.
//!
//! From here on they look alike: an address, a path to watch, a way to publish, a process to look
//! at. Nothing here may make one of them do more or less than a user of it would have.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::{
    exchange,
    process::{Process, free_address, installed, own_binary, this_program},
    resp,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// The client that the foreign publisher names.
pub(crate) const CLIENT: &str = "00000000-0000-7000-8000-0000000000c1";
const JOB: &str = "bench-fanout";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// `conch-api` with a Redis, a foreign program publishing.
    Conch,
    /// A blocking `write(2)` to one socket after the other.
    Writeloop,
    /// Debian's nginx with the nchan module.
    Nchan,
}

impl Kind {
    /// The name in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Conch => "Conch",
            Self::Writeloop => "write(2) loop",
            Self::Nchan => "nginx + nchan",
        }
    }

    /// Whether it sends heartbeats, and so costs something at rest.
    pub(crate) fn has_heartbeats(self) -> bool {
        self != Self::Writeloop
    }
}

/// A server that runs and can be published to.
pub(crate) struct Server {
    /// Where the watchers connect.
    pub address: SocketAddr,
    /// What they ask for.
    pub path: String,
    /// The process whose processor time and memory count.
    pub pid: u32,
    publisher: Publisher,
    // Ended in this order, the directory last.
    processes: Vec<Process>,
    _directory: TempDir,
}

/// How an event reaches the server.
enum Publisher {
    Line(BufReader<TcpStream>),
    Post(exchange::Connection),
    Redis(resp::Connection),
}

impl Server {
    /// Starts a server and waits until it can be published to. `settings` are more environment
    /// variables for Conch.
    pub(crate) fn start(kind: Kind, settings: &[(String, String)]) -> Result<Self> {
        match kind {
            Kind::Conch => Self::conch(settings),
            Kind::Writeloop => Self::write_loop(),
            Kind::Nchan => Self::nchan(),
        }
    }

    fn write_loop() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let address = free_address()?;
        let command = this_program(["peer-write-loop".to_owned(), address.to_string()])?;
        let mut process = Process::start("write-loop", command, directory.path())?;
        process.listening(address)?;
        let mut control = TcpStream::connect(address)?;
        control.set_nodelay(true)?;
        control.set_read_timeout(Some(PATIENCE))?;
        // An empty frame to nobody: makes this the control connection before any watcher comes.
        control.write_all(b"\n")?;
        let mut publisher = Publisher::Line(BufReader::new(control));
        publisher.settle()?;
        Ok(Self {
            address,
            path: "/".to_owned(),
            pid: process.pid(),
            publisher,
            processes: vec![process],
            _directory: directory,
        })
    }

    fn nchan() -> Result<Self> {
        let nginx = installed("nginx", "nginx-light libnginx-mod-nchan")?;
        let module = Path::new("/usr/lib/nginx/modules/ngx_nchan_module.so");
        ensure!(
            module.is_file(),
            "{} isn't installed: apt-get install libnginx-mod-nchan",
            module.display()
        );
        let directory = tempfile::tempdir()?;
        let address = free_address()?;
        let file = directory.path().join("nginx.conf");
        std::fs::write(
            &file,
            nginx_configuration(module, directory.path(), address),
        )?;
        let mut command = Command::new(nginx);
        command.arg("-p").arg(directory.path()).arg("-c").arg(&file);
        command.arg("-e").arg(directory.path().join("error.log"));
        let mut process = Process::start("nginx", command, directory.path())?;
        process.listening(address)?;
        Ok(Self {
            address,
            path: format!("/watch/{JOB}"),
            pid: process.only_child()?,
            publisher: Publisher::Post(exchange::Connection::open(address)?),
            processes: vec![process],
            _directory: directory,
        })
    }

    fn conch(settings: &[(String, String)]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (redis, redis_address) = start_redis(directory.path())?;
        // Nothing listens there: the job is a foreign publisher's and known from its log.
        let triton = free_address()?;
        // The goal for idle watchers was set with this one, and runs are to be compared with earlier ones.
        let mut all = vec![("HEARTBEAT_SECONDS".to_owned(), "15".to_owned())];
        all.extend_from_slice(settings);
        let (mut api, address) =
            start_api(directory.path(), "conch-api", redis_address, triton, &all)?;
        let mut publisher = resp::Connection::open(redis_address)?;
        let event = format!(
            r#"{{"event_type":"job:started","timestamp":"{now}","job_id":"{JOB}","client_id":"{CLIENT}","status":"running","started_at":"{now}"}}"#,
            now = chrono::Utc::now().to_rfc3339()
        );
        announce_until(&mut publisher, &mut api, address, JOB, "running", &[event])?;
        Ok(Self {
            address,
            path: format!("/v1/triton/jobs/{JOB}/subscribe"),
            pid: api.pid(),
            publisher: Publisher::Redis(publisher),
            processes: vec![api, redis],
            _directory: directory,
        })
    }

    /// Publishes one event; returns without waiting for the reply.
    pub(crate) fn publish(&mut self, event: &[u8]) -> Result<()> {
        match &mut self.publisher {
            Publisher::Line(control) => {
                let line = [event, b"\n"].concat();
                control
                    .get_mut()
                    .write_all(&line)
                    .context("writing to the write loop")
            }
            Publisher::Post(connection) => {
                connection.send("POST", &format!("/publish/{JOB}"), Some(event))
            }
            Publisher::Redis(connection) => {
                connection.send(&[b"PUBLISH", b"triton:jobs:all", event])
            }
        }
    }

    /// Takes the reply to the last publish.
    pub(crate) fn settle(&mut self) -> Result<()> {
        for process in &mut self.processes {
            process.still_runs()?;
        }
        self.publisher.settle()
    }
}

impl Publisher {
    fn settle(&mut self) -> Result<()> {
        match self {
            Self::Line(control) => {
                let mut line = String::new();
                control
                    .read_line(&mut line)
                    .context("the write loop's reply")?;
                ensure!(!line.is_empty(), "the write loop ended");
            }
            Self::Post(connection) => {
                let answer = connection.answer()?;
                ensure!(
                    answer.status / 100 == 2,
                    "nchan answered {} to a POST",
                    answer.status
                );
            }
            Self::Redis(connection) => {
                connection.reply()?;
            }
        }
        Ok(())
    }
}

/// An event of about `length` bytes for the wire, which carries the moment of its publication.
pub(crate) fn stamped_event(stamp: u64, number: u64, padding: usize) -> Vec<u8> {
    let pad = "x".repeat(padding);
    let mark = crate::watchers::STAMP;
    format!(
        r#"{{"event_type":"bench:tick","timestamp":"2026-01-01T00:00:00Z","job_id":"{JOB}","client_id":"{CLIENT}","number":{number:>4},{mark}{stamp:020}","pad":"{pad}"}}"#
    )
    .into_bytes()
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

/// One of Conch's programs, with nothing of this shell's environment but the path.
pub(crate) fn conch_command(program: &str, redis: SocketAddr) -> Result<Command> {
    let mut command = Command::new(own_binary(program)?);
    command.env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("REDIS_URL", format!("redis://{redis}/0"));
    command.env("RUST_LOG", "warn");
    Ok(command)
}

/// Starts a `conch-api` and waits until it listens.
pub(crate) fn start_api(
    directory: &Path,
    name: &str,
    redis: SocketAddr,
    triton: SocketAddr,
    settings: &[(String, String)],
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

/// Publishes the events of a job, the same bytes again and again (which makes them duplicates),
/// until the API at `address` says that the job has the status.
pub(crate) fn announce_until(
    publisher: &mut resp::Connection,
    api: &mut Process,
    address: SocketAddr,
    job: &str,
    status: &str,
    events: &[String],
) -> Result<()> {
    let mut connection = exchange::Connection::open(address)?;
    let path = format!("/v1/triton/jobs/{job}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Nobody listens before the API's subscription stands, and then it is told again.
        for event in events {
            publisher.publish("triton:jobs:all", event.as_bytes())?;
        }
        thread::sleep(Duration::from_millis(20));
        let answer = connection.call("GET", &path, None)?;
        if answer.status == 200 && answer.json(200)?["status"] == status {
            return Ok(());
        }
        api.still_runs()?;
        ensure!(
            Instant::now() < deadline,
            "the job {job} isn't {status} {PATIENCE:?} after its events were published: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
    }
}

fn nginx_configuration(module: &Path, directory: &Path, address: SocketAddr) -> String {
    let (module, directory) = (module.display(), directory.display());
    // As root, nginx would become another user, who can't write to the directory.
    let user = if nix::unistd::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "load_module {module};
daemon off; worker_processes 1; worker_rlimit_nofile 20000; {user}
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 19000; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 1000000; nchan_shared_memory_size 128m;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{
    listen {address} backlog=4096;
    location ~ ^/publish/(.+)$ {{ nchan_publisher http; nchan_channel_id $1; nchan_message_buffer_length 100; }}
    location ~ ^/watch/(.+)$ {{
      nchan_subscriber eventsource; nchan_channel_id $1;
      nchan_subscriber_first_message newest; nchan_eventsource_ping_interval 15;
    }}
  }}
}}
"
    )
}
