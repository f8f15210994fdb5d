//! The settings of Redis: its address, TLS, time limits.
//!
//! Never in here: whether Redis is the store; `store` decides that.

use std::net::IpAddr;

use super::{Error, Source, number, scheme, seconds};

/// What the URL of a Redis may begin with.
pub(super) const SCHEMES: [&str; 7] = [
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "redis+unix",
    "valkey+unix",
    "unix",
];

/// What the URL is made of where none is set.
pub(super) const PARTS: [&str; 4] = ["REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD"];

/// How the Redis at `url` is reached; `REDIS_…` says the rest.
pub(super) fn reached(source: &Source, url: &str) -> Result<conch_redis::Settings, Error> {
    let mut redis = conch_redis::Settings::new(url);
    redis.cache_url = source.text("CACHE_REDIS_URL").map(str::to_owned);
    // Other programs read SSL_CERT_FILE, too: what it says matters only where it is used.
    if is_over_tls(&redis.url) || redis.cache_url.as_deref().is_some_and(is_over_tls) {
        redis.tls = tls(source)?;
    }
    let limit = source.parse("REDIS_TIMEOUT_SECONDS", redis.response_timeout, seconds)?;
    // A probe goes there and comes back.
    redis.probe_timeout = limit.mul_f64(1.5);
    (redis.connect_timeout, redis.response_timeout) = (limit, limit);
    redis.probe_interval = source.parse("REDIS_PROBE_SECONDS", redis.probe_interval, seconds)?;
    redis.backoff_cap = source.parse("REDIS_BACKOFF_CAP_SECONDS", redis.backoff_cap, seconds)?;
    if let Some(prefix) = source.text("CHANNEL_PREFIX") {
        prefix.clone_into(&mut redis.prefix);
    }
    Ok(redis)
}

/// The adapter's words, under the name of the variable; `url` is the one that holds the address.
pub(super) fn wrong(
    source: &Source,
    url: &'static str,
    error: &conch_redis::InvalidSettings,
) -> Error {
    let name = match error.setting() {
        "cache_url" => "CACHE_REDIS_URL",
        "prefix" => "CHANNEL_PREFIX",
        "tls.authorities" if source.text("REDIS_CA_FILE").is_none() => "SSL_CERT_FILE",
        "tls.authorities" => "REDIS_CA_FILE",
        "tls.certificate" => "REDIS_CERT_FILE",
        "tls.key" => "REDIS_KEY_FILE",
        "history_limit" => "HISTORY_LIMIT",
        "result_ttl" => "RESULT_TTL_SECONDS",
        "retention" => "RETENTION_DAYS",
        "finished_ttl" => "HISTORY_TTL_SECONDS",
        _ => url,
    };
    Error::new(name, error.reason())
}

/// Whether that address is spoken to over TLS.
pub(super) fn is_over_tls(url: &str) -> bool {
    matches!(scheme(url).as_str(), "rediss" | "valkeys")
}

/// Whom to trust at `rediss://` addresses, and who we are.
fn tls(source: &Source) -> Result<conch_redis::Tls, Error> {
    let authorities = match source.file("REDIS_CA_FILE")? {
        None => source.file("SSL_CERT_FILE")?,
        some => some,
    };
    let identity = match (
        source.file("REDIS_CERT_FILE")?,
        source.file("REDIS_KEY_FILE")?,
    ) {
        (None, None) => None,
        (Some(certificates), Some(key)) => Some(conch_redis::Identity { certificates, key }),
        (Some(_), None) => {
            return Err(Error::new(
                "REDIS_KEY_FILE",
                "is required beside REDIS_CERT_FILE",
            ));
        }
        (None, Some(_)) => {
            return Err(Error::new(
                "REDIS_CERT_FILE",
                "is required beside REDIS_KEY_FILE",
            ));
        }
    };
    Ok(conch_redis::Tls {
        authorities,
        identity,
    })
}

/// The URL that `REDIS_…` makes, and the variable to name when it can't work.
pub(super) fn url(source: &Source) -> Result<(&'static str, String), Error> {
    if let Some(url) = source.text("REDIS_URL") {
        return Ok(("REDIS_URL", url.to_owned()));
    }
    if PARTS.iter().all(|name| source.text(name).is_none()) {
        return Ok(("REDIS_URL", "redis://127.0.0.1:6379/0".to_owned()));
    }
    let host = source.text("REDIS_HOST").unwrap_or("127.0.0.1");
    let port = source.parse("REDIS_PORT", 6379, |t| number(t, 1, 65_535))?;
    let db = source.parse("REDIS_DB", 0, |t| number(t, 0, 1_000_000))?;
    let password = source
        .text("REDIS_PASSWORD")
        .map(|p| format!(":{}@", percent_encoded(p)))
        .unwrap_or_default();
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        // Anything more would be read as another part of the URL.
        _ if host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) =>
        {
            host.to_owned()
        }
        _ => {
            return Err(Error::new(
                "REDIS_HOST",
                "must be a name or an address alone",
            ));
        }
    };
    Ok((
        "REDIS_HOST",
        format!("redis://{password}{host}:{port}/{db}"),
    ))
}

/// A password as it may stand in a URL (RFC 3986 §2.1).
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |url, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url + char::from(byte).encode_utf8(&mut [0; 1])
        } else {
            url + &format!("%{byte:02X}")
        }
    })
}
