//! Every store port on Redis 7: the logs, the cached results, the queue, the catalogue and the tickets; and
//! the bus that the logs announce on. [`Settings::build`] makes them all; it does not wait for Redis.
//!
//! Whatever must happen in one step is one Lua script (`src/lua`): it looks at everything first,
//! writes after, and publishes last, because a script that fails keeps what it has written.
//!
//! Never in here: what an event means. Scripts compare places, ids and leases; the fold comes in
//! with the commit.

mod bus;
mod cache;
mod catalogue;
mod commit;
mod connection;
mod errors;
#[cfg(feature = "guard")]
pub mod guard;
mod keys;
mod kind;
mod log;
mod queue;
mod records;
mod run;
mod settings;
mod shared;
mod staging;
mod stores;
mod templates;
mod tickets;
mod timing;
mod tls;

pub use conch_bus_kit::InvalidSettings;
pub use settings::Settings;
pub use stores::Stores;
pub use tls::{Identity, Tls};
