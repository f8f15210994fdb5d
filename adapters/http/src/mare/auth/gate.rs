//! What each route needs of its caller, written where the route is: one can't be added without it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use conch_domain::Caller;
use http::Method;
use http::request::Parts;

use super::guard::{Guard, Turned};
use super::need::Need;
use crate::mare::Edge;
use crate::problem::{Code, Problem};
use crate::routes::Routes;

/// A path, what answers there, and what each method needs.
pub(in crate::mare) struct Route {
    path: &'static str,
    methods: MethodRouter<Edge>,
    needs: Vec<(Method, Need)>,
}

impl Route {
    /// Nothing answers there yet.
    pub(in crate::mare) fn new(path: &'static str) -> Self {
        Self {
            path,
            methods: MethodRouter::new(),
            needs: Vec::new(),
        }
    }

    fn method<H, T>(mut self, method: Method, need: Need, handler: H) -> Self
    where
        H: Handler<T, Edge>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("it is one of HTTP's own");
        self.methods = self.methods.merge(on(filter, handler));
        self.needs.push((method, need));
        self
    }

    /// Adds `GET`, and `HEAD` with it.
    pub(in crate::mare) fn get<H: Handler<T, Edge>, T: 'static>(self, need: Need, h: H) -> Self {
        self.method(Method::GET, need, h)
    }

    /// Adds `POST`.
    pub(in crate::mare) fn post<H: Handler<T, Edge>, T: 'static>(self, need: Need, h: H) -> Self {
        self.method(Method::POST, need, h)
    }

    /// Adds `DELETE`.
    pub(in crate::mare) fn delete<H: Handler<T, Edge>, T: 'static>(self, need: Need, h: H) -> Self {
        self.method(Method::DELETE, need, h)
    }

    /// Its path.
    #[cfg(test)]
    pub(in crate::mare) fn path(&self) -> &'static str {
        self.path
    }

    /// What each method needs.
    #[cfg(test)]
    pub(in crate::mare) fn needs(&self) -> &[(Method, Need)] {
        &self.needs
    }
}

/// The routes behind a guard, if there is one. Without, they are as they are: nothing stands in the
/// way of a request.
pub(in crate::mare) fn gated(routes: Vec<Route>, guard: Option<&Guard>) -> Routes<Edge> {
    routes
        .into_iter()
        .map(|route| {
            let Some(guard) = guard else {
                return (route.path, route.methods);
            };
            let gate = Gate {
                guard: guard.clone(),
                needs: route.needs.into(),
            };
            (
                route.path,
                route.methods.layer(from_fn_with_state(gate, pass)),
            )
        })
        .collect()
}

#[derive(Clone)]
struct Gate {
    guard: Guard,
    needs: Arc<[(Method, Need)]>,
}

/// The layer: who may not is answered here.
async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let method = match *request.method() {
        Method::HEAD => &Method::GET,
        ref method => method,
    };
    let need = gate.needs.iter().find(|(of, _)| of == method);
    // No such method: the router says so.
    let Some((_, need)) = need else {
        return next.run(request).await;
    };
    if *need == Need::Nothing {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let caller = match gate.guard.caller(&mut parts, *need).await {
        Ok(caller) => caller,
        Err(Turned(answer)) => return answer,
    };
    if let Some(scope) = need.scope()
        && !caller.scopes().contain(scope)
    {
        return Problem::insufficient_scope(scope.as_str()).into_response();
    }
    parts.extensions.insert(caller);
    next.run(Request::from_parts(parts, body)).await
}

/// Who asks.
pub(in crate::mare) struct Who(pub(in crate::mare) Caller);

impl FromRequestParts<Edge> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Problem> {
        if let Some(anybody) = edge.anybody() {
            // What one takes is bounded by where it comes from, where nothing else tells callers apart.
            let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
            return Ok(Self(match peer {
                Some(ConnectInfo(peer)) => anybody.from_peer(peer.ip()),
                None => anybody,
            }));
        }
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.map(Self).ok_or_else(|| {
            tracing::error!("a route that needs nothing asks who its caller is");
            Problem::from(Code::Internal)
        })
    }
}
