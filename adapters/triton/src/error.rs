//! What went wrong between us and Triton, in the ports' words: which address, and what to check.
//!
//! Never in here: a URL with credentials (reqwest's own messages carry one, so they are rebuilt).

use std::error::Error as StdError;
use std::time::Duration;

use conch_ports::{Error, ErrorKind};
use reqwest::StatusCode;

/// Who was asked, for which of the port's methods.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) operation: &'static str,
    pub(crate) address: &'a str,
}

impl Context<'_> {
    fn error(self, kind: ErrorKind, what: &str) -> Error {
        Error::new(
            kind,
            self.operation,
            format!("Triton at {} {what}", self.address),
        )
    }

    /// No answer's head was received.
    pub(crate) fn no_answer(self, error: reqwest::Error) -> Error {
        let error = error.without_url();
        let (kind, what) = if error.is_connect() {
            (
                ErrorKind::Unavailable,
                "can't be reached: check that it runs and that TRITON_BASE_URL names it",
            )
        } else if error.is_timeout() {
            (ErrorKind::Timeout, "did not answer in time")
        } else if is_no_http(&error) {
            (
                ErrorKind::BadResponse,
                "doesn't speak HTTP: check which service TRITON_BASE_URL names",
            )
        } else {
            (
                ErrorKind::Unavailable,
                "closed the connection without an answer",
            )
        };
        self.error(kind, what).with_source(error)
    }

    /// The answer's head came and its body didn't.
    pub(crate) fn cut_off(self, error: reqwest::Error) -> Error {
        let error = error.without_url();
        if error.is_timeout() {
            self.error(ErrorKind::Timeout, "did not end its answer in time")
                .with_source(error)
        } else {
            self.error(
                ErrorKind::BadResponse,
                "broke off in the middle of an answer",
            )
            .with_source(error)
        }
    }

    pub(crate) fn too_slow(self, limit: Duration) -> Error {
        let what = format!("did not answer within {} ms", limit.as_millis());
        self.error(ErrorKind::Timeout, &what)
    }

    pub(crate) fn too_long(self, limit: usize) -> Error {
        let what = format!(
            "answered with more than {limit} bytes: ask for a smaller page_size, or keep less in one record"
        );
        self.error(ErrorKind::BadResponse, &what)
    }

    pub(crate) fn left_alone(self, wait: Duration) -> Error {
        let what = format!(
            "failed repeatedly and is left alone for another {} ms",
            wait.as_millis()
        );
        self.error(ErrorKind::Unavailable, &what)
    }

    /// `what` may quote the answer, as parsers do.
    pub(crate) fn garbage(self, what: &str) -> Error {
        let what = crate::protocol::quoted(what);
        self.error(
            ErrorKind::BadResponse,
            &format!("answered what was not asked for: {what}"),
        )
    }

    /// An answer whose status the call has no other use for.
    pub(crate) fn unexpected(self, status: StatusCode, body: &[u8]) -> Error {
        let said = crate::protocol::detail(body);
        let detail = said.as_ref().map(|text| format!(": {text}"));
        let detail = detail.unwrap_or_default();
        let (kind, advice) = match status.as_u16() {
            // The service is well and its store full: trying again, or elsewhere, doesn't help.
            503 if is_full(body) => (ErrorKind::OutOfSpace, ""),
            502..=504 => (ErrorKind::Unavailable, ""),
            // Whoever is over a quota is told so in these words: none of ours, and not where they are from.
            429 => {
                let words = said.unwrap_or_else(|| "Triton takes no more for now".to_owned());
                return Error::new(ErrorKind::QuotaExceeded, self.operation, words)
                    .with_source(format!("Triton at {} answered 429", self.address));
            }
            401 | 403 => (ErrorKind::Refused, " (check TRITON_TOKEN on both sides)"),
            400..=499 => (ErrorKind::Refused, ""),
            300..=399 => (
                ErrorKind::BadResponse,
                " (a redirect, which is not followed: check TRITON_BASE_URL)",
            ),
            _ => (ErrorKind::BadResponse, ""),
        };
        self.error(
            kind,
            &format!("answered {}{detail}{advice}", status.as_u16()),
        )
    }
}

fn is_full(body: &[u8]) -> bool {
    crate::protocol::problem_code(body).as_deref() == Some("store-full")
}

fn is_no_http(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(inner) = source {
        if inner
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
        {
            return true;
        }
        source = inner.source();
    }
    false
}
