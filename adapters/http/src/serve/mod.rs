//! The server under the routes: accepts connections, lets hyper speak HTTP/1 on them, and takes a
//! connection away from hyper once its answer is an endless stream.
//!
//! ```text
//!   accept ──► connection (hyper + router) ──► response ──► hyper writes it ──► next request
//!                                                 │
//!                                                 └─ carries a Takeover ──► stream (socket + frames)
//! ```
//!
//! Accepting and streams are tasks of the runtime that [`Settings::serve`] is called on; what is
//! between them runs on [`IoThreads`].
//!
//! It knows no route, no job and no SSE: what to send comes as bytes from a [`Frames`].

mod accept;
mod chunk;
mod connection;
mod hand_off;
pub(crate) mod head;
mod io_threads;
mod stream;
mod takeover;
mod tap;
mod tracker;
mod unfinished;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use io_threads::IoThreads;
pub use takeover::{Frames, Next, Takeover};

use tracker::Tracker;

/// Bounds of a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections at once, streams included; further ones are closed at once.
    pub max_connections: usize,
    /// How long a request's head may take from the moment that the connection is ready for it. So
    /// it is also how long a kept-alive connection may be idle: pools that send what must not be
    /// repeated should keep theirs for less.
    pub head_timeout: Duration,
    /// Largest request head in bytes, at least 8,192. A thousand ids of 36 characters fit into the default.
    pub max_head: usize,
    /// Bytes of all request heads together that aren't whole yet. A connection that sends more is answered
    /// 503.
    pub max_unfinished_heads: usize,
    /// How long a peer may take nothing of what it is sent.
    pub write_stall: Duration,
    /// The kernel's send buffer of each connection, in bytes. It bounds what a slow watcher costs.
    pub send_buffer: usize,
    /// How long a stream that was ended waits for the peer to close.
    pub linger: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            head_timeout: Duration::from_secs(10),
            max_head: 56 * 1024,
            max_unfinished_heads: 64 * 1024 * 1024,
            write_stall: Duration::from_secs(30),
            send_buffer: 64 * 1024,
            linger: Duration::from_secs(2),
        }
    }
}

impl Settings {
    /// Starts serving `router` on `listener`, until `shutdown` is cancelled or the handle drained.
    /// Handlers run on `threads`, streams on the current runtime.
    ///
    /// # Errors
    /// When the listener has no address.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn serve(
        self,
        listener: TcpListener,
        router: Router,
        threads: &IoThreads,
        shutdown: &CancellationToken,
    ) -> io::Result<Handle> {
        let address = listener.local_addr()?;
        let stop = shutdown.child_token();
        let tracker = Arc::new(Tracker::new(self));
        accept::spawn(listener, router, threads.clone(), &tracker, stop.clone());
        Ok(Handle {
            address,
            stop,
            tracker,
            _threads: threads.clone(),
        })
    }
}

/// A server that runs. Dropping it cuts every connection.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    stop: CancellationToken,
    tracker: Arc<Tracker>,
    /// Requests in flight outlast the accept loop.
    _threads: IoThreads,
}

impl Handle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that are open, streams included.
    pub fn connections(&self) -> usize {
        self.tracker.connections()
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.tracker.streams()
    }

    /// Stops accepting, lets requests in flight be answered and streams say their last, and waits
    /// for all of that. What is still open after `limit` is cut.
    ///
    /// Streams end when their [`Frames`] do: tell whoever feeds them before this. Cancel-safe: called
    /// again, it goes on. Answers how many connections were cut.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.stop.cancel();
        if tokio::time::timeout(limit, self.tracker.empty())
            .await
            .is_ok()
        {
            return 0;
        }
        let cut = self.tracker.abort();
        // An aborted task goes away at its next await, so this is not another wait for the peer.
        self.tracker.empty().await;
        cut
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tracker.abort();
    }
}
