//! A plain HTTP/1.1 exchange on a blocking socket, with every byte counted where it leaves and
//! enters the program.
//!
//! For measurements that are about bytes and for setting things up. The loads have loops of their
//! own and must never go through this.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A kept-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    host: SocketAddr,
    unread: Vec<u8>,
    /// Bytes written to the socket.
    pub sent: u64,
    /// Bytes read from the socket.
    pub received: u64,
}

/// A whole answer.
pub(crate) struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers in the order of arrival, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; fails with the body's text when the status isn't `status`.
    pub(crate) fn json(&self, status: u16) -> Result<serde_json::Value> {
        let text = String::from_utf8_lossy(&self.body);
        ensure!(
            self.status == status,
            "{} instead of {status}: {text}",
            self.status
        );
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {text}"))
    }
}

impl Connection {
    pub(crate) fn open(host: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(host).with_context(|| format!("connecting to {host}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream,
            host,
            unread: Vec::new(),
            sent: 0,
            received: 0,
        })
    }

    /// Sends the request that curl would send.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: Option<&[u8]>) -> Result<()> {
        let host = self.host;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n"
        );
        if let Some(body) = body {
            request.push_str("Content-Type: application/json\r\n");
            write!(request, "Content-Length: {}\r\n", body.len()).expect("a string takes it");
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        self.stream
            .write_all(&bytes)
            .with_context(|| format!("writing to {host}"))?;
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// Reads what has come, at least one byte; 0 at the end of the stream.
    pub(crate) fn read_more(&mut self) -> Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let count = self
            .stream
            .read(&mut buffer)
            .with_context(|| format!("reading from {}", self.host))?;
        self.received += count as u64;
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// What has been read and not been taken.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// A request and its whole answer, which must have a `content-length` or no body.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: Option<&[u8]>) -> Result<Answer> {
        self.send(method, path, body)?;
        self.answer().with_context(|| format!("{method} {path}"))
    }

    /// The answer to the request that was sent last.
    pub(crate) fn answer(&mut self) -> Result<Answer> {
        let end = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(self.read_more()? > 0, "{} closed the connection", self.host);
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        let (status, headers) = parse_head(&head)?;
        let header = |name: &str| {
            headers
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value)
        };
        let length: usize = match header("content-length") {
            Some(length) => length.parse().context("content-length")?,
            None if status == 204 => 0,
            None => bail!("an answer without content-length isn't understood here:\n{head}"),
        };
        while self.unread.len() < end + length {
            ensure!(
                self.read_more()? > 0,
                "{} closed within an answer",
                self.host
            );
        }
        let body = self.unread[end..end + length].to_vec();
        self.unread.drain(..end + length);
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}

/// The status and the headers of an answer's head.
pub(crate) fn parse_head(head: &str) -> Result<(u16, Vec<(String, String)>)> {
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("{first:?} isn't a status line"))?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok((status, headers))
}

/// Where `needle` begins in `bytes`.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(offset) = bytes[from..].iter().position(|byte| *byte == first) {
        let at = from + offset;
        if bytes[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}
