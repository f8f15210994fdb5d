//! The JSON contract, both ways: strict in what we send, tolerant in what existing programs send.
//!
//! The only mapping layer there is. Never in here: IO, a clock, a decision about what an event means
//! (that is the domain's).

pub mod announcement;
pub mod document;
pub mod draft;
pub mod envelope;
pub mod event;
mod fields;
pub mod grant;
pub mod job;
mod line_breaks;
pub mod record;
pub mod request;
pub mod snapshot;
pub mod sse;
pub mod strict;
mod template;
pub mod time;

use std::borrow::Cow;

pub use template::schema;

/// Bytes that are not what they should be; says what is wrong, never quotes them at length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Serialises what has string keys and no fallible parts, on one line for every line reader.
pub(crate) fn to_bytes(value: &(impl serde::Serialize + ?Sized)) -> bytes::Bytes {
    let json = serde_json::to_vec(value).expect("maps with string keys always serialise");
    let escaped = match line_breaks::escaped(&json) {
        Cow::Borrowed(_) => None,
        Cow::Owned(escaped) => Some(escaped),
    };
    escaped.unwrap_or(json).into()
}
