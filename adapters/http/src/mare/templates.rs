//! Templates, as Triton keeps them.

use axum::extract::State;
use axum::response::Response;
use conch_domain::TemplateId;

use super::auth::Who;
use super::clients::texts;
use super::{Edge, paged};
use crate::answer;
use crate::failure::failed;
use crate::path::Id;
use crate::problem::{Code, Problem};
use crate::query::Query;

pub(super) async fn list(
    State(edge): State<Edge>,
    Who(caller): Who,
    query: Query,
) -> Result<Response, Problem> {
    let paging = query.paging()?;
    let filter = query.template_filter()?;
    let page = edge.access.templates(&caller, &filter, paging).await;
    let page = page.map_err(paged)?;
    let templates = texts(&page.items);
    Ok(answer::page("templates", page.total, paging, &templates))
}

pub(super) async fn one(
    State(edge): State<Edge>,
    Id(id): Id<TemplateId>,
    Who(caller): Who,
) -> Result<Response, Problem> {
    let template = edge.access.template(&caller, &id).await.map_err(failed)?;
    let template = template.ok_or_else(|| Problem::from(Code::TemplateNotFound))?;
    Ok(answer::json(template.as_json().clone()))
}
