//! Authentication and tenants at the edge: tokens, tickets, the cookie, and what each shows of whom.

mod cookie;
mod key_files;
pub(crate) mod mint;
mod routes;
mod secrecy;
mod tickets;
mod tokens;

use axum::body::Body;
use axum::http::Request;
use axum::http::request::Builder;
use conch_domain::TemplateId;
use conch_http::mare::{self, auth};
use conch_ports::Document;
use serde_json::Value;

use crate::edge::{Edge, edge_with, finish_of, id};
use crate::support::{self, Answer, send};
use mint::{AUDIENCE, ISSUER, SECRET};

/// Settings that take tokens by the secret.
pub(crate) fn by_secret() -> auth::Settings {
    auth::Settings {
        algorithm: auth::Algorithm::Hs256,
        key: auth::KeySource::Secret(SECRET.to_owned()),
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        clients_claim: "clients".to_owned(),
        cookie: None,
    }
}

/// An edge that asks for tokens, with two clients on it, `acme` and `rival`: of each a job that has
/// ended, `acme-job` and `rival-job`, and a template.
pub(crate) async fn guarded(settings: auth::Settings) -> Edge {
    guarded_as(mare::Settings {
        auth: Some(settings.build().unwrap()),
        ..mare::Settings::default()
    })
    .await
}

pub(crate) async fn guarded_as(settings: mare::Settings) -> Edge {
    let edge = edge_with(settings, support::ops());
    for client in ["acme", "rival"] {
        let document = format!(r#"{{"id":"{client}","created_at":"2025-01-01T00:00:00Z"}}"#);
        edge.triton
            .set_client(id(client), Document::from_json(document));
        let template = format!("{client}-template");
        let document = format!(r#"{{"id":"{template}","client_id":"{client}"}}"#);
        edge.triton
            .set_template(id::<TemplateId>(&template), Document::from_json(document));
        let job = finish_of(&edge.memory, &format!("{client}-job"), client).await;
        edge.triton.set_job(job);
    }
    edge
}

/// A request with that token.
pub(crate) fn with(token: &str, method: &str, path: &str) -> Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
}

pub(crate) async fn ask(edge: &Edge, token: &str, method: &str, path: &str) -> Answer {
    let request = with(token, method, path).body(Body::empty()).unwrap();
    send(&edge.router, request).await
}

/// The text of a field.
pub(crate) fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap().to_owned()
}
