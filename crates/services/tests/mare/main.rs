//! Mare's side of the services on the in-memory adapter: fan-out, attaching, ingest, lookup. Time is
//! paused, but where threads are to race: waits cost nothing, and nothing here sleeps to be lucky.

mod hub;
mod ingest;
mod introduction;
mod lookup;
mod many;
mod store_clock;
mod threads;
mod unsettled;
mod world;
