//! A way to the server that can be blocked or cut.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::server::Server;

/// What becomes of what is sent along it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Nothing goes through, in either direction, and no connection ends.
    Blocked,
    /// Every connection ends, those that are made meanwhile at once.
    Cut,
    /// Nothing goes through on a connection that was made before.
    OpenToOthers,
}

/// Leads to the server for as long as a test has it.
pub(crate) struct Detour {
    pub(crate) port: u16,
    way: Arc<watch::Sender<Way>>,
    _task: JoinSet<()>,
}

impl Detour {
    pub(crate) async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        let way = Arc::new(watch::Sender::new(Way::Open));
        let (sender, to) = (Arc::clone(&way), server.port);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else {
                    continue;
                };
                let mut way = sender.subscribe();
                let new = *way.borrow() == Way::OpenToOthers;
                connections.spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let cut = way.clone();
                    tokio::select! {
                        () = pass(from_client, to_server, cut.clone(), new) => {}
                        () = pass(from_server, to_client, cut, new) => {}
                        _ = way.wait_for(|way| *way == Way::Cut) => {}
                    }
                });
            }
        });
        Self {
            port,
            way,
            _task: task,
        }
    }

    pub(crate) fn is(&self, way: Way) {
        self.way.send_replace(way);
    }
}

/// Until one of them ends.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    new: bool,
) {
    let is_open = |way: &Way| *way == Way::Open || new && *way == Way::OpenToOthers;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        drop(way.wait_for(is_open).await);
        let Ok(length @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        // What was read while it was blocked waits, too.
        drop(way.wait_for(is_open).await);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
