//! The cookie, for pages that would rather have one than tickets: set with a bearer, cleared by anybody.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::gate::Who;
use super::guard::bearer;
use super::{CookieName, Guard};
use crate::mare::Edge;
use crate::problem::{Code, Problem};

/// Longest token that is put into a cookie: browsers drop cookies of more than 4096 bytes in silence.
const IN_COOKIE_MAX: usize = 3800;

/// Sets the cookie to the token of the request.
pub(in crate::mare) async fn begin(
    State(edge): State<Edge>,
    Who(caller): Who,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = name(&edge)?;
    let token = bearer(&headers)?;
    if token.len() > IN_COOKIE_MAX {
        return Err(Problem::invalid_field(
            "Authorization",
            "the token is too long for a cookie: 3800 bytes at most; use a ticket",
        ));
    }
    let lives_ms = caller
        .ends_at()
        .map_or(0, |end| end.millis_since((edge.clock)()));
    Ok(set(name, &token, lives_ms / 1000, &headers))
}

/// Clears the cookie, whatever it holds.
pub(in crate::mare) async fn end(
    State(edge): State<Edge>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Ok(set(name(&edge)?, "", 0, &headers))
}

fn name(edge: &Edge) -> Result<&CookieName, Problem> {
    let name = edge.guard().and_then(Guard::cookie);
    name.ok_or_else(|| Problem::new(Code::NotFound, "there are no cookies here (AUTH_COOKIE)"))
}

/// 204 that sets the cookie to `value` for that many seconds.
fn set(name: &CookieName, value: &str, seconds: u64, headers: &HeaderMap) -> Response {
    let CookieName(name) = name;
    // A cookie of that prefix is valid for the whole host and nothing else, or not at all.
    let path = if name.starts_with("__Host-") {
        "/"
    } else {
        "/v1/triton"
    };
    let secure = if is_plain_loopback(headers) {
        ""
    } else {
        "; Secure"
    };
    let cookie = format!(
        "{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    );
    let mut cookie =
        HeaderValue::from_str(&cookie).expect("tokens are made of letters, digits and dots");
    cookie.set_sensitive(true);
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

/// Whether this was asked for on this machine without TLS, where a secure cookie would be lost.
fn is_plain_loopback(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
    };
    let host = text(header::HOST).unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => host,
    };
    let through_tls = text(header::ORIGIN).is_some_and(|origin| origin.starts_with("https:"));
    matches!(host, "localhost" | "127.0.0.1" | "[::1]") && !through_tls
}
