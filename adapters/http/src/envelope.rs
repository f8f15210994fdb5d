//! What every request goes through: what pages may not do is refused, a panic becomes a 500, the answer
//! gets its security headers, how long it took is counted, a trace line says what happened. One layer for all
//! of it, because it stands in the hottest path; nothing in here may block or read a body, nor take a lock that
//! is held for longer than a look into a map.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::{HeaderValue, header};
use tracing::Level;

use crate::pages::Rules;
use crate::problem::{Code, Problem};
use crate::timing::Counted;

/// The layer, for `axum::middleware::from_fn_with_state`. The rules are there where nobody brings
/// credentials.
pub(crate) async fn envelope(
    State(rules): State<Option<Rules>>,
    request: Request,
    next: Next,
) -> Response {
    let (counted, begun) = (Counted::of(&request), Instant::now());
    let asked = tracing::enabled!(Level::DEBUG).then(|| {
        // The path only: a query may carry what belongs in no log.
        let path = request.uri().path().to_owned();
        (request.method().clone(), path)
    });
    let objection =
        rules.and_then(|rules| rules.objection(request.method(), request.uri(), request.headers()));
    // Unwind-safe: the request is gone with the handler, and the state behind it is only shared
    // through locks and channels of its owners.
    let mut response = if let Some((code, words)) = objection {
        Problem::new(code, words).into_response()
    } else {
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        answer.unwrap_or_else(|panic| {
            tracing::error!(panic = panic_text(&*panic), "a request handler panicked");
            Problem::from(Code::Internal).into_response()
        })
    };
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // A stream says more.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    let took = begun.elapsed();
    counted.answered(response.status(), took);
    if let Some((method, path)) = asked {
        tracing::debug!(
            http.method = %method,
            http.path = path,
            http.status = response.status().as_u16(),
            duration_ms = took.as_millis() as u64,
            "answered"
        );
    }
    response
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}
