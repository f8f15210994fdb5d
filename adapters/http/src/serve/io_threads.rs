//! Threads that the connections of all servers of a process are spread over, each with a
//! single-threaded runtime of its own.
//!
//! On one runtime of many threads each wake-up may wake a second thread to take work over. A request
//! that asks Redis is woken several times for a few microseconds of work, and the waking costs more
//! than the work: with 50 connections on 2 cores 30 µs of processor time for a lookup that goes to
//! Redis, where it is 17 µs on these threads (`conch-bench lookups`).
//!
//! Never on these threads: streams and what feeds them. Those are on the runtime of the server.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A cheap handle. The threads end, and cut what still runs on them, soon after its last clone is
/// dropped. Parts that are shared with other threads, such as a pool of connections, may have begun
/// tasks on these: so one clone must outlive all who use those parts.
#[derive(Debug, Clone)]
pub struct IoThreads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// One at least.
    lanes: Vec<Lane>,
    broken: CancellationToken,
    _stop: DropGuard,
}

/// A thread's runtime, or another one to run connections on.
#[derive(Debug)]
struct Lane {
    runtime: Handle,
    /// Held by each connection on it, so that its count is theirs.
    connections: Load,
}

/// Held by a connection as long as it is on its thread.
pub(super) type Load = Arc<()>;

impl IoThreads {
    /// Starts so many. Not to be called on a runtime: it would panic where the system refuses a thread.
    ///
    /// # Errors
    /// When the system gives no more threads or descriptors.
    pub fn start(count: NonZero<usize>) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let broken = CancellationToken::new();
        // From here on an error ends those that were started.
        let guard = stop.clone().drop_guard();
        let lanes = (0..count.get())
            .map(|number| Lane::start(number, stop.clone(), broken.clone()))
            .collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(Inner {
            lanes,
            broken,
            _stop: guard,
        })))
    }

    /// No threads: all runs on the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn on_current() -> Self {
        Self(Arc::new(Inner {
            lanes: vec![Lane::new(Handle::current())],
            broken: CancellationToken::new(),
            _stop: CancellationToken::new().drop_guard(),
        }))
    }

    /// Waits until a thread ended before its time: what is handed to it is lost. Cancel-safe.
    pub async fn failed(&self) {
        self.0.broken.cancelled().await;
    }

    /// The runtime with the fewest connections, for one more.
    pub(super) fn least_loaded(&self) -> (&Handle, Load) {
        let lanes = self.0.lanes.iter();
        let lane = lanes
            .min_by_key(|lane| Arc::strong_count(&lane.connections))
            .expect("there is one at least");
        (&lane.runtime, Arc::clone(&lane.connections))
    }
}

impl Lane {
    fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            connections: Load::default(),
        }
    }

    fn start(
        number: usize,
        stop: CancellationToken,
        broken: CancellationToken,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let lane = Self::new(runtime.handle().clone());
        let main = move || {
            let _watch = Watch {
                stop: stop.clone(),
                broken,
            };
            runtime.block_on(stop.cancelled());
            // Not the runtime's own drop, which would wait for a look-up of a name.
            runtime.shutdown_background();
        };
        thread::Builder::new()
            .name(format!("http-{number}"))
            .spawn(main)?;
        Ok(lane)
    }
}

/// Tells of the end of a thread that was not to end.
struct Watch {
    stop: CancellationToken,
    broken: CancellationToken,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            self.broken.cancel();
        }
    }
}

/// Lets `runtime` tell when the socket is ready. None, and a warning, when the system watches no more
/// sockets: the connection is closed.
pub(super) fn moved(runtime: &Handle, socket: TcpStream) -> Option<TcpStream> {
    let moved = socket.into_std().and_then(|socket| {
        let _entered = runtime.enter();
        TcpStream::from_std(socket)
    });
    moved
        .inspect_err(|error| {
            tracing::warn!(%error, "can't watch a connection: it is closed");
            metrics::counter!("conch_accept_errors_total").increment(1);
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_that_was_not_asked_for_is_told_of() {
        for asked_for in [false, true] {
            let stop = CancellationToken::new();
            let broken = CancellationToken::new();
            let watch = Watch {
                stop: stop.clone(),
                broken: broken.clone(),
            };
            let thread = thread::spawn(move || {
                let _watch = watch;
                if asked_for {
                    stop.cancel();
                } else {
                    panic!("as when the system's poll fails");
                }
            });
            assert_eq!(thread.join().is_ok(), asked_for);
            assert_eq!(broken.is_cancelled(), !asked_for);
        }
    }
}
