//! Jobs: submitted, looked at, asked to end.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use conch_domain::{Job, JobId};
use conch_ports::{Cancelled, NewJob, Requested};
use conch_wire::{job, request};
use http::StatusCode;

use super::Service;
use crate::answer;
use crate::body::Json;
use crate::failure::{self, failed};
use crate::idempotency_key::{self, IdempotencyKey};
use crate::path::Id;
use crate::problem::Problem;
use crate::query::Query;

/// Whose idempotency keys they are, as long as callers have no names.
const CALLER: &str = "anonymous";

pub(super) async fn submit(
    State(service): State<Service>,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Json(new): Json<request::NewJob>,
) -> Result<Response, Problem> {
    let client_id = new.client_id.clone();
    let requested = NewJob {
        client_id: new.client_id,
        value_proposition_id: new.value_proposition_id,
        schedule: new.schedule,
        idempotency_key,
    };
    match service
        .submit
        .submit(requested, CALLER)
        .await
        .map_err(failed)?
    {
        Requested::Accepted(job) => Ok(created(&job)),
        Requested::Repeated(job) => Ok(idempotency_key::replayed(created(&job))),
        Requested::NotFound(detail) => {
            let client = service.catalogue.client(&client_id).await.map_err(failed)?;
            Err(failure::nothing_to_generate_from(client.is_some(), detail))
        }
        Requested::KeyReused => Err(failure::key_reused()),
        Requested::Invalid { path, detail } => Err(Problem::invalid_field(path, detail)),
    }
}

fn created(job: &Job) -> Response {
    answer::located(
        StatusCode::CREATED,
        "/jobs",
        job.id.as_str(),
        job::encode(job),
    )
}

pub(super) async fn one(
    State(service): State<Service>,
    Id(id): Id<JobId>,
) -> Result<Response, Problem> {
    let job = service.catalogue.job(&id).await.map_err(failed)?;
    let job = job.ok_or_else(|| failure::no_job(&id))?;
    let places = service.places.of([&job]).await;
    Ok(answer::json(answer::placed(&job, &places)))
}

pub(super) async fn list(
    State(service): State<Service>,
    query: Query,
) -> Result<Response, Problem> {
    let paging = query.paging()?;
    let filter = query.job_filter()?;
    let page = service
        .catalogue
        .jobs(&filter, paging)
        .await
        .map_err(failed)?;
    let places = service.places.of(&page.items).await;
    let jobs: Vec<Bytes> = page
        .items
        .iter()
        .map(|job| answer::placed(job, &places))
        .collect();
    Ok(answer::page("jobs", page.total, paging, &jobs))
}

pub(super) async fn cancel(
    State(service): State<Service>,
    Id(id): Id<JobId>,
) -> Result<StatusCode, Problem> {
    match service.cancel.cancel(&id, None).await.map_err(failed)? {
        Cancelled::Requested => Ok(StatusCode::NO_CONTENT),
        Cancelled::AlreadyEnded => Err(failure::job_ended(&id)),
        Cancelled::NotFound => Err(failure::no_job(&id)),
    }
}
