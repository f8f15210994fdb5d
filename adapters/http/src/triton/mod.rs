//! Triton over HTTP: the job service that the worker's process serves (contract §5). Reads go to the
//! catalogue, writes to the use cases; no rule of the domain is decided here.

mod clients;
mod jobs;
mod templates;
mod token;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, patch, post};
use conch_ports::{Catalogue, EventBus, JobLog};
use conch_services::places::Places;
use conch_services::triton::cancel::Cancel;
use conch_services::triton::records::Records;
use conch_services::triton::submit::Submit;

use crate::envelope::envelope;
use crate::health::{self, Check};
use crate::origins::Origins;
use crate::pages::{self, Hosts};
use crate::routes::{self, Routes};
use crate::{body, ops};

/// What the service asks of its callers.
#[derive(Clone, Default)]
pub struct Settings {
    /// The bearer token that every call must carry, if there is one.
    pub token: Option<String>,
    /// Under which names it may be asked for where there is no token.
    pub hosts: Hosts,
    /// What a request body may take.
    pub body: body::Limits,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("token", &self.token.as_ref().map(|_| "[redacted]"))
            .field("hosts", &self.hosts)
            .field("body", &self.body)
            .finish()
    }
}

/// What the service is made of.
#[derive(Clone)]
pub struct Dependencies {
    /// Accepts jobs.
    pub submit: Submit,
    /// Asks jobs to end.
    pub cancel: Cancel,
    /// Writes clients and value propositions.
    pub records: Records,
    /// Everything that is read.
    pub catalogue: Arc<dyn Catalogue>,
    /// Where waiting jobs stand.
    pub places: Places,
    /// For the health check.
    pub log: Arc<dyn JobLog>,
    /// For the health check.
    pub bus: Arc<dyn EventBus>,
    /// For operators.
    pub ops: ops::Dependencies,
}

struct Inner {
    dependencies: Dependencies,
    body: body::Limits,
}

#[derive(Clone)]
struct Service(Arc<Inner>);

impl std::ops::Deref for Service {
    type Target = Dependencies;
    fn deref(&self) -> &Dependencies {
        &self.0.dependencies
    }
}

impl FromRef<Service> for body::Limits {
    fn from_ref(service: &Service) -> Self {
        service.0.body
    }
}

impl Settings {
    /// The service's router.
    pub fn build(self, dependencies: Dependencies) -> Router {
        let ops = routes::router(ops::routes()).with_state(dependencies.ops.clone());
        let service = Service(Arc::new(Inner {
            dependencies,
            body: self.body,
        }));
        let mut router = routes::router(routes())
            .fallback(routes::unknown_path)
            .with_state(service);
        // Where there is no token, pages have no business here at all.
        let rules = self
            .token
            .is_none()
            .then(|| pages::Rules::new(self.hosts, Origins::Only(Vec::new())));
        if let Some(token) = self.token {
            let expected = token::Expected::new(&token);
            router = router.layer(from_fn_with_state(expected, token::check));
        }
        router.merge(ops).layer(from_fn_with_state(rules, envelope))
    }
}

fn routes() -> Routes<Service> {
    vec![
        ("/health", get(health)),
        ("/clients", get(clients::list).post(clients::create)),
        ("/clients/{client_id}", get(clients::one)),
        (
            "/clients/{client_id}/with-value-props",
            get(clients::with_value_propositions),
        ),
        (
            "/clients/{client_id}/value-propositions",
            get(clients::value_propositions).post(clients::add_value_proposition),
        ),
        (
            "/clients/{client_id}/value-propositions/{value_proposition_id}",
            patch(clients::switch_value_proposition),
        ),
        ("/jobs", post(jobs::submit).get(jobs::list)),
        ("/jobs/{job_id}", get(jobs::one).delete(jobs::cancel)),
        ("/templates", get(templates::list)),
        ("/templates/{template_id}", get(templates::one)),
        ("/templates/categories/list", get(templates::categories)),
        ("/templates/audiences/list", get(templates::audiences)),
    ]
}

async fn health(State(service): State<Service>) -> Response {
    let (store, bus) = tokio::join!(
        Check::of("store", service.log.ping()),
        Check::of("bus", service.bus.ping()),
    );
    health::answer("triton", &[store, bus])
}
