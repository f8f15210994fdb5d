//! HTTP by hand, for heads and bodies that no honest client would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::timeout;

/// Upper bound of one exchange.
const LIMIT: Duration = Duration::from_secs(25);
/// Between two pieces of what drips.
const DRIP: Duration = Duration::from_millis(20);

/// Writes `request` to the port and reads until the server closes, or has answered in full a request
/// that asked for `Connection: close`. What it answered, as text; empty when it just hung up.
///
/// # Panics
/// When nobody listens, or the server does neither in time.
pub async fn exchange(port: u16, request: &[u8]) -> String {
    let (reader, mut writer) = connect(port).await.into_split();
    // At the same time: neither side waits for the other to read.
    let write = async {
        // A server that refuses early may have hung up before all was written: its answer counts.
        let _refused_early = writer.write_all(request).await;
    };
    tokio::join!(read_to_end(reader), write).0
}

/// As [`exchange`], for a request that begins so and then goes on, piece by piece, for as long as it is
/// listened to.
///
/// # Panics
/// As [`exchange`].
pub async fn drip(port: u16, begin: &[u8], piece: &[u8]) -> String {
    let (reader, mut writer) = connect(port).await.into_split();
    writer.write_all(begin).await.expect("it listens");
    let go_on = async {
        while writer.write_all(piece).await.is_ok() {
            tokio::time::sleep(DRIP).await;
        }
        // It is no longer listened to: what there is to read decides.
        std::future::pending::<String>().await
    };
    tokio::select! {
        answer = read_to_end(reader) => answer,
        never = go_on => never,
    }
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("the server listens")
}

async fn read_to_end(mut reader: OwnedReadHalf) -> String {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let Ok(read) = timeout(LIMIT, reader.read(&mut piece)).await else {
            let so_far = String::from_utf8_lossy(&answer);
            panic!("no end within {LIMIT:?}, so far: {so_far}")
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(&piece[..n]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of an answer; 0 when there was none.
pub fn status(answer: &str) -> u16 {
    statuses(answer).first().copied().unwrap_or(0)
}

/// The statuses of all answers on a connection, but those that only say to go on.
pub fn statuses(answers: &str) -> Vec<u16> {
    // No body of ours says this.
    answers
        .split("HTTP/1.")
        .skip(1)
        .filter_map(|answer| answer.get(2..5)?.parse().ok())
        .filter(|status| *status >= 200)
        .collect()
}
