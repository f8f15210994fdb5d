//! The use cases, each in a file of its own.
//!
//! Mare's side: [`hub`] (fan-out), [`ingest`] (what comes in on the channels), [`reconcile`] (what
//! Triton knows and a log doesn't), [`lookup`] (cache first), [`edge_cancel`],
//! [`access`] (what a caller may see), [`submissions`] (how often one may submit), [`tickets`].
//!
//! Triton's side: [`submit`], [`cancel`], [`records`]; [`worker`] claims jobs, runs them and takes
//! back those whose worker fell silent.
//!
//! Both: [`store_clock`], the one clock of all processes on one store; [`subscription`], what a process
//! hears of the bus; [`entropy`], the one source of randomness.
//!
//! Never in here: the name of a technology, a socket, a header.

// What has no order must not decide what happens next: see `entropy`.
#![warn(clippy::iter_over_hash_type)]

use std::sync::Arc;

use conch_domain::Timestamp;

pub mod access;
mod append;
mod backlog;
pub mod cancel;
mod ears;
pub mod edge_cancel;
pub mod entropy;
pub mod hub;
pub mod ingest;
mod lease;
mod limits;
pub mod lookup;
mod offer;
mod origins;
mod reap;
pub mod reconcile;
pub mod records;
mod results;
mod run;
mod running;
pub mod store_clock;
pub mod submissions;
pub mod submit;
pub mod subscription;
mod sweep;
pub mod tickets;
pub mod worker;

/// Where the time comes from; UTC.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
