//! Jobs: submitted and cancelled through Triton, looked up in the cache and the log first.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use conch_domain::{ClientId, Job, JobId};
use conch_ports::{Cancelled, NewJob};
use conch_services::mare::access::Submitted;
use conch_services::mare::lookup::Events;
use conch_wire::job;
use conch_wire::request::GenerateTemplates;
use http::StatusCode;
use serde_json::json;

use super::auth::Who;
use super::{Edge, paged};
use crate::answer;
use crate::body::Json;
use crate::failure::{self, failed};
use crate::idempotency_key::{self, IdempotencyKey};
use crate::path::Id;
use crate::problem::{Code, Problem};
use crate::query::{self, Query};

pub(super) async fn generate_templates(
    State(edge): State<Edge>,
    Id(client_id): Id<ClientId>,
    Who(caller): Who,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Json(body): Json<GenerateTemplates>,
) -> Result<Response, Problem> {
    let new = NewJob {
        client_id: client_id.clone(),
        value_proposition_id: body.value_proposition_id,
        schedule: body.schedule,
        idempotency_key,
    };
    match edge.access.submit(&caller, new).await.map_err(failed)? {
        Submitted::Accepted(job) => Ok(accepted(&job)),
        Submitted::Repeated(job) => Ok(idempotency_key::replayed(accepted(&job))),
        Submitted::NoClient => Err(failure::no_client(&client_id)),
        Submitted::NothingToGenerateFrom(detail) => {
            Err(failure::nothing_to_generate_from(true, detail))
        }
        Submitted::KeyReused => Err(failure::key_reused()),
        Submitted::Invalid { path, detail } => Err(Problem::invalid_field(path, detail)),
        Submitted::TooOften { retry_after } => {
            let words = "too many jobs were submitted within a minute (SUBMISSIONS_PER_MINUTE)";
            let problem = Problem::new(Code::TooManyRequests, words);
            Err(problem.with_retry_after(retry_after))
        }
    }
}

fn accepted(job: &Job) -> Response {
    let prefix = "/v1/triton/jobs";
    answer::located(
        StatusCode::ACCEPTED,
        prefix,
        job.id.as_str(),
        job::encode(job),
    )
}

/// The hot path: polling clients call this every two seconds.
pub(super) async fn one(
    State(edge): State<Edge>,
    Id(id): Id<JobId>,
    Who(caller): Who,
) -> Result<Response, Problem> {
    let job = edge.lookup.job_seen_by(caller.clients(), &id).await;
    let job = job.map_err(failed)?;
    let mut job = job.ok_or_else(|| failure::no_job(&id))?;
    if job::is_pending(&job)
        && let Some(place) = edge.places.of_one(&id).await
    {
        job = answer::at_place(&job, place);
    }
    Ok(answer::json(job))
}

pub(super) async fn list(
    State(edge): State<Edge>,
    Who(caller): Who,
    query: Query,
) -> Result<Response, Problem> {
    let paging = query.paging()?;
    let filter = query.job_filter()?;
    let page = edge.access.jobs(&caller, &filter, paging).await;
    let page = page.map_err(paged)?;
    let places = edge.places.of(&page.items).await;
    let jobs: Vec<Bytes> = page
        .items
        .iter()
        .map(|job| answer::placed(job, &places))
        .collect();
    Ok(answer::page("jobs", page.total, paging, &jobs))
}

pub(super) async fn events(
    State(edge): State<Edge>,
    Id(id): Id<JobId>,
    Who(caller): Who,
    query: Query,
) -> Result<Response, Problem> {
    let after = query
        .parsed("after", "must be a sequence number", query::number)?
        .unwrap_or(0);
    let lookup = &edge.lookup;
    let events = lookup.events_seen_by(caller.clients(), &id, after).await;
    match events.map_err(failed)? {
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
    Who(caller): Who,
) -> Result<Response, Problem> {
    let cancelled = edge.edge_cancel.cancel(caller.clients(), &id).await;
    match cancelled.map_err(failed)? {
        Cancelled::Requested => {
            let text = json!({"job_id": id.as_str(), "status": "cancel_requested"});
            Ok(answer::json_with(StatusCode::ACCEPTED, text.to_string()))
        }
        Cancelled::AlreadyEnded => Err(failure::job_ended(&id)),
        Cancelled::NotFound => Err(failure::no_job(&id)),
    }
}
