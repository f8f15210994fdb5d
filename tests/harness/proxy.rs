//! A TCP proxy between two programs, for the weather that networks have: delays, resets, stalls, cuts of
//! one direction, drips. Switched at run time.
//!
//! Never changes a byte, and never loses one of a connection that lives on: TCP wouldn't either. What
//! may not pass is not read, so that the sender's buffers fill as they do on a network that stands still.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes that are taken at a time.
const PIECE: usize = 16 * 1024;

/// What the network does to every connection, old or new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Clear,
    /// Each piece arrives later.
    Delay(Duration),
    /// Nothing passes; connections stay open, and new ones are accepted.
    Stall,
    /// Nothing passes from the client to the server.
    CutToServer,
    /// Nothing passes from the server to the client.
    CutToClient,
    /// A few bytes at a time.
    Drip(usize, Duration),
    /// Connections are reset, old and new.
    Refuse,
}

impl Weather {
    fn lets_pass(self, to_server: bool) -> bool {
        match self {
            Self::Clear | Self::Delay(_) | Self::Drip(..) => true,
            Self::Stall | Self::Refuse => false,
            Self::CutToServer => !to_server,
            Self::CutToClient => to_server,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct State {
    weather: Weather,
    /// Connections with a lower number get no byte through any more, whatever the weather.
    stranded: u64,
    /// Connections with a lower number are reset.
    reset: u64,
    /// The number of the next connection.
    next: u64,
    /// Where the next connection leads.
    target: SocketAddr,
}

/// A proxy to one address. Ends with its handle, its connections included.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("the kernel has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (state, _) = watch::channel(State {
            weather: Weather::Clear,
            stranded: 0,
            reset: 0,
            next: 0,
            target,
        });
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { port, state, task }
    }

    /// As [`Proxy::start`], to a port of this machine.
    pub async fn to(port: u16) -> Self {
        Self::start((Ipv4Addr::LOCALHOST, port).into()).await
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        self.state.send_modify(|state| state.weather = weather);
    }

    /// Resets every connection there is; new ones are let in.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.reset = state.next);
    }

    /// Leads new connections to another port of this machine, as a balancer does whose server is gone.
    pub fn turn_to(&self, port: u16) {
        let target = (Ipv4Addr::LOCALHOST, port).into();
        self.state.send_modify(|state| state.target = target);
    }

    /// Makes every connection there is half-open for ever: no byte and no end comes through it any more.
    /// New ones are let in.
    pub fn strand(&self) {
        self.state.send_modify(|state| state.stranded = state.next);
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.state.borrow().next
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.set(Weather::Refuse);
    }
}

async fn accept(listener: TcpListener, state: watch::Sender<State>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors, say: the next one may fit again.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        state.send_modify(|state| state.next += 1);
        let State { next, target, .. } = *state.borrow();
        let number = next - 1;
        tokio::spawn(connection(client, target, number, state.subscribe()));
    }
}

async fn connection(
    client: TcpStream,
    target: SocketAddr,
    number: u64,
    mut state: watch::Receiver<State>,
) {
    let mut ends = vec![client];
    let pumps = state.clone();
    tokio::select! {
        // The sender's end is the proxy's.
        _ = state.wait_for(|s| number < s.reset || s.weather == Weather::Refuse) => {
            for end in &ends {
                // A reset instead of a polite end. An error says that it is gone already.
                drop(end.set_zero_linger());
            }
            return;
        }
        server = TcpStream::connect(target) => match server {
            Ok(server) => ends.push(server),
            Err(_) => return,
        },
    }
    for end in &ends {
        drop(end.set_nodelay(true));
    }
    let [client, server] = &mut ends[..] else {
        unreachable!("two ends were put in")
    };
    {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::join!(
                pump(from_client, to_server, true, number, pumps.clone()),
                pump(from_server, to_client, false, number, pumps.clone()),
            )
        };
        tokio::select! {
            _ = state.wait_for(|s| number < s.reset || s.weather == Weather::Refuse) => {}
            _ = both => return,
        }
    }
    for end in &ends {
        drop(end.set_zero_linger());
    }
}

