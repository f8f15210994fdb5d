//! What is done to the system, and undone: each fault writes down when it began and when it had healed.
//!
//! A process that is being hurt is left alone by the next fault: two at a time is what the schedule asks
//! for, twice the same is not.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::sleep;

use super::cluster::{Cluster, Node};
use super::history::History;
use crate::{Proxy, Weather};

/// A fault of one process or one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `SIGKILL`, and a restart.
    Kill,
    /// `SIGTERM`, the drain, and a restart.
    Restart,
    /// `SIGSTOP`, and `SIGCONT`.
    Stop,
    /// The way to Redis.
    Redis(Weather),
    /// The connections to Redis are reset.
    RedisReset,
    /// The connections to Redis become half-open.
    RedisStrand,
    /// The way to NATS.
    Nats(Weather),
    /// The connections to NATS are reset.
    NatsReset,
    /// The way in: from watchers to an API, from APIs to Triton.
    Front(Weather),
    /// The connections of those who call are reset.
    FrontReset,
}

impl Kind {
    fn name(self) -> String {
        let weather = |w: Weather| match w {
            Weather::Clear => "clear",
            Weather::Delay(_) => "delay",
            Weather::Stall => "stall",
            Weather::CutToServer => "cut-to-server",
            Weather::CutToClient => "cut-to-client",
            Weather::Drip(..) => "drip",
            Weather::Refuse => "refuse",
        };
        match self {
            Self::Kill => "kill".to_owned(),
            Self::Restart => "restart".to_owned(),
            Self::Stop => "stop".to_owned(),
            Self::Redis(w) => format!("redis-{}", weather(w)),
            Self::RedisReset => "redis-reset".to_owned(),
            Self::RedisStrand => "redis-strand".to_owned(),
            Self::Nats(w) => format!("nats-{}", weather(w)),
            Self::NatsReset => "nats-reset".to_owned(),
            Self::Front(w) => format!("front-{}", weather(w)),
            Self::FrontReset => "front-reset".to_owned(),
        }
    }
}

/// Begins a fault's record; its end is written when `heal` is called.
fn begin(history: &History, fault: &str, target: &str) -> impl FnOnce() + use<> {
    let fields = json!({ "fault": fault, "target": target, "phase": history.phase() });
    history.note("fault", fields.clone());
    let history = history.clone();
    move || history.note("healed", fields)
}

/// Hurts a process or one of its ways for a while. False: it is being hurt already.
pub(super) async fn strike(
    history: &History,
    node: &Arc<Node>,
    kind: Kind,
    lasting: Duration,
) -> bool {
    let Ok(mut conch) = node.conch.try_lock() else {
        return false;
    };
    if kind == Kind::Kill {
        note_panics(history, &node.name, &conch.log());
    }
    let heal = begin(history, &kind.name(), &node.name);
    match kind {
        Kind::Kill => {
            conch.kill();
            sleep(lasting).await;
            conch.restart().await;
        }
        Kind::Restart => {
            conch.ask_to_stop();
            while conch.runs() {
                sleep(Duration::from_millis(10)).await;
            }
            note_panics(history, &node.name, &conch.log());
            conch.stop();
            sleep(lasting).await;
            conch.restart().await;
        }
        Kind::Stop => {
            conch.signal(Signal::SIGSTOP);
            sleep(lasting).await;
            conch.signal(Signal::SIGCONT);
        }
        Kind::Redis(weather) => spell(&node.to_redis, weather, lasting).await,
        Kind::RedisReset => node.to_redis.reset(),
        Kind::RedisStrand => node.to_redis.strand(),
        Kind::Nats(weather) => spell(node.to_nats(), weather, lasting).await,
        Kind::NatsReset => node.to_nats().reset(),
        Kind::Front(weather) => spell(&node.front, weather, lasting).await,
        Kind::FrontReset => node.front.reset(),
    }
    heal();
    true
}

async fn spell(proxy: &Proxy, weather: Weather, lasting: Duration) {
    proxy.set(weather);
    sleep(lasting).await;
    proxy.set(Weather::Clear);
}

/// What a process said of a panic goes with it otherwise.
pub(super) fn note_panics(history: &History, target: &str, log: &str) {
    for line in log.lines().filter(|line| line.contains("panicked at")) {
        history.note("panicked", json!({ "target": target, "text": line }));
    }
}

/// Kills Redis, and starts it again after a while. False: it is being hurt already.
pub(super) async fn kill_redis(history: &History, cluster: &Cluster, lasting: Duration) -> bool {
    let Ok(mut redis) = cluster.redis.try_lock() else {
        return false;
    };
    let heal = begin(history, "kill", "redis");
    redis.kill();
    sleep(lasting).await;
    tokio::task::block_in_place(|| redis.restart());
    heal();
    true
}

/// Kills NATS, and starts it again after a while. False: it is being hurt already.
pub(super) async fn kill_nats(history: &History, cluster: &Cluster, lasting: Duration) -> bool {
    let nats = cluster.nats.as_ref().expect("the run has one");
    let Ok(mut nats) = nats.try_lock() else {
        return false;
    };
    let heal = begin(history, "kill", "nats");
    nats.kill();
    sleep(lasting).await;
    tokio::task::block_in_place(|| nats.restart());
    heal();
    true
}

/// Stops Redis for a while. False: it is being hurt already.
pub(super) async fn stop_redis(history: &History, cluster: &Cluster, lasting: Duration) -> bool {
    let Ok(mut redis) = cluster.redis.try_lock() else {
        return false;
    };
    let heal = begin(history, "stop", "redis");
    redis.freeze();
    sleep(lasting).await;
    redis.thaw();
    heal();
    true
}

/// Redis throws every subscriber out. False: it is being hurt otherwise.
pub(super) fn cut_subscribers(history: &History, cluster: &Cluster) -> bool {
    let Ok(redis) = cluster.redis.try_lock() else {
        return false;
    };
    let heal = begin(history, "cut-subscribers", "redis");
    let cut = tokio::task::block_in_place(|| redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]));
    heal();
    cut != "0"
}
