//! Tickets: a string per grant that ends with its ticket, and sorted sets that count them, by the moment at
//! which each ends: two for all and two for those that are bound to a stream. A ticket itself is nowhere in here: keys are made of its hash.

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use conch_domain::{Grant, Identity};
use conch_ports::{Error, ErrorKind, Result, TicketHash, TicketStore};
use conch_wire::grant;
use redis::ScriptInvocation;

use crate::connection::failed;
use crate::log::{Redis, unexpected};
use crate::records::{micros, millis};

#[async_trait]
impl TicketStore for Redis {
    async fn put(&self, hash: TicketHash, grant: &Grant, lifetime: Duration) -> Result<()> {
        const OPERATION: &str = "ticket_store.put";
        let (Some(text), Some(caller)) = (grant::encode(grant), grant.caller.identity()) else {
            let what = "a caller without an identity needs no ticket";
            return Err(Error::new(ErrorKind::Refused, OPERATION, what));
        };
        let mut call = self.scripts.put_ticket.prepare_invoke();
        self.ticket(&mut call, hash, caller, &text, lifetime);
        let answer: String = self.connections.script_shared(OPERATION, &call).await?;
        let full = |what| Err(Error::new(ErrorKind::QuotaExceeded, OPERATION, what));
        match answer.as_str() {
            "stored" => Ok(()),
            "caller" => {
                full("this caller has too many tickets: they are good for a minute, use them again")
            }
            "total" => full("there are too many tickets: come back in a minute"),
            _ => Err(unexpected(OPERATION)),
        }
    }

    async fn bind(&self, hash: TicketHash, grant: &Grant, lifetime: Duration) -> Result<bool> {
        const OPERATION: &str = "ticket_store.bind";
        let (Some(text), Some(caller)) = (grant::encode(grant), grant.caller.identity()) else {
            return Ok(false);
        };
        let mut call = self.scripts.bind_ticket.prepare_invoke();
        self.ticket(&mut call, hash, caller, &text, lifetime);
        call.key(self.keys.bound_tickets_of(&name(caller)))
            .key(self.keys.bound_tickets());
        // Not repeated: what is bound already is answered that it is not.
        self.connections.script(OPERATION, &call).await
    }

    async fn shorten(&self, hash: TicketHash, grant: &Grant, within: Duration) -> Result<()> {
        const OPERATION: &str = "ticket_store.shorten";
        let Some(caller) = grant.caller.identity() else {
            return Ok(());
        };
        let hash = hex(hash);
        let mut call = self.scripts.shorten_ticket.prepare_invoke();
        call.key(self.keys.ticket(&hash))
            .key(self.keys.bound_tickets_of(&name(caller)))
            .key(self.keys.bound_tickets())
            .arg(&hash)
            .arg(micros(within))
            .arg(millis(within));
        let _done: bool = self.connections.script_shared(OPERATION, &call).await?;
        Ok(())
    }

    async fn get(&self, hash: TicketHash) -> Result<Option<Grant>> {
        const OPERATION: &str = "ticket_store.get";
        let mut command = redis::cmd("GET");
        command.arg(self.keys.ticket(&hex(hash)));
        let text = self
            .connections
            .run_shared::<Option<Vec<u8>>>(OPERATION, &command)
            .await?
            .map_err(|error| failed(OPERATION, error))?;
        text.map(|text| {
            grant::decode(&text).map_err(|e| {
                let what =
                    "a ticket doesn't read back: does another program write under this prefix?";
                Error::new(ErrorKind::BadResponse, OPERATION, what).with_source(e)
            })
        })
        .transpose()
    }
}

impl Redis {
    /// What the scripts that keep a ticket begin with.
    fn ticket(
        &self,
        call: &mut ScriptInvocation<'_>,
        hash: TicketHash,
        caller: &Identity,
        grant: &[u8],
        lifetime: Duration,
    ) {
        let hash = hex(hash);
        call.key(self.keys.ticket(&hash))
            .key(self.keys.tickets_of(&name(caller)))
            .key(self.keys.tickets())
            .arg(&hash)
            .arg(grant)
            .arg(micros(lifetime))
            .arg(millis(lifetime))
            .arg(self.settings.max_tickets_per_caller)
            .arg(self.settings.max_tickets);
    }
}

/// Both names, so that no two callers are one: a length says where the first ends.
fn name(caller: &Identity) -> String {
    format!(
        "{}:{}:{}",
        caller.issuer.len(),
        caller.issuer,
        caller.subject
    )
}

fn hex(hash: TicketHash) -> String {
    let mut hex = String::with_capacity(64);
    for byte in hash.as_bytes() {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
    }
    hex
}
