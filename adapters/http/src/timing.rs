//! How long requests take until their answer begins, by method, route and status.
//!
//! Never in here: a label that a caller can make up: routes are those of our own table, and of methods only the
//! usual ones are named.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use http::{Method, StatusCode};
use metrics::Histogram;
use parking_lot::RwLock;

/// What a request is to be counted as.
pub(crate) struct Counted {
    method: &'static str,
    /// None: no route is at its path.
    route: Option<MatchedPath>,
}

impl Counted {
    pub(crate) fn of(request: &Request) -> Self {
        let method = match *request.method() {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            Method::OPTIONS => "OPTIONS",
            _ => "other",
        };
        let route = request.extensions().get::<MatchedPath>().cloned();
        Self { method, route }
    }

    /// Its answer has begun.
    pub(crate) fn answered(&self, status: StatusCode, took: Duration) {
        type Handles = HashMap<String, HashMap<(&'static str, StatusCode), Histogram>>;
        static TIMES: LazyLock<RwLock<Handles>> = LazyLock::new(RwLock::default);
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str);
        let route = route.strip_suffix('/').unwrap_or(route);
        let of_route = (self.method, status);
        if let Some(times) = TIMES.read().get(route).and_then(|all| all.get(&of_route)) {
            times.record(took);
            return;
        }
        let times = metrics::histogram!(
            "conch_http_request_seconds",
            "method" => self.method, "route" => route.to_owned(), "status" => status.as_str().to_owned()
        );
        times.record(took);
        let mut all = TIMES.write();
        all.entry(route.to_owned())
            .or_default()
            .insert(of_route, times);
    }
}
