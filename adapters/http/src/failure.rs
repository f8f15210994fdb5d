//! What becomes of a port's error when a request ends with it: it is logged, here and nowhere else,
//! and answered as a problem.

use std::borrow::Borrow;

use conch_domain::{ClientId, JobId};
use conch_ports::{Error, ErrorKind};

use crate::problem::{Code, Problem};

/// The ports behind which a store stands, as operations name them; behind all others stands Triton.
const STORES: [&str; 6] = [
    "job_log",
    "event_bus",
    "result_cache",
    "job_queue",
    "catalogue",
    "ticket_store",
];

/// For `map_err`, where a handler ends with the error.
pub(crate) fn failed(error: impl Borrow<Error>) -> Problem {
    let error = error.borrow();
    let source = std::error::Error::source(error).map(tracing::field::display);
    match error.kind() {
        ErrorKind::Internal => tracing::error!(%error, source, "a request failed by a defect"),
        ErrorKind::QuotaExceeded => tracing::info!(%error, source, "a request was over a quota"),
        _ => tracing::warn!(%error, source, "a request failed"),
    }
    let port = error.operation().split('.').next().unwrap_or_default();
    if STORES.contains(&port) {
        Problem::store(error)
    } else {
        Problem::upstream(error)
    }
}

/// 404 for a job.
pub(crate) fn no_job(id: &JobId) -> Problem {
    Problem::new(Code::JobNotFound, format!("there is no job {id}"))
}

/// 404 for a client.
pub(crate) fn no_client(id: &ClientId) -> Problem {
    Problem::new(Code::ClientNotFound, format!("there is no client {id}"))
}

/// 409 for a job.
pub(crate) fn job_ended(id: &JobId) -> Problem {
    Problem::new(
        Code::JobEnded,
        format!("job {id} has ended: there is nothing to cancel"),
    )
}

/// 404 for a submission: `detail` says what is missing, the client or what it is worth.
pub(crate) fn nothing_to_generate_from(client_exists: bool, detail: String) -> Problem {
    let code = if client_exists {
        Code::ValuePropositionNotFound
    } else {
        Code::ClientNotFound
    };
    Problem::new(code, detail)
}

/// 422 for a submission.
pub(crate) fn key_reused() -> Problem {
    Problem::new(
        Code::IdempotencyKeyReused,
        "this Idempotency-Key came before with another body: use a fresh one",
    )
}
