//! Tickets: what they open, for whom, and for how long.

use conch_doubles::When;
use conch_ports::ErrorKind;
use serde_json::json;

use super::mint::{ALL, good};
use super::{ask, by_secret, guarded, text};
use crate::edge::Edge;
use crate::support::{call, get};

async fn ticket(edge: &Edge, token: &str, path: &str) -> String {
    let answer = ask(edge, token, "POST", path).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(answer.json()["expires_at"].is_string());
    text(&answer.json(), "ticket")
}

const JOB: &str = "/v1/triton/jobs/acme-job/subscribe";
const MANY: &str = "/v1/triton/jobs/subscribe";

#[tokio::test]
async fn a_ticket_opens_its_stream_and_nothing_else() {
    let edge = guarded(by_secret()).await;
    let token = good(&json!(["acme"]), "events:read");
    let job = ticket(&edge, &token, "/v1/triton/jobs/acme-job/ticket").await;
    let many = ticket(&edge, &token, "/v1/triton/jobs/subscribe/ticket").await;
    assert_ne!(job, many);
    let router = &edge.router;
    // A reconnect brings it again.
    for _ in 0..3 {
        for (path, ticket) in [(JOB, &job), (MANY, &many)] {
            for path in [path.to_owned(), format!("{path}/")] {
                let answer = get(router, &format!("{path}?ticket={ticket}")).await;
                assert_eq!(answer.header("content-type"), Some("text/event-stream"));
            }
        }
    }
    let at_the_end = format!("{JOB}?ticket={job}&after=abababab-2");
    assert_eq!(get(router, &at_the_end).await.status, 204);
    for (path, ticket) in [
        (JOB, many.as_str()),
        (MANY, &job),
        ("/v1/triton/jobs/rival-job/subscribe", &job),
        ("/v1/triton/jobs/a.b/subscribe", &job),
        (JOB, &job[1..]),
        (JOB, &job.to_uppercase()),
        (JOB, "nonsense"),
        (JOB, "%ff"),
        (JOB, &token),
    ] {
        let answer = get(router, &format!("{path}?ticket={ticket}")).await;
        answer.is_problem(401, "invalid-ticket");
        assert_eq!(
            answer.header("www-authenticate"),
            Some(r#"Bearer error="invalid_token""#)
        );
    }
    // Anywhere else it is no credential at all, and it is never one in the header.
    for path in [
        "/v1/triton/jobs/acme-job",
        "/v1/triton/jobs/acme-job/events",
        "/v1/triton/health",
    ] {
        let answer = get(router, &format!("{path}?ticket={job}")).await;
        answer.is_problem(401, "unauthorized");
    }
    ask(&edge, &job, "GET", JOB)
        .await
        .is_problem(401, "invalid-token");
    let another = format!("/v1/triton/jobs/acme-job/ticket?ticket={job}");
    call(router, "POST", &another)
        .await
        .is_problem(401, "unauthorized");
    // A header that is refused isn't made up for by a ticket.
    let both = format!("{JOB}?ticket={job}");
    ask(&edge, "nonsense", "GET", &both)
        .await
        .is_problem(401, "invalid-token");
}

#[tokio::test]
async fn a_ticket_shows_what_its_holder_may_see() {
    let edge = guarded(by_secret()).await;
    let theirs = good(&json!(["acme"]), "events:read");
    // It is given out whether there is such a job or not.
    let mut tickets = Vec::new();
    for job in ["rival-job", "nobody-job"] {
        tickets.push(ticket(&edge, &theirs, &format!("/v1/triton/jobs/{job}/ticket")).await);
    }
    for (job, ticket) in ["rival-job", "nobody-job"].iter().zip(&tickets) {
        let path = format!("/v1/triton/jobs/{job}/subscribe?ticket={ticket}");
        get(&edge.router, &path)
            .await
            .is_problem(404, "job-not-found");
    }
    let many = ticket(&edge, &theirs, "/v1/triton/jobs/subscribe/ticket").await;
    for job in ["rival-job", "nobody-job"] {
        let path = format!("{MANY}?job_id={job}&ticket={many}");
        get(&edge.router, &path)
            .await
            .is_problem(404, "job-not-found");
    }
    let without = good(&json!(["acme"]), "jobs:read jobs:write");
    for path in [
        "/v1/triton/jobs/acme-job/ticket",
        "/v1/triton/jobs/subscribe/ticket",
    ] {
        ask(&edge, &without, "POST", path)
            .await
            .is_problem(403, "insufficient-scope");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_ends_after_a_minute() {
    let edge = guarded(by_secret()).await;
    let token = good(&json!(["acme"]), ALL);
    let ticket = ticket(&edge, &token, "/v1/triton/jobs/acme-job/ticket").await;
    let path = format!("{JOB}?ticket={ticket}");
    tokio::time::advance(std::time::Duration::from_secs(59)).await;
    // A HEAD opens no stream, so it is not what the ticket may open again.
    assert_eq!(call(&edge.router, "HEAD", &path).await.status, 200);
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    get(&edge.router, &path)
        .await
        .is_problem(401, "invalid-ticket");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_that_opened_a_stream_reopens_that_stream() {
    let edge = guarded(by_secret()).await;
    crate::edge::start(&edge.memory, "running", "acme").await;
    let token = good(&json!(["acme"]), ALL);
    let job = ticket(&edge, &token, "/v1/triton/jobs/running/ticket").await;
    let many = ticket(&edge, &token, "/v1/triton/jobs/subscribe/ticket").await;
    let unused = ticket(&edge, &token, "/v1/triton/jobs/running/ticket").await;
    let one = "/v1/triton/jobs/running/subscribe";
    for path in [
        format!("{one}?ticket={job}"),
        format!("{MANY}?job_id=running&ticket={many}"),
    ] {
        assert_eq!(get(&edge.router, &path).await.status, 200, "{path}");
    }
    tokio::time::advance(std::time::Duration::from_secs(66)).await;
    for path in [
        format!("{one}?ticket={job}"),
        format!("{one}/?after=abababab-1&ticket={job}"),
        format!("{one}?ticket={job}&last_event_id=abababab-1"),
        format!("{MANY}?job_id=running&ticket={many}"),
        format!("{MANY}?after=m-1&ticket={many}&job_id=running"),
    ] {
        let answer = get(&edge.router, &path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    for path in [
        format!("{one}?ticket={unused}"),
        format!("{one}?ticket={job}&more=1"),
        format!("{JOB}?ticket={job}"),
        format!("{MANY}?ticket={many}"),
        format!("{MANY}?job_id=acme-job&ticket={many}"),
        format!("{MANY}?job_id=running&ticket={job}"),
    ] {
        let answer = get(&edge.router, &path).await;
        answer.is_problem(401, "invalid-ticket");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_of_an_ended_job_reopens_for_a_minute() {
    let edge = guarded(by_secret()).await;
    let token = good(&json!(["acme"]), ALL);
    let ticket = ticket(&edge, &token, "/v1/triton/jobs/acme-job/ticket").await;
    let path = format!("{JOB}?ticket={ticket}");
    tokio::time::advance(std::time::Duration::from_secs(50)).await;
    assert_eq!(get(&edge.router, &path).await.status, 200);
    tokio::time::advance(std::time::Duration::from_secs(50)).await;
    // The watcher is told that all is over, though the ticket's own minute has passed.
    let at_the_end = format!("{path}&after=abababab-2");
    assert_eq!(get(&edge.router, &at_the_end).await.status, 204);
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    let answer = get(&edge.router, &path).await;
    answer.is_problem(401, "invalid-ticket");
}

#[tokio::test]
async fn too_many_tickets() {
    let edge = guarded(by_secret()).await;
    let token = good(&json!(["acme"]), ALL);
    let path = "/v1/triton/jobs/subscribe/ticket";
    for _ in 0..200 {
        assert_eq!(ask(&edge, &token, "POST", path).await.status, 201);
    }
    let refused = ask(&edge, &token, "POST", path).await;
    refused.is_problem(429, "too-many-requests");
    assert!(refused.header("retry-after").is_some());
}

/// A store that is out of reach ends no EventSource for good: any other status than 200 would.
#[tokio::test]
async fn a_ticket_that_cannot_be_looked_at_is_asked_for_again() {
    let edge = guarded(by_secret()).await;
    let token = good(&json!(["acme"]), ALL);
    let ticket = ticket(&edge, &token, "/v1/triton/jobs/acme-job/ticket").await;
    let faults = edge.memory.faults();
    faults.fail_next("ticket_store.get", 1, ErrorKind::Unavailable, When::Before);
    let answer = get(&edge.router, &format!("{JOB}?ticket={ticket}")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    faults.fail_next("ticket_store.put", 1, ErrorKind::Unavailable, When::Before);
    let refused = ask(&edge, &token, "POST", "/v1/triton/jobs/acme-job/ticket").await;
    refused.is_problem(503, "store-unavailable");
}
