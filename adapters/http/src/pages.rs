//! What pages in a browser may do where nobody brings credentials. There the address is the only wall, and
//! a browser stands behind it: it sends a page's plain `POST` to any address without asking (CSRF), and a
//! page whose name was made to lead here counts as one of ours (DNS rebinding).
//!
//! Never in here: who a caller is. Programs other than browsers send what they like.

use std::str::FromStr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::origins::Origins;
use crate::problem::Code;

/// Under which names a listener is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Hosts {
    /// Any: whoever reaches it from elsewhere does so by a name of its own.
    #[default]
    Any,
    /// `localhost`, any address, and these names, on any port. (Only a name can be made to lead
    /// elsewhere.)
    Loopback(Vec<String>),
}

/// Text that is no name of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("each must be a host's name or address without a port, or `*` alone")]
pub struct InvalidHost;

impl FromStr for Hosts {
    type Err = InvalidHost;

    /// Reads a comma-separated list.
    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let is_name = |name: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            name.bytes().all(plain) || is_ipv6(name)
        };
        let names = names.map(|name| is_name(name).then(|| name.to_ascii_lowercase()));
        names
            .collect::<Option<_>>()
            .map(Self::Loopback)
            .ok_or(InvalidHost)
    }
}

fn is_ipv6(name: &str) -> bool {
    let inside = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inside.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

impl Hosts {
    fn allow(&self, host: &str) -> bool {
        let Self::Loopback(more) = self else {
            return true;
        };
        // An IPv6 address has colons of its own.
        let end = host.rfind(':').filter(|at| !host[*at..].contains(']'));
        let name = &host[..end.unwrap_or(host.len())];
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        name.is_empty()
            || is("localhost")
            || name.parse::<std::net::Ipv4Addr>().is_ok()
            || is_ipv6(name)
            || more.iter().any(|known| is(known))
    }
}

/// What a listener without credentials lets pages do.
#[derive(Debug, Clone)]
pub(crate) struct Rules(Arc<(Hosts, Origins)>);

impl Rules {
    pub(crate) fn new(hosts: Hosts, origins: Origins) -> Self {
        Self(Arc::new((hosts, origins)))
    }

    /// Why a request is refused, in words for the caller; none: it isn't.
    pub(crate) fn objection(
        &self,
        method: &Method,
        target: &Uri,
        headers: &HeaderMap,
    ) -> Option<(Code, &'static str)> {
        let (hosts, origins) = &*self.0;
        // A target in absolute form counts before the header (RFC 9112 §3.2.2). A bare word is read as an
        // authority, too, but has no scheme and names no host.
        let absolute = target.authority().filter(|_| target.scheme().is_some());
        if absolute.is_some_and(|authority| !hosts.allow(authority.as_str())) {
            let words = "the target names another host than this one: see ALLOWED_HOSTS";
            return Some((Code::MisdirectedRequest, words));
        }
        let host = headers.get(header::HOST).map(HeaderValue::to_str);
        // HTTP/1.0 has none; what is no text was refused before.
        let host = host.and_then(Result::ok).unwrap_or_default();
        if !hosts.allow(host) {
            let words = "this listener is for this machine: ask it as localhost, or name this host in ALLOWED_HOSTS";
            return Some((Code::Forbidden, words));
        }
        let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let origin = headers.get(header::ORIGIN).filter(|_| !is_read)?;
        let is_own = origin.to_str().is_ok_and(|origin| {
            let rest = origin.split_once("://").map(|(_, authority)| authority);
            rest.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
        });
        let may = is_own || *origins == Origins::Any || origins.allow(origin);
        let words = "pages of this origin may change nothing here: see CORS_ORIGINS";
        (!may).then_some((Code::Forbidden, words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_by_name() {
        let own = Hosts::Loopback(vec!["conch.example".to_owned()]);
        for (host, allowed) in [
            ("localhost", true),
            ("LocalHost:16000", true),
            ("127.0.0.1:16000", true),
            ("[::1]:16000", true),
            ("[::1]", true),
            ("", true),
            ("conch.example:443", true),
            ("rebind.example:16000", false),
            ("localhost.example", false),
            ("127.0.0.1.example:80", false),
            ("192.168.0.7:16000", true),
            ("[fe80::1]:16000", true),
            ("192.168.0.7.example", false),
        ] {
            assert_eq!(own.allow(host), allowed, "{host}");
            assert!(Hosts::Any.allow(host));
        }
    }

    #[test]
    fn lists_of_hosts() {
        assert_eq!("*".parse(), Ok(Hosts::Any));
        let named = ["a.example".to_owned(), "[fe80::1]".to_owned()];
        assert_eq!(
            " A.example, [fe80::1],".parse(),
            Ok(Hosts::Loopback(named.to_vec()))
        );
        for text in ["a.example:80", "https://a.example", "*,a", "a b", "[x]"] {
            assert_eq!(text.parse::<Hosts>(), Err(InvalidHost), "{text}");
        }
    }

    #[test]
    fn pages_of_elsewhere_change_nothing() {
        let rules = |origins| Rules::new(Hosts::Any, origins);
        let only = Origins::Only(vec![HeaderValue::from_static("https://app.example")]);
        for (rules, method, origin, allowed) in [
            (rules(Origins::Loopback), Method::POST, None, true),
            (
                rules(Origins::Loopback),
                Method::POST,
                Some("http://localhost:3000"),
                true,
            ),
            (
                rules(Origins::Loopback),
                Method::POST,
                Some("http://me.example:1"),
                true,
            ),
            (
                rules(Origins::Loopback),
                Method::POST,
                Some("https://evil.example"),
                false,
            ),
            (
                rules(Origins::Loopback),
                Method::DELETE,
                Some("null"),
                false,
            ),
            (
                rules(Origins::Loopback),
                Method::PATCH,
                Some("http://me.example"),
                false,
            ),
            (
                rules(Origins::Loopback),
                Method::GET,
                Some("https://evil.example"),
                true,
            ),
            (
                rules(Origins::Loopback),
                Method::OPTIONS,
                Some("https://evil.example"),
                true,
            ),
            (
                rules(only.clone()),
                Method::POST,
                Some("https://app.example"),
                true,
            ),
            (
                rules(only),
                Method::POST,
                Some("http://localhost:3000"),
                false,
            ),
            (
                rules(Origins::Any),
                Method::POST,
                Some("https://evil.example"),
                true,
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("me.example:1"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            let objection = rules.objection(&method, &Uri::from_static("/"), &headers);
            assert_eq!(objection.is_none(), allowed, "{method} {origin:?}");
        }
    }
}
