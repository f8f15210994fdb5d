//! Errors as clients see them: RFC 9457 `application/problem+json` with a stable `code`.
//!
//! A problem is an answer, not a log line: it says what the caller can do about it, and never what
//! only an operator may know.

mod code;

use std::borrow::Cow;
use std::time::Duration;

use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use conch_ports::ErrorKind;
use serde::Serialize;

pub use code::Code;

/// What `type` begins with; the code follows.
const TYPE: &str = "urn:problem-type:conch:";
/// When to come back, where nothing better is known.
const RETRY: Duration = Duration::from_secs(5);

/// One field that doesn't validate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where it is, as in `widgets[2].title`.
    pub path: String,
    /// What is wrong with it, and what would be right.
    pub detail: String,
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    /// One more; boxed, because few have one.
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Problem {
    /// `detail` tells the caller what is wrong this time and what to do.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            header: None,
        }
    }

    /// 401 for who brings no credentials.
    pub fn unauthorized() -> Self {
        let mut problem = Self::new(
            Code::Unauthorized,
            "this needs a token: `Authorization: Bearer <token>`",
        );
        problem.header = header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        problem
    }

    /// 401 for credentials that aren't taken; the detail says why, and nothing of them (RFC 6750 §3).
    pub fn bad_credentials(code: Code, detail: &'static str) -> Self {
        let mut problem = Self::new(code, detail);
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        problem.header = header(WWW_AUTHENTICATE, challenge);
        problem
    }

    /// 403 for credentials that lack a scope.
    pub fn insufficient_scope(scope: &'static str) -> Self {
        let mut problem = Self::new(
            Code::InsufficientScope,
            format!("this needs the scope `{scope}`"),
        );
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        let challenge = HeaderValue::from_str(&challenge).ok();
        problem.header = challenge.and_then(|challenge| header(WWW_AUTHENTICATE, challenge));
        problem
    }

    /// 415 for a body in a content coding.
    pub fn unsupported_encoding() -> Self {
        let mut problem = Self::new(
            Code::UnsupportedMediaType,
            "the body must not be compressed: send it without `content-encoding`",
        );
        let identity = HeaderValue::from_static("identity");
        problem.header = header(ACCEPT_ENCODING, identity);
        problem
    }

    /// 422 for one field.
    pub fn invalid_field(path: impl Into<String>, detail: impl Into<String>) -> Self {
        let (path, detail) = (path.into(), detail.into());
        Self::new(Code::InvalidField, format!("{path}: {detail}"))
            .with_error(FieldError { path, detail })
    }

    /// An error of the gateway to Triton.
    pub fn upstream(error: &conch_ports::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Unavailable => Code::UpstreamUnavailable,
            ErrorKind::OutOfSpace => Code::StoreFull,
            ErrorKind::Timeout => Code::UpstreamTimeout,
            ErrorKind::BadResponse | ErrorKind::Refused => Code::UpstreamBadResponse,
            ErrorKind::QuotaExceeded => Code::TooManyRequests,
            ErrorKind::Internal => Code::Internal,
        };
        Self::of_port(code, error)
    }

    /// An error of bus, cache, queue or catalogue.
    pub fn store(error: &conch_ports::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Refused => Code::StoreUnavailable,
            ErrorKind::BadResponse => Code::StoreBadResponse,
            ErrorKind::Timeout => Code::StoreTimeout,
            ErrorKind::OutOfSpace => Code::StoreFull,
            ErrorKind::QuotaExceeded => Code::TooManyRequests,
            ErrorKind::Internal => Code::Internal,
        };
        Self::of_port(code, error)
    }

    fn of_port(code: Code, error: &conch_ports::Error) -> Self {
        let problem = match code {
            // A quota's message tells the caller how many there may be, and which setting says so.
            Code::TooManyRequests => Self::new(code, error.message().to_owned()),
            // What else went wrong names addresses and settings: those are for the log alone.
            _ => Self::from(code),
        };
        match code.status() {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                problem.with_retry_after(RETRY)
            }
            _ => problem,
        }
    }

    /// Adds a field to `errors`.
    #[must_use]
    pub fn with_error(mut self, error: FieldError) -> Self {
        self.errors.push(error);
        self
    }

    /// Adds `Retry-After`, in whole seconds, rounded up.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Which problem it is.
    pub fn code(&self) -> Code {
        self.code
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is what the field holds")]
fn header(name: HeaderName, value: HeaderValue) -> Option<Box<(HeaderName, HeaderValue)>> {
    Some(Box::new((name, value)))
}

impl From<Code> for Problem {
    /// A problem that says the same each time: what the caller can do, else no more than its title.
    fn from(code: Code) -> Self {
        let detail = match code {
            Code::Internal => "Something went wrong on our side; it has been logged.",
            Code::UpstreamUnavailable => "Triton can't be used now: try again later",
            Code::UpstreamBadResponse => {
                "Triton's answer is of no use: ask for less at once (a smaller page_size), and if that \
                 doesn't help, tell whoever runs this service"
            }
            Code::UpstreamTimeout => {
                "Triton didn't answer in time: try again later. Something new may have been made all the \
                 same; a submission under its old Idempotency-Key is not made twice"
            }
            Code::StoreUnavailable => "the store can't be used now: try again later",
            Code::StoreBadResponse => {
                "what the store holds of this can't be read: trying again doesn't help, so tell whoever \
                 runs this service"
            }
            Code::StoreFull => {
                "the store has no room for more, so nothing was done: try again later"
            }
            Code::StoreTimeout => {
                "the store didn't answer in time: try again later. It may have been done all the same"
            }
            _ => code.title(),
        };
        Self::new(code, detail)
    }
}

#[derive(Serialize)]
struct Members<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    /// The answer's body.
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(&Members {
            r#type: format!("{TYPE}{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
            errors: &self.errors,
        })
        .expect("strings and numbers can be encoded")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let body = self.body();
        let mut response = (
            status,
            [
                (
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/problem+json"),
                ),
                (CACHE_CONTROL, HeaderValue::from_static("no-store")),
                (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            ],
            body,
        )
            .into_response();
        // The rest of such a body is not read, so the connection can't be used again: say so, or a
        // client sends its next request into it.
        if matches!(
            self.code,
            Code::BodyTooLarge
                | Code::BodyTimeout
                | Code::MalformedRequest
                | Code::MisdirectedRequest
                | Code::HeadTooLarge
                | Code::UnsupportedTransferCoding
                | Code::Overloaded
        ) {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(header) = self.header {
            let (name, value) = *header;
            response.headers_mut().insert(name, value);
        }
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use conch_ports::Error;

    use super::*;

    #[tokio::test]
    async fn is_encoded_as_rfc_9457_says() {
        let response = Problem::invalid_field("name", "must not be empty")
            .with_retry_after(Duration::from_millis(1500))
            .into_response();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
        assert_eq!(
            header("content-type"),
            Some(&b"application/problem+json"[..])
        );
        assert_eq!(header("cache-control"), Some(&b"no-store"[..]));
        assert_eq!(header("x-content-type-options"), Some(&b"nosniff"[..]));
        assert_eq!(header("retry-after"), Some(&b"2"[..]));
        let body = to_bytes(response.into_body(), 4096).await.expect("a body");
        assert_eq!(
            body,
            r#"{"type":"urn:problem-type:conch:invalid-field","title":"Invalid field","status":422,"detail":"name: must not be empty","code":"invalid-field","errors":[{"path":"name","detail":"must not be empty"}]}"#
        );
    }

    #[test]
    fn port_errors_have_two_flavours() {
        let check = |kind, upstream: Code, store: Code| {
            let error = Error::new(kind, "port.method", "it is down");
            assert_eq!(Problem::upstream(&error).code(), upstream, "{kind:?}");
            assert_eq!(Problem::store(&error).code(), store, "{kind:?}");
        };
        check(
            ErrorKind::Unavailable,
            Code::UpstreamUnavailable,
            Code::StoreUnavailable,
        );
        check(
            ErrorKind::Timeout,
            Code::UpstreamTimeout,
            Code::StoreTimeout,
        );
        check(ErrorKind::OutOfSpace, Code::StoreFull, Code::StoreFull);
        check(
            ErrorKind::QuotaExceeded,
            Code::TooManyRequests,
            Code::TooManyRequests,
        );
        check(
            ErrorKind::BadResponse,
            Code::UpstreamBadResponse,
            Code::StoreBadResponse,
        );
        check(
            ErrorKind::Refused,
            Code::UpstreamBadResponse,
            Code::StoreUnavailable,
        );
        check(ErrorKind::Internal, Code::Internal, Code::Internal);
    }

    #[test]
    fn what_an_operator_must_do_is_not_told_to_callers() {
        for kind in [
            ErrorKind::Unavailable,
            ErrorKind::Timeout,
            ErrorKind::OutOfSpace,
            ErrorKind::BadResponse,
            ErrorKind::Refused,
            ErrorKind::Internal,
        ] {
            let words = "Redis at 10.0.0.7:6379 is down: check REDIS_URL";
            let error = Error::new(kind, "port.method", words);
            for problem in [Problem::upstream(&error), Problem::store(&error)] {
                let detail = &problem.detail;
                assert!(!detail.contains("10.0.0.7"), "{detail}");
                assert!(!detail.contains("REDIS_URL"), "{detail}");
                assert_ne!(detail, problem.code.title(), "it says what to do");
            }
        }
        let quota = Error::new(ErrorKind::QuotaExceeded, "port.method", "raise MAX_JOBS");
        for problem in [Problem::upstream(&quota), Problem::store(&quota)] {
            assert_eq!(problem.detail, "raise MAX_JOBS");
        }
    }
}
