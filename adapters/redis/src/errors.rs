//! What an error of the driver or of the pool means to the caller of a port. Never shows an address: it may
//! hold a password.

use conch_ports::{Error, ErrorKind};
use deadpool_redis::{HookError, PoolError, TimeoutType};
use redis::{RedisError, ServerErrorKind};

use crate::{kind, tls};

/// Whether a replica refused a write.
pub(crate) fn is_demoted(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::ReadOnly)
}

pub(crate) fn unreachable(operation: &'static str, error: PoolError) -> Error {
    let error = match error {
        PoolError::Backend(error) if !error.is_timeout() => failed(operation, error),
        PoolError::PostCreateHook(HookError::Message(objection)) => {
            Error::new(ErrorKind::Refused, operation, objection)
        }
        PoolError::Timeout(TimeoutType::Wait) => Error::new(
            ErrorKind::Timeout,
            operation,
            "all connections to Redis are busy: is it slow, or the pool too small?",
        )
        .with_source(error),
        _ => Error::new(
            ErrorKind::Unavailable,
            operation,
            "no connection to Redis in time: is it up, and the network between?",
        )
        .with_source(error),
    };
    count(error)
}

/// Whether a script was refused what its user has no right to: such an error has no code of its own.
fn lacks_a_right_in_a_script(error: &RedisError) -> bool {
    let text = error.to_string();
    // Up to Redis 7.0, and since.
    text.contains("user executing the script can't") || text.contains("ACL failure in script")
}

/// What an error of the driver means to the caller of a port.
pub(crate) fn failed(operation: &'static str, error: RedisError) -> Error {
    use redis::ErrorKind as Driver;
    if let Some(objection) = kind::betrayed(&error).or_else(|| tls::objection(&error)) {
        return count(Error::new(ErrorKind::Refused, operation, objection).with_source(error));
    }
    let (kind, message) = match (error.kind(), error.code()) {
        _ if error.is_timeout() => (ErrorKind::Timeout, "Redis did not answer in time"),
        (_, Some("OOM")) => (
            ErrorKind::OutOfSpace,
            "Redis is out of memory: raise its maxmemory or free some",
        ),
        (_, Some("MISCONF")) => (
            ErrorKind::OutOfSpace,
            "Redis cannot save to its disk and takes no writes: see its log",
        ),
        (Driver::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => (
            ErrorKind::Refused,
            "Redis refuses this user: check the password and its ACL",
        ),
        _ if lacks_a_right_in_a_script(&error) => (
            ErrorKind::Refused,
            "Redis refuses this user a command or key: check its ACL",
        ),
        (_, Some("BUSY")) => (ErrorKind::Unavailable, "Redis is busy with a long script"),
        (Driver::Io | Driver::ClusterConnectionNotFound, _) => (
            ErrorKind::Unavailable,
            "Redis is out of reach or closed the connection",
        ),
        (
            Driver::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::TryAgain,
            ),
            _,
        ) => (
            ErrorKind::Unavailable,
            "Redis is not ready: it loads its data, or is no primary",
        ),
        (_, Some("WRONGTYPE")) => (
            ErrorKind::BadResponse,
            "a key of ours is of another type: does another program use this prefix?",
        ),
        (Driver::InvalidClientConfig, _) => (ErrorKind::Refused, "the driver refuses its settings"),
        _ => (
            ErrorKind::BadResponse,
            "Redis answered something unexpected",
        ),
    };
    count(Error::new(kind, operation, message).with_source(error))
}

/// Counts an error on its way to the caller.
pub(crate) fn count(error: Error) -> Error {
    metrics::counter!(
        "conch_redis_errors_total",
        "operation" => error.operation(),
        "kind" => format!("{:?}", error.kind()),
    )
    .increment(1);
    error
}
