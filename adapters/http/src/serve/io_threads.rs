//! Threads that the connections of all servers of a process are spread over, each with a
//! single-threaded runtime of its own.
//!
//! On one runtime of many threads each wake-up may wake a second thread to take work over. A request
//! that asks Redis is woken several times for a few microseconds of work, and the waking costs more
//! than the work. Measured with 50 connections on 2 cores, in one run each: lookups that each go to
//! Redis 29 % of `redis-benchmark GET` on the shared runtime and 57 % here (29 and 16 µs of processor
//! time), from the own cache 75 % and 93 % of an axum that answers a constant.
//!
//! Never on these threads: what outlives its request. A stream goes back to the runtime of its server,
//! where whoever wakes it is.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A cheap handle. The threads end, and cut what still runs on them, soon after its last clone is
/// dropped. Parts that are shared with other threads, such as a pool of connections, may have begun
/// tasks on these: so they must be kept until nobody uses those parts any more.
#[derive(Debug, Clone)]
pub struct IoThreads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// One at least.
    runtimes: Vec<Handle>,
    turn: AtomicUsize,
    _stop: DropGuard,
}

impl IoThreads {
    /// Starts one for each processor that this process may use.
    ///
    /// # Errors
    /// When the system gives no more threads or descriptors.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        let stop = CancellationToken::new();
        // From here on an error ends those that were started.
        let guard = stop.clone().drop_guard();
        let runtimes = (0..count)
            .map(|number| start_one(number, stop.clone()))
            .collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(Inner {
            runtimes,
            turn: AtomicUsize::new(0),
            _stop: guard,
        })))
    }

    /// None of its own: all runs on the current runtime, so on one thread where that has one.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new(Inner {
            runtimes: vec![Handle::current()],
            turn: AtomicUsize::new(0),
            _stop: CancellationToken::new().drop_guard(),
        }))
    }

    /// The runtime whose turn it is.
    pub(super) fn next(&self) -> &Handle {
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        &self.0.runtimes[turn % self.0.runtimes.len()]
    }
}

fn start_one(number: usize, stop: CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name(format!("http-{number}"))
        .spawn(move || {
            runtime.block_on(stop.cancelled_owned());
            // Not the runtime's own drop, which would wait for a look-up of a name.
            runtime.shutdown_background();
        })?;
    Ok(handle)
}

/// Lets `runtime` tell when the socket is ready.
pub(super) fn move_to(runtime: &Handle, socket: TcpStream) -> io::Result<TcpStream> {
    let socket = socket.into_std()?;
    let _entered = runtime.enter();
    TcpStream::from_std(socket)
}
