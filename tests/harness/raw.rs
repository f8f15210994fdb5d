//! HTTP by hand, for heads and bodies that no honest client would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Upper bound of one exchange.
const LIMIT: Duration = Duration::from_secs(25);

/// Writes `request` to the port and reads until the server closes, or has answered in full a request
/// that asked for `Connection: close`. What it answered, as text; empty when it just hung up.
///
/// # Panics
/// When nobody listens, or the server does neither in time.
pub async fn exchange(port: u16, request: &[u8]) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("the server listens");
    // A server that refuses early may have hung up before all was written: its answer counts.
    let _refused_early = connection.write_all(request).await;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let Ok(read) = timeout(LIMIT, connection.read(&mut piece)).await else {
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
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}
