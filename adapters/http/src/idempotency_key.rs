//! The `Idempotency-Key` header: a caller's promise that two submissions with one key are one.

use axum::extract::FromRequestParts;
use http::HeaderName;
use http::request::Parts;

use crate::problem::Problem;

/// The header's name.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

const LENGTH_MAX: usize = 255;

/// The key, if the request has one.
#[derive(Debug)]
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut keys = parts.headers.get_all(HEADER).iter();
        let Some(key) = keys.next() else {
            return Ok(Self(None));
        };
        let bytes = key.as_bytes();
        let is_key = (1..=LENGTH_MAX).contains(&bytes.len())
            && bytes.iter().all(u8::is_ascii_graphic)
            && keys.next().is_none();
        match str::from_utf8(bytes) {
            Ok(key) if is_key => Ok(Self(Some(key.to_owned()))),
            _ => Err(Problem::invalid_field(
                "Idempotency-Key",
                "must be sent once, with 1 to 255 visible ASCII characters",
            )),
        }
    }
}
