//! Which pages may read the answers: an allow-list, by default whatever was loaded from this machine.

use std::str::FromStr;
use std::time::Duration;

use http::{HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::stream::LAST_EVENT_ID;
use crate::idempotency_key;

/// How long a browser may remember the answer to a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_hours(1);

/// The origins whose pages may read the answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origins {
    /// `localhost`, `127.0.0.1` and `[::1]`, on any port, with `http` or `https`.
    #[default]
    Loopback,
    /// These, and no other.
    Only(Vec<HeaderValue>),
    /// Every one, but never together with credentials.
    Any,
}

/// Text that is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "each must be an origin like `https://app.example.com` (scheme, host, port and nothing else), or `*` alone"
)]
pub struct InvalidOrigin;

impl FromStr for Origins {
    type Err = InvalidOrigin;

    /// Reads a comma-separated list.
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        text.split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty())
            .map(origin)
            .collect::<Result<Vec<_>, _>>()
            .map(Self::Only)
    }
}

/// One origin as browsers write it.
fn origin(text: &str) -> Result<HeaderValue, InvalidOrigin> {
    let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let uri: Uri = text.parse().map_err(|_| InvalidOrigin)?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority))
            if !authority.as_str().contains(['@', '*'])
                && text.split_once("://").map(|(_, rest)| rest) == Some(authority.as_str()) =>
        {
            HeaderValue::from_str(&text).map_err(|_| InvalidOrigin)
        }
        _ => Err(InvalidOrigin),
    }
}

impl Origins {
    /// Whether pages of that origin may read the answers.
    pub(crate) fn allow(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Loopback => is_loopback(origin),
            Self::Only(origins) => origins.contains(origin),
            // Everybody's pages may read what everybody may read, and use nobody's cookies.
            Self::Any => false,
        }
    }

    /// The layer that answers preflights and marks answers.
    pub(super) fn into_layer(self) -> CorsLayer {
        let credentials = self != Self::Any;
        let allowed = match self {
            Self::Loopback => AllowOrigin::predicate(|origin, _| is_loopback(origin)),
            Self::Only(origins) => AllowOrigin::list(origins),
            Self::Any => AllowOrigin::from(Any),
        };
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_credentials(credentials)
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CACHE_CONTROL,
                header::CONTENT_TYPE,
                idempotency_key::HEADER,
                LAST_EVENT_ID,
            ])
            .expose_headers([
                header::LOCATION,
                header::RETRY_AFTER,
                idempotency_key::REPLAYED,
            ])
            .vary([header::ORIGIN])
            .max_age(PREFLIGHT_AGE)
    }
}

fn is_loopback(origin: &HeaderValue) -> bool {
    let is_loopback = |text: &str| {
        let authority = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"))?;
        let port = ["localhost", "127.0.0.1", "[::1]"]
            .iter()
            .find_map(|host| authority.strip_prefix(host))?;
        let is_port =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        Some(port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
    };
    origin.to_str().ok().and_then(is_loopback).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_origins() {
        for (text, allowed) in [
            ("http://localhost", true),
            ("http://localhost:3000", true),
            ("https://127.0.0.1:8443", true),
            ("http://[::1]:5173", true),
            ("http://localhost.example.com", false),
            ("http://localhost:3000.example.com", false),
            ("http://localhost:", false),
            ("http://127.0.0.1@example.com", false),
            ("ftp://localhost", false),
            ("null", false),
        ] {
            assert_eq!(
                is_loopback(&HeaderValue::from_static(text)),
                allowed,
                "{text}"
            );
        }
    }

    #[test]
    fn lists_of_origins() {
        let only = |origins: &[&'static str]| {
            Ok(Origins::Only(
                origins
                    .iter()
                    .map(|o| HeaderValue::from_static(o))
                    .collect(),
            ))
        };
        for (text, expected) in [
            ("*", Ok(Origins::Any)),
            ("https://a.example", only(&["https://a.example"])),
            (
                " https://A.example/ , http://b.example:8080,",
                only(&["https://a.example", "http://b.example:8080"]),
            ),
            ("*, https://a.example", Err(InvalidOrigin)),
            ("https://*.example", Err(InvalidOrigin)),
            ("https://a.example/path", Err(InvalidOrigin)),
            ("https://a.example?q", Err(InvalidOrigin)),
            ("https://user@a.example", Err(InvalidOrigin)),
            ("a.example", Err(InvalidOrigin)),
            ("null", Err(InvalidOrigin)),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
    }
}
