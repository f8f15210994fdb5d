//! What only the programs know that may read a log: whoever announces its events proves by it that they are in
//! the log.
//!
//! Never in here: a way to print it. It is written where a store keeps the log, and nowhere else.

use std::fmt;
use std::str::FromStr;

/// Random bytes in a log's secret.
pub const SECRET_BYTES: usize = 16;

/// The secret of one epoch of a log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogSecret([u8; SECRET_BYTES]);

impl LogSecret {
    /// A secret from random bytes that the caller provides, which nothing else may be derived from.
    pub fn from_random(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The key for a digest.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a store keeps it: hexadecimal digits, lower case.
    pub fn to_stored(&self) -> String {
        use fmt::Write as _;
        let mut text = String::with_capacity(2 * SECRET_BYTES);
        for byte in self.0 {
            write!(text, "{byte:02x}").expect("a string takes all");
        }
        text
    }
}

/// Text that is not a secret as a store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a log's secret")]
pub struct InvalidSecret;

impl FromStr for LogSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let is_hex = text.bytes().all(|b| b.is_ascii_hexdigit());
        if text.len() != 2 * SECRET_BYTES || !is_hex {
            return Err(InvalidSecret);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| InvalidSecret)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl fmt::Debug for LogSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogSecret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_stored_and_never_printed() {
        let secret = LogSecret::from_random(std::array::from_fn(|n| n as u8 * 16 + 3));
        let stored = secret.to_stored();
        assert_eq!(stored, "03132333435363738393a3b3c3d3e3f3");
        assert_eq!(stored.parse(), Ok(secret));
        assert_eq!(format!("{secret:?}"), "LogSecret(hidden)");
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "0313",
            "+3132333435363738393a3b3c3d3e3f3",
            "g3132333435363738393a3b3c3d3e3f3",
        ] {
            assert_eq!(text.parse::<LogSecret>(), Err(InvalidSecret), "{text}");
        }
    }
}
