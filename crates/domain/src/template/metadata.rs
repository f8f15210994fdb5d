//! A JSON object that is stored unchanged. Never in here: parsing it.

use std::sync::Arc;

/// A JSON object that belongs to the caller: stored and returned unchanged, never parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata(Arc<str>);

impl Metadata {
    /// Wraps the text of a JSON object; `wire` ensures that it is one.
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
