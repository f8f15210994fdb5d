//! What the gateway needs to know, and the one place where it is checked.
//!
//! Never in here: reading the environment, or a secret in a `Debug` or `Display`.

use std::fmt;
use std::time::Duration;

use reqwest::Url;

/// Most addresses that are tried in turn.
const MAX_ADDRESSES: usize = 16;

/// A setting that can't work; says which and why, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// The bearer between Mare and Triton. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Checks a token that came from outside.
    ///
    /// # Errors
    /// When it is empty or has characters that no HTTP header carries.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                "the token must be visible ASCII without spaces",
            ))
        }
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Certificates of authorities.
#[derive(Clone)]
pub struct Authorities(Vec<reqwest::Certificate>);

impl Authorities {
    /// Reads PEM.
    ///
    /// # Errors
    /// When there is no certificate in it, or one that can't be read.
    pub fn parse(pem: &[u8]) -> Result<Self, Invalid> {
        let certificates = reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(Invalid::new(
                "must name a file with certificates of authorities, as PEM",
            ));
        }
        Ok(Self(certificates))
    }
}

/// How Triton is reached. Every field has a default that suits a service in the same network.
#[derive(Clone)]
pub struct Settings {
    /// Where Triton is, tried in turn.
    pub(crate) addresses: Vec<Url>,
    /// Sent as bearer with every call.
    pub token: Option<Token>,
    /// Who signs the certificates of `https` addresses; none: the system's authorities.
    pub authorities: Option<Authorities>,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Until one try of a read is given up and the next address is asked.
    pub try_timeout: Duration,
    /// Until a whole call ends, all its tries and pauses included.
    pub call_timeout: Duration,
    /// Tries of a read, at least 1; a try goes round all addresses.
    pub tries: usize,
    /// Pause before the second try; doubled for each further one, up to as much again added by chance.
    pub backoff: Duration,
    /// Most bytes of an answer.
    pub response_limit: usize,
    /// Failures in a row after which an address is left alone, at least 1.
    pub breaker_failures: u32,
    /// For how long.
    pub breaker_cool_down: Duration,
}

impl Settings {
    /// Settings with defaults for a comma-separated list of base addresses.
    ///
    /// # Errors
    /// When there is none, there are more than 16, or one is no `http` or `https` address.
    pub fn new(addresses: &str) -> Result<Self, Invalid> {
        let addresses = addresses
            .split(',')
            .map(str::trim)
            .filter(|address| !address.is_empty())
            .map(parse_address)
            .collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
            return Err(Invalid::new(format!(
                "needs 1 to {MAX_ADDRESSES} addresses"
            )));
        }
        Ok(Self {
            addresses,
            token: None,
            authorities: None,
            connect_timeout: Duration::from_secs(1),
            try_timeout: Duration::from_secs(2),
            call_timeout: Duration::from_secs(5),
            tries: 3,
            backoff: Duration::from_millis(100),
            response_limit: 8 * 1024 * 1024,
            breaker_failures: 5,
            breaker_cool_down: Duration::from_secs(5),
        })
    }

    /// Whether an address is spoken to over TLS.
    pub fn uses_tls(&self) -> bool {
        self.addresses.iter().any(|a| a.scheme() == "https")
    }

    /// Whether every address is this machine's own.
    pub fn is_loopback(&self) -> bool {
        self.addresses.iter().all(|address| {
            let host = address.host_str().unwrap_or_default();
            let ip = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost"
                || ip
                    .parse()
                    .is_ok_and(|ip: std::net::IpAddr| ip.to_canonical().is_loopback())
        })
    }

    /// Whether an address has a user or a password in it.
    pub fn has_credentials(&self) -> bool {
        self.addresses.iter().any(has_credentials)
    }

    /// What speaks HTTP, once the settings make sense.
    pub(crate) fn client(&self) -> Result<reqwest::Client, Invalid> {
        let waits = [self.connect_timeout, self.try_timeout, self.call_timeout];
        if waits.iter().any(Duration::is_zero) {
            return Err(Invalid::new("the time limits must be longer than 0"));
        }
        if self.tries == 0 || self.breaker_failures == 0 || self.response_limit == 0 {
            return Err(Invalid::new(
                "tries, breaker failures and response limit must be at least 1",
            ));
        }
        if self.token.is_some() && self.has_credentials() {
            return Err(Invalid::new(
                "an address has credentials and a token is set: use one of the two",
            ));
        }
        let mut client = reqwest::Client::builder()
            .connect_timeout(self.connect_timeout)
            // A redirect would take the bearer along and hide a wrong address.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            // Below the five seconds after which uvicorn closes: a write must not meet a connection
            // that is just being shut.
            .pool_idle_timeout(Duration::from_secs(4))
            .tcp_nodelay(true)
            .user_agent(concat!("conch/", env!("CARGO_PKG_VERSION")));
        if !self.uses_tls() {
            // Without it a machine that has no root certificates couldn't even speak plain HTTP.
            client = client.tls_certs_only([]);
        } else if let Some(authorities) = &self.authorities {
            client = client.tls_certs_only(authorities.0.clone());
        }
        client
            .build()
            .map_err(|e| Invalid::new(format!("no HTTP client can be made: {e}")))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(label).collect();
        f.debug_struct("Settings")
            .field("addresses", &addresses)
            .field("token", &self.token)
            .field("authorities", &self.authorities.as_ref().map(|a| a.0.len()))
            .field("connect_timeout", &self.connect_timeout)
            .field("try_timeout", &self.try_timeout)
            .field("call_timeout", &self.call_timeout)
            .field("tries", &self.tries)
            .field("backoff", &self.backoff)
            .field("response_limit", &self.response_limit)
            .field("breaker_failures", &self.breaker_failures)
            .field("breaker_cool_down", &self.breaker_cool_down)
            .finish()
    }
}

