//! The errors of a store that can't be out of reach.

use conch_ports::{Error, ErrorKind};

/// What this store wrote doesn't read back: a defect, never an input.
pub(crate) fn corrupt(operation: &'static str) -> impl Fn(conch_wire::Invalid) -> Error {
    move |invalid| {
        Error::new(
            ErrorKind::Internal,
            operation,
            format!("a record in memory doesn't read back: {invalid}"),
        )
    }
}
