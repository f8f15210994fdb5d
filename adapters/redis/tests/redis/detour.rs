//! A way to a server on which the first connection can be held up, and no other.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::server::Server;

/// Ends with its test.
pub(crate) struct Detour {
    port: u16,
    held_up: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl Detour {
    pub(crate) async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let held_up = CancellationToken::new();
        let first = held_up.clone();
        let to = server.port;
        let task = tokio::spawn(async move {
            let mut hold = Some(first);
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(pass_on(socket, to, hold.take()));
            }
        });
        Self {
            port,
            held_up,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// From now on nothing passes on the first connection; it stays open.
    pub(crate) fn hold_up_the_first(&self) {
        self.held_up.cancel();
    }
}

async fn pass_on(mut client: TcpStream, to: u16, hold: Option<CancellationToken>) {
    let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
    let both = copy_bidirectional(&mut client, &mut server);
    match hold {
        Some(hold) => {
            if hold.run_until_cancelled(both).await.is_none() {
                std::future::pending::<()>().await;
            }
        }
        // However it ends: who has hung up needs no answer.
        None => drop(both.await),
    }
}
