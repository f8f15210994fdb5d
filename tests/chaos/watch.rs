//! A watcher as a browser's EventSource is: it keeps the last id, waits as long as `retry:` says, comes
//! back after every loss and after every clean end, stops at 204, and ends for good at any other status.
//! A restless one leaves by itself now and then, as a laptop that is closed, and resumes a little later.
//!
//! It writes down what it sees and judges nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::Dice;
use super::history::History;
use crate::sse_parser::{Item, Parser};

/// A head that takes longer is a network that is gone.
const HEAD: Duration = Duration::from_secs(5);
/// A browser's own idea of a pause, until it is told another.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a restless one stays, and how long it stays away, in milliseconds.
const STAYS: std::ops::RangeInclusive<u64> = 200..=1500;
const STAYS_AWAY: std::ops::RangeInclusive<u64> = 50..=800;

/// Jobs on one stream; an empty list doesn't restrict.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    pub(super) jobs: Vec<String>,
    pub(super) clients: Vec<String>,
}

/// What is watched.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    Job(String),
    Many(Selection),
}

impl Subject {
    /// Path and query.
    fn path(&self) -> String {
        match self {
            Self::Job(job) => format!("/jobs/{job}/subscribe"),
            Self::Many(Selection { jobs, clients }) => {
                let jobs = jobs.iter().map(|id| format!("job_id={id}"));
                let clients = clients.iter().map(|id| format!("client_id={id}"));
                let query: Vec<String> = jobs.chain(clients).collect();
                format!("/jobs/subscribe?{}", query.join("&"))
            }
        }
    }

    fn named(&self, mut connect: Value) -> Value {
        match self {
            Self::Job(job) => connect["job"] = job.as_str().into(),
            Self::Many(Selection { jobs, clients }) => {
                connect["selects"] = json!({ "jobs": jobs, "clients": clients });
            }
        }
        connect
    }
}

/// Who watches what from where.
#[derive(Debug, Clone)]
pub(super) struct Browser {
    pub(super) name: String,
    pub(super) subject: Subject,
    /// The APIs; each connect goes to one of them, as behind a load balancer.
    pub(super) ports: Vec<u16>,
    /// Longest silence before it takes the connection for dead: what heartbeats are for.
    pub(super) patience: Duration,
    /// A restless one; until that is true.
    pub(super) restless: Option<Arc<AtomicBool>>,
}

impl Browser {
    /// Watches until it is told to stop.
    pub(super) async fn run(self, client: Client, history: History, mut dice: Dice) {
        let mut last: Option<String> = None;
        let mut pause = PAUSE;
        loop {
            let port = self.ports[dice.place(self.ports.len())];
            let who = &self.name;
            let connect = json!({ "who": who, "cursor": last, "port": port });
            history.note("connect", self.subject.named(connect));
            let url = format!("http://127.0.0.1:{port}/v1/triton{}", self.subject.path());
            let mut request = client.get(url).header("accept", "text/event-stream");
            if let Some(id) = &last {
                request = request.header("last-event-id", id);
            }
            let mut left = false;
            if let Ok(Ok(response)) = timeout(HEAD, request.send()).await {
                let status = response.status().as_u16();
                history.note("status", json!({ "who": who, "status": status }));
                if status != 200 {
                    return;
                }
                let read = self.read(response, &history, &mut last, &mut pause);
                if self.is_restless() {
                    let leaves = Instant::now() + dice.millis(STAYS);
                    left = tokio::time::timeout_at(leaves, read).await.is_err();
                } else {
                    read.await;
                }
            }
            history.note("closed", json!({ "who": who, "left": left }));
            sleep(if left { dice.millis(STAYS_AWAY) } else { pause }).await;
        }
    }

    fn is_restless(&self) -> bool {
        let calm = self.restless.as_ref();
        calm.is_some_and(|calm| !calm.load(Ordering::Relaxed))
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
