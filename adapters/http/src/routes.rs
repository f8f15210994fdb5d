//! How both services put their routes together: a trailing slash is optional on every path, and what
//! is not there is a problem like any other.

use axum::Router;
use axum::extract::Request;
use axum::routing::MethodRouter;
use conch_domain::{ClientId, JobId, TemplateId};
use http::{Method, Uri};

use crate::path::{self, Identifier};
use crate::problem::{Code, Problem};

/// Paths without a trailing slash, and what answers there.
pub(crate) type Routes<S> = Vec<(&'static str, MethodRouter<S>)>;

/// Each path twice: a redirect would turn a POST into a GET, and rewriting costs every request.
pub(crate) fn router<S: Clone + Send + Sync + 'static>(routes: Routes<S>) -> Router<S> {
    routes
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router
                .route(path, methods.clone())
                .route(&format!("{path}/"), methods)
        })
        .method_not_allowed_fallback(unknown_method)
}

async fn unknown_method(method: Method) -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        format!("{method} is not possible here; the Allow header says what is"),
    )
}

/// The fallback. An id with slashes in it leads to no route: who sent it is told that it is no id.
pub(crate) async fn unknown_path(request: Request) -> Problem {
    let uri = request.uri();
    let invalid = invalid_id::<JobId>(uri, "jobs")
        .or_else(|| invalid_id::<ClientId>(uri, "clients"))
        .or_else(|| invalid_id::<TemplateId>(uri, "templates"));
    invalid.unwrap_or_else(|| Problem::new(Code::NotFound, "there is nothing at this path"))
}

fn invalid_id<T: Identifier>(uri: &Uri, collection: &str) -> Option<Problem> {
    let mut segments = uri.path().split('/').skip_while(|s| *s != collection);
    let id = segments.nth(1).filter(|id| !id.is_empty())?;
    // Routes below a collection that are no ids.
    if matches!(id, "subscribe" | "categories" | "audiences") {
        return None;
    }
    path::parse::<T>(id).err()
}
