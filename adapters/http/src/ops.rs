//! For operators and orchestrators: is it alive, is it ready, what does it count. Never asks a
//! dependency: a restart heals none of them.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use serde_json::json;

use crate::answer;
use crate::envelope::envelope;
use crate::routes::{self, Routes};

/// What the process tells of itself.
#[derive(Clone)]
pub struct Dependencies {
    /// All counters, in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether new requests are welcome; if not, why, in words (starting, draining).
    pub readiness: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// A server of `/livez`, `/readyz` and `/metrics` alone.
pub fn router(dependencies: Dependencies) -> Router {
    routes::router(routes())
        .fallback(routes::unknown_path)
        .with_state(dependencies)
        .layer(from_fn_with_state(None, envelope))
}

/// The routes, for the services that have more of them.
pub(crate) fn routes() -> Routes<Dependencies> {
    let mut routes = probes();
    routes.push(("/metrics", get(metrics)));
    routes
}

/// Those that tell nothing but whether the process is well: for listeners that anybody may reach.
pub(crate) fn probes() -> Routes<Dependencies> {
    vec![("/livez", get(livez)), ("/readyz", get(readyz))]
}

async fn livez() -> Response {
    answer::json(r#"{"status":"ok"}"#)
}

async fn readyz(State(ops): State<Dependencies>) -> Response {
    match (ops.readiness)() {
        Ok(()) => answer::json(r#"{"status":"ok"}"#),
        Err(why) => {
            let text = json!({"status": "not ready", "detail": why});
            answer::json_with(StatusCode::SERVICE_UNAVAILABLE, text.to_string())
        }
    }
}

async fn metrics(State(ops): State<Dependencies>) -> Response {
    let content_type = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (content_type, (ops.metrics)()).into_response()
}
