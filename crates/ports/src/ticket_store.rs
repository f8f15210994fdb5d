//! Tickets: short-lived stand-ins for credentials, for those who can send no header. Kept where every
//! process of the edge finds them, because its holder may come back to any of them.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use conch_domain::Grant;

use crate::Result;

/// What is kept of a ticket: the SHA-256 of it. Who reads the store can't use one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TicketHash([u8; 32]);

impl TicketHash {
    /// Wraps a digest that the caller made.
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TicketHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketHash")
    }
}

/// Grants by the hash of their ticket.
///
/// # Laws
/// - **opens_again_and_again**: within its lifetime a grant MUST be found by its hash, equal in every
///   field, each time it is asked for; by no other hash.
/// - **a_ticket_ends**: a grant MUST be gone after its lifetime, whatever else happens, and its place
///   be free again.
/// - **tickets_are_bounded_per_caller**: a caller (by identity) that has as many tickets as the
///   store's bound MUST be refused the next with `QuotaExceeded`, in the step that would store it;
///   other callers MUST NOT notice.
/// - **tickets_are_bounded_in_total**: as many tickets as the store's other bound MUST be the most
///   that there are; one more is `QuotaExceeded`.
/// - **a_bound_ticket_lives_on**: [`bind`](TicketStore::bind) MUST, in one step, put the grant in the place
///   of that of a ticket which is there and isn't bound, for the new lifetime, and answer true; else it
///   MUST change nothing and answer false.
/// - **bound_tickets_are_counted_apart**: a bound ticket MUST take none of the room of those that aren't. A
///   caller that has as many bound tickets as the bound loses the one that ends first; where there are as
///   many as the bound in total, `bind` MUST change nothing and answer false.
/// - **a_ticket_can_be_cut_short**: after [`shorten`](TicketStore::shorten) a ticket MUST be gone within that
///   time, and never later than it would have been.
/// - **tickets_open_elsewhere**: on a store that is shared, other processes MUST find a grant as soon
///   as the call that stored it has returned.
#[async_trait]
pub trait TicketStore: Send + Sync {
    /// Keeps a grant for `lifetime`.
    ///
    /// # Errors
    /// When the store is out of reach or has no room, or a bound is reached.
    async fn put(&self, hash: TicketHash, grant: &Grant, lifetime: Duration) -> Result<()>;

    /// Binds a ticket: keeps `grant`, which says to what, in the place of its grant, for `lifetime` from now.
    /// Whether it did.
    ///
    /// # Errors
    /// When the store is out of reach or has no room.
    async fn bind(&self, hash: TicketHash, grant: &Grant, lifetime: Duration) -> Result<bool>;

    /// Lets a bound ticket end after `within`, if it would last longer.
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn shorten(&self, hash: TicketHash, grant: &Grant, within: Duration) -> Result<()>;

    /// What a ticket stands for, while it lives.
    ///
    /// # Errors
    /// When the store is out of reach.
    async fn get(&self, hash: TicketHash) -> Result<Option<Grant>>;
}
