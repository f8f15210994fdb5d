//! The one error of all ports: what kind, whether another try may help, which operation, the source.

use std::error::Error as StdError;
use std::fmt;

use crate::Quota;

/// What a port answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Out of reach, or it shut the door: nothing is known of what became of the call.
    Unavailable,
    /// No answer in time: it may or may not have been done.
    Timeout,
    /// It answers, but has no room (memory, disk): nothing was done.
    OutOfSpace,
    /// A quota of ours is used up: nothing was done.
    QuotaExceeded,
    /// It answered something that no well-behaved counterpart answers.
    BadResponse,
    /// It refused what was asked for, and will again.
    Refused,
    /// A defect of ours.
    Internal,
}

/// An operation of a port failed.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    quota: Option<Quota>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// `operation` is the port's method (`job_log.append`); `message` says which upstream and
    /// what about it, without secrets.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            operation,
            message: message.into(),
            quota: None,
            source: None,
        }
    }

    /// Adds the error that caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says which quota is used up.
    #[must_use]
    pub(crate) fn with_quota(mut self, quota: Quota) -> Self {
        self.quota = Some(quota);
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The port's method.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// Which quota of the store is used up, if that is why it refused.
    pub fn quota(&self) -> Option<Quota> {
        self.quota
    }

    /// What is wrong with which upstream, in words, without the operation.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::OutOfSpace
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_ref()
            .map(|s| &**s as &(dyn StdError + 'static))
    }
}
