//! Mare's side of the services on the in-memory adapter: fan-out, attaching, ingest, lookup. Time is
//! paused, but where threads are to race: waits cost nothing, and nothing here sleeps to be lucky.

mod abandoned;
mod access;
mod announcements;
mod coming;
#[path = "../support/counters.rs"]
mod counters;
mod crowd;
mod cursors;
#[path = "../support/distant.rs"]
mod distant;
mod endings;
mod ends;
mod flood;
mod forged;
mod hidden;
mod hub;
mod ingest;
mod introduction;
mod joining;
mod kept_folds;
mod limits;
#[path = "../support/lines.rs"]
mod lines;
mod lookup;
mod many;
mod owed;
mod owners;
mod publishers;
mod records;
mod reopened;
mod scripted;
mod silent;
mod slow_triton;
mod store_clock;
mod tenants;
mod threads;
mod unsettled;
mod world;
