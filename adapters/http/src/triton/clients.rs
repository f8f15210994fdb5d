//! Clients and their value propositions.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use conch_domain::{Client, ClientId, ValueProposition, ValuePropositionId};
use conch_wire::record::{encode_client, encode_value_proposition};
use conch_wire::request::{NewClient, NewValueProposition};
use http::StatusCode;

use super::Service;
use crate::answer;
use crate::body::Json;
use crate::failure::{self, failed};
use crate::path::Id;
use crate::problem::{Code, Problem};
use crate::query::Query;

pub(super) async fn create(
    State(service): State<Service>,
    Json(new): Json<NewClient>,
) -> Result<Response, Problem> {
    let client = service.records.create_client(new).await.map_err(failed)?;
    Ok(answer::located(
        StatusCode::CREATED,
        "/clients",
        client.id.as_str(),
        encode_client(&client),
    ))
}

pub(super) async fn list(
    State(service): State<Service>,
    query: Query,
) -> Result<Response, Problem> {
    let paging = query.paging()?;
    let filter = query.client_filter();
    let page = service
        .catalogue
        .clients(&filter, paging)
        .await
        .map_err(failed)?;
    let clients: Vec<Bytes> = page.items.iter().map(encode_client).collect();
    Ok(answer::page("clients", page.total, paging, &clients))
}

pub(super) async fn one(
    State(service): State<Service>,
    Id(id): Id<ClientId>,
) -> Result<Response, Problem> {
    Ok(answer::json(encode_client(&client(&service, &id).await?)))
}

/// The Python service's shape, `{client, value_propositions}`, and for readers of our earlier one the
/// client's fields beside them.
pub(super) async fn with_value_propositions(
    State(service): State<Service>,
    Id(id): Id<ClientId>,
    query: Query,
) -> Result<Response, Problem> {
    let active_only = query.flag("active_only")?.unwrap_or(false);
    let client = encode_client(&client(&service, &id).await?);
    let mut all = value_propositions_of(&service, &id).await?;
    all.retain(|one| one.is_active || !active_only);
    let all: Vec<Bytes> = all.iter().map(encode_value_proposition).collect();
    let both = answer::with_field(&client, "client", &client);
    Ok(answer::object_and_list(&both, "value_propositions", &all))
}

pub(super) async fn value_propositions(
    State(service): State<Service>,
    Id(id): Id<ClientId>,
) -> Result<Response, Problem> {
    let all = value_propositions_of(&service, &id).await?;
    let all: Vec<Bytes> = all.iter().map(encode_value_proposition).collect();
    Ok(answer::list(&all))
}

pub(super) async fn add_value_proposition(
    State(service): State<Service>,
    Id(id): Id<ClientId>,
    Json(new): Json<NewValueProposition>,
) -> Result<Response, Problem> {
    let added: Option<ValueProposition> = service
        .records
        .add_value_proposition(&id, new)
        .await
        .map_err(failed)?;
    let added = added.ok_or_else(|| failure::no_client(&id))?;
    Ok(answer::json_with(
        StatusCode::CREATED,
        encode_value_proposition(&added),
    ))
}

pub(super) async fn switch_value_proposition(
    State(service): State<Service>,
    Id(client_id): Id<ClientId>,
    Id(id): Id<ValuePropositionId>,
    query: Query,
) -> Result<Response, Problem> {
    let is_active = query
        .flag("is_active")?
        .ok_or_else(|| Problem::invalid_field("is_active", "is required"))?;
    let switched = service
        .records
        .set_active(&client_id, &id, is_active)
        .await
        .map_err(failed)?;
    let switched = switched.ok_or_else(|| Problem::from(Code::ValuePropositionNotFound))?;
    Ok(answer::json(encode_value_proposition(&switched)))
}

async fn client(service: &Service, id: &ClientId) -> Result<Client, Problem> {
    let client = service.catalogue.client(id).await.map_err(failed)?;
    client.ok_or_else(|| failure::no_client(id))
}

async fn value_propositions_of(
    service: &Service,
    id: &ClientId,
) -> Result<Vec<ValueProposition>, Problem> {
    let all = service
        .catalogue
        .value_propositions(id)
        .await
        .map_err(failed)?;
    all.ok_or_else(|| failure::no_client(id))
}
