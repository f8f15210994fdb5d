//! Clients and their value propositions, as Triton keeps them: its documents are passed on unread.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use conch_domain::ClientId;
use conch_ports::Document;
use conch_wire::request::{NewClient, NewValueProposition};
use http::StatusCode;

use super::Edge;
use crate::answer;
use crate::body::Json;
use crate::failure::{self, failed};
use crate::path::Id;
use crate::problem::Problem;
use crate::query::Query;

pub(super) async fn create(
    State(edge): State<Edge>,
    Json(new): Json<NewClient>,
) -> Result<Response, Problem> {
    let body = Document::from_json(new.encode());
    let created = edge.gateway.create_client(body).await.map_err(failed)?;
    Ok(answer::json_with(
        StatusCode::CREATED,
        created.as_json().clone(),
    ))
}

pub(super) async fn list(State(edge): State<Edge>, query: Query) -> Result<Response, Problem> {
    let paging = query.paging()?;
    let page = edge
        .gateway
        .clients(&query.client_filter(), paging)
        .await
        .map_err(failed)?;
    let clients = texts(&page.items);
    Ok(answer::page("clients", page.total, paging, &clients))
}

pub(super) async fn one(
    State(edge): State<Edge>,
    Id(id): Id<ClientId>,
) -> Result<Response, Problem> {
    let client = edge.gateway.client(&id).await.map_err(failed)?;
    let client = client.ok_or_else(|| failure::no_client(&id))?;
    Ok(answer::json(client.as_json().clone()))
}

pub(super) async fn value_propositions(
    State(edge): State<Edge>,
    Id(id): Id<ClientId>,
) -> Result<Response, Problem> {
    let all = edge.gateway.value_propositions(&id).await.map_err(failed)?;
    let all = all.ok_or_else(|| failure::no_client(&id))?;
    Ok(answer::list(&texts(&all)))
}

pub(super) async fn add_value_proposition(
    State(edge): State<Edge>,
    Id(id): Id<ClientId>,
    Json(new): Json<NewValueProposition>,
) -> Result<Response, Problem> {
    let body = Document::from_json(new.encode());
    let added = edge
        .gateway
        .create_value_proposition(&id, body)
        .await
        .map_err(failed)?;
    let added = added.ok_or_else(|| failure::no_client(&id))?;
    Ok(answer::json_with(
        StatusCode::CREATED,
        added.as_json().clone(),
    ))
}

/// The documents' texts; cheap, they are shared.
pub(super) fn texts(documents: &[Document]) -> Vec<Bytes> {
    documents.iter().map(|d| d.as_json().clone()).collect()
}
