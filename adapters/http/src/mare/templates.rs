//! Templates, as Triton keeps them.

use axum::extract::State;
use axum::response::Response;
use conch_domain::TemplateId;

use super::Edge;
use super::clients::texts;
use crate::answer;
use crate::failure::failed;
use crate::path::Id;
use crate::problem::{Code, Problem};
use crate::query::Query;

pub(super) async fn list(State(edge): State<Edge>, query: Query) -> Result<Response, Problem> {
    let paging = query.paging()?;
    let filter = query.template_filter()?;
    let page = edge
        .gateway
        .templates(&filter, paging)
        .await
        .map_err(failed)?;
    let templates = texts(&page.items);
    Ok(answer::page("templates", page.total, paging, &templates))
}

pub(super) async fn one(
    State(edge): State<Edge>,
    Id(id): Id<TemplateId>,
) -> Result<Response, Problem> {
    let template = edge.gateway.template(&id).await.map_err(failed)?;
    let template = template.ok_or_else(|| Problem::from(Code::TemplateNotFound))?;
    Ok(answer::json(template.as_json().clone()))
}
