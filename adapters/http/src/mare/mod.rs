//! Mare over HTTP: the edge that browsers and scripts talk to (contract §4 and §6). Everything goes
//! through the services: clients, templates and submissions through `Access`; nothing here keeps state.

mod accept;
pub mod auth;
mod clients;
mod cors;
mod description;
mod jobs;
mod stream;
mod templates;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use bytes::Bytes;
use conch_domain::{Caller, Scope};
use conch_ports::{EventBus, JobLog, ResultCache, TritonGateway};
use conch_services::Clock;
use conch_services::mare::access::{Access, NoPage};
use conch_services::mare::edge_cancel::EdgeCancel;
use conch_services::mare::hub::Hub;
use conch_services::mare::lookup::Lookup;
use conch_services::mare::tickets::Tickets;
use conch_services::places::Places;

use auth::{Guard, Need, Route};
use description::Asks;

use crate::envelope::envelope;
use crate::failure::failed;
use crate::health::{self, Check};
use crate::origins::Origins;
use crate::pages::{self, Hosts};
use crate::problem::Problem;
use crate::{answer, body, ops, routes};

/// What the edge asks of its callers.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Whose tokens callers must bring; none: everybody may see and do all.
    pub auth: Option<auth::Jwt>,
    /// Pages of which origins may read the answers.
    pub cors_origins: Origins,
    /// Under which names it may be asked for where no credentials are required.
    pub hosts: Hosts,
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
    /// Everything that Triton owns, as a caller may see it.
    pub access: Access,
    /// Where waiting jobs stand.
    pub places: Places,
    /// For streams of who can send no header.
    pub tickets: Tickets,
    /// What credentials' times are measured by.
    pub clock: Clock,
    /// For the health check.
    pub gateway: Arc<dyn TritonGateway>,
    /// For the health check.
    pub log: Arc<dyn JobLog>,
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
    guard: Option<Guard>,
    anybody: Caller,
    /// See [`description`].
    openapi: Bytes,
}

#[derive(Clone)]
struct Edge(Arc<Inner>);

impl std::ops::Deref for Edge {
    type Target = Dependencies;
    fn deref(&self) -> &Dependencies {
        &self.0.dependencies
    }
}

impl Edge {
    /// None where everybody may see and do all.
    fn guard(&self) -> Option<&Guard> {
        self.0.guard.as_ref()
    }

    /// Who everybody is where there is no guard.
    fn anybody(&self) -> Option<Caller> {
        self.guard().is_none().then(|| self.0.anybody.clone())
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
        let guard = self.auth.map(|jwt| {
            Guard::new(
                jwt,
                dependencies.tickets.clone(),
                self.cors_origins.clone(),
                dependencies.hub.clone(),
                dependencies.clock.clone(),
            )
        });
        // What the process counts is not for everybody who reaches a listener that asks for tokens.
        // Where there are credentials they are the wall.
        let rules = guard
            .is_none()
            .then(|| pages::Rules::new(self.hosts, self.cors_origins.clone()));
        let ops = if guard.is_some() {
            ops::probes()
        } else {
            ops::routes()
        };
        let ops = routes::router(ops).with_state(dependencies.ops.clone());
        let gated = auth::gated(routes(), guard.as_ref());
        let asks = match &guard {
            None => Asks::Nothing,
            Some(guard) => Asks::Token(guard.cookie()),
        };
        let openapi = description::document(asks);
        let edge = Edge(Arc::new(Inner {
            dependencies,
            body: self.body,
            guard,
            anybody: Caller::unrestricted(),
            openapi,
        }));
        routes::router(gated)
            .with_state(edge)
            .merge(ops)
            .fallback(routes::unknown_path)
            .layer(cors::layer(self.cors_origins))
            .layer(from_fn_with_state(rules, envelope))
    }
}

fn routes() -> Vec<Route> {
    const READ: Need = Need::Scope(Scope::JobsRead);
    const WRITE: Need = Need::Scope(Scope::JobsWrite);
    const EVENTS: Need = Need::Scope(Scope::EventsRead);
    vec![
        Route::new("/v1/triton/health").get(Need::Credentials, health),
        Route::new("/v1/triton/clients")
            .get(READ, clients::list)
            .post(WRITE, clients::create),
        Route::new("/v1/triton/clients/{client_id}").get(READ, clients::one),
        Route::new("/v1/triton/clients/{client_id}/value-propositions")
            .get(READ, clients::value_propositions)
            .post(WRITE, clients::add_value_proposition),
        Route::new("/v1/triton/clients/{client_id}/generate-templates")
            .post(WRITE, jobs::generate_templates),
        Route::new("/v1/triton/jobs").get(READ, jobs::list),
        Route::new("/v1/triton/jobs/subscribe").get(Need::Stream, stream::many),
        Route::new("/v1/triton/jobs/subscribe/ticket").post(EVENTS, auth::for_many),
        Route::new("/v1/triton/jobs/{job_id}")
            .get(READ, jobs::one)
            .delete(WRITE, jobs::cancel),
        Route::new("/v1/triton/jobs/{job_id}/subscribe").get(Need::Stream, stream::one),
        Route::new("/v1/triton/jobs/{job_id}/ticket").post(EVENTS, auth::for_job),
        Route::new("/v1/triton/jobs/{job_id}/events").get(EVENTS, jobs::events),
        Route::new("/v1/triton/templates").get(READ, templates::list),
        Route::new("/v1/triton/templates/{template_id}").get(READ, templates::one),
        Route::new("/v1/triton/auth/session")
            .post(Need::Bearer, auth::begin)
            .delete(Need::Nothing, auth::end),
        Route::new("/openapi.json").get(Need::Nothing, openapi),
    ]
}

/// For `map_err`, where a handler ends because a list has no such page.
fn paged(error: NoPage) -> Problem {
    match error {
        NoPage::Failed(error) => failed(error),
        NoPage::TooDeep => Problem::invalid_field(
            "page",
            "a list of several clients reaches to its newest 1000 records: name one with client_id",
        ),
    }
}

async fn health(State(edge): State<Edge>) -> Response {
    let (store, bus, cache, triton) = tokio::join!(
        Check::of("store", edge.log.ping()),
        Check::of("bus", edge.bus.ping()),
        Check::of("cache", edge.cache.ping()),
        Check::of("triton", edge.gateway.health()),
    );
    health::answer("mare", &[store, bus, cache, triton])
}

async fn openapi(State(edge): State<Edge>) -> Response {
    answer::json(edge.0.openapi.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::description::OPENAPI;
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
            .map(Route::path)
            .chain(ops::routes().iter().map(|(path, _)| *path))
            .collect();
        assert_eq!(described, served);
    }

    #[test]
    fn what_each_method_needs_is_described() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        for route in routes() {
            for (method, need) in route.needs() {
                let name = method.as_str().to_lowercase();
                let described = &document["paths"][route.path()][&name]["security"];
                let reads = *method == http::Method::GET;
                let scope: Vec<&str> = need.scope().map(Scope::as_str).into_iter().collect();
                let mut expected = Vec::new();
                if *need != Need::Nothing {
                    expected.push(serde_json::json!({"bearer": scope}));
                }
                if reads && *need != Need::Nothing {
                    expected.push(serde_json::json!({"cookie": scope}));
                }
                if *need == Need::Stream {
                    expected.push(serde_json::json!({"ticket": []}));
                }
                let expected = serde_json::Value::from(expected);
                assert_eq!(*described, expected, "{method} {}", route.path());
            }
        }
    }
}
