//! The load generator of lookups and submissions: kept-alive connections with one request under way on
//! each, in one thread, without pipelining.
//!
//! The cost of reading an answer is kept to a look at its status and its length. It must never count
//! an answer that isn't whole and of the expected status.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use mio::{Events, Interest, Poll, Token};

use crate::{
    exchange::{find, parse_head},
    process::own_cpu_time,
    report::quantile,
};

/// A server that answers nothing at all for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// The part of the window that comes before it and isn't counted.
const WARM_UP: u32 = 4;

/// What a load came to.
pub(crate) struct Load {
    /// Answers counted.
    pub answers: u64,
    /// Answers sent since the load began, those before the window included.
    pub all_answers: u64,
    /// Answers per second.
    pub per_second: f64,
    /// Request to whole answer.
    pub p50: Duration,
    /// The same, 99th percentile.
    pub p99: Duration,
    /// The share of one core that this load generator used, in per cent. Near 100 the generator, and
    /// not the server, was the limit.
    pub generator_percent: f64,
}

struct Connection {
    stream: mio::net::TcpStream,
    request: Vec<u8>,
    /// What it is answered.
    status: u16,
    /// The same in the answer's first line.
    digits: String,
    sent: Instant,
    /// What came of an answer that isn't whole yet.
    pending: Vec<u8>,
    /// How long the last answer was: the next one is as long, as a rule.
    length: usize,
}

/// A `GET` as the load sends it.
pub(crate) fn get(host: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// A `POST` without a body as the load sends it.
pub(crate) fn post(host: SocketAddr, path: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nContent-Length: 0\r\n\r\n")
        .into_bytes()
}

/// Sends each of `requests` on a connection of its own, again and again, for `window`, each to be answered
/// `status`; `begun` is called when the warm-up is over.
pub(crate) fn run(
    host: SocketAddr,
    requests: &[Vec<u8>],
    status: u16,
    window: Duration,
    mut begun: impl FnMut() -> Result<()>,
) -> Result<Load> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(requests.len().max(1));
    let mut connections = connect(host, requests, status, &poll)?;

    let mut buffer = vec![0; 64 * 1024];
    let mut latencies: Vec<u64> = Vec::with_capacity(1 << 20);
    let mut warm_answers = 0;
    let mut window_start: Option<(Instant, Duration)> = None;
    let first = Instant::now();
    loop {
        let now = Instant::now();
        match window_start {
            None if now - first >= window / WARM_UP => {
                begun()?;
                window_start = Some((Instant::now(), own_cpu_time()?));
            }
            Some((start, _)) if now - start >= window => break,
            _ => {}
        }
        match poll.poll(&mut events, Some(PATIENCE)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        ensure!(
            !events.is_empty(),
            "{host} answered nothing for {PATIENCE:?}"
        );
        for event in &events {
            let connection = &mut connections[event.token().0];
            if connection.read_answer(&mut buffer)? {
                if window_start.is_some() {
                    latencies.push(connection.sent.elapsed().as_nanos() as u64);
                } else {
                    warm_answers += 1;
                }
                connection.ask()?;
            }
        }
    }
    let (start, cpu) = window_start.context("the loop ends only after the window began")?;
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = own_cpu_time()?.saturating_sub(cpu).as_secs_f64();
    ensure!(!latencies.is_empty(), "{host} answered nothing");
    latencies.sort_unstable();
    let answers = latencies.len() as u64;
    Ok(Load {
        answers,
        all_answers: answers + warm_answers,
        per_second: answers as f64 / elapsed,
        p50: Duration::from_nanos(quantile(&latencies, 0.5)),
        p99: Duration::from_nanos(quantile(&latencies, 0.99)),
        generator_percent: 100.0 * cpu / elapsed,
    })
}

/// A connection per request, each of which is sent at once.
fn connect(
    host: SocketAddr,
    requests: &[Vec<u8>],
    status: u16,
    poll: &Poll,
) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(requests.len());
    for (index, request) in requests.iter().enumerate() {
        let stream = TcpStream::connect(host).with_context(|| format!("connecting to {host}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(index), Interest::READABLE)?;
        let mut connection = Connection {
            stream,
            request: request.clone(),
            status,
            digits: status.to_string(),
            sent: Instant::now(),
            pending: Vec::new(),
            length: 0,
        };
        connection.ask()?;
        connections.push(connection);
    }
    Ok(connections)
}

impl Connection {
    /// Sends the request; it is small and the socket is empty, so one write takes it all.
    fn ask(&mut self) -> Result<()> {
        self.sent = Instant::now();
        let count = self
            .stream
            .write(&self.request)
            .context("sending a request")?;
        ensure!(
            count == self.request.len(),
            "the socket took only {count} bytes of a request"
        );
        Ok(())
    }

    /// Reads what has come; answers whether the answer is whole.
    fn read_answer(&mut self, buffer: &mut [u8]) -> Result<bool> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection that was kept alive"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading an answer"),
            };
            let bytes = &buffer[..count];
            // The usual case: one read, the whole answer, as long as the last one.
            if self.pending.is_empty()
                && count == self.length
                && bytes.get(9..12) == Some(self.digits.as_bytes())
            {
                return Ok(true);
            }
            self.pending.extend_from_slice(bytes);
            if let Some(length) = whole(&self.pending, self.status)? {
                self.length = length;
                self.pending.clear();
                return Ok(true);
            }
        }
    }
}

/// How long the answer in `bytes` is, when it is whole.
fn whole(bytes: &[u8], expected: u16) -> Result<Option<usize>> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let (status, headers) = parse_head(&head)?;
    ensure!(
        status == expected,
        "a request was answered: {}",
        String::from_utf8_lossy(bytes)
    );
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let (_, length) = length.context("an answer without content-length")?;
    let length = end + 4 + length.parse::<usize>().context("content-length")?;
    ensure!(
        bytes.len() <= length,
        "more came than the answer that was asked for"
    );
    Ok((bytes.len() == length).then_some(length))
}
