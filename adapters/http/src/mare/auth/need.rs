//! What a method of a route needs of its caller.

use conch_domain::Scope;

/// What a method of a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mare) enum Need {
    /// Nothing.
    Nothing,
    /// Credentials, whatever they are for.
    Credentials,
    /// A token in the header, and no cookie in its place.
    Bearer,
    /// Credentials with that scope.
    Scope(Scope),
    /// Credentials for a stream: with its scope, or a ticket for it.
    Stream,
}

impl Need {
    /// The scope, if it takes one.
    pub(in crate::mare) fn scope(self) -> Option<Scope> {
        match self {
            Self::Nothing | Self::Credentials | Self::Bearer => None,
            Self::Scope(scope) => Some(scope),
            Self::Stream => Some(Scope::EventsRead),
        }
    }
}
