//! The caller of the edge API: which clients' records it may see and what it may do, according to its
//! credentials.
//!
//! Parsed once, where the credentials are checked, and then passed along. Never in here: a token, a header,
//! a decision about one record (the use cases call [`Clients::see`]).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{ClientId, JobId, Timestamp};

/// Most clients that a caller's credentials may name.
pub const MAX_CLIENTS_PER_CALLER: usize = 100;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Read clients, jobs and templates.
    JobsRead,
    /// Create clients and value propositions, submit and cancel jobs.
    JobsWrite,
    /// Read events: streams, histories, and the tickets for them.
    EventsRead,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::JobsRead, Self::JobsWrite, Self::EventsRead];

    /// The name in credentials.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JobsRead => "jobs:read",
            Self::JobsWrite => "jobs:write",
            Self::EventsRead => "events:read",
        }
    }

    /// The scope with that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether the set contains the scope.
    pub fn contain(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// All scopes of the set.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.contain(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope.bit()))
    }
}

/// The credentials name too many clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at most {MAX_CLIENTS_PER_CALLER} clients may be named")]
pub struct TooManyClients;

/// The clients whose records a caller may see. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clients(Option<Arc<[ClientId]>>);

impl Clients {
    /// All clients, and records that belong to no client.
    pub const ALL: Self = Self(None);

    /// Only these clients; an empty list gives access to nothing.
    ///
    /// # Errors
    /// When they are more than [`MAX_CLIENTS_PER_CALLER`].
    pub fn only(ids: impl IntoIterator<Item = ClientId>) -> Result<Self, TooManyClients> {
        let mut set = BTreeSet::new();
        for id in ids {
            set.insert(id);
            if set.len() > MAX_CLIENTS_PER_CALLER {
                return Err(TooManyClients);
            }
        }
        Ok(Self(Some(set.into_iter().collect())))
    }

    /// Whether the caller may see everything.
    pub fn are_all(&self) -> bool {
        self.0.is_none()
    }

    /// The named clients, in order; none if the caller may see everything.
    pub fn named(&self) -> Option<&[ClientId]> {
        self.0.as_deref()
    }

    /// Whether a record of that client may be seen. A record without a client is visible only to callers
    /// that see everything.
    pub fn see(&self, client: Option<&ClientId>) -> bool {
        match (&self.0, client) {
            (None, _) => true,
            (Some(named), Some(client)) => named.binary_search(client).is_ok(),
            (Some(_), None) => false,
        }
    }
}

/// The identity of an authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The issuer of its token.
    pub issuer: String,
    /// The token's subject.
    pub subject: String,
}

/// The caller of a request. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    identity: Option<Arc<Identity>>,
    clients: Clients,
    scopes: Scopes,
    ends_at: Option<Timestamp>,
    peer: Option<IpAddr>,
}

impl Caller {
    /// The caller of every request without authentication: it may see and do everything, without expiry.
    pub fn unrestricted() -> Self {
        Self {
            identity: None,
            clients: Clients::ALL,
            scopes: Scopes::all(),
            ends_at: None,
            peer: None,
        }
    }

    /// The same caller, identified only by its client address.
    #[must_use]
    pub fn from_peer(self, peer: IpAddr) -> Self {
        Self {
            peer: Some(peer),
            ..self
        }
    }

    /// A caller whose credentials were checked and are valid until `ends_at`.
    pub fn new(identity: Identity, clients: Clients, scopes: Scopes, ends_at: Timestamp) -> Self {
        Self {
            identity: Some(Arc::new(identity)),
            clients,
            scopes,
            ends_at: Some(ends_at),
            peer: None,
        }
    }

    /// Its identity; none without authentication.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Its client address, if it has no other identity.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// The clients whose records it may see.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// What it may do.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// When its credentials expire; none if it has none and needs none.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.ends_at
    }

    /// Whether its credentials are valid at that moment.
    pub fn counts_at(&self, now: Timestamp) -> bool {
        self.ends_at.is_none_or(|end| now < end)
    }
}

/// What a ticket opens; it opens nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opens {
    /// The stream of one job.
    Job(JobId),
    /// The stream over many jobs.
    ManyJobs,
}

/// Identifies a stream, regardless of its cursor: the SHA-256 of the request's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamDigest(pub [u8; 32]);

/// What a ticket stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The caller that requested the ticket. The ticket gives no more access than the caller has, and for no
    /// longer.
    pub caller: Caller,
    /// What it opens.
    pub opens: Opens,
    /// Until when it opens any stream of that kind.
    pub fresh_until: Timestamp,
    /// The stream that it opened first, and may reopen after that time.
    pub bound_to: Option<StreamDigest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: &str) -> ClientId {
        ClientId::parse(id).expect("an id")
    }

    #[test]
    fn clients_see_what_is_theirs() {
        let (a, b) = (client("a"), client("b"));
        let only_a = Clients::only([a.clone(), a.clone()]).expect("few");
        for (clients, of, seen) in [
            (Clients::ALL, Some(&a), true),
            (Clients::ALL, None, true),
            (only_a.clone(), Some(&a), true),
            (only_a.clone(), Some(&b), false),
            (only_a.clone(), None, false),
            (Clients::only([]).expect("none"), Some(&a), false),
            (Clients::only([]).expect("none"), None, false),
        ] {
            assert_eq!(clients.see(of), seen, "{clients:?} {of:?}");
        }
        assert_eq!(only_a.named().map(<[_]>::len), Some(1));
    }

    #[test]
    fn a_hundred_clients_may_be_named() {
        let ids = |n: usize| (0..n).map(|i| client(&format!("c{i}")));
        assert!(Clients::only(ids(100)).is_ok());
        assert!(Clients::only(ids(100).chain(ids(100))).is_ok());
        assert_eq!(Clients::only(ids(101)), Err(TooManyClients));
    }

    #[test]
    fn scopes_are_a_set() {
        let some: Scopes = [Scope::JobsRead, Scope::EventsRead].into_iter().collect();
        assert!(some.contain(Scope::JobsRead) && !some.contain(Scope::JobsWrite));
        assert_eq!(some.iter().collect::<Scopes>(), some);
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
            assert!(Scopes::all().contain(scope) && !Scopes::default().contain(scope));
        }
        assert_eq!(Scope::parse("jobs:READ"), None);
    }
}
