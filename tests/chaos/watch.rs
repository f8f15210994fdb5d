//! A watcher as a browser's EventSource is: it keeps the last id, waits as long as `retry:` says, comes
//! back after every loss and after every clean end, stops at 204, and ends for good at any other status.
//!
//! It writes down what it sees and judges nothing.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::Client;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::Dice;
use super::history::History;
use crate::sse_parser::{Item, Parser};

/// A head that takes longer is a network that is gone.
const HEAD: Duration = Duration::from_secs(5);
/// A browser's own idea of a pause, until it is told another.
const PAUSE: Duration = Duration::from_millis(200);

/// Who watches what from where.
#[derive(Debug, Clone)]
pub(super) struct Browser {
    pub(super) name: String,
    pub(super) job: String,
    /// The APIs; each connect goes to one of them, as behind a load balancer.
    pub(super) ports: Vec<u16>,
    /// Longest silence before it takes the connection for dead: what heartbeats are for.
    pub(super) patience: Duration,
}

impl Browser {
    /// Watches until it is told to stop.
    pub(super) async fn run(self, client: Client, history: History, mut dice: Dice) {
        let mut last: Option<String> = None;
        let mut pause = PAUSE;
        loop {
            let port = self.ports[dice.place(self.ports.len())];
            let who = &self.name;
            history.note(
                "connect",
                json!({ "who": who, "job": self.job, "cursor": last, "port": port }),
            );
            let url = format!(
                "http://127.0.0.1:{port}/v1/triton/jobs/{}/subscribe",
                self.job
            );
            let mut request = client.get(url).header("accept", "text/event-stream");
            if let Some(id) = &last {
                request = request.header("last-event-id", id);
            }
            if let Ok(Ok(response)) = timeout(HEAD, request.send()).await {
                let status = response.status().as_u16();
                history.note("status", json!({ "who": who, "status": status }));
                if status != 200 {
                    return;
                }
                self.read(response, &history, &mut last, &mut pause).await;
            }
            history.note("closed", json!({ "who": who }));
            sleep(pause).await;
        }
    }

    async fn read(
        &self,
        response: reqwest::Response,
        history: &History,
        last: &mut Option<String>,
        pause: &mut Duration,
    ) {
        let who = &self.name;
        let kind = response.headers().get("content-type").cloned();
        if kind.is_none_or(|kind| !kind.as_bytes().starts_with(b"text/event-stream")) {
            history.note(
                "violation",
                json!({ "who": who, "text": "not text/event-stream" }),
            );
        }
        let mut body = response.bytes_stream();
        let mut parser = Parser::default();
        while let Ok(Some(Ok(bytes))) = timeout(self.patience, body.next()).await {
            for item in parser.feed(&bytes) {
                match item {
                    Item::Event { id, data } => {
                        history.note("event", json!({ "who": who, "id": id, "data": data }));
                        *last = Some(id);
                    }
                    Item::Comment(text) => {
                        history.note("comment", json!({ "who": who, "text": text }));
                    }
                    Item::Retry(millis) => {
                        history.note("retry", json!({ "who": who, "ms": millis }));
                        *pause = Duration::from_millis(millis);
                    }
                    Item::Violation(text) => {
                        history.note("violation", json!({ "who": who, "text": text }));
                    }
                }
            }
        }
    }
}
