//! A JSON object that is kept as it came. Never in here: a look into it.

use std::sync::Arc;

/// A JSON object that is the caller's own: kept and given back as it came, never looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata(Arc<str>);

impl Metadata {
    /// Wraps the text of a JSON object; `wire` sees to it that it is one.
    pub fn from_json(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The object's JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self::from_json("{}")
    }
}
