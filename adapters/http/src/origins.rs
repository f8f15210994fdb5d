//! Origins of pages: which may read the answers.
//!
//! Never in here: the headers that say so to a browser (`mare/cors.rs`).

use std::str::FromStr;

use http::{HeaderValue, Uri};

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
}

/// Whether it is a page of this machine.
pub(crate) fn is_loopback(origin: &HeaderValue) -> bool {
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
