//! Tickets are given out here. What a ticket opens need not be there: to say so would tell of jobs, and
//! the stream tells anyway.

use axum::extract::State;
use axum::response::Response;
use conch_domain::{JobId, Opens};
use conch_wire::time;
use http::StatusCode;
use serde_json::json;

use super::gate::Who;
use crate::answer;
use crate::failure::failed;
use crate::mare::Edge;
use crate::path::Id;
use crate::problem::Problem;

/// For the stream of one job.
pub(in crate::mare) async fn for_job(
    State(edge): State<Edge>,
    Id(id): Id<JobId>,
    who: Who,
) -> Result<Response, Problem> {
    give_out(&edge, &who, Opens::Job(id)).await
}

/// For the stream over many jobs.
pub(in crate::mare) async fn for_many(
    State(edge): State<Edge>,
    who: Who,
) -> Result<Response, Problem> {
    give_out(&edge, &who, Opens::ManyJobs).await
}

async fn give_out(edge: &Edge, Who(caller): &Who, opens: Opens) -> Result<Response, Problem> {
    let ticket = edge.tickets.give_out(caller, opens).await.map_err(failed)?;
    let text = json!({"ticket": ticket.text, "expires_at": time::format(ticket.ends_at)});
    Ok(answer::json_with(StatusCode::CREATED, text.to_string()))
}
