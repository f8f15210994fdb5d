//! The processes of a run: a Redis, workers that serve Triton, APIs, and a proxy on every way between.
//!
//! ```text
//!   watchers ─► front proxy ─► API ─► proxy ─► Redis
//!                               └──► proxy ─► Triton (worker) ─► proxy ─► Redis
//! ```
//!
//! With NATS as the bus, there is a proxy on each process's way to it, too.
//!
//! Every process has a lock: whoever does something to it holds the lock until that is undone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::channel::Channel;
use crate::conch::{Plan, SABOTAGE};
use crate::nats::RIGHTS;
use crate::{Conch, Nats, Persistence, Proxy, Redis};

/// What is started, with which intervals (in seconds).
#[derive(Debug, Clone)]
pub struct Shape {
    /// What Redis keeps when it is killed.
    pub persistence: Persistence,
    /// How many APIs.
    pub apis: usize,
    /// How many workers.
    pub workers: usize,
    /// Jobs at once per worker.
    pub concurrency: usize,
    /// Milliseconds per template; a job has seven.
    pub pace: u32,
    /// `LEASE_SECONDS`.
    pub lease: f64,
    /// `POSITION_CHECK_SECONDS`.
    pub position_check: f64,
    /// The longest backoff of anything.
    pub backoff_cap: f64,
    /// Attempts that a job gets.
    pub attempts: u32,
    /// The bug that is planted in every program.
    pub sabotage: Option<String>,
    /// Other settings, for APIs and workers alike.
    pub env: Vec<(String, String)>,
    /// Of the APIs alone.
    pub api_env: Vec<(String, String)>,
    /// Of the workers alone.
    pub worker_env: Vec<(String, String)>,
    /// The APIs' user of Redis may use no channel.
    pub deaf_apis: bool,
    /// What is in the configuration of NATS beside its users; none: Redis is the bus.
    pub nats: Option<String>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            persistence: Persistence::EverySec,
            apis: 2,
            workers: 2,
            concurrency: 4,
            pace: 60,
            lease: 1.5,
            position_check: 1.0,
            backoff_cap: 0.5,
            attempts: 100,
            sabotage: None,
            env: Vec::new(),
            api_env: Vec::new(),
            worker_env: Vec::new(),
            deaf_apis: false,
            nats: None,
        }
    }
}

impl Shape {
    /// Another setting.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The name of the store's class.
    pub(super) fn class(&self) -> &'static str {
        match self.persistence {
            Persistence::None => "none",
            Persistence::EverySec => "everysec",
            Persistence::Always => "always",
        }
    }

    /// T of `docs/testing.md`, in milliseconds.
    pub(super) fn t_ms(&self) -> f64 {
        (self.lease + self.position_check + self.backoff_cap) * 1000.0
    }

    /// A setting in seconds, or what it is when nobody set it.
    pub(super) fn seconds(&self, name: &str, unset: u64) -> Duration {
        let set = self.env.iter().find(|(known, _)| known == name);
        let seconds = set.map(|(_, value)| value.parse().expect("whole seconds"));
        Duration::from_secs(seconds.unwrap_or(unset))
    }

    fn plan(&self, plan: Plan, redis: &Proxy, nats: Option<&Proxy>) -> Plan {
        let mut plan = plan
            .env("REDIS_URL", format!("redis://127.0.0.1:{}/0", redis.port()))
            .env("LEASE_SECONDS", self.lease.to_string())
            .env("POSITION_CHECK_SECONDS", self.position_check.to_string())
            .env("RECORD_LOST_SECONDS", self.position_check.to_string())
            .env("HEARTBEAT_SECONDS", "0.5")
            .env("STREAM_RETRY_SECONDS", "0.1")
            .env("DRAIN_SECONDS", "3")
            .env("MAX_ATTEMPTS", self.attempts.to_string())
            .env("RETRY_BACKOFF_SECONDS", "0.05")
            .env("RETRY_BACKOFF_CAP_SECONDS", self.backoff_cap.to_string())
            .env("REDIS_BACKOFF_CAP_SECONDS", self.backoff_cap.to_string())
            .env("REDIS_TIMEOUT_SECONDS", "0.5")
            .env("REDIS_PROBE_SECONDS", "0.25")
            .env("TRITON_TIMEOUT_SECONDS", "2")
            .env("TRITON_COOL_DOWN_SECONDS", self.backoff_cap.to_string())
            .env("RUST_LOG", "info,conch=info");
        if let Some(nats) = nats {
            plan = plan
                .env(
                    "BUS_URL",
                    format!("nats://conch-worker:secret@127.0.0.1:{}", nats.port()),
                )
                .env("NATS_TIMEOUT_SECONDS", "0.5")
                .env("NATS_PROBE_SECONDS", "0.25");
        }
        if let Some(bug) = &self.sabotage {
            plan = plan.env(SABOTAGE, bug.as_str());
        }
        with(plan, &self.env)
    }
}

fn with(mut plan: Plan, env: &[(String, String)]) -> Plan {
    for (name, value) in env {
        plan = plan.env(name, value.as_str());
    }
    plan
}

