//! The guard: finds a request's credentials, and the caller that they stand for.
//!
//! A header counts before a ticket, a ticket before a cookie; whichever counts is not made up for by
//! another when it is refused.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use conch_domain::{Caller, JobId, Opens};
use conch_services::Clock;
use conch_services::mare::hub::{Attached, Hub};
use conch_services::mare::tickets::{self, Tickets};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};

use super::need::Need;
use super::token::Refused;
use super::{CookieName, Jwt};
use crate::mare::stream;
use crate::origins::Origins;
use crate::path::Id;
use crate::problem::{Code, Problem};
use crate::query::Query;

/// Checks credentials; a cheap handle.
#[derive(Clone)]
pub(in crate::mare) struct Guard(Arc<Inner>);

struct Inner {
    jwt: Jwt,
    tickets: Tickets,
    origins: Origins,
    hub: Hub,
    clock: Clock,
}

/// The answer to a caller that isn't let in.
pub(super) struct Turned(pub(super) Response);

impl From<Problem> for Turned {
    fn from(problem: Problem) -> Self {
        Self(problem.into_response())
    }
}

/// The ticket that opens the stream of a request, if it is one that does.
#[derive(Clone, Default)]
pub(in crate::mare) struct Held(pub(in crate::mare) Option<tickets::Held>);

impl<S: Sync> FromRequestParts<S> for Held {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.remove().unwrap_or_default())
    }
}

/// What a request brings.
enum Credentials {
    Token(String),
    Ticket(String),
}

impl Guard {
    pub(in crate::mare) fn new(
        jwt: Jwt,
        tickets: Tickets,
        origins: Origins,
        hub: Hub,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Inner {
            jwt,
            tickets,
            origins,
            hub,
            clock,
        }))
    }

    /// The cookie that may hold a token.
    pub(in crate::mare) fn cookie(&self) -> Option<&CookieName> {
        self.0.jwt.cookie.as_ref()
    }

    /// Whom the request's credentials stand for.
    pub(super) async fn caller(&self, parts: &mut Parts, need: Need) -> Result<Caller, Turned> {
        match self.credentials(parts, need)? {
            Credentials::Token(token) => Ok(self.of_token(&token).await?),
            Credentials::Ticket(ticket) => self.of_ticket(&ticket, parts).await,
        }
    }

    fn credentials(&self, parts: &Parts, need: Need) -> Result<Credentials, Problem> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return bearer(&parts.headers).map(Credentials::Token);
        }
        if need == Need::Stream {
            let query = Query::parse(parts.uri.query().unwrap_or_default());
            if let Some(ticket) = query.text("ticket") {
                return Ok(Credentials::Ticket(ticket.to_owned()));
            }
        }
        let from_cookie = need != Need::Bearer
            && matches!(parts.method, Method::GET | Method::HEAD)
            && self.is_from_here(&parts.headers);
        if let (true, Some(name)) = (from_cookie, self.cookie())
            && let Some(token) = cookie(&parts.headers, name)?
        {
            return Ok(Credentials::Token(token));
        }
        refused("missing");
        Err(Problem::unauthorized())
    }

    /// Whether a page that may read our answers sent it, or no page at all. A page from elsewhere must
    /// not make use of a visitor's cookie.
    fn is_from_here(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        origins.all(|origin| self.0.origins.allow(origin))
    }

    async fn of_token(&self, token: &str) -> Result<Caller, Problem> {
        let now = (self.0.clock)();
        let checked = self.0.jwt.verifier.caller(token, now).await;
        checked.map_err(|why| match why {
            Refused::Expired => {
                refused("expired");
                Problem::bad_credentials(Code::ExpiredToken, "the token has expired (`exp`)")
            }
            Refused::Invalid(reason, words) => {
                refused(reason);
                Problem::bad_credentials(Code::InvalidToken, words)
            }
        })
    }

    async fn of_ticket(&self, ticket: &str, parts: &mut Parts) -> Result<Caller, Turned> {
        let opens = match Id::<JobId>::find(parts).await {
            None => Some(Opens::ManyJobs),
            Some(id) => id.ok().map(Opens::Job),
        };
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let same = stream::identity(&query);
        let holder = match &opens {
            Some(opens) => self.0.tickets.holder(ticket, opens, same).await,
            None => Ok(None),
        };
        match holder {
            Ok(Some(held)) => {
                let caller = held.caller().clone();
                // A HEAD opens no stream.
                if parts.method == Method::GET {
                    parts.extensions.insert(Held(Some(held)));
                }
                Ok(caller)
            }
            Ok(None) => {
                refused("ticket");
                let words =
                    "the ticket is none, has run out, or is for another stream: get a new one";
                Err(Problem::bad_credentials(Code::InvalidTicket, words).into())
            }
            // Whether it is good is not known, and any other status would end an EventSource for good.
            Err(error) => {
                tracing::warn!(%error, "a ticket could not be looked at: its holder is to come back");
                let watcher = Attached::Full(self.0.hub.come_back());
                Err(Turned(stream::answer(watcher).unwrap_or_default()))
            }
        }
    }
}

fn refused(reason: &'static str) {
    metrics::counter!("conch_auth_refused_total", "reason" => reason).increment(1);
}

/// The token of the one `Authorization: Bearer` header.
pub(super) fn bearer(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let one = values.next().filter(|_| values.next().is_none());
    let token = one.map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, token) = value.split_at_checked("Bearer ".len())?;
        let token = str::from_utf8(token).ok()?.trim_matches(' ');
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
    });
    match token {
        Some(token) if !token.is_empty() => Ok(token.to_owned()),
        _ => {
            refused("header");
            Err(Problem::unauthorized())
        }
    }
}

/// The cookie's value. Two of one name may be anybody's: none of them is taken.
fn cookie(headers: &HeaderMap, name: &CookieName) -> Result<Option<String>, Problem> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .filter(|(of, _)| *of == name.0)
        .map(|(_, value)| value);
    let value = values.next();
    if values.next().is_some() {
        refused("cookie");
        let words = "there is more than one cookie of that name";
        return Err(Problem::bad_credentials(Code::InvalidToken, words));
    }
    Ok(value.map(str::to_owned))
}
