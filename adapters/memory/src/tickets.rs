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
use crate::errors::corrupt;
use crate::expiring::Expiring;

/// What is kept of all tickets: those that are bound to a stream are counted apart.
#[derive(Default, Clone)]
pub(crate) struct Tickets {
    fresh: Pool,
    bound: Pool,
}

#[derive(Default, Clone)]
struct Pool {
    kept: Expiring<TicketHash, Ticket>,
    /// How many of them each caller has; none without any.
    by_caller: HashMap<Arc<Identity>, usize>,
}

#[derive(Clone)]
struct Ticket {
    grant: Bytes,
    caller: Arc<Identity>,
}

impl Pool {
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

    fn of(&self, caller: &Identity) -> usize {
        self.by_caller.get(caller).copied().unwrap_or(0)
    }

    fn insert(&mut self, hash: TicketHash, ticket: Ticket, until: Instant) {
        *self
            .by_caller
            .entry(Arc::clone(&ticket.caller))
            .or_default() += 1;
        self.kept.insert(hash, ticket, until);
    }

    fn remove(&mut self, hash: &TicketHash) -> Option<Ticket> {
        let ticket = self.kept.remove(hash)?;
        self.discount(&ticket.caller);
        Some(ticket)
    }

    /// Removes the caller's ticket that ends first.
    fn remove_soonest_of(&mut self, caller: &Identity) {
        let mut all = self.kept.in_order();
        let soonest = all.find(|(_, ticket)| *ticket.caller == *caller);
        let soonest = soonest.map(|(hash, _)| *hash);
        drop(all);
        if let Some(hash) = soonest {
            self.remove(&hash);
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
            let what = "a caller without an identity needs no ticket";
            return Err(Error::new(ErrorKind::Refused, OPERATION, what));
        };
        self.step(|store, now| {
            let (max, max_per_caller) = (
                store.settings.max_tickets,
                store.settings.max_tickets_per_caller,
            );
            let tickets = &mut store.data.tickets.fresh;
            tickets.sweep(now);
            let full = |what| Err(Error::new(ErrorKind::QuotaExceeded, OPERATION, what));
            if tickets.of(caller) >= max_per_caller {
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
            tickets.insert(hash, ticket, now + lifetime);
            Ok(())
        })
    }

    async fn bind(&self, hash: TicketHash, grant: &Grant, lifetime: Duration) -> Result<bool> {
        let (Some(text), Some(caller)) = (grant::encode(grant), grant.caller.identity()) else {
            return Ok(false);
        };
        self.step(|store, now| {
            let (max, max_per_caller) = (
                store.settings.max_tickets,
                store.settings.max_tickets_per_caller,
            );
            let Tickets { fresh, bound } = &mut store.data.tickets;
            fresh.sweep(now);
            bound.sweep(now);
            if fresh.kept.get(&hash, now).is_none() || bound.kept.len() >= max {
                return Ok(false);
            }
            while bound.of(caller) >= max_per_caller.max(1) {
                bound.remove_soonest_of(caller);
            }
            fresh.remove(&hash);
            let ticket = Ticket {
                grant: text,
                caller: caller.clone(),
            };
            bound.insert(hash, ticket, now + lifetime);
            Ok(true)
        })
    }

    async fn shorten(&self, hash: TicketHash, _: &Grant, within: Duration) -> Result<()> {
        self.step(|store, now| {
            let bound = &mut store.data.tickets.bound;
            bound.sweep(now);
            if bound
                .kept
                .ends_at(&hash)
                .is_some_and(|until| until > now + within)
                && let Some(ticket) = bound.remove(&hash)
            {
                bound.insert(hash, ticket, now + within);
            }
            Ok(())
        })
    }

    async fn get(&self, hash: TicketHash) -> Result<Option<Grant>> {
        const OPERATION: &str = "ticket_store.get";
        self.step(|store, now| {
            let Tickets { fresh, bound } = &store.data.tickets;
            let ticket = fresh
                .kept
                .get(&hash, now)
                .or_else(|| bound.kept.get(&hash, now));
            ticket
                .map(|ticket| grant::decode(&ticket.grant).map_err(corrupt(OPERATION)))
                .transpose()
        })
    }
}
