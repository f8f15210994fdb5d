//! Events as JSON lines. Our own are written field by field; external ones keep every field they came
//! with and get those that they lack.
//!
//! Never in here: what an event does to its job. That is the domain's.

mod glance;
mod read;
mod write;

use serde_json::Value;

pub(crate) use glance::event_type;
pub use glance::{Glance, glance, is_line, is_none_of};
pub use read::{Incoming, MAX_EVENT_BYTES, decode};
pub use write::encode;

use crate::fields::Object;

fn put(object: &mut Object, name: &str, value: impl Into<Value>) {
    object.insert(name.to_owned(), value.into());
}
