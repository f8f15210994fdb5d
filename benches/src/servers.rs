//! The servers under measurement as a publisher of events and their watchers see them: Conch with a
//! private Redis and an external publisher, nginx with nchan, and the write loop.
//!
//! From here on they look alike: an address, a path per job to watch, a way to publish, processes to look
//! at. Nothing here may make one of them do more or less than a user of it would have.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::{
    exchange,
    flow::Source,
    meter::{Meter, Role},
    process::{Process, free_address, installed, monotonic_nanos, this_program},
    publisher::{job_name, stamped_event, start_external_jobs},
    resp,
    stage::{Settings, Stage},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// What nchan keeps of each job, as many as Conch's `HISTORY_LIMIT`.
const NCHAN_HISTORY: usize = 100;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// `conch-api` with a Redis, an external program publishing.
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
    /// The process whose memory counts.
    pub pid: u32,
    kind: Kind,
    publisher: Publisher,
    stage: Option<Stage>,
    // Ended before the directory goes.
    processes: Vec<Process>,
    _directory: Option<TempDir>,
}

/// How an event reaches the server.
enum Publisher {
    Line(BufReader<TcpStream>),
    Post(exchange::Connection),
    Redis(resp::Connection),
}

impl Server {
    /// Starts a server. `settings` are more environment variables for Conch.
    pub(crate) fn start(kind: Kind, settings: &Settings) -> Result<Self> {
        match kind {
            Kind::Conch => Self::conch(settings, None),
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
        // An event to nobody: makes this the control connection before any watcher comes.
        control.write_all(b"/ \n")?;
        let mut publisher = Publisher::Line(BufReader::new(control));
        publisher.settle()?;
        Ok(Self {
            address,
            pid: process.pid(),
            kind: Kind::Writeloop,
            publisher,
            stage: None,
            processes: vec![process],
            _directory: Some(directory),
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
            pid: process.only_child()?,
            kind: Kind::Nchan,
            publisher: Publisher::Post(exchange::Connection::open(address)?),
            stage: None,
            processes: vec![process],
            _directory: Some(directory),
        })
    }

    /// Starts Conch; `known` says how many external jobs a job service knows, none that there is no job
    /// service.
    pub(crate) fn conch(settings: &Settings, known: Option<usize>) -> Result<Self> {
        let mut stage = Stage::new()?;
        known
            .map(|jobs| stage.start_job_service(jobs))
            .transpose()?;
        // The goal for idle watchers was set with this one, and runs are to be compared with earlier ones.
        let mut all = vec![("HEARTBEAT_SECONDS".to_owned(), "15".to_owned())];
        all.extend_from_slice(settings);
        let address = stage.start_api(&all)?;
        Ok(Self {
            address,
            pid: stage.apis[0].0.pid(),
            kind: Kind::Conch,
            publisher: Publisher::Redis(stage.redis()?),
            stage: Some(stage),
            processes: Vec::new(),
            _directory: None,
        })
    }

    /// Makes the first `count` jobs known, so that they can be watched.
    pub(crate) fn open_jobs(&mut self, count: usize) -> Result<()> {
        let (Publisher::Redis(publisher), Some(stage)) = (&mut self.publisher, &mut self.stage)
        else {
            return Ok(());
        };
        let address = self.address;
        start_external_jobs(publisher, stage, address, count)
    }

    /// What to ask for to watch a job.
    pub(crate) fn path(&self, job: usize) -> String {
        let job = job_name(job);
        match self.kind {
            Kind::Conch => format!("/v1/triton/jobs/{job}/subscribe"),
            Kind::Writeloop | Kind::Nchan => format!("/watch/{job}"),
        }
    }

    /// Looks at the processes.
    pub(crate) fn meter(&self) -> Result<Meter> {
        match &self.stage {
            Some(stage) => stage.meter(),
            None => Ok(Meter::new(vec![(Role::Server, self.pid)], None)),
        }
    }

    /// Publishes one event of a job; returns without waiting for the reply.
    pub(crate) fn publish(&mut self, job: usize, event: &[u8]) -> Result<()> {
        let job = job_name(job);
        match &mut self.publisher {
            Publisher::Line(control) => {
                let line = [b"/watch/", job.as_bytes(), b" ", event, b"\n"].concat();
                control
                    .get_mut()
                    .write_all(&line)
                    .context("writing to the write loop")
            }
            Publisher::Post(connection) => {
                connection.send("POST", &format!("/publish/{job}"), Some(event))
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
        if let Some(stage) = &mut self.stage {
            stage.still_runs()?;
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

/// Events of a server's first jobs, one job after the other.
pub(crate) struct InTurn<'a> {
    /// The server.
    pub server: &'a mut Server,
    /// So many jobs.
    pub jobs: usize,
    /// What each event is padded with.
    pub padding: usize,
}

impl Source for InTurn<'_> {
    fn publish(&mut self, number: usize) -> Result<()> {
        let job = number % self.jobs;
        let event = stamped_event(job, monotonic_nanos()?, number, self.padding);
        self.server.publish(job, &event)?;
        self.server.settle()
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
  access_log off; tcp_nodelay on; keepalive_requests 1000000; nchan_shared_memory_size 256m;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{
    listen {address} backlog=4096;
    location ~ ^/publish/(.+)$ {{ nchan_publisher http; nchan_channel_id $1; nchan_message_buffer_length {NCHAN_HISTORY}; }}
    location ~ ^/watch/(.+)$ {{
      nchan_subscriber eventsource; nchan_channel_id $1;
      nchan_subscriber_first_message newest; nchan_eventsource_ping_interval 15;
    }}
  }}
}}
"
    )
}
