//! Watching a stream: one connection ([`Stream`]), or as a browser does through reconnects ([`Watcher`]).
//!
//! Every byte is kept; a test that fails shows what the stream had said.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::eventually::PATIENCE;
use crate::http;
use crate::sse_parser::{Item, Parser};

/// Longest pause before a reconnect: a stream of ours asks for 2 s, which no test needs to wait.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Its data line.
    pub data: String,
}

impl Event {
    /// Its data.
    ///
    /// # Panics
    /// When it is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|e| panic!("{e}: {}", self.data))
    }

    /// One of its fields as text, empty when it is none.
    pub fn text(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or("").to_owned()
    }

    /// Its `event_type`.
    pub fn kind(&self) -> String {
        self.text("event_type")
    }

    /// Whether its job has ended with it.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self.kind().as_str(),
            "job:completed" | "job:failed" | "job:cancelled"
        )
    }
}

/// The epoch and the sequence of an id.
///
/// # Panics
/// When it is no such id.
pub fn position(id: &str) -> (String, u64) {
    let (epoch, sequence) = id
        .split_once('-')
        .unwrap_or_else(|| panic!("the id {id:?}"));
    let sequence = sequence.parse().unwrap_or_else(|_| panic!("the id {id:?}"));
    assert_eq!(epoch.len(), 8, "the id {id:?}");
    (epoch.to_owned(), sequence)
}

/// Checks invariants I1, I2 and I3 on what one watcher saw of one job: from sequence `first` on without
/// a gap, in one epoch, each under the id that its data names, one end, and nothing after it.
///
/// # Panics
/// When one doesn't hold.
pub fn assert_whole(events: &[Event], first: u64) {
    let kinds: Vec<String> = events
        .iter()
        .map(|e| format!("{} {}", e.id, e.kind()))
        .collect();
    assert!(!events.is_empty(), "no events at all");
    let (epoch, _) = position(&events[0].id);
    for (event, sequence) in events.iter().zip(first..) {
        assert_eq!(event.id, format!("{epoch}-{sequence}"), "{kinds:#?}");
        let data = event.json();
        assert_eq!(data["sequence"], sequence, "{data}");
        assert_eq!(data["epoch"], epoch.as_str(), "{data}");
    }
    let ends = events.iter().filter(|e| e.is_terminal()).count();
    assert_eq!(ends, 1, "{kinds:#?}");
    assert!(events[events.len() - 1].is_terminal(), "{kinds:#?}");
}

/// One connection to a stream.
pub struct Stream {
    url: String,
    body: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    headers: reqwest::header::HeaderMap,
    parser: Parser,
    waiting: VecDeque<Item>,
    raw: Vec<u8>,
    comments: Vec<String>,
    retry: Option<u64>,
    broken: Option<String>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Why there is no stream.
#[derive(Debug)]
pub enum Refused {
    /// The server answered otherwise; 204 says that all is over.
    Status(StatusCode, String),
    /// There was no answer.
    Unreachable(String),
}

impl Stream {
    /// Opens a stream, with a `Last-Event-ID` if there is one.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn open(url: &str, last_event_id: Option<&str>) -> Self {
        Self::attempt(url, last_event_id)
            .await
            .unwrap_or_else(|refused| panic!("{url} after {last_event_id:?}: {refused:?}"))
    }

