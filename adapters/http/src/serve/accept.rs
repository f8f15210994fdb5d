//! The accept loop. It never waits for a peer, and never ends for an error.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::connection::{self, Protocol};
use super::io_threads::{self, IoThreads};
use super::tracker::{Role, Tracker};

const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// Accepts until `stop` is cancelled.
pub(super) fn spawn(
    listener: TcpListener,
    router: Router,
    threads: IoThreads,
    tracker: &Arc<Tracker>,
    stop: CancellationToken,
) {
    let protocol = Arc::new(Protocol::new(&tracker.settings, router, stop.clone()));
    tracker.spawn(Role::Accept, &Handle::current(), |guard| async move {
        // Not moved into the loop's select as a whole: the guard must outlive the listener.
        stop.run_until_cancelled(accept(listener, &threads, guard.tracker(), &protocol))
            .await;
        drop(guard);
    });
}

async fn accept(
    listener: TcpListener,
    threads: &IoThreads,
    tracker: &Arc<Tracker>,
    protocol: &Arc<Protocol>,
) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The peer has changed its mind: no fault of this side.
            Err(error) if is_about_one_connection(&error) => continue,
            Err(error) => {
                // Mostly out of descriptors. Without a pause this would spin, as the connection
                // stays in the queue.
                tracing::warn!(%error, backoff_ms = backoff.as_millis(), "can't accept connections");
                metrics::counter!("conch_accept_errors_total").increment(1);
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(LAST_BACKOFF);
                continue;
            }
        };
        backoff = FIRST_BACKOFF;
        if tracker.connections() >= tracker.settings.max_connections {
            // Closed without an answer: any status but 200 would end an EventSource for good,
            // while after a lost connection it comes again.
            metrics::counter!("conch_connections_refused_total").increment(1);
            drop(socket);
            continue;
        }
        if let Err(error) = configure(&socket, &tracker.settings) {
            tracing::debug!(%error, %peer, "connection went away before it was set up");
            continue;
        }
        let (runtime, load) = threads.least_loaded();
        let Some(socket) = io_threads::moved(runtime, socket) else {
            continue;
        };
        let protocol = Arc::clone(protocol);
        tracker.spawn(Role::Connection, runtime, |guard| {
            connection::drive(socket, peer, protocol, load, guard)
        });
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

fn configure(socket: &TcpStream, settings: &Settings) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_send_buffer_size(settings.send_buffer)?;
    // A peer that has vanished shows only in what it doesn't acknowledge: heartbeats of a stream
    // run into the user timeout, a connection without any traffic into the keepalive.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(settings.write_stall))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_mins(1)))
}
