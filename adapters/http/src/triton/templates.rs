//! Templates: what jobs made. Nobody writes them over HTTP.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use conch_domain::{Audience, Category, TemplateId};
use conch_wire::record::encode_template;
use serde_json::Value;

use super::Service;
use crate::answer;
use crate::failure::failed;
use crate::path::Id;
use crate::problem::{Code, Problem};
use crate::query::Query;

pub(super) async fn list(
    State(service): State<Service>,
    query: Query,
) -> Result<Response, Problem> {
    let paging = query.paging()?;
    let filter = query.template_filter()?;
    let page = service
        .catalogue
        .templates(&filter, paging)
        .await
        .map_err(failed)?;
    let templates: Vec<Bytes> = page.items.iter().map(encode_template).collect();
    Ok(answer::page("templates", page.total, paging, &templates))
}

pub(super) async fn one(
    State(service): State<Service>,
    Id(id): Id<TemplateId>,
) -> Result<Response, Problem> {
    let template = service.catalogue.template(&id).await.map_err(failed)?;
    let template = template.ok_or_else(|| Problem::from(Code::TemplateNotFound))?;
    Ok(answer::json(encode_template(&template)))
}

pub(super) async fn categories() -> Response {
    let names: Value = Category::ALL.iter().map(|c| c.as_str()).collect();
    answer::json(names.to_string())
}

pub(super) async fn audiences() -> Response {
    let names: Value = Audience::ALL.iter().map(|a| a.as_str()).collect();
    answer::json(names.to_string())
}
