//! The laws of `TritonGateway` and both dialects, against real servers on free ports.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use conch_domain::{JobId, JobStatus, Timestamp};
use conch_ports::{
    Cancelled, ClientFilter, ErrorKind, JobFilter, NewJob, Paging, Requested, TemplateFilter,
    TritonGateway,
};
use conch_triton::{Settings, Token};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

mod dialects;
mod reach;

const FIRST: Paging = Paging {
    page: 1,
    page_size: 20,
};

/// What a stub answers to whatever it is asked.
type Answers = Box<dyn Fn() -> Response<Body> + Send + Sync>;

/// A Triton that answers as the test says and remembers what it was asked.
struct Stub {
    address: String,
    asked: Arc<Mutex<Vec<(String, axum::http::HeaderMap)>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Stub {
    async fn start(
        answer: impl Fn(&str) -> Response<Body> + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let router = Router::new().fallback(move |request: Request| {
            let line = format!("{} {}", request.method(), request.uri());
            seen.lock()
                .unwrap()
                .push((line.clone(), request.headers().clone()));
            let answer = answer(&line);
            async move { answer }
        });
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            asked,
            server,
        }
    }

    fn gateway(&self) -> Arc<dyn TritonGateway> {
        build(settings(&self.address))
    }

    fn lines(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .map(|(line, _)| line.clone())
            .collect()
    }
}

fn settings(addresses: &str) -> Settings {
    let mut settings = Settings::new(addresses).unwrap();
    settings.backoff = Duration::from_millis(5);
    settings
}

fn build(settings: Settings) -> Arc<dyn TritonGateway> {
    // A second one in the same process is refused, which is fine.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    settings.build().unwrap()
}

fn json(status: u16, body: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

async fn refused_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn j1() -> JobId {
    "j1".parse().unwrap()
}

fn new_job() -> NewJob {
    NewJob {
        client_id: "c1".parse().unwrap(),
        value_proposition_id: None,
        schedule: conch_domain::Schedule::default(),
        idempotency_key: Some("key-1".to_owned()),
    }
}
