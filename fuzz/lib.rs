//! The claims about any input, as the fuzz targets call them. They live beside what they are about, where
//! every test run tries them, too; nothing in here adds one.

#[path = "../crates/wire/tests/claims/mod.rs"]
mod claims;

/// Claims about what comes over a wire or out of a store.
pub mod wire {
    /// Ids, cursors and times.
    pub fn identifiers(bytes: &[u8]) {
        crate::claims::identifiers(&String::from_utf8_lossy(bytes));
    }

    /// Messages of a channel, one a line.
    pub fn events(bytes: &[u8]) {
        crate::claims::events(bytes);
    }

    /// Cached results and upstream's job objects.
    pub fn blob(bytes: &[u8]) {
        crate::claims::blob(bytes);
    }

    /// Records of a store.
    pub fn records(bytes: &[u8]) {
        crate::claims::records(bytes);
    }

    /// Request bodies.
    pub fn requests(bytes: &[u8]) {
        crate::claims::requests(bytes);
    }

    /// Data of an event stream.
    pub fn one_event(bytes: &[u8]) {
        crate::claims::one_event(bytes);
    }
}
