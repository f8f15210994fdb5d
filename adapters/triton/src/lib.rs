//! The gateway to Triton over HTTP: ours or the Python service, whichever stands behind the address.
//!
//! Never in here: a decision about what a job's state means, a cache, a second try of a write.
//!
//! TLS needs a process-wide crypto provider (`rustls::crypto::ring::default_provider()
//! .install_default()`), which the program installs before it calls [`Settings::build`].

mod breaker;
mod error;
mod gateway;
mod protocol;
mod settings;
mod transport;

pub use settings::{Authorities, Invalid, Settings, Token};
