//! Triton's use cases from outside, on the store in memory and on paused time: what a submission, a
//! cancellation and a worker leave in a job's log, whatever goes wrong meanwhile.

#![allow(clippy::unwrap_used)]

mod cancel;
mod claims;
#[path = "../support/counters.rs"]
mod counters;
#[path = "../support/distant.rs"]
mod distant;
mod faults;
mod groups;
mod limits;
#[path = "../support/lines.rs"]
mod lines;
mod lost;
mod run;
mod scripted;
mod silence;
mod submit;
mod system;
mod tries;
