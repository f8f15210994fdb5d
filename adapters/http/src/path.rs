//! Ids in paths and queries, parsed before any handler sees them. What is no id is 400 with a code of
//! its own; nothing of it is repeated in the answer or in a log.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use conch_domain::{ClientId, InvalidId, JobId, TemplateId, ValuePropositionId};
use http::request::Parts;

use crate::problem::{Code, Problem};

/// An id that paths carry.
pub(crate) trait Identifier: FromStr<Err = InvalidId> {
    /// Its parameter in the routes.
    const PARAMETER: &'static str;
    /// The problem of text that is none.
    const INVALID: Code;
}

macro_rules! identifier {
    ($name:ty, $parameter:literal, $invalid:ident) => {
        impl Identifier for $name {
            const PARAMETER: &'static str = $parameter;
            const INVALID: Code = Code::$invalid;
        }
    };
}

identifier!(JobId, "job_id", InvalidJobId);
identifier!(ClientId, "client_id", InvalidClientId);
identifier!(
    ValuePropositionId,
    "value_proposition_id",
    InvalidValuePropositionId
);
identifier!(TemplateId, "template_id", InvalidTemplateId);

/// Parses an id, percent-decoded already.
pub(crate) fn parse<T: Identifier>(text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|e: InvalidId| Problem::new(T::INVALID, e.to_string()))
}

/// The path's id of that kind.
#[derive(Debug)]
pub(crate) struct Id<T>(pub(crate) T);

impl<T: Identifier> Id<T> {
    /// The path's id of that kind; none when the route has none.
    pub(crate) async fn find(parts: &mut Parts) -> Option<Result<T, Problem>> {
        let invalid_utf8 = |_| Problem::new(T::INVALID, "the id in the path is not UTF-8");
        let parameters = match RawPathParams::from_request_parts(parts, &()).await {
            Ok(parameters) => parameters,
            Err(rejection) => return Some(Err(invalid_utf8(rejection))),
        };
        let mut ids = parameters.iter().filter(|(name, _)| *name == T::PARAMETER);
        ids.next().map(|(_, value)| parse(value))
    }
}

impl<S: Send + Sync, T: Identifier> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::find(parts)
            .await
            .unwrap_or_else(|| parse(""))
            .map(Self)
    }
}
