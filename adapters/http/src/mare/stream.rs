//! The event streams (contract §6). What they say is the hub's; this file only opens them: who asks,
//! from where on, and what the answer's head looks like.

use std::borrow::Cow;
use std::task::{Context, Poll};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use conch_domain::{ClientId, JobId};
use conch_services::mare::hub::{self, Attached, Selection, Watcher};
use conch_services::mare::tickets;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::auth::{Held, Who};
use super::{Edge, accept};
use crate::failure;
use crate::path::Id;
use crate::problem::{Code, Problem};
use crate::query::Query;
use crate::serve::{Frames, Next, Takeover};

/// Where an EventSource stands when it reconnects.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where a cursor may stand in a query; the first that is there counts.
const CURSORS: [&str; 3] = ["lastEventId", "after", "last_event_id"];

/// What of a query says which stream it is: not from where on, nor by which ticket.
pub(super) fn identity(query: &Query) -> impl Iterator<Item = (&str, &str)> {
    let all = query.pairs();
    all.filter(|(name, _)| *name != "ticket" && !CURSORS.contains(name))
}

/// Most jobs, and most clients, that one stream may name.
const NAMES_MAX: usize = 1000;

pub(super) async fn one(
    State(edge): State<Edge>,
    Id(id): Id<JobId>,
    Who(caller): Who,
    Held(held): Held,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    accept::event_stream(&headers)?;
    let cursor = cursor(&headers, &query);
    let attached = edge.hub.watch_as(&caller, &id, cursor.as_deref()).await;
    Used::of(&attached).note(&edge, held).await;
    answer(attached).ok_or_else(|| failure::no_job(&id))
}

pub(super) async fn many(
    State(edge): State<Edge>,
    Who(caller): Who,
    Held(held): Held,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    accept::event_stream(&headers)?;
    let selection = Selection {
        job_ids: query.ids::<JobId>(NAMES_MAX)?,
        client_ids: query.ids::<ClientId>(NAMES_MAX)?,
    };
    let cursor = cursor(&headers, &query);
    let hub = &edge.hub;
    let attached = hub
        .watch_many_as(&caller, selection, cursor.as_deref())
        .await;
    Used::of(&attached).note(&edge, held).await;
    answer(attached).ok_or_else(|| {
        Problem::new(
            Code::JobNotFound,
            "there is none of the jobs that were named",
        )
    })
}

/// What a ticket did.
#[derive(Clone, Copy)]
struct Used {
    opened: bool,
    of_ended_job: bool,
}

impl Used {
    fn of(attached: &Attached) -> Self {
        let opened = matches!(attached, Attached::Stream(_));
        let of_ended_job = match attached {
            Attached::Stream(watcher) => watcher.is_of_ended_job(),
            Attached::Ended => true,
            Attached::Unknown | Attached::Full(_) => false,
        };
        Self {
            opened,
            of_ended_job,
        }
    }

    /// Keeps the ticket that opened a stream for its reconnects, until soon after its job has ended.
    async fn note(self, edge: &Edge, held: Option<tickets::Held>) {
        let Some(held) = held else { return };
        if self.opened {
            edge.tickets.opened(&held).await;
        }
        if self.of_ended_job {
            edge.tickets.ended(&held).await;
        }
    }
}

/// What the caller has seen. A browser's first request can carry no header, hence the parameters; its
/// reconnects repeat them, so the header wins. `lastEventId` is what the package `event-source-polyfill`
/// sends in place of the header, with the parameters of the first request beside it. Any bytes will do:
/// what is no cursor is reset.
fn cursor(headers: &HeaderMap, query: &Query) -> Option<String> {
    let header = headers.get(LAST_EVENT_ID).map(HeaderValue::as_bytes);
    let header = header.map(String::from_utf8_lossy);
    let parameters = CURSORS
        .into_iter()
        .filter_map(|name| query.text(name).map(Cow::Borrowed));
    let mut newest_first = header.into_iter().chain(parameters);
    newest_first.find(|id| !id.is_empty()).map(Cow::into_owned)
}

/// The answer's head; none when there is no such job.
pub(super) fn answer(attached: Attached) -> Option<Response> {
    match attached {
        Attached::Stream(watcher) | Attached::Full(watcher) => Some(
            (
                [
                    (header::CONTENT_TYPE, "text/event-stream"),
                    // A proxy that compresses would hold events back until it has enough of them.
                    (header::CACHE_CONTROL, "no-store, no-transform"),
                    (HeaderName::from_static("x-accel-buffering"), "no"),
                ],
                Takeover::new(Stream(watcher)),
                (),
            )
                .into_response(),
        ),
        Attached::Ended => Some(StatusCode::NO_CONTENT.into_response()),
        Attached::Unknown => None,
    }
}

/// A watcher as the server wants it.
struct Stream(Watcher);

impl Frames for Stream {
    fn poll_frames(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) -> Poll<Next> {
        self.0.poll_frames(cx, out).map(|next| match next {
            hub::Next::More => Next::More,
            hub::Next::End => Next::End,
        })
    }
}
