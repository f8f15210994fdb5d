//! Tickets for those who can send no header: given out to a caller, and looked at when one comes back.
//!
//! A ticket opens one stream, for a minute, as often as its holder reconnects, and never more than the
//! credentials that it was given out for. Never in here: a ticket in a log, an error or a `Debug`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::{Caller, Grant, Opens, Timestamp};
use conch_ports::{Result, TicketHash, TicketStore};
use sha2::{Digest, Sha256};

use crate::Clock;

/// How long a ticket is good for, if its holder's credentials are.
const LIFETIME_MS: i64 = 60_000;
/// Random bytes in one; written as twice as many hexadecimal digits.
const BYTES: usize = 32;

/// A ticket that was given out.
pub struct Ticket {
    /// What its holder sends.
    pub text: String,
    /// From when on it opens nothing.
    pub ends_at: Timestamp,
}

/// Gives tickets out and looks at them; a cheap handle.
#[derive(Clone)]
pub struct Tickets {
    store: Arc<dyn TicketStore>,
    clock: Clock,
}

impl Tickets {
    /// Keeps them in `store`.
    pub fn new(store: Arc<dyn TicketStore>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Gives one out. Says nothing about whether what it opens is there: who uses it learns that.
    ///
    /// A caller without an identity needs none, and gets one that nobody will ask for.
    ///
    /// # Errors
    /// When the store is out of reach or has no room, or there are too many tickets already.
    pub async fn give_out(&self, caller: &Caller, opens: Opens) -> Result<Ticket> {
        let random: [u8; BYTES] = rand::random();
        let mut text = String::with_capacity(2 * BYTES);
        for byte in random {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        }
        let now = (self.clock)();
        let full = now.plus_millis(LIFETIME_MS);
        let ends_at = caller.ends_at().map_or(full, |end| end.min(full));
        if caller.identity().is_some() {
            let lifetime = Duration::from_millis(ends_at.millis_since(now).max(1));
            let grant = Grant {
                caller: caller.clone(),
                opens,
            };
            self.store.put(hash(&text), &grant, lifetime).await?;
        }
        Ok(Ticket { text, ends_at })
    }

    /// Whom a ticket stands for, if it is one, still good, and opens that.
    ///
    /// # Errors
    /// When the store is out of reach: nothing is known of the ticket then.
    pub async fn holder(&self, text: &str, opens: &Opens) -> Result<Option<Caller>> {
        // Nothing else can be one: no stranger's text is worth a question.
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 2 * BYTES || !text.bytes().all(digit) {
            return Ok(None);
        }
        let grant = self.store.get(hash(text)).await?;
        Ok(grant
            .filter(|grant| grant.opens == *opens && grant.caller.counts_at((self.clock)()))
            .map(|grant| grant.caller))
    }
}

fn hash(ticket: &str) -> TicketHash {
    TicketHash::new(Sha256::digest(ticket.as_bytes()).into())
}
