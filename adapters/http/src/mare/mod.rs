//! Mare over HTTP: the edge that browsers and scripts talk to (contract §4 and §6). Clients, templates
//! and submissions go through the gateway, lookups and streams through the services; nothing here
//! keeps state.

mod accept;
mod clients;
mod cors;
mod jobs;
mod stream;
mod templates;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{get, post};
use conch_ports::{EventBus, ResultCache, TritonGateway};
use conch_services::edge_cancel::EdgeCancel;
use conch_services::hub::Hub;
use conch_services::lookup::Lookup;

pub use cors::{InvalidOrigin, Origins};

use crate::envelope::envelope;
use crate::health::{self, Check};
use crate::routes::{self, Routes};
use crate::{answer, body, ops};

/// The description of this API. Kept by hand; a test holds it against the routes.
const OPENAPI: &str = include_str!("openapi.json");

/// What the edge asks of its callers.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Pages of which origins may read the answers.
    pub cors_origins: Origins,
    /// What a request body may take.
    pub body: body::Limits,
}

/// What the edge is made of.
#[derive(Clone)]
pub struct Dependencies {
    /// Streams.
    pub hub: Hub,
    /// Single jobs.
    pub lookup: Lookup,
    /// Asks jobs to end.
    pub edge_cancel: EdgeCancel,
    /// Everything that Triton owns.
    pub gateway: Arc<dyn TritonGateway>,
    /// For the health check.
    pub bus: Arc<dyn EventBus>,
    /// For the health check.
    pub cache: Arc<dyn ResultCache>,
    /// For operators.
    pub ops: ops::Dependencies,
}

struct Inner {
    dependencies: Dependencies,
    body: body::Limits,
}

#[derive(Clone)]
struct Edge(Arc<Inner>);

impl std::ops::Deref for Edge {
    type Target = Dependencies;
    fn deref(&self) -> &Dependencies {
        &self.0.dependencies
    }
}

impl FromRef<Edge> for body::Limits {
    fn from_ref(edge: &Edge) -> Self {
        edge.0.body
    }
}

impl Settings {
    /// The edge's router.
    pub fn build(self, dependencies: Dependencies) -> Router {
        let ops = routes::router(ops::routes()).with_state(dependencies.ops.clone());
        let edge = Edge(Arc::new(Inner {
            dependencies,
            body: self.body,
        }));
        routes::router(routes())
            .with_state(edge)
            .merge(ops)
            .fallback(routes::unknown_path)
            .layer(self.cors_origins.into_layer())
            .layer(from_fn(envelope))
    }
}

fn routes() -> Routes<Edge> {
    vec![
        ("/v1/triton/health", get(health)),
        (
            "/v1/triton/clients",
            get(clients::list).post(clients::create),
        ),
        ("/v1/triton/clients/{client_id}", get(clients::one)),
        (
            "/v1/triton/clients/{client_id}/value-propositions",
            get(clients::value_propositions).post(clients::add_value_proposition),
        ),
        (
            "/v1/triton/clients/{client_id}/generate-templates",
            post(jobs::generate_templates),
        ),
        ("/v1/triton/jobs", get(jobs::list)),
        ("/v1/triton/jobs/subscribe", get(stream::many)),
        (
            "/v1/triton/jobs/{job_id}",
            get(jobs::one).delete(jobs::cancel),
        ),
        ("/v1/triton/jobs/{job_id}/subscribe", get(stream::one)),
        ("/v1/triton/jobs/{job_id}/events", get(jobs::events)),
        ("/v1/triton/templates", get(templates::list)),
        ("/v1/triton/templates/{template_id}", get(templates::one)),
        ("/openapi.json", get(openapi)),
    ]
}

async fn health(State(edge): State<Edge>) -> Response {
    let (bus, cache, triton) = tokio::join!(
        Check::of("bus", edge.bus.ping()),
        Check::of("cache", edge.cache.ping()),
        Check::of("triton", edge.gateway.health()),
    );
    health::answer("mare", &[bus, cache, triton])
}

async fn openapi() -> Response {
    answer::json(OPENAPI)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        let described: BTreeSet<&str> = document["paths"]
            .as_object()
            .expect("it has paths")
            .keys()
            .map(String::as_str)
            .collect();
        let served: BTreeSet<&str> = routes()
            .iter()
            .map(|(path, _)| *path)
            .chain(ops::routes().iter().map(|(path, _)| *path))
            .collect();
        assert_eq!(described, served);
    }
}
