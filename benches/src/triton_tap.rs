//! A tap between the edge API and Triton: passes every byte on and counts the lookups of jobs.
//!
//! So that "upstream lookups" is what went over the wire, and not what a program says of itself. It
//! must never change, hold back or reorder a byte.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result};

/// How a lookup begins on the wire.
const LOOKUP: &[u8] = b"GET /jobs/";

/// A running tap. Its threads end with their connections, the listener's with the program.
pub(crate) struct Tap {
    /// Where it listens.
    pub address: SocketAddr,
    lookups: Arc<AtomicU64>,
}

impl Tap {
    /// Starts to listen and passes each connection on to `upstream`.
    pub(crate) fn start(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("binding the tap")?;
        let address = listener.local_addr()?;
        let lookups = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lookups);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that fails is closed, and the client sees just that.
                drop(tap(client, upstream, Arc::clone(&counted)));
            }
        });
        Ok(Self { address, lookups })
    }

    /// Lookups of jobs that have passed.
    pub(crate) fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::SeqCst)
    }
}

fn tap(client: TcpStream, upstream: SocketAddr, lookups: Arc<AtomicU64>) -> Result<()> {
    let server = TcpStream::connect(upstream)?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let (to_client, from_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pass(from_server, to_client, |_| {}));
    thread::spawn(move || {
        let mut count = Counter::default();
        pass(client, server, |bytes| {
            lookups.fetch_add(count.lookups_in(bytes), Ordering::SeqCst);
        });
    });
    Ok(())
}

/// Copies until either side ends, then closes both.
fn pass(mut from: TcpStream, mut to: TcpStream, mut see: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        see(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Either may be closed already.
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

/// Finds what it looks for across the borders of reads.
#[derive(Default)]
struct Counter {
    matched: usize,
}

impl Counter {
    fn lookups_in(&mut self, bytes: &[u8]) -> u64 {
        let mut found = 0;
        for byte in bytes {
            // The pattern's first byte occurs in it nowhere else, so a mismatch restarts at 0 or 1.
            if *byte == LOOKUP[self.matched] {
                self.matched += 1;
            } else {
                self.matched = usize::from(*byte == LOOKUP[0]);
            }
            if self.matched == LOOKUP.len() {
                found += 1;
                self.matched = 0;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Counter;

    #[test]
    fn lookups_are_counted_across_reads_and_lists_are_not_lookups() {
        let mut counter = Counter::default();
        assert_eq!(
            counter.lookups_in(b"GGET /jobs/1 HTTP/1.1\r\n\r\nGET /jo"),
            1
        );
        assert_eq!(counter.lookups_in(b"bs/2 HTTP/1.1\r\n\r\nPOST /jobs/ "), 1);
        assert_eq!(counter.lookups_in(b"GET /templates/?job_id=1"), 0);
    }
}
