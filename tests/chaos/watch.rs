//! A watcher as a browser's EventSource is: it keeps the last id, waits as long as `retry:` says, comes
//! back after every loss and after every clean end, stops at 204, and ends for good at any other status.
//! A restless one leaves by itself now and then, as a laptop that is closed, and resumes a little later.
//!
//! It writes down what it sees and judges nothing.

use std::ops::RangeInclusive;
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, timeout};

use super::Dice;
use super::history::History;
use crate::sse_parser::{Item, Parser};

/// A head that takes longer is a network that is gone.
const HEAD: Duration = Duration::from_secs(5);
/// A browser's own idea of a pause, until it is told another.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a restless one stays, and how long it stays away, in milliseconds: some jobs go through all
/// of their life meanwhile.
const STAYS: RangeInclusive<u64> = 200..=1500;
const STAYS_AWAY: RangeInclusive<u64> = 50..=800;
const STAYS_AWAY_LONG: RangeInclusive<u64> = 800..=3000;

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
    /// What it saw last before it was closed, if it was: a page that is opened again.
    pub(super) last: Option<String>,
    /// The APIs; each connect goes to one of them, as behind a load balancer.
    pub(super) ports: Vec<u16>,
    /// Longest silence before it takes the connection for dead: what heartbeats are for.
    pub(super) patience: Duration,
    /// A restless one: until the storm is over.
    pub(super) restless: Option<Receiver<bool>>,
}

impl Browser {
    /// Watches until it is told to stop.
    pub(super) async fn run(mut self, client: Client, history: History, mut dice: Dice) {
        let mut last = self.last.take();
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
                let stays = dice.millis(STAYS);
                tokio::select! {
                    () = read => {}
                    () = self.leaves_after(stays) => left = true,
                }
            }
            history.note("closed", json!({ "who": who, "left": left }));
            if left {
                let long = dice.once_in(3);
                let away = if long { STAYS_AWAY_LONG } else { STAYS_AWAY };
                // At the latest when the storm is over.
                drop(timeout(dice.millis(away), self.calm()).await);
            } else {
                sleep(pause).await;
            }
        }
    }

    /// Resolves when it leaves by itself; never, unless it is restless and the storm goes on.
    async fn leaves_after(&self, stays: Duration) {
        if self.restless.is_none() || timeout(stays, self.calm()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when the storm is over.
    async fn calm(&self) {
        if let Some(calm) = &self.restless {
            // Whoever ended it has ended the storm.
            drop(calm.clone().wait_for(|calm| *calm).await);
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
