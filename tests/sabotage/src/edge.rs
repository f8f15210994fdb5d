//! Bugs planted into the HTTP edge, as layers round Mare's routes.
//!
//! Never in here: a bug of a port.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use conch_domain::{JobId, Position};
use conch_http::serve::Router;
use conch_ports::{JobLog, Log};
use futures::StreamExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use parking_lot::Mutex;
use tower::layer::layer_fn;
use tower::{Service, ServiceExt, service_fn};

use super::{bug, panics};

/// Where a bug looks that has to know of logs.
static LOGS: OnceLock<Arc<dyn JobLog>> = OnceLock::new();

/// What a route answers with.
type Answer = <Router as Service<Request<String>>>::Response;

/// Names the store of this process.
pub(super) fn reads_from(log: &Arc<dyn JobLog>) {
    LOGS.get_or_init(|| Arc::clone(log));
}

/// Plants it into Mare's routes.
pub(super) fn plant_http(router: Router) -> Router {
    match bug().as_str() {
        "resume-off-by-one" => router.layer(tower::util::MapRequestLayer::new(
            |mut request: Request<_>| {
                if let Some(cursor) = request.headers_mut().get_mut("last-event-id")
                    && let Some((epoch, sequence)) =
                        cursor.to_str().ok().and_then(|c| c.split_once('-'))
                    && let Ok(sequence) = sequence.parse::<u64>()
                    && let Ok(later) = format!("{epoch}-{}", sequence + 1).parse()
                {
                    *cursor = later;
                }
                request
            },
        )),
        "epoch-unread" => router.layer(layer_fn(|route| {
            service_fn(move |mut request: Request<_>| {
                let route = Clone::clone(&route);
                let cursor = request.headers().get("last-event-id").cloned();
                let place = in_the_epoch_that_is(request.uri().clone(), cursor);
                async move {
                    if let Some(same_number) = place.await {
                        request.headers_mut().insert("last-event-id", same_number);
                    }
                    ServiceExt::oneshot(route, request).await
                }
            })
        })),
        "old-end-counts" => router.layer(layer_fn(|route| {
            service_fn(move |request: Request<_>| {
                let route = Clone::clone(&route);
                let cursor = request.headers().get("last-event-id").cloned();
                let is_past = is_at_a_past_end(request.uri().clone(), cursor);
                async move {
                    if is_past.await {
                        let mut stop = Response::new(Bytes::new().into());
                        *stop.status_mut() = StatusCode::NO_CONTENT;
                        return Ok::<Answer, Infallible>(stop);
                    }
                    ServiceExt::oneshot(route, request).await
                }
            })
        })),
        "lookup-behind" => router.layer(layer_fn(|route| {
            let kept: Arc<Mutex<HashMap<String, (Instant, Bytes)>>> = Arc::default();
            service_fn(move |request: Request<_>| {
                let route = Clone::clone(&route);
                let path = request.uri().path().to_owned();
                let is_lookup = request.method() == Method::GET && is_of_a_job(&path);
                let kept = Arc::clone(&kept);
                async move {
                    let answer: Answer = ServiceExt::oneshot(route, request).await?;
                    if !is_lookup || answer.status() != StatusCode::OK {
                        return Ok::<Answer, Infallible>(answer);
                    }
                    let (mut head, body) = answer.into_parts();
                    let pieces: Vec<_> = body.into_data_stream().collect().await;
                    let fresh: Bytes = pieces.into_iter().flatten().flatten().collect();
                    let mut kept = kept.lock();
                    kept.retain(|_, (at, _)| at.elapsed() < Duration::from_secs(2));
                    let (_, first) = kept.entry(path).or_insert((Instant::now(), fresh));
                    head.headers.remove(header::CONTENT_LENGTH);
                    Ok(Response::from_parts(head, first.clone().into()))
                }
            })
        })),
        "panics" => router.layer(tower::util::MapRequestLayer::new(|request: Request<_>| {
            panics::panic_on_this_thread_if_asked();
            request
        })),
        _ => router,
    }
}

fn is_of_a_job(path: &str) -> bool {
    let job = path.trim_end_matches('/').strip_prefix("/v1/triton/jobs/");
    job.is_some_and(|id| JobId::parse(id).is_ok())
}

/// The cursor of a resume, and the job's log; none if there is no such thing.
async fn resumed(path: Uri, cursor: Option<HeaderValue>) -> Option<(Position, Log)> {
    let (job, _) = path.path().split_once("/subscribe")?;
    let job_id = JobId::parse(job.rsplit_once('/')?.1).ok()?;
    let cursor = cursor?.to_str().ok()?.parse::<Position>().ok()?;
    let log = LOGS.get()?.read(&job_id, 0, 0).await.ok()??;
    Some((cursor, log))
}

/// Whether a cursor stands where the job ended before it went on.
async fn is_at_a_past_end(path: Uri, cursor: Option<HeaderValue>) -> bool {
    let resumed = resumed(path, cursor).await;
    resumed.is_some_and(|(cursor, log)| log.job.past.contains(&cursor))
}

/// The cursor of a resume, in the epoch that the job's log is in now: if that got as far.
async fn in_the_epoch_that_is(path: Uri, cursor: Option<HeaderValue>) -> Option<HeaderValue> {
    let (cursor, log) = resumed(path, cursor).await?;
    let head = log.job.position;
    let moved = head.epoch != cursor.epoch && head.sequence >= cursor.sequence;
    let same_number = Position {
        epoch: head.epoch,
        ..cursor
    };
    let same_number = same_number.to_string().parse();
    same_number.ok().filter(|_| moved)
}
