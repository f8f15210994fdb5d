//! The kit over a transport that fails on demand, on paused time.

mod announcing;
mod fake;
mod listening;
mod observed;
