//! Starts the system the way a user does, as processes on free ports, and watches it the way a user
//! does: over HTTP, `text/event-stream` and redis-cli.
//!
//! Never links the system's own crates: a mistake made on both sides of an encoding would cancel out.
//! Nothing here sleeps to let something happen; every wait is for an observable fact and has a bound.
//! What a test starts ends with it, and on a failure tells what it had to say.

#![allow(clippy::print_stdout, clippy::print_stderr)] // A test that fails says why.

pub mod browser;
#[path = "../chaos/lib.rs"]
pub mod chaos;
pub mod conch;
pub mod eventually;
pub mod foreign;
pub mod http;
pub mod nats;
pub mod port;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod resp;
pub mod sse;
pub mod sse_parser;
pub mod table;

pub use browser::Browser;
pub use conch::{Conch, Pair};
pub use http::Mare;
pub use nats::Nats;
pub use process::Process;
pub use proxy::{Proxy, Weather};
pub use redis::{Persistence, Redis};
pub use resp::Resp;
pub use sse::{Event, Stream, Watcher};
pub use table::Table;
