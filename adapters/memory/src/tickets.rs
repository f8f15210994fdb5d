//! [`TicketStore`]: grants by the hash of their ticket, each with its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{Grant, Identity};
use conch_ports::{Error, ErrorKind, Result, TicketHash, TicketStore};
use conch_wire::grant;
use tokio::time::Instant;

use crate::Memory;
use crate::expiring::Expiring;
use crate::store::corrupt;

/// What is kept of all tickets.
#[derive(Default, Clone)]
pub(crate) struct Tickets {
    kept: Expiring<TicketHash, Ticket>,
    /// How many of them each caller has; none without any.
    by_caller: HashMap<Arc<Identity>, usize>,
}

#[derive(Clone)]
struct Ticket {
    grant: Bytes,
    caller: Arc<Identity>,
}

impl Tickets {
    /// Removes what has run out, all of it: what counts against a bound must be alive. There are at
    /// most as many as the bound.
    fn sweep(&mut self, now: Instant) {
        loop {
            let swept = self.kept.sweep(now);
            if swept.is_empty() {
                return;
            }
            for (_, ticket) in swept {
                self.discount(&ticket.caller);
            }
        }
    }

    fn discount(&mut self, caller: &Identity) {
        if let Some(count) = self.by_caller.get_mut(caller) {
            *count -= 1;
            if *count == 0 {
                self.by_caller.remove(caller);
            }
        }
    }
}

#[async_trait]
impl TicketStore for Memory {
    async fn put(&self, hash: TicketHash, grant: &Grant, lifetime: Duration) -> Result<()> {
        const OPERATION: &str = "ticket_store.put";
        let (Some(text), Some(caller)) = (grant::encode(grant), grant.caller.identity()) else {
            let what = "whoever has no identity needs no ticket";
            return Err(Error::new(ErrorKind::Refused, OPERATION, what));
        };
        self.step(OPERATION, |store, now| {
            let (max, max_per_caller) = (
                store.settings.max_tickets,
                store.settings.max_tickets_per_caller,
            );
            let tickets = &mut store.data.tickets;
            tickets.sweep(now);
            let full = |what| Err(Error::new(ErrorKind::QuotaExceeded, OPERATION, what));
            if tickets.by_caller.get(caller).copied().unwrap_or(0) >= max_per_caller {
                return full(
                    "this caller has too many tickets: they are good for a minute, use them again",
                );
            }
            if tickets.kept.len() >= max {
                return full("there are too many tickets: come back in a minute");
            }
            let ticket = Ticket {
                grant: text,
                caller: caller.clone(),
            };
            tickets.kept.insert(hash, ticket, now + lifetime);
            *tickets.by_caller.entry(caller.clone()).or_default() += 1;
            Ok(())
        })
    }

    async fn get(&self, hash: TicketHash) -> Result<Option<Grant>> {
        const OPERATION: &str = "ticket_store.get";
        self.step(OPERATION, |store, now| {
            let ticket = store.data.tickets.kept.get(&hash, now);
            ticket
                .map(|ticket| grant::decode(&ticket.grant).map_err(corrupt(OPERATION)))
                .transpose()
        })
    }
}
