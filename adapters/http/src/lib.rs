//! The driving side: Mare and Triton over HTTP, and the event stream.

mod answer;
pub mod body;
#[cfg(any(test, fuzzing))]
pub mod claims;
mod envelope;
mod failure;
mod health;
mod idempotency_key;
mod limits;
pub mod mare;
pub mod ops;
pub mod origins;
pub mod pages;
mod path;
pub mod problem;
mod query;
mod routes;
pub mod serve;
mod timing;
pub mod triton;
