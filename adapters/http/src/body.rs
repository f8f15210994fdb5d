//! Request bodies: read within a bound and a time, JSON by their content type, then parsed by
//! `conch-wire`. No handler reads a body itself.

use std::time::Duration;

use axum::extract::{FromRef, FromRequest, Request};
use bytes::Bytes;
use conch_wire::request::{GenerateTemplates, Invalid, NewClient, NewJob, NewValueProposition};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::limits;
use crate::problem::{Code, Problem};

/// What a body may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes; one more is 413.
    pub bytes: usize,
    /// Longest time from its first read to its end; then 408.
    pub time: Duration,
}

impl Default for Limits {
    /// 256 KiB, 30 s.
    fn default() -> Self {
        Self {
            bytes: 256 * 1024,
            time: Duration::from_secs(30),
        }
    }
}

/// What a body of JSON can be.
pub(crate) trait Parse: Sized {
    /// Reads it.
    fn parse(body: &[u8]) -> Result<Self, Invalid>;
}

macro_rules! parse {
    ($($name:ty),+) => { $(
        impl Parse for $name {
            fn parse(body: &[u8]) -> Result<Self, Invalid> {
                <$name>::parse(body)
            }
        }
    )+ };
}

parse!(NewClient, NewValueProposition, GenerateTemplates, NewJob);

/// The parsed body.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<S, T> FromRequest<S> for Json<T>
where
    S: Send + Sync,
    T: Parse,
    Limits: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let text = read(body, Limits::from_ref(state)).await?;
        if is_encoded(&parts.headers) {
            return Err(Problem::unsupported_encoding());
        }
        if !text.is_empty() && !is_json(&parts.headers) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "the body must be JSON: send `content-type: application/json`",
            ));
        }
        T::parse(&text).map(Self).map_err(|invalid| match invalid {
            Invalid::Malformed { detail } => Problem::new(Code::MalformedJson, detail),
            Invalid::Field { path, detail } => Problem::invalid_field(path, detail),
        })
    }
}

async fn read(body: axum::body::Body, bounds: Limits) -> Result<Bytes, Problem> {
    let too_large = || {
        limits::hit("max_body_bytes");
        Problem::new(
            Code::BodyTooLarge,
            format!("the body may have at most {} bytes", bounds.bytes),
        )
    };
    // A length that is announced is refused before a byte of it is read.
    if body.size_hint().lower() > bounds.bytes as u64 {
        return Err(too_large());
    }
    let collected = Limited::new(body, bounds.bytes).collect();
    match tokio::time::timeout(bounds.time, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Code::MalformedRequest, "the body broke off")),
        Err(_) => {
            limits::hit("body_timeout_seconds");
            Err(Problem::new(
                Code::BodyTimeout,
                format!("the body took longer than {} s", bounds.time.as_secs_f64()),
            ))
        }
    }
}

/// Whether the body was put into another form, as `gzip` is; `identity` is none.
fn is_encoded(headers: &HeaderMap) -> bool {
    let identity = |coding: &[u8]| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    !values
        .map(HeaderValue::as_bytes)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .all(identity)
}

/// `application/json` or `application/…+json`, parameters aside.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}