/// Passes one direction on until its end.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    to_server: bool,
    number: u64,
    mut state: watch::Receiver<State>,
) {
    let open = |s: &State| number >= s.stranded && s.weather.lets_pass(to_server);
    let mut piece = vec![0; PIECE];
    loop {
        if state.wait_for(open).await.is_err() {
            return;
        }
        let read = tokio::select! {
            read = from.read(&mut piece) => read,
            _ = state.wait_for(|s| !open(s)) => continue,
        };
        // What was read in the last moment before the weather turned waits here.
        let weather = match state.wait_for(open).await {
            Ok(state) => state.weather,
            Err(_) => return,
        };
        let bytes = match read {
            Ok(n) if n > 0 => &piece[..n],
            // The other direction may have more to say.
            _ => {
                drop(to.shutdown().await);
                return;
            }
        };
        let (size, wait) = match weather {
            Weather::Delay(wait) => (bytes.len(), wait),
            Weather::Drip(size, wait) => (size.max(1), wait),
            _ => (bytes.len(), Duration::ZERO),
        };
        for part in bytes.chunks(size) {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            if to.write_all(part).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every byte with itself.
    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut peer, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = peer.split();
                    drop(tokio::io::copy(&mut from, &mut to).await);
                });
            }
        });
        port
    }

    async fn dial(proxy: &Proxy) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))
            .await
            .expect("it listens")
    }

    async fn says(peer: &mut TcpStream, text: &str) -> std::io::Result<String> {
        peer.write_all(text.as_bytes()).await?;
        let mut answer = vec![0; text.len()];
        peer.read_exact(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Long enough for a byte that may pass, on a busy machine too.
    const MOMENT: Duration = Duration::from_millis(150);

    #[tokio::test]
    async fn what_is_held_up_arrives_once_it_clears() {
        let proxy = Proxy::to(echo().await).await;
        let mut peer = dial(&proxy).await;
        assert_eq!(says(&mut peer, "one").await.expect("clear"), "one");
        for weather in [Weather::Stall, Weather::CutToServer, Weather::CutToClient] {
            proxy.set(weather);
            let held = tokio::time::timeout(MOMENT, says(&mut peer, "two")).await;
            assert!(held.is_err(), "{weather:?} lets something through");
            proxy.set(Weather::Clear);
            let mut answer = [0; 3];
            peer.read_exact(&mut answer).await.expect("it was not lost");
            assert_eq!(&answer, b"two");
        }
        let wait = Duration::from_millis(20);
        for weather in [Weather::Delay(wait), Weather::Drip(1, wait)] {
            proxy.set(weather);
            let before = std::time::Instant::now();
            assert_eq!(says(&mut peer, "three").await.expect("slowly"), "three");
            assert!(before.elapsed() >= 2 * wait, "{weather:?}");
        }
    }

    #[tokio::test]
    async fn what_is_cut_is_cut_and_the_next_gets_in() {
        let proxy = Proxy::to(echo().await).await;
        let mut peer = dial(&proxy).await;
        assert_eq!(says(&mut peer, "one").await.expect("clear"), "one");
        proxy.reset();
        let mut byte = [0; 1];
        let ended = peer
            .read(&mut byte)
            .await
            .expect_err("a reset, no polite end");
        assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);
        let mut next = dial(&proxy).await;
        assert_eq!(says(&mut next, "two").await.expect("clear"), "two");

        proxy.strand();
        let silent = tokio::time::timeout(MOMENT, says(&mut next, "gone")).await;
        assert!(silent.is_err(), "a stranded connection says nothing");
        let mut fresh = dial(&proxy).await;
        assert_eq!(says(&mut fresh, "three").await.expect("clear"), "three");
        assert_eq!(proxy.connections(), 3);

        proxy.set(Weather::Refuse);
        assert!(says(&mut fresh, "no").await.is_err());
        let mut refused = dial(&proxy).await;
        assert!(says(&mut refused, "no").await.is_err());
    }
}