fn has_credentials(address: &Url) -> bool {
    !address.username().is_empty() || address.password().is_some()
}

fn parse_address(text: &str) -> Result<Url, Invalid> {
    // The text itself isn't repeated: it may carry a password.
    let wrong = |why: &str| Invalid::new(format!("an address {why}; write http://host:port"));
    let mut url = Url::parse(text).map_err(|e| wrong(&format!("can't be read ({e})")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("must begin with http:// or https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must have no query and no fragment"));
    }
    if url.port() == Some(0) {
        return Err(wrong("must not have port 0"));
    }
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty();
    }
    Ok(url)
}

/// The address as messages show it: without credentials.
pub(crate) fn label(address: &Url) -> String {
    let mut shown = address.clone();
    // These two fail only for addresses without a host, and there is none among ours.
    if shown.set_username("").is_err() || shown.set_password(None).is_err() {
        return "Triton".to_owned();
    }
    shown.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_can_and_cannot_work() {
        for good in [
            "http://127.0.0.1:8000",
            "http://a:1, https://b/triton/ ,",
            "http://[::1]:8000",
        ] {
            assert!(Settings::new(good).is_ok(), "{good}");
        }
        let many = "http://a,".repeat(17);
        for bad in [
            "",
            " , ",
            "redis://x",
            "127.0.0.1:8000",
            "http://",
            "http://x:99999",
            "http://x:0",
            "http://x/?a=b",
            "http://x/#f",
            many.as_str(),
        ] {
            assert!(Settings::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let mut settings = Settings::new("http://ann:s3cret@host:8000").unwrap();
        settings.token = Some(Token::parse("t0ken").unwrap());
        let shown = format!("{settings:?}");
        assert!(
            !shown.contains("s3cret") && !shown.contains("t0ken"),
            "{shown}"
        );
        assert!(shown.contains("http://host:8000"), "{shown}");
        let refused = settings
            .build()
            .err()
            .expect("bearer and password contradict each other");
        assert!(!refused.to_string().contains("s3cret"));
        for bad in ["", "a b", "a\r\nb", "é"] {
            assert!(Token::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn loopback_is_this_machine_alone() {
        for (addresses, expected) in [
            ("http://127.0.0.1:8000", true),
            ("http://localhost:1,http://[::1]:2", true),
            ("http://[::ffff:127.0.0.1]:1", true),
            ("http://[::ffff:127.8.9.1]:1", true),
            ("http://[::ffff:10.0.0.1]:1", false),
            ("http://127.0.0.1:1,http://10.0.0.1:2", false),
            ("http://triton:8000", false),
        ] {
            assert_eq!(
                Settings::new(addresses).unwrap().is_loopback(),
                expected,
                "{addresses}"
            );
        }
    }
}
