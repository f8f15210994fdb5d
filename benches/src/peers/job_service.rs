//! A job service that knows the bench's external jobs, as the program that publishes their events would:
//! each runs, and nothing new is to be said of it.
//!
//! A process of its own. It must answer as little as a job service can that is asked for a job or for a page
//! of its unfinished jobs.

use std::{collections::HashMap, fmt::Write as _, net::SocketAddr};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::Value;

use crate::publisher::{CLIENT, job_name};

/// Answers until the process is ended; it knows so many jobs.
pub(crate) fn serve(address: SocketAddr, jobs: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let router = Router::new()
        .route("/jobs", get(list))
        .route("/jobs/", get(list))
        .route("/jobs/{id}", get(one))
        .with_state(jobs);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("binding {address}"))?;
        axum::serve(listener, router).await?;
        Ok(())
    })
}

async fn one(State(jobs): State<usize>, Path(id): Path<String>) -> Response {
    let number = id.strip_prefix("bench-").and_then(|n| n.parse().ok());
    if number.is_some_and(|number: usize| number < jobs && job_name(number) == id) {
        json(StatusCode::OK, record(&id))
    } else {
        json(
            StatusCode::NOT_FOUND,
            r#"{"detail":"Job not found"}"#.to_owned(),
        )
    }
}

async fn list(State(jobs): State<usize>, Query(query): Query<HashMap<String, String>>) -> Response {
    let number = |name: &str, usual: usize| {
        let given = query.get(name).and_then(|text| text.parse().ok());
        given.unwrap_or(usual).max(1)
    };
    let (page, size) = (number("page", 1), number("page_size", 20));
    // All of them run, and none has changed since any time that is asked about.
    let asked = query.get("status").map_or("running", String::as_str);
    let known = if asked == "running" && !query.contains_key("updated_since") {
        jobs
    } else {
        0
    };
    let from = (page - 1).saturating_mul(size).min(known);
    let records: Vec<String> = (from..known.min(from.saturating_add(size)))
        .map(|job| record(&job_name(job)))
        .collect();
    let mut body = format!(r#"{{"total":{known},"page":{page},"page_size":{size},"jobs":["#);
    write!(body, "{}]}}", records.join(",")).expect("a string takes it");
    json(StatusCode::OK, body)
}

fn record(id: &str) -> String {
    let at = "2026-01-01T00:00:00Z";
    let record: Value = serde_json::json!({
        "job_id": id, "client_id": CLIENT, "status": "running", "progress": 0,
        "created_at": at, "started_at": at, "updated_at": at,
    });
    record.to_string()
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
