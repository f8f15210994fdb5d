//! The `Idempotency-Key` header: a caller's promise that two submissions with one key are one.

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderName, HeaderValue};

use crate::problem::Problem;

/// The header's name.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Says of an answer that it repeats an earlier one.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const LENGTH_MAX: usize = 255;

/// The key, if the request has one.
#[derive(Debug)]
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

/// The key that these bytes are, if they are one.
pub(crate) fn parse(bytes: &[u8]) -> Option<&str> {
    let is_key = (1..=LENGTH_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    str::from_utf8(bytes).ok().filter(|_| is_key)
}

/// Marks an answer that repeats an earlier one.
pub(crate) fn replayed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut keys = parts.headers.get_all(HEADER).iter();
        let Some(key) = keys.next() else {
            return Ok(Self(None));
        };
        match parse(key.as_bytes()) {
            Some(key) if keys.next().is_none() => Ok(Self(Some(key.to_owned()))),
            _ => Err(Problem::invalid_field(
                "Idempotency-Key",
                "must be sent once, with 1 to 255 visible ASCII characters",
            )),
        }
    }
}
