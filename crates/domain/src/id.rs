//! Identifiers as newtypes that parse at the edge; the inside never checks them again.
//!
//! One grammar serves them all (contract §1): 1–64 characters of `[A-Za-z0-9_-]`. That keeps an
//! id safe inside a Redis key, a channel name, a URL path and an SSE line without any escaping.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

/// Longest id that is accepted, in bytes (all are ASCII).
const MAX_ID_LENGTH: usize = 64;

/// Text that is not a valid id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to 64 characters of A-Z a-z 0-9 _ -{reserved}")]
pub struct InvalidId {
    what: &'static str,
    reserved: &'static str,
}

fn is_token(text: &str) -> bool {
    (1..=MAX_ID_LENGTH).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, reserved: [$($reserved:literal),*], $note:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses text that came from outside.
            ///
            /// # Errors
            /// When it breaks the grammar above or is a reserved word.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let reserved: &[&str] = &[$($reserved),*];
                if is_token(text) && !reserved.contains(&text) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(InvalidId { what: $what, reserved: $note })
                }
            }

            /// Wraps a UUID that the caller generated.
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(Arc::from(uuid.to_string()))
            }

            /// The text as used in JSON, keys and paths.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// A job. `all` is the global channel and `subscribe` a route, so neither is a valid job id.
    JobId, "a job id", reserved: ["all", "subscribe"], ", and not `all` or `subscribe`"
);
id!(
    /// A client: a customer organisation.
    ClientId, "a client id", reserved: [], ""
);
id!(
    /// A value proposition of a client.
    ValuePropositionId, "a value proposition id", reserved: [], ""
);
id!(
    /// A dashboard template.
    TemplateId, "a template id", reserved: [], ""
);
id!(
    /// One event of one job, unique within the job: it makes an append idempotent. For an event of ours a
    /// UUID, for an external one the digest of its bytes.
    EventId, "an event id", reserved: [], ""
);
id!(
    /// The token of a worker's lease on a job; it fences each of the worker's writes. Known only to that
    /// worker.
    LeaseToken, "a lease token", reserved: [], ""
);

/// Random bytes in an epoch.
pub const EPOCH_BYTES: usize = 4;

/// The epoch of a job's log that an event belongs to: eight hexadecimal digits. A log that replaces a lost
/// one has another epoch, so a cursor into the lost log is recognised (I5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch([u8; EPOCH_BYTES]);

impl Epoch {
    /// An epoch from random bytes that the caller provides.
    pub fn from_random(bytes: [u8; EPOCH_BYTES]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Epoch {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId {
            what: "an epoch",
            reserved: " (eight hexadecimal digits, lower case)",
        };
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != EPOCH_BYTES * 2 || !text.bytes().all(lower_hex) {
            return Err(invalid);
        }
        let number = u32::from_str_radix(text, 16).map_err(|_| invalid)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The largest sequence number of a log: beyond it a double, which browsers and scripts use for numbers,
/// can't represent every integer.
const MAX_SEQUENCE: u64 = (1 << 53) - 1;

/// A position in a job's log: the event number `sequence` of `epoch`. Written `5f3a9c1e-10`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Position {
    /// The epoch of the log.
    pub epoch: Epoch,
    /// 1, 2, 3 … without gaps; 0 is the position before the first event.
    pub sequence: u64,
}

impl Position {
    /// The position of the next event.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            sequence: self.sequence + 1,
            ..self
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

impl FromStr for Position {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId {
            what: "a cursor",
            reserved: " (<epoch>-<sequence>)",
        };
        let (epoch, sequence) = text.split_once('-').ok_or_else(|| invalid.clone())?;
        // `u64::from_str` accepts a leading `+` and leading zeros, which our ids never have.
        let padded = sequence.len() > 1 && sequence.starts_with('0');
        if padded || !sequence.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid);
        }
        Ok(Self {
            epoch: epoch.parse()?,
            sequence: sequence
                .parse()
                .ok()
                .filter(|sequence| *sequence <= MAX_SEQUENCE)
                .ok_or(invalid)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_a_job_id() {
        let longest = "x".repeat(64);
        for good in ["a", "A-1_b", "0197-abc", longest.as_str(), "ALL"] {
            assert!(JobId::parse(good).is_ok(), "{good}");
        }
        let too_long = "x".repeat(65);
        for bad in [
            "",
            "all",
            "subscribe",
            "../x",
            "a.b",
            "a b",
            "a:b",
            "{t}",
            "*",
            "a\0",
            "a\r\nX",
            "\u{202e}",
            "é",
            too_long.as_str(),
        ] {
            assert!(JobId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(ClientId::parse("all").is_ok());
    }

    #[test]
    fn a_position_reads_back_as_written() {
        let position: Position = "5f3a9c1e-10".parse().expect("well-formed");
        assert_eq!(position.sequence, 10);
        assert_eq!(position.to_string(), "5f3a9c1e-10");
        assert_eq!(position.next().to_string(), "5f3a9c1e-11");
        assert!("5f3a9c1e-9007199254740991".parse::<Position>().is_ok());
        for bad in [
            "",
            "abc",
            "-1",
            "5f3a9c1e",
            "5f3a9c1e-",
            "5f3a9c1e--1",
            "5f3a9c1e-+1",
            "5f3a9c1e-01",
            "5F3A9C1E-1",
            "5f3a9c1-1",
            "5f3a9c1e-9007199254740992",
            "5f3a9c1e-18446744073709551615",
            "5f3a9c1e-18446744073709551616",
            "lost-0",
            "5f3a9c1e-1 ",
        ] {
            assert!(bad.parse::<Position>().is_err(), "{bad:?}");
        }
    }
}
