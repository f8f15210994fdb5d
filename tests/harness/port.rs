//! Free ports for processes that can't be handed a socket.
//!
//! They lie below the kernel's ephemeral range. From inside it, a client that keeps dialling a server
//! which is down can be given the server's own port as its source, connects to itself, and the server
//! can't come back; a restarted Redis would lose its port to a passer-by in the same way.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port on which nothing listens at the moment. Another process may take it before its owner does:
/// then the owner ends, and whoever starts it tries again with another.
///
/// # Panics
/// When all are taken.
pub fn free() -> u16 {
    // Tests run in processes of their own: each begins at a place of its own.
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.subsec_micros());
    let start = (std::process::id().wrapping_mul(7919) ^ clock) % u32::from(COUNT);
    (0..COUNT)
        .map(|_| {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            FIRST + ((start + u32::from(step)) % u32::from(COUNT)) as u16
        })
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("one of 12,000 ports is free")
}
