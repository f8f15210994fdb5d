//! The use cases, in three houses: [`mare`] (what a client of Mare sees), [`triton`] (submitting,
//! cancelling, records) and [`worker`] (claims jobs, runs them, and takes back those whose worker fell
//! silent).
//!
//! What the houses share: [`store_clock`], the one clock of all processes on one store; [`places`], where
//! waiting jobs stand; [`announcing`], for a log beside the bus; [`subscription`], what a process hears of the bus;
//! [`entropy`], the one source of randomness.
//!
//! Never in here: the name of a technology, a socket, a header.

// What has no order must not decide what happens next: see `entropy`.
#![warn(clippy::iter_over_hash_type)]

use std::sync::Arc;

use conch_domain::Timestamp;

pub mod announcing;
mod append;
pub mod entropy;
mod limits;
pub mod mare;
mod measured;
pub mod places;
pub mod store_clock;
pub mod subscription;
pub mod triton;
pub mod worker;

/// Where the time comes from; UTC.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
