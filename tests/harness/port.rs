//! Free ports for processes that can't be handed a socket.
//!
//! A port that was given out stays its owner's while that is killed and started again: a locked file says
//! so to the other tests of this machine, until it is given back.
//!
//! They lie below the kernel's ephemeral range. From inside it, a client that keeps dialling a server
//! which is down can be given the server's own port as its source, connects to itself, and the server
//! can't come back; a restarted Redis would lose its port to a passer-by in the same way.

use std::collections::HashMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// The files of the ports that this process has.
static OURS: LazyLock<Mutex<HashMap<u16, File>>> = LazyLock::new(Mutex::default);

/// Locks a port's file; false when another process has it.
pub(crate) fn claim(port: u16) -> bool {
    let directory = std::env::temp_dir().join("conch-ports");
    // A directory that can't be made shows with the file.
    drop(std::fs::create_dir_all(&directory));
    let Ok(file) = File::create(directory.join(port.to_string())) else {
        // Somebody else's machine, somebody else's rules: then ports are only free by chance.
        return true;
    };
    let mut ours = OURS.lock();
    let free = !ours.contains_key(&port) && file.try_lock().is_ok();
    if free {
        ours.insert(port, file);
    }
    free
}

/// Gives a port back.
pub(crate) fn give_back(port: u16) {
    OURS.lock().remove(&port);
}

/// A port on which nothing listens at the moment. A program that isn't a test of ours may take it before
/// its owner does: then the owner ends, and whoever starts it tries again with another.
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
        .find(|port| {
            if !claim(*port) {
                return false;
            }
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
            if !free {
                give_back(*port);
            }
            free
        })
        .expect("one of 12,000 ports is free")
}
