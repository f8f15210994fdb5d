//! The JSON contract, both ways: strict in what we send, tolerant in what existing programs send.
//!
//! The only mapping layer there is. Never in here: IO, a clock, a decision about what an event means
//! (that is the domain's).

pub mod document;
pub mod draft;
pub mod event;
mod fields;
pub mod grant;
pub mod job;
pub mod record;
pub mod request;
pub mod snapshot;
pub mod sse;
pub mod strict;
mod template;
pub mod time;

/// Bytes that are not what they should be; says what is wrong, never quotes them at length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Serialises what has string keys and no fallible parts.
pub(crate) fn to_bytes(value: &impl serde::Serialize) -> bytes::Bytes {
    serde_json::to_vec(value)
        .expect("maps with string keys always serialise")
        .into()
}
