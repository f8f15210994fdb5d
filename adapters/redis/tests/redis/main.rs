//! What is Redis's own: names, types and times to live of keys, the bytes on the channels, scripts
//! after a restart, the supervised subscription. What every backend promises is in `conformance`.

#![allow(clippy::unwrap_used)]

mod aside;
mod catalogue;
mod cost;
mod detour;
mod faults;
mod jobs;
mod lines;
mod log;
mod queue;
mod renewal;
mod rotation;
mod server;
mod steps;
mod subscription;
mod templates;
