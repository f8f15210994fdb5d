//! What `idle`, `live` and `five` share: a number of jobs with a number of watchers each, on one of the
//! servers, first at rest, then with events that are spread over all jobs.
//!
//! It must never count what the resting watchers cost as an event's cost: that is measured just before
//! and taken off.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context as _, Result};

use super::Options;
use crate::{
    flow::{self, Pace, Source},
    machine::Steal,
    meter::{Cost, Meter, Role},
    peers::{bus::CHANNEL, worker::Mode},
    process::{
        Process, free_address, monotonic_nanos, raise_descriptor_limit, resident_kib, this_program,
    },
    publisher::stamped_event,
    report::quantile,
    resp,
    servers::{InTurn, Kind, Server},
    stage::{Gate, Stage, submit},
    watchers::Watchers,
};

/// Clients whose jobs the worker runs.
const CLIENTS: usize = 20;
/// Connections that come before the first look at the memory, so that what a server allocates once
/// isn't counted as a watcher's.
const FIRST: usize = 16;
/// Before a rest is measured: the last watchers' first reads are over.
const CALM: Duration = Duration::from_secs(3);
/// What a foreign event is padded with, for about 400 bytes on the wire.
const PADDING: usize = 130;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Conch, jobs of its own: a worker of the bench says an event of each when told to.
    Own,
    /// A server with an external publisher.
    External(Kind),
    /// Conch with an external publisher whose job service knows the jobs, and answers for them.
    Answered,
    /// Conch, all watchers on one external job.
    OneJob,
}

impl Subject {
    /// The name in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Own => "Conch, own jobs",
            Self::External(Kind::Conch) => "Conch, external jobs",
            Self::External(kind) => kind.name(),
            Self::Answered => "Conch, external jobs, job service up",
            Self::OneJob => "Conch, one job",
        }
    }
}

/// A server with its jobs and their watchers.
pub(crate) struct Audience {
    watchers: Watchers,
    meter: Meter,
    /// Watchers of each job.
    each: usize,
    jobs: usize,
    server: Running,
    /// KB (1,000 bytes) of the API per watcher.
    pub kb_per_watcher: f64,
}

enum Running {
    Own { _stage: Stage, gate: Gate },
    External(Server),
}

/// A server whose jobs can be watched.
struct Opened {
    server: Running,
    address: SocketAddr,
    /// The process whose memory counts.
    pid: u32,
    meter: Meter,
    /// What to ask for, by job.
    paths: Vec<String>,
}

impl Opened {
    /// Jobs that the worker runs, and that wait at its gate.
    fn own(jobs: usize, options: &Options) -> Result<Self> {
        let mut stage = Stage::new()?;
        let triton = stage.start_worker(Mode::Gated, jobs, Duration::ZERO, &options.settings)?;
        let ids = submit(triton, CLIENTS, jobs)?;
        let gate = stage.all_at_the_gate(jobs)?;
        let address = stage.start_api(&options.api_settings())?;
        Ok(Self {
            address,
            pid: stage.apis[0].0.pid(),
            meter: stage.meter()?,
            server: Running::Own {
                _stage: stage,
                gate,
            },
            paths: ids
                .iter()
                .map(|id| format!("/v1/triton/jobs/{id}/subscribe"))
                .collect(),
        })
    }

    /// Jobs that an external publisher began.
    fn external(subject: Subject, jobs: usize, options: &Options) -> Result<Self> {
        let settings = options.api_settings();
        let open = if subject == Subject::OneJob { 1 } else { jobs };
        let mut server = match subject {
            Subject::External(kind) => Server::start(kind, &settings)?,
            Subject::Answered => Server::conch(&settings, Some(jobs))?,
            Subject::OneJob | Subject::Own => Server::conch(&settings, None)?,
        };
        server.open_jobs(open)?;
        Ok(Self {
            address: server.address,
            pid: server.pid,
            meter: server.meter()?,
            paths: (0..jobs).map(|job| server.path(job % open)).collect(),
            server: Running::External(server),
        })
    }
}

impl Audience {
    /// Starts the server and lets `each` watchers come to each of `jobs` jobs.
    pub(crate) fn gather(
        subject: Subject,
        jobs: usize,
        each: usize,
        options: &Options,
    ) -> Result<Self> {
        raise_descriptor_limit(jobs * each)?;
        let Opened {
            server,
            address,
            pid,
            meter,
            paths,
        } = if subject == Subject::Own {
            Opened::own(jobs, options)?
        } else {
            Opened::external(subject, jobs, options)?
        };
        let mut watchers = Watchers::new()?;
        let path = |watcher: usize| paths[watcher % jobs].clone();
        watchers.grow_to(FIRST, address, path)?;
        let empty = resident_kib(pid)?;
        watchers.grow_to(jobs * each, address, path)?;
        let full = resident_kib(pid)?.saturating_sub(empty);
        Ok(Self {
            watchers,
            meter,
            each,
            jobs,
            server,
            kb_per_watcher: full as f64 * 1.024 / (jobs * each - FIRST) as f64,
        })
    }

