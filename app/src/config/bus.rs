//! Which bus: what `BUS_URL` says, and if it says nothing the store's own.
//!
//! Never in here: which store it is; `store` decides that first.

use super::store::{Store, is_memory};
use super::{Error, Source, redis, scheme};

/// Checks that the bus is one that there is, and goes with that store. Another bus is a scheme.
pub(super) fn check(source: &Source, store: &Store) -> Result<(), Error> {
    let Some(url) = source.text("BUS_URL") else {
        return Ok(());
    };
    let own = match store {
        Store::Memory(_) => is_memory(url),
        Store::Redis(redis) => url.trim() == redis.url.trim(),
    };
    if own {
        return Ok(());
    }
    let wrong = match scheme(url).as_str() {
        _ if is_memory(url) => {
            "can be `memory:` only where the store is too: no other process would hear of an event"
        }
        scheme if redis::SCHEMES.contains(&scheme) => {
            "names a Redis that isn't the store, which isn't built in: leave it unset"
        }
        "nats" | "tls" => "names NATS, which isn't built in",
        "postgres" | "postgresql" => "names PostgreSQL, which isn't built in",
        "sqlite" => "names SQLite, which is a store and no bus: it belongs in STORE_URL",
        _ => "must be the same as STORE_URL, or unset",
    };
    Err(Error::new("BUS_URL", wrong))
}