    /// As [`Stream::open`], by a client that is there already.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn open_with(client: &Client, url: &str, last_event_id: Option<&str>) -> Self {
        Self::attempt_with(client, url, last_event_id)
            .await
            .unwrap_or_else(|refused| panic!("{url} after {last_event_id:?}: {refused:?}"))
    }

    /// As [`Stream::open`], for streams that may be refused.
    pub async fn attempt(url: &str, last_event_id: Option<&str>) -> Result<Self, Refused> {
        Self::attempt_with(&http::client(), url, last_event_id).await
    }

    async fn attempt_with(
        client: &Client,
        url: &str,
        last_event_id: Option<&str>,
    ) -> Result<Self, Refused> {
        let mut request = client.get(url).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = timeout(PATIENCE, request.send())
            .await
            .map_err(|_| Refused::Unreachable(format!("no head within {PATIENCE:?}")))?
            .map_err(|e| Refused::Unreachable(format!("{e:?}")))?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            return Err(Refused::Status(
                status,
                response.text().await.unwrap_or_default(),
            ));
        }
        let headers = response.headers().clone();
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
        ] {
            let sent = headers.get(name).and_then(|v| v.to_str().ok());
            assert!(
                sent.is_some_and(|v| v.starts_with(value)),
                "{name} must be {value}: {headers:?}"
            );
        }
        Ok(Self {
            url: url.to_owned(),
            body: response
                .bytes_stream()
                .map(|piece| piece.map(|bytes| bytes.to_vec()))
                .boxed(),
            headers,
            parser: Parser::default(),
            waiting: VecDeque::new(),
            raw: Vec::new(),
            comments: Vec::new(),
            retry: None,
            broken: None,
        })
    }

    /// Its headers.
    pub fn headers(&self) -> &reqwest::header::HeaderMap {
        &self.headers
    }

    /// All its bytes so far.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// Its comments so far.
    pub fn comments(&self) -> &[String] {
        &self.comments
    }

    /// Its `retry:`, in milliseconds.
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Whether it broke off rather than ended, and how.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// The next event; none when the stream has ended or broke off.
    ///
    /// # Panics
    /// On a violation, and when nothing comes in time.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.next_event_within(PATIENCE).await
    }

    /// As [`Stream::next_event`], with a limit of the caller's.
    ///
    /// # Panics
    /// On a violation, and when nothing comes in time.
    pub async fn next_event_within(&mut self, limit: Duration) -> Option<Event> {
        let deadline = Instant::now() + limit;
        loop {
            match self.next_item(deadline).await? {
                Item::Event { id, data } => return Some(Event { id, data }),
                Item::Comment(_) | Item::Retry(_) => {}
                Item::Violation(violation) => panic!("{}: {violation}", self.url),
            }
        }
    }

    /// Waits for a comment with that text, and gives the events before it.
    ///
    /// # Panics
    /// On a violation, when the stream ends first, and when nothing comes in time.
    pub async fn until_comment(&mut self, text: &str) -> Vec<Event> {
        let deadline = Instant::now() + PATIENCE;
        let mut events = Vec::new();
        loop {
            match self.next_item(deadline).await {
                Some(Item::Comment(comment)) if comment == text => return events,
                Some(Item::Comment(_) | Item::Retry(_)) => {}
                Some(Item::Event { id, data }) => events.push(Event { id, data }),
                other => panic!("{}: {other:?} instead of the comment {text:?}", self.url),
            }
        }
    }

    async fn next_item(&mut self, deadline: Instant) -> Option<Item> {
        loop {
            if let Some(item) = self.waiting.pop_front() {
                match &item {
                    Item::Comment(comment) => self.comments.push(comment.clone()),
                    Item::Retry(millis) => self.retry = Some(*millis),
                    Item::Event { .. } | Item::Violation(_) => {}
                }
                return Some(item);
            }
            let piece = tokio::time::timeout_at(deadline, self.body.next())
                .await
                .unwrap_or_else(|_| panic!("{}: nothing came in time", self.url));
            match piece {
                Some(Ok(bytes)) => {
                    self.raw.extend_from_slice(&bytes);
                    self.waiting.extend(self.parser.feed(&bytes));
                }
                Some(Err(error)) => {
                    self.broken = Some(format!("{error:?}"));
                    return None;
                }
                None => {
                    if let Some(unfinished) = self.parser.unfinished() {
                        return Some(Item::Violation(unfinished));
                    }
                    return None;
                }
            }
        }
    }

    /// Reads events until one fits, and gives all of them.
    ///
    /// # Panics
    /// When the stream ends first.
    pub async fn read_until(&mut self, fits: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self
                .next_event()
                .await
                .unwrap_or_else(|| panic!("{} ended after {events:#?}", self.url));
            events.push(event);
            if fits(&events[events.len() - 1]) {
                return events;
            }
        }
    }

    /// Reads to the end.
    ///
    /// # Panics
    /// When it breaks off, or nothing comes in time.
    pub async fn read_to_end(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next_event().await {
            events.push(event);
        }
        assert_eq!(self.broken, None, "{} broke off", self.url);
        events
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.url, self.raw());
        }
    }
}

/// A browser's EventSource in the background: it reconnects with what it saw last until it gets a 204.
#[derive(Debug)]
pub struct Watcher {
    url: String,
    task: JoinHandle<Vec<Event>>,
}

impl Watcher {
    /// Starts one.
    pub fn start(url: String) -> Self {
        let task = tokio::spawn(watch(url.clone()));
        Self { url, task }
    }

    /// All that it saw when it was told that all is over.
    ///
    /// # Panics
    /// When that is not within `limit`, or a server said something that ends an EventSource for good.
    pub async fn all(self, limit: Duration) -> Vec<Event> {
        let Ok(ended) = timeout(limit, self.task).await else {
            panic!("{} was not over within {limit:?}", self.url);
        };
        ended.unwrap_or_else(|e| panic!("the watcher of {}: {e}", self.url))
    }
}

async fn watch(url: String) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut pause = LONGEST_PAUSE;
    loop {
        let last = events.last().map(|e| e.id.clone());
        match Stream::attempt(&url, last.as_deref()).await {
            Ok(mut stream) => {
                // The limit is the caller's; this one only has to be longer.
                while let Some(event) = stream.next_event_within(PATIENCE * 10).await {
                    events.push(event);
                }
                if let Some(millis) = stream.retry() {
                    pause = LONGEST_PAUSE.min(Duration::from_millis(millis));
                }
            }
            Err(Refused::Status(StatusCode::NO_CONTENT, _)) => return events,
            Err(Refused::Status(status, body)) => {
                panic!("{status} after {last:?} ends an EventSource for good: {body}")
            }
            // A browser takes this for a network error and tries again.
            Err(Refused::Unreachable(_)) => {}
        }
        tokio::time::sleep(pause).await;
    }
}
