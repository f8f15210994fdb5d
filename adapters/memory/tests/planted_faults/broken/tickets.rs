//! The faults of the tickets.

use std::time::Duration;

use async_trait::async_trait;
use conch_domain::Grant;
use conch_ports::{Result, TicketHash, TicketStore};

use super::Broken;
use crate::Fault;

#[async_trait]
impl TicketStore for Broken {
    async fn put(&self, hash: TicketHash, grant: &Grant, lifetime: Duration) -> Result<()> {
        let lifetime = match self.fault {
            Fault::OpenForEver => Duration::from_hours(24),
            _ => lifetime,
        };
        self.seen().tickets.push(hash);
        match self.tickets.put(hash, grant, lifetime).await {
            Err(_) if self.is(Fault::StoreAnyTicket) => Ok(()),
            answer => answer,
        }
    }

    async fn bind(&self, hash: TicketHash, grant: &Grant, lifetime: Duration) -> Result<bool> {
        let is_there = self.tickets.get(hash).await?.is_some();
        match self.fault {
            Fault::BindNothing => Ok(is_there),
            Fault::BindWhereThereIsNoRoom => {
                let bound = self.tickets.bind(hash, grant, lifetime).await?;
                Ok(bound || is_there)
            }
            _ => self.tickets.bind(hash, grant, lifetime).await,
        }
    }

    async fn shorten(&self, hash: TicketHash, grant: &Grant, within: Duration) -> Result<()> {
        match self.fault {
            Fault::NeverCutShort => Ok(()),
            _ => self.tickets.shorten(hash, grant, within).await,
        }
    }

    async fn get(&self, hash: TicketHash) -> Result<Option<Grant>> {
        if self.is(Fault::OpenOnce) {
            let mut seen = self.seen();
            let before = seen.tickets.len();
            seen.tickets.retain(|known| *known != hash);
            if seen.tickets.len() == before {
                return Ok(None);
            }
        }
        let hash = match self.fault {
            Fault::OpenToAnyHash => self.seen().tickets.last().copied().unwrap_or(hash),
            _ => hash,
        };
        self.tickets.get(hash).await
    }
}
