//! The least that an event through Redis can cost: a process that subscribes to one channel and reads
//! what comes, one blocking `read(2)` after the other.
//!
//! A process of its own. It must never look into a message: it is the yardstick.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context as _, Result, ensure};

/// What it subscribes to.
pub(crate) const CHANNEL: &str = "bench:bus";

/// Subscribes, then listens on `address`, so that whoever started it knows that it hears, and reads until
/// the connection ends.
pub(crate) fn serve(address: SocketAddr, redis: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(redis).context("connecting to redis")?;
    stream.set_nodelay(true)?;
    let length = CHANNEL.len();
    stream.write_all(format!("*2\r\n$9\r\nSUBSCRIBE\r\n${length}\r\n{CHANNEL}\r\n").as_bytes())?;
    let mut buffer = vec![0; 64 * 1024];
    let count = stream.read(&mut buffer)?;
    ensure!(
        buffer[..count].starts_with(b"*3\r\n$9\r\nsubscribe\r\n"),
        "redis answered {:?} to SUBSCRIBE",
        String::from_utf8_lossy(&buffer[..count])
    );
    let _listener = TcpListener::bind(address).with_context(|| format!("binding {address}"))?;
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}
