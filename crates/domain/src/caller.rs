//! Who asks at the edge, which clients they may see and what they may do, as their credentials said.
//!
//! Parsed once, where the credentials are checked; from there on only carried along. Never in here: a
//! token, a header, a decision about one record (that is [`Clients::see`], asked by the use cases).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{ClientId, JobId, Timestamp};

/// Clients that one caller's credentials may name.
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

    /// Whether it is among them.
    pub fn contain(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Each of them.
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

/// More clients than credentials may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at most {MAX_CLIENTS_PER_CALLER} clients may be named")]
pub struct TooManyClients;

/// Whose records somebody may see. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clients(Option<Arc<[ClientId]>>);

impl Clients {
    /// Everybody's, also what is nobody's.
    pub const ALL: Self = Self(None);

    /// These and no other; naming none shows nothing.
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

    /// Whether nothing is hidden.
    pub fn are_all(&self) -> bool {
        self.0.is_none()
    }

    /// Those that are named, in order; none when nothing is hidden.
    pub fn named(&self) -> Option<&[ClientId]> {
        self.0.as_deref()
    }

    /// Whether what belongs to that client may be seen. What belongs to none is seen only by who
    /// sees all.
    pub fn see(&self, client: Option<&ClientId>) -> bool {
        match (&self.0, client) {
            (None, _) => true,
            (Some(named), Some(client)) => named.binary_search(client).is_ok(),
            (Some(_), None) => false,
        }
    }
}

/// By whom, and as whom, a caller was vouched for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Who vouched.
    pub issuer: String,
    /// For whom.
    pub subject: String,
}

/// Somebody who asks. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    identity: Option<Arc<Identity>>,
    clients: Clients,
    scopes: Scopes,
    ends_at: Option<Timestamp>,
    peer: Option<IpAddr>,
}

impl Caller {
    /// The one that everybody is where nobody has to say who they are: may see and do all, for ever.
    pub fn anybody() -> Self {
        Self {
            identity: None,
            clients: Clients::ALL,
            scopes: Scopes::all(),
            ends_at: None,
            peer: None,
        }
    }

    /// The same, known by nothing but the address that it comes from.
    #[must_use]
    pub fn from_peer(self, peer: IpAddr) -> Self {
        Self {
            peer: Some(peer),
            ..self
        }
    }

    /// One whose credentials were checked and count until `ends_at`.
    pub fn new(identity: Identity, clients: Clients, scopes: Scopes, ends_at: Timestamp) -> Self {
        Self {
            identity: Some(Arc::new(identity)),
            clients,
            scopes,
            ends_at: Some(ends_at),
            peer: None,
        }
    }

    /// Who they are; none where nobody has to say.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Where they come from, if they are known by that alone.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Whose records they may see.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// What they may do.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// From when on their credentials count no more; none: they have none, and need none.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.ends_at
    }

    /// Whether their credentials count at that moment.
    pub fn counts_at(&self, now: Timestamp) -> bool {
        self.ends_at.is_none_or(|end| now < end)
    }
}

/// What a ticket opens, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opens {
    /// The stream of one job.
    Job(JobId),
    /// The stream over many jobs.
    ManyJobs,
}

/// Which stream it is, cursors aside: the SHA-256 of what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamDigest(pub [u8; 32]);

/// What a ticket stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whoever got the ticket; it opens as much as they may see, and no longer.
    pub caller: Caller,
    /// What for.
    pub opens: Opens,
    /// Until when it opens any stream of that kind.
    pub fresh_until: Timestamp,
    /// The stream that it opened first, which it may open again after that.
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
