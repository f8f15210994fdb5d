//! Who asks: credentials in, a [`Caller`](conch_domain::Caller) out, before any handler runs.
//!
//! ```text
//!   Authorization: Bearer ─┐
//!   ?ticket= (streams)     ├─► Guard ─► Caller ─► has it the scope? ─► handler
//!   Cookie (GET, HEAD)     ┘      └─► 401                └─► 403
//! ```
//!
//! The only place that knows what a token is. Never in here: whether a record may be seen. A token, a
//! ticket and a cookie appear in no log, no error and no `Debug`.

#[cfg(any(test, fuzzing))]
pub(crate) mod claims;
mod crypto;
mod gate;
mod guard;
mod key_source;
mod keys;
mod need;
mod session;
mod ticket;
mod token;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use key_source::{KeySet, Keys, read_file};
use token::Verifier;

pub(super) use gate::{Route, Who, gated};
pub(super) use guard::{Guard, Held};
pub(super) use need::Need;
pub(super) use session::{begin, end};
pub(super) use ticket::{for_job, for_many};

/// How tokens are signed; exactly one is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256, by a shared secret.
    Hs256,
    /// RSA with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// The name in a token's head.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Hs256 => Self::HS256,
            Algorithm::Rs256 => Self::RS256,
            Algorithm::Es256 => Self::ES256,
            Algorithm::EdDsa => Self::EdDSA,
        }
    }
}

/// What signatures are checked with.
#[derive(Clone)]
pub enum KeySource {
    /// A shared secret, for HS256.
    Secret(String),
    /// A file with a public key as PEM.
    PublicKeyFile(PathBuf),
    /// A file with a JSON Web Key Set; read again when it changes.
    KeySetFile(PathBuf),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret([redacted])",
            Self::PublicKeyFile(_) => "PublicKeyFile(…)",
            Self::KeySetFile(_) => "KeySetFile(…)",
        })
    }
}

/// The name of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieName(String);

impl CookieName {
    /// The name.
    pub(in crate::mare) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text that names no cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters of A-Z a-z 0-9 _ -")]
pub struct InvalidCookieName;

impl FromStr for CookieName {
    type Err = InvalidCookieName;

    fn from_str(text: &str) -> Result<Self, InvalidCookieName> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidCookieName)
        }
    }
}

/// What the edge asks of its callers' tokens.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How they are signed.
    pub algorithm: Algorithm,
    /// By whose key.
    pub key: KeySource,
    /// Their `iss`.
    pub issuer: String,
    /// What their `aud` must name.
    pub audience: String,
    /// The claim that says whose records they are for.
    pub clients_claim: String,
    /// The cookie that may hold one, if any.
    pub cookie: Option<CookieName>,
}

/// A key that can't work, in words that finish a sentence about its setting; never its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidKey(&'static str);

/// Settings that can work, with their keys read; a cheap handle.
#[derive(Clone)]
pub struct Jwt {
    verifier: Arc<Verifier>,
    cookie: Option<CookieName>,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("cookie", &self.cookie)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads the keys and sees that they fit.
    ///
    /// # Errors
    /// When they don't, or can't be read.
    pub fn build(self) -> Result<Jwt, InvalidKey> {
        let algorithm = self.algorithm.into();
        let keys = match self.key {
            KeySource::Secret(secret) => {
                Keys::One(keys::from_secret(algorithm, secret.as_bytes()).map_err(InvalidKey)?)
            }
            KeySource::PublicKeyFile(path) => {
                let pem = read_file(&path).map_err(InvalidKey)?;
                Keys::One(keys::from_pem(algorithm, &pem).map_err(InvalidKey)?)
            }
            KeySource::KeySetFile(path) => {
                Keys::Set(KeySet::read(algorithm, path).map_err(InvalidKey)?)
            }
        };
        let verifier = Verifier::new(
            self.algorithm,
            keys,
            self.issuer,
            &self.audience,
            self.clients_claim,
        );
        Ok(Jwt {
            verifier: Arc::new(verifier),
            cookie: self.cookie,
        })
    }
}
