//! The bearer token between Mare and Triton. It is compared in constant time and never logged.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use subtle::ConstantTimeEq;

use crate::problem::{Code, Problem};

/// The token that calls must carry.
#[derive(Clone)]
pub(super) struct Expected(Arc<str>);

impl Expected {
    pub(super) fn new(token: &str) -> Self {
        Self(Arc::from(token))
    }

    fn allows(&self, authorization: Option<&HeaderValue>) -> bool {
        let Some((scheme, token)) = authorization
            .map(HeaderValue::as_bytes)
            .and_then(|value| value.split_at_checked("Bearer ".len()))
        else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"Bearer ") && token.ct_eq(self.0.as_bytes()).into()
    }
}

/// The layer: who brings another token, or none, goes no further.
pub(super) async fn check(
    State(expected): State<Expected>,
    request: Request,
    next: Next,
) -> Response {
    if expected.allows(request.headers().get(header::AUTHORIZATION)) {
        return next.run(request).await;
    }
    let problem = Problem::new(
        Code::Unauthorized,
        "this call needs `Authorization: Bearer <token>` with the token of this service",
    );
    ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response()
}