/// A process that can be hurt.
#[derive(Debug)]
pub struct Node {
    /// `api-0`, `worker-1`.
    pub name: String,
    /// The process.
    pub conch: Mutex<Conch>,
    /// Between it and Redis.
    pub to_redis: Proxy,
    /// Between it and NATS, where that is the bus.
    to_nats: Option<Proxy>,
    /// Between its callers and it: watchers of an API, APIs of a worker's Triton.
    pub front: Proxy,
}

impl Node {
    /// Its way to NATS.
    ///
    /// # Panics
    /// When NATS isn't the bus.
    pub fn to_nats(&self) -> &Proxy {
        self.to_nats.as_ref().expect("the run has one")
    }

    /// Its resident memory in KiB.
    ///
    /// # Panics
    /// When it doesn't run.
    pub async fn resident(&self) -> u64 {
        let pid = self.conch.lock().await.pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let digits = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        digits.expect("the kernel says so")
    }

    /// Its open descriptors.
    ///
    /// # Panics
    /// When it doesn't run.
    pub async fn descriptors(&self) -> u64 {
        let pid = self.conch.lock().await.pid();
        let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
        open.expect("it runs").count() as u64
    }

    /// Its edge API, past the proxy.
    pub(super) fn port(&self) -> u16 {
        self.front.port()
    }
}

/// A system.
#[derive(Debug)]
pub struct Cluster {
    /// The edge.
    pub apis: Vec<Arc<Node>>,
    /// The job service.
    pub workers: Vec<Arc<Node>>,
    /// What announces, where that isn't Redis.
    pub nats: Option<Mutex<Nats>>,
    /// Its port.
    nats_port: Option<u16>,
    /// What joins them. Last, so that it ends last.
    pub redis: Mutex<Redis>,
    /// Its port, for those who may not wait for the lock.
    pub redis_port: u16,
}

impl Cluster {
    /// Starts it and waits until all of it is ready.
    pub async fn start(shape: &Shape) -> Self {
        let redis = Redis::start(shape.persistence);
        let redis_port = redis.port();
        if shape.deaf_apis {
            let rights = [
                "ACL",
                "SETUSER",
                "deaf",
                "on",
                ">deaf",
                "~*",
                "+@all",
                "resetchannels",
            ];
            assert_eq!(redis.cli(&rights), "OK");
        }
        let nats = shape.nats.as_ref();
        let nats = nats.map(|more| Nats::start(&format!("{RIGHTS}{more}")));
        let nats_port = nats.as_ref().map(Nats::port);
        let way = async || match nats_port {
            Some(port) => Some(Proxy::to(port).await),
            None => None,
        };
        let way = &way;
        let starting = (0..shape.workers).map(|i| {
            let redis = &redis;
            async move {
                let (to_redis, to_nats) = (Proxy::to(redis_port).await, way().await);
                let plan = shape
                    .plan(Plan::worker(redis), &to_redis, to_nats.as_ref())
                    .pace(shape.pace)
                    .env("WORKER_CONCURRENCY", shape.concurrency.to_string())
                    .env("DEMO_CLIENT", "false");
                let conch = with(plan, &shape.worker_env).start().await;
                let front = Proxy::to(conch.triton_port()).await;
                Arc::new(Node {
                    name: format!("worker-{i}"),
                    conch: Mutex::new(conch),
                    to_redis,
                    to_nats,
                    front,
                })
            }
        });
        let workers: Vec<_> = futures::future::join_all(starting).await;
        let triton: Vec<String> = workers
            .iter()
            .map(|w| format!("http://127.0.0.1:{}", w.front.port()))
            .collect();
        let triton = &triton.join(",");
        let starting = (0..shape.apis).map(|i| {
            let redis = &redis;
            async move {
                let (to_redis, to_nats) = (Proxy::to(redis_port).await, way().await);
                let mut plan = shape.plan(Plan::api(redis, triton), &to_redis, to_nats.as_ref());
                if shape.deaf_apis {
                    let user = format!("redis://deaf:deaf@127.0.0.1:{}/0", to_redis.port());
                    plan = plan.env("REDIS_URL", user);
                }
                let conch = with(plan, &shape.api_env).start().await;
                let front = Proxy::to(conch.mare_port()).await;
                Arc::new(Node {
                    name: format!("api-{i}"),
                    conch: Mutex::new(conch),
                    to_redis,
                    to_nats,
                    front,
                })
            }
        });
        Self {
            apis: futures::future::join_all(starting).await,
            workers,
            nats: nats.map(Mutex::new),
            nats_port,
            redis: Mutex::new(redis),
            redis_port,
        }
    }

    /// Where events are announced.
    pub(super) fn channel(&self) -> Channel {
        match self.nats_port {
            Some(port) => Channel::Nats(port),
            None => Channel::Redis(self.redis_port),
        }
    }

    /// Every process but Redis.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.apis.iter().chain(&self.workers)
    }

    /// The ports of the APIs, as watchers see them.
    pub fn fronts(&self) -> Vec<u16> {
        self.apis.iter().map(|api| api.port()).collect()
    }
}
