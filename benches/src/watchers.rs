//! The load generator of the fan-out: many sockets that read a stream, in one thread.
//!
//! The same loop reads from every server, so that its own cost falls on all alike. An event carries
//! the moment of its publication in its data; the latency is taken when the read that brought its
//! last byte returns. It must never count an event that was not wholly there, or twice.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use mio::{Events, Interest, Poll, Token};

use crate::{exchange::find, process::monotonic_nanos};

/// How an event names the moment of its publication: twenty digits follow, of nanoseconds by the monotonic
/// clock, which all processes of a machine share.
const STAMP: &str = "sent_ns=";
/// So many connections wait to be answered at once, to stay far below any server's backlog.
const BATCH: usize = 64;
/// What a server may take to answer a batch, or to deliver one event to everybody.
const PATIENCE: Duration = Duration::from_secs(30);
/// No head and no event of a run comes near this.
const MOST_PENDING: usize = 64 * 1024;

/// The watchers of one server.
pub(crate) struct Watchers {
    poll: Poll,
    events: Events,
    all: Vec<Watcher>,
    buffer: Vec<u8>,
    tally: Tally,
}

/// One connection.
struct Watcher {
    stream: mio::net::TcpStream,
    /// What came and is not a whole head or event yet. Nearly always empty.
    pending: Vec<u8>,
    streaming: bool,
    last_stamp: u64,
}

/// What all watchers together have received.
struct Tally {
    bytes: u64,
    reads: u64,
    streaming: usize,
    /// The stamp from which on events count, and the nanoseconds that each took to each watcher.
    since: u64,
    latencies: Vec<u64>,
}

/// What an event carries so that its latency can be taken.
pub(crate) fn stamp(nanos: u64) -> String {
    format!("{STAMP}{nanos:020}")
}

/// One event, delivered to every watcher.
pub(crate) struct Delivery {
    /// Publish to received, in nanoseconds, one per watcher.
    pub latencies: Vec<u64>,
    /// Bytes on the wire, all watchers together.
    pub bytes: u64,
}

/// What came while nothing was published.
pub(crate) struct Rest {
    /// How long it lasted.
    pub elapsed: Duration,
    /// Reads that brought something: one per heartbeat and watcher.
    pub reads: u64,
}

impl Watchers {
    pub(crate) fn new() -> Result<Self> {
        let tally = Tally {
            bytes: 0,
            reads: 0,
            streaming: 0,
            since: u64::MAX,
            latencies: Vec::new(),
        };
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            all: Vec::new(),
            buffer: vec![0; 16 * 1024],
            tally,
        })
    }

    /// Adds watchers until there are `count`, each answered with 200; `path` says what the nth asks for.
    pub(crate) fn grow_to(
        &mut self,
        count: usize,
        host: SocketAddr,
        path: impl Fn(usize) -> String,
    ) -> Result<()> {
        while self.all.len() < count {
            for _ in 0..BATCH.min(count - self.all.len()) {
                let path = path(self.all.len());
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n"
                );
                self.connect(host, request.as_bytes())?;
            }
            let deadline = Instant::now() + PATIENCE;
            while self.tally.streaming < self.all.len() {
                self.pump(Duration::from_millis(100))?;
                ensure!(
                    Instant::now() < deadline,
                    "{host} answered {} of {} watchers within {PATIENCE:?}",
                    self.tally.streaming,
                    self.all.len()
                );
            }
        }
        Ok(())
    }

    fn connect(&mut self, host: SocketAddr, request: &[u8]) -> Result<()> {
        let index = self.all.len();
        let mut stream = TcpStream::connect(host)
            .with_context(|| format!("connecting watcher {index} to {host}"))?;
        stream.write_all(request)?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        self.poll
            .registry()
            .register(&mut stream, Token(index), Interest::READABLE)?;
        self.all.push(Watcher {
            stream,
            pending: Vec::new(),
            streaming: false,
            last_stamp: 0,
        });
        Ok(())
    }

    /// Lets `publish` send one event with the stamp that it is given, and reads until every watcher
    /// has it.
    pub(crate) fn deliver(&mut self, publish: impl FnOnce(u64) -> Result<()>) -> Result<Delivery> {
        let bytes = self.tally.bytes;
        let stamp = monotonic_nanos()?;
        publish(stamp)?;
        let (all, deadline) = (self.all.len(), Instant::now() + PATIENCE);
        let latencies = self.receive(stamp, |received| {
            ensure!(
                Instant::now() < deadline,
                "an event reached {received} of {all} watchers within {PATIENCE:?}"
            );
            Ok(received >= all)
        })?;
        Ok(Delivery {
            latencies,
            bytes: self.tally.bytes - bytes,
        })
    }

    /// Reads until `enough` says so of the number of events received, counting those that are stamped at
    /// or after `since`; answers their latencies in nanoseconds. `enough` is asked each 10 ms at least.
    pub(crate) fn receive(
        &mut self,
        since: u64,
        mut enough: impl FnMut(usize) -> Result<bool>,
    ) -> Result<Vec<u64>> {
        self.tally.since = since;
        self.tally.latencies = Vec::with_capacity(self.all.len());
        while !enough(self.tally.latencies.len())? {
            self.pump(Duration::from_millis(10))?;
        }
        self.tally.since = u64::MAX;
        Ok(std::mem::take(&mut self.tally.latencies))
    }

    /// Publishes nothing for `duration`, and reads what comes all the same.
    pub(crate) fn rest(&mut self, duration: Duration) -> Result<Rest> {
        let (begun, reads) = (Instant::now(), self.tally.reads);
        while let Some(left) = duration.checked_sub(begun.elapsed()) {
            self.pump(left)?;
        }
        Ok(Rest {
            elapsed: begun.elapsed(),
            reads: self.tally.reads - reads,
        })
    }

    /// Waits once for readiness and reads whatever is ready.
    fn pump(&mut self, timeout: Duration) -> Result<()> {
        let Self {
            poll,
            events,
            all,
            buffer,
            tally,
        } = self;
        match poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &*events {
            let index = event.token().0;
            let watcher = &mut all[index];
            loop {
                match watcher.stream.read(buffer) {
                    Ok(0) => bail!(
                        "the server closed the stream of watcher {index} of {}{}",
                        all.len(),
                        " (over one of its limits?)"
                    ),
                    Ok(count) => {
                        tally.bytes += count as u64;
                        tally.reads += 1;
                        watcher
                            .take(&buffer[..count], tally)
                            .with_context(|| format!("watcher {index}"))?;
                        // A short read has emptied the socket (epoll(7)), unless its end came along.
                        if count < buffer.len() && !event.is_read_closed() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).with_context(|| format!("watcher {index}")),
                }
            }
        }
        Ok(())
    }
}

