//! No token, ticket or cookie in a log line, at whatever level, nor in an answer's words.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use conch_doubles::When;
use conch_ports::ErrorKind;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::mint::{ALL, good};
use super::{ask, auth, by_secret, guarded, text};
use crate::support::{get, send};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn credentials_are_in_no_log_and_no_answer() {
    let log = Log::default();
    let lines = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(lines);
    let edge = guarded(auth::Settings {
        cookie: Some("conch".parse().unwrap()),
        ..by_secret()
    })
    .await;
    let token = good(&json!(["acme"]), ALL);
    let forged = format!("{}forged", &token[..token.len() - 6]);
    let answer = ask(&edge, &token, "POST", "/v1/triton/jobs/acme-job/ticket").await;
    let ticket = text(&answer.json(), "ticket");
    let faults = edge.memory.faults();
    let mut said = String::new();
    for failing in [false, true] {
        for (path, given) in [
            (
                "/v1/triton/jobs/acme-job/subscribe?ticket=",
                ticket.as_str(),
            ),
            ("/v1/triton/jobs/rival-job/subscribe?ticket=", &ticket),
            ("/v1/triton/jobs/subscribe?ticket=", &forged),
            ("/v1/triton/jobs?access_token=", &token),
            ("/nothing?ticket=", &ticket),
        ] {
            if failing {
                faults.fail_next("ticket_store.get", 1, ErrorKind::Unavailable, When::Before);
            }
            said += &get(&edge.router, &format!("{path}{given}")).await.text;
        }
        for given in [&token, &forged] {
            for path in [
                "/v1/triton/jobs/acme-job",
                "/v1/triton/jobs/rival-job/events",
            ] {
                said += &ask(&edge, given, "GET", path).await.text;
                let cookie = format!("conch={given}");
                let request = Request::get(path).header("cookie", cookie);
                said += &send(&edge.router, request.body(Body::empty()).unwrap())
                    .await
                    .text;
            }
            said += &ask(&edge, given, "POST", "/v1/triton/auth/session")
                .await
                .text;
            said += &ask(&edge, given, "POST", "/v1/triton/jobs/acme-job/ticket")
                .await
                .text
                .len()
                .to_string();
        }
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("answered"), "lines were written: {log}");
    assert!(log.contains("/v1/triton/jobs/acme-job/subscribe"), "{log}");
    let [_, claims, sign] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("a token has three parts");
    };
    for secret in [claims, sign, &ticket, super::mint::SECRET, "forged"] {
        assert!(!log.contains(secret), "{secret} in {log}");
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}
