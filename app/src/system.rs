//! A running process, and its shutdown: in which order its parts stop, within the drain time.
//!
//! Never in here: how the parts are connected (see `wiring`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conch_http::serve::Handle;
use conch_services::mare::hub::Hub;
use futures::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::supervisor::Supervisor;

/// The edge's server.
pub(crate) const MARE: &str = "Mare";
/// The job service's server.
pub(crate) const TRITON: &str = "Triton";

/// Mare's share of the drain time when Triton drains after it: a client of Mare that accepts no data must
/// not cost Triton's own callers their answers.
const EDGE_SHARE: f64 = 0.8;

/// All parts of a started process.
pub(crate) struct System {
    pub(crate) shutdown: CancellationToken,
    /// Whether the shutdown has begun, for `/readyz`.
    pub(crate) draining: Arc<AtomicBool>,
    /// Time limit of the shutdown.
    pub(crate) drain: Duration,
    pub(crate) hub: Option<Hub>,
    /// By name; [`MARE`] and [`TRITON`] are treated differently.
    pub(crate) servers: Vec<(&'static str, Handle)>,
    pub(crate) supervisor: Supervisor,
}

impl System {
    /// Waits until a task that the process can't do without has ended. Cancel-safe.
    pub(crate) async fn failed(&self) {
        self.supervisor.failed().await;
    }

    /// Shuts everything down within the drain time: `/readyz` answers 503, streams are told to reconnect,
    /// requests are answered, jobs are given back. Connections still open after that are closed. False if a
    /// task had failed.
    pub(crate) async fn drain(self) -> bool {
        self.draining.store(true, Ordering::Release);
        let begin = Instant::now();
        let deadline = begin + self.drain;
        self.shutdown.cancel();
        let servers = async {
            // Mare needs Triton for the requests that it still has to answer.
            let (edge, others): (Vec<_>, Vec<_>) =
                self.servers.iter().partition(|(name, _)| *name == MARE);
            let share = if others.iter().any(|(name, _)| *name == TRITON) {
                EDGE_SHARE
            } else {
                1.0
            };
            drain_by(begin + self.drain.mul_f64(share), &edge).await;
            drain_by(deadline, &others).await;
        };
        let tasks = async {
            self.supervisor.stopped().await;
            if let Some(hub) = &self.hub {
                hub.stopped().await;
            }
        };
        let all = async { tokio::join!(servers, tasks) };
        if tokio::time::timeout_at(deadline + Duration::from_millis(200), all)
            .await
            .is_err()
        {
            tracing::warn!("the drain took longer than DRAIN_SECONDS: ending anyway");
        }
        self.supervisor.failure().is_none()
    }
}

/// Drains these servers concurrently; connections still open at `deadline` are closed.
async fn drain_by(deadline: Instant, servers: &[&(&'static str, Handle)]) {
    join_all(servers.iter().map(|(name, server)| async move {
        let left = deadline.saturating_duration_since(Instant::now());
        let cut = server.drain(left).await;
        if cut > 0 {
            tracing::warn!("{name} cut {cut} connections that would not end");
        }
    }))
    .await;
}
