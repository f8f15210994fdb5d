//! Mare's side of the services on the in-memory adapter: fan-out, attaching, ingest, lookup. Time is
//! paused: waits cost nothing, and nothing here sleeps to be lucky.

mod hub;
mod ingest;
#[path = "../support/lines.rs"]
mod lines;
mod lookup;
mod many;
mod world;
