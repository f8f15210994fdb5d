//! What a stretch of time cost: the processor time and the voluntary switches of each process under
//! measurement and of Redis, and what Redis was asked to do meanwhile.
//!
//! Everything is read from outside. It must never read in the middle of a stretch: a look costs Redis
//! a command.

use std::time::Instant;

use anyhow::Result;

use crate::{
    process::{cpu_time, voluntary_switches},
    resp,
};

/// Whose cost it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// What serves the watchers or the requests; several processes are added up.
    Server,
    /// What runs the jobs; with Conch it is also the job service.
    Worker,
    /// Redis.
    Redis,
}

/// The processes that are looked at.
pub(crate) struct Meter {
    processes: Vec<(Role, u32)>,
    redis: Option<resp::Connection>,
}

/// Their counters at one moment.
pub(crate) struct Reading {
    at: Instant,
    server: Used,
    worker: Used,
    redis: Used,
    calls: resp::Calls,
}

/// What the processes of one role used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Used {
    /// Processor time, user and system, in microseconds.
    pub micros: f64,
    /// Voluntary context switches.
    pub switches: f64,
}

/// What a stretch cost, whole or per something.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// How long it lasted.
    pub seconds: f64,
    /// The servers together.
    pub server: Used,
    /// The workers together.
    pub worker: Used,
    /// Redis.
    pub redis: Used,
    /// Scripts that Redis ran.
    pub scripts: f64,
    /// Commands that Redis ran, those within scripts included.
    pub commands: f64,
}

impl Meter {
    /// Looks at these processes; at what Redis is asked to do through a connection to it, if there is one.
    pub(crate) fn new(processes: Vec<(Role, u32)>, redis: Option<resp::Connection>) -> Self {
        Self { processes, redis }
    }

    /// The counters now.
    pub(crate) fn read(&mut self) -> Result<Reading> {
        let calls = match &mut self.redis {
            Some(redis) => redis.calls()?,
            None => resp::Calls::default(),
        };
        let used = |role: Role| -> Result<Used> {
            let mut used = Used::default();
            for (_, pid) in self.processes.iter().filter(|(of, _)| *of == role) {
                used.micros += cpu_time(*pid)?.as_secs_f64() * 1e6;
                used.switches += voluntary_switches(*pid)? as f64;
            }
            Ok(used)
        };
        Ok(Reading {
            at: Instant::now(),
            server: used(Role::Server)?,
            worker: used(Role::Worker)?,
            redis: used(Role::Redis)?,
            calls,
        })
    }

    /// What the time since `earlier` cost.
    pub(crate) fn since(&mut self, earlier: &Reading) -> Result<Cost> {
        let now = self.read()?;
        Ok(Cost {
            seconds: (now.at - earlier.at).as_secs_f64(),
            server: now.server.minus(earlier.server),
            worker: now.worker.minus(earlier.worker),
            redis: now.redis.minus(earlier.redis),
            scripts: (now.calls.scripts - earlier.calls.scripts) as f64,
            commands: (now.calls.commands - earlier.calls.commands) as f64,
        })
    }
}

impl Used {
    fn minus(self, other: Self) -> Self {
        Self {
            micros: self.micros - other.micros,
            switches: self.switches - other.switches,
        }
    }

    fn times(self, factor: f64) -> Self {
        Self {
            micros: self.micros * factor,
            switches: self.switches * factor,
        }
    }

    /// The share of one core over so many seconds, in per cent.
    pub(crate) fn percent(self, seconds: f64) -> f64 {
        self.micros / seconds / 1e4
    }
}

impl Cost {
    fn times(self, factor: f64) -> Self {
        Self {
            seconds: self.seconds * factor,
            server: self.server.times(factor),
            worker: self.worker.times(factor),
            redis: self.redis.times(factor),
            scripts: self.scripts * factor,
            commands: self.commands * factor,
        }
    }

    /// The share of one of `count` things.
    pub(crate) fn per(self, count: usize) -> Self {
        self.times(1.0 / count as f64)
    }

    /// Without what the same processes use when nothing happens, of which `idle` is a sample. The
    /// duration stays.
    pub(crate) fn without(self, idle: Self) -> Self {
        let idle = idle.times(self.seconds / idle.seconds);
        Self {
            seconds: self.seconds,
            server: self.server.minus(idle.server),
            worker: self.worker.minus(idle.worker),
            redis: self.redis.minus(idle.redis),
            scripts: self.scripts - idle.scripts,
            commands: self.commands - idle.commands,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cost, Used};

    #[test]
    fn the_idle_cost_is_taken_off_for_as_long_as_the_stretch_lasted() {
        let used = |micros| Used {
            micros,
            switches: 0.0,
        };
        let cost = Cost {
            seconds: 20.0,
            server: used(5_000.0),
            commands: 300.0,
            ..Cost::default()
        };
        let idle = Cost {
            seconds: 10.0,
            server: used(1_000.0),
            commands: 50.0,
            ..Cost::default()
        };
        let net = cost.without(idle).per(100);
        assert!((net.server.micros - 30.0).abs() < 1e-9, "{net:?}");
        assert!((net.commands - 2.0).abs() < 1e-9, "{net:?}");
        assert!((used(2e5).percent(2.0) - 10.0).abs() < 1e-9);
    }
}
