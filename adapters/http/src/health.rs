//! `GET …/health`: what a service depends on and whether each can be reached now. Always 200: who
//! asks wants to read it; for orchestrators there is `/readyz`.
//!
//! Never in here: why it can't, which names addresses and settings. That is logged.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use axum::response::Response;
use conch_ports::{Error, ErrorKind};
use serde_json::{Map, Value, json};

use crate::answer;

/// Longest time for one dependency; an answer says it in words.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of asking one dependency.
pub(crate) struct Check {
    name: &'static str,
    wrong: Option<Cow<'static, str>>,
}

impl Check {
    /// Asks a dependency whether it answers. Checks of several are to be joined.
    pub(crate) async fn of(
        name: &'static str,
        ping: impl Future<Output = conch_ports::Result<()>>,
    ) -> Self {
        let wrong = match tokio::time::timeout(PATIENCE, ping).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                let source = std::error::Error::source(&error).map(tracing::field::display);
                tracing::warn!(dependency = name, %error, source, "a dependency can't be used");
                Some(words(name, &error))
            }
            Err(_) => {
                tracing::warn!(dependency = name, "a dependency doesn't answer");
                Some("no answer within two seconds".into())
            }
        };
        Self { name, wrong }
    }
}

/// A store that refuses us is a matter of how it is set up, and its adapter's own words, which hold no
/// address. Triton's are another program's.
fn words(name: &str, error: &Error) -> Cow<'static, str> {
    if error.kind() == ErrorKind::Refused && name != "triton" {
        error.message().to_owned().into()
    } else {
        "it can't be used now; the log says why".into()
    }
}

/// 200 `{status, service, version, checks: {<name>: {status, detail?}}}`.
pub(crate) fn answer(service: &str, checks: &[Check]) -> Response {
    let all_well = checks.iter().all(|check| check.wrong.is_none());
    let checks: Map<String, Value> = checks
        .iter()
        .map(|check| {
            let value = match &check.wrong {
                None => json!({"status": "ok"}),
                Some(detail) => json!({"status": "unreachable", "detail": detail}),
            };
            (check.name.to_owned(), value)
        })
        .collect();
    let health = json!({
        "status": if all_well { "ok" } else { "degraded" },
        "service": service,
        "version": env!("CARGO_PKG_VERSION"),
        "checks": checks,
    });
    answer::json(health.to_string())
}
