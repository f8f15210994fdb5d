//! Jobs: submitted and cancelled through Triton, looked up in the cache and the log first.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use conch_domain::{ClientId, JobId};
use conch_ports::{Cancelled, NewJob, Requested};
use conch_services::lookup::Events;
use conch_wire::job;
use conch_wire::request::GenerateTemplates;
use http::StatusCode;
use serde_json::json;

use super::Edge;
use crate::answer;
use crate::body::Json;
use crate::failure::{self, failed};
use crate::idempotency_key::IdempotencyKey;
use crate::path::Id;
use crate::problem::{Code, Problem};
use crate::query::{self, Query};

pub(super) async fn generate_templates(
    State(edge): State<Edge>,
    Id(client_id): Id<ClientId>,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Json(body): Json<GenerateTemplates>,
) -> Result<Response, Problem> {
    let new = NewJob {
        client_id: client_id.clone(),
        value_proposition_id: body.value_proposition_id,
        idempotency_key,
    };
    match edge.gateway.submit(new).await.map_err(failed)? {
        Requested::Accepted(job) => Ok(answer::located(
            StatusCode::ACCEPTED,
            "/v1/triton/jobs",
            job.id.as_str(),
            job::encode(&job),
        )),
        Requested::NotFound(detail) => {
            let client = edge.gateway.client(&client_id).await.map_err(failed)?;
            Err(failure::nothing_to_generate_from(client.is_some(), detail))
        }
        Requested::KeyReused => Err(failure::key_reused()),
    }
}

/// The hot path: who polls instead of watching asks this every two seconds.
pub(super) async fn one(State(edge): State<Edge>, Id(id): Id<JobId>) -> Result<Response, Problem> {
    let job = edge.lookup.job(&id).await.map_err(failed)?;
    job.map(answer::json).ok_or_else(|| failure::no_job(&id))
}

pub(super) async fn list(State(edge): State<Edge>, query: Query) -> Result<Response, Problem> {
    let paging = query.paging()?;
    let page = edge
        .gateway
        .jobs(&query.job_filter()?, paging)
        .await
        .map_err(failed)?;
    let jobs: Vec<Bytes> = page.items.iter().map(job::encode).collect();
    Ok(answer::page("jobs", page.total, paging, &jobs))
}

pub(super) async fn events(
    State(edge): State<Edge>,
    Id(id): Id<JobId>,
    query: Query,
) -> Result<Response, Problem> {
    let after = query
        .parsed("after", "must be a sequence number", query::number)?
        .unwrap_or(0);
    match edge.lookup.events(&id, after).await.map_err(failed)? {
        Events::Kept(lines) => {
            let job_id = format!(r#"{{"job_id":"{id}"}}"#);
            Ok(answer::object_and_list(job_id.as_bytes(), "events", &lines))
        }
        Events::Expired => Err(Problem::new(
            Code::EventsExpired,
            "the job is known, but its events are no longer kept",
        )),
        Events::Unknown => Err(failure::no_job(&id)),
    }
}

pub(super) async fn cancel(
    State(edge): State<Edge>,
    Id(id): Id<JobId>,
) -> Result<Response, Problem> {
    match edge.edge_cancel.cancel(&id).await.map_err(failed)? {
        Cancelled::Requested => {
            let text = json!({"job_id": id.as_str(), "status": "cancel_requested"});
            Ok(answer::json_with(StatusCode::ACCEPTED, text.to_string()))
        }
        Cancelled::AlreadyEnded => Err(failure::job_ended(&id)),
        Cancelled::NotFound => Err(failure::no_job(&id)),
    }
}