impl Watcher {
    /// Takes what one read brought: first the head, then events.
    fn take(&mut self, bytes: &[u8], tally: &mut Tally) -> Result<()> {
        if self.streaming && self.pending.is_empty() {
            let used = self.events(bytes, tally)?;
            self.keep(&bytes[used..]);
            return Ok(());
        }
        self.pending.extend_from_slice(bytes);
        ensure!(
            self.pending.len() < MOST_PENDING,
            "64 KiB came that are no event"
        );
        if !self.streaming {
            let Some(end) = find(&self.pending, b"\r\n\r\n") else {
                return Ok(());
            };
            let head = String::from_utf8_lossy(&self.pending[..end]).into_owned();
            ensure!(head.starts_with("HTTP/1.1 200 "), "not a stream: {head}");
            self.streaming = true;
            tally.streaming += 1;
            self.pending.drain(..end + 4);
        }
        let pending = std::mem::take(&mut self.pending);
        let used = self.events(&pending, tally)?;
        self.keep(&pending[used..]);
        Ok(())
    }

    /// Counts the stamped events that are wholly in `bytes`, and answers up to where they reach.
    fn events(&mut self, bytes: &[u8], tally: &mut Tally) -> Result<usize> {
        let mut used = 0;
        while let Some(at) = find(&bytes[used..], STAMP.as_bytes()) {
            let digits = used + at + STAMP.len();
            let Some(length) = find(&bytes[digits..], b"\n\n") else {
                break;
            };
            let text = bytes
                .get(digits..digits + 20)
                .context("a stamp is twenty digits")?;
            let text = std::str::from_utf8(text).context("a stamp")?;
            let stamp: u64 = text
                .parse()
                .with_context(|| format!("the stamp {text:?}"))?;
            ensure!(stamp != self.last_stamp, "the event {stamp} came twice");
            self.last_stamp = stamp;
            if stamp >= tally.since {
                tally
                    .latencies
                    .push(monotonic_nanos()?.saturating_sub(stamp));
            }
            used = digits + length + 2;
        }
        Ok(used)
    }

    /// Keeps the rest of a read only if it may hold the beginning of an event's data: heartbeats and
    /// the frames around chunks are of no interest.
    fn keep(&mut self, rest: &[u8]) {
        if find(rest, b"data:").is_some()
            && !rest.ends_with(b"\n\n")
            && !rest.ends_with(b"\n\n\r\n")
        {
            self.pending.extend_from_slice(rest);
        }
    }
}