    /// What it costs when nothing happens.
    pub(crate) fn rest(&mut self, window: Duration) -> Result<Cost> {
        self.watchers.rest(CALM)?;
        let begun = self.meter.read()?;
        self.watchers.rest(window)?;
        self.meter.since(&begun)
    }

    /// What events at a pace cost, and their latencies in nanoseconds, sorted.
    pub(crate) fn flow(&mut self, pace: Pace) -> Result<(Cost, Vec<u64>)> {
        let begun = self.meter.read()?;
        let latencies = match &mut self.server {
            Running::Own { gate, .. } => flow::run(&mut self.watchers, self.each, pace, gate)?,
            Running::External(server) => {
                let mut source = InTurn {
                    server,
                    jobs: self.jobs,
                    padding: PADDING,
                };
                flow::run(&mut self.watchers, self.each, pace, &mut source)?
            }
        };
        Ok((self.meter.since(&begun)?, latencies))
    }
}

/// What one server came to in one run.
pub(crate) struct Run {
    /// Who.
    pub name: &'static str,
    /// Per delivery, without what the watchers cost at rest.
    pub delivery: Cost,
    /// Publish (own jobs: before the append) to received, in milliseconds.
    pub p50_millis: f64,
    /// The same, 99th percentile.
    pub p99_millis: f64,
    /// The same at the faster pace, where that was asked for.
    pub fast_p99_millis: Option<f64>,
    /// Steal time of the machine meanwhile, in per cent.
    pub steal: f64,
}

/// How events come.
#[derive(Clone, Copy)]
pub(crate) struct Paces {
    /// The rest before them, whose cost is taken off.
    pub rest: Duration,
    /// The pace at which their cost is taken.
    pub usual: Pace,
    /// A faster one, at which the latency is looked at.
    pub fast: Option<Pace>,
}

/// Measures one server once.
pub(crate) fn run(
    subject: Subject,
    jobs: usize,
    each: usize,
    paces: Paces,
    options: &Options,
) -> Result<Run> {
    let steal = Steal::now()?;
    let mut audience = Audience::gather(subject, jobs, each, options)?;
    let idle = audience.rest(paces.rest)?;
    let (cost, latencies) = audience.flow(paces.usual)?;
    let fast = paces
        .fast
        .map(|pace| audience.flow(pace).context("at the faster pace"))
        .transpose()?;
    Ok(Run {
        name: subject.name(),
        delivery: cost.without(idle).per(latencies.len()),
        p50_millis: quantile(&latencies, 0.5) as f64 / 1e6,
        p99_millis: quantile(&latencies, 0.99) as f64 / 1e6,
        fast_p99_millis: fast.map(|(_, latencies)| quantile(&latencies, 0.99) as f64 / 1e6),
        steal: Steal::now()?.percent_since(steal),
    })
}

/// The name of [`bus`] in the tables.
pub(crate) const BUS: &str = "PUBLISH → SUBSCRIBE";

/// Messages through Redis's Pub/Sub to a process that only reads them: per message, and no latencies.
pub(crate) fn bus(pace: Pace) -> Result<Cost> {
    struct Bus(resp::Connection);
    impl Source for Bus {
        fn publish(&mut self, number: usize) -> Result<()> {
            let event = stamped_event(0, monotonic_nanos()?, number, PADDING);
            self.0.publish(CHANNEL, &event)?;
            Ok(())
        }
    }
    let mut stage = Stage::new()?;
    let (address, redis) = (free_address()?, stage.redis_address());
    let command = this_program([
        "peer-bus".to_owned(),
        address.to_string(),
        redis.to_string(),
    ])?;
    let mut subscriber = Process::start("bus", command, stage.directory())?;
    subscriber.listening(address)?;
    stage.still_runs()?;
    let processes = vec![
        (Role::Server, subscriber.pid()),
        (Role::Redis, stage.redis_pid()),
    ];
    let mut meter = Meter::new(processes, Some(stage.redis()?));
    let begun = meter.read()?;
    flow::unwatched(pace, &mut Bus(stage.redis()?))?;
    thread::sleep(Duration::from_millis(20));
    Ok(meter.since(&begun)?.per(pace.events()))
}
