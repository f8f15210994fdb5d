//! Clients and their value propositions, as Triton keeps them: its documents are passed on as they are.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use conch_domain::ClientId;
use conch_ports::Document;
use conch_wire::request::{NewClient, NewValueProposition};
use http::StatusCode;

use super::Edge;
use super::auth::Who;
use crate::answer;
use crate::body::Json;
use crate::failure::{self, failed};
use crate::path::Id;
use crate::problem::{Code, Problem};
use crate::query::Query;

pub(super) async fn create(
    State(edge): State<Edge>,
    Who(caller): Who,
    Json(new): Json<NewClient>,
) -> Result<Response, Problem> {
    let body = Document::from_json(new.encode());
    let created = edge.access.create_client(&caller, body).await;
    let created = created.map_err(failed)?.ok_or_else(|| {
        let words = "a token for some clients can't create another one: it needs one for all, `*`";
        Problem::new(Code::Forbidden, words)
    })?;
    Ok(answer::json_with(
        StatusCode::CREATED,
        created.as_json().clone(),
    ))
}

pub(super) async fn list(
    State(edge): State<Edge>,
    Who(caller): Who,
    query: Query,
) -> Result<Response, Problem> {
    let paging = query.paging()?;
    let filter = query.client_filter();
    let page = edge.access.clients(&caller, &filter, paging).await;
    let page = page.map_err(failed)?;
    let clients = texts(&page.items);
    Ok(answer::page("clients", page.total, paging, &clients))
}

pub(super) async fn one(
    State(edge): State<Edge>,
    Id(id): Id<ClientId>,
    Who(caller): Who,
) -> Result<Response, Problem> {
    let client = edge.access.client(&caller, &id).await.map_err(failed)?;
    let client = client.ok_or_else(|| failure::no_client(&id))?;
    Ok(answer::json(client.as_json().clone()))
}

pub(super) async fn value_propositions(
    State(edge): State<Edge>,
    Id(id): Id<ClientId>,
    Who(caller): Who,
) -> Result<Response, Problem> {
    let all = edge.access.value_propositions(&caller, &id).await;
    let all = all
        .map_err(failed)?
        .ok_or_else(|| failure::no_client(&id))?;
    Ok(answer::list(&texts(&all)))
}

pub(super) async fn add_value_proposition(
    State(edge): State<Edge>,
    Id(id): Id<ClientId>,
    Who(caller): Who,
    Json(new): Json<NewValueProposition>,
) -> Result<Response, Problem> {
    let body = Document::from_json(new.encode());
    let access = &edge.access;
    let added = access.create_value_proposition(&caller, &id, body).await;
    let added = added
        .map_err(failed)?
        .ok_or_else(|| failure::no_client(&id))?;
    Ok(answer::json_with(
        StatusCode::CREATED,
        added.as_json().clone(),
    ))
}

/// The documents' texts; cheap, they are shared.
pub(super) fn texts(documents: &[Document]) -> Vec<Bytes> {
    documents.iter().map(|d| d.as_json().clone()).collect()
}
