//! Templates in JSON: as everybody sees them (`body`), as generators write them (`read` with `reader`, out of the text
//! found by `answer`), and what JSON Schema says of both (`schema`).
//!
//! Never in here: a rule of the domain's said a second time; the schema is made from the domain's tables.

mod answer;
mod body;
mod read;
mod reader;
mod rules;
pub mod schema;

pub(crate) use answer::find_object;
pub(crate) use body::{draft as write_draft, generated, object};
pub(crate) use read::{config_of, draft};
