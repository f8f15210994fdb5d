//! A watcher's eyes: what a stream says, frame by frame, and what it means. It waits by the test's own clock.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use conch_services::mare::hub::{Next, Watcher};
use conch_wire::sse;
use tokio::time::Instant;

/// What a watcher sees.
pub(crate) struct Eyes(pub(crate) Watcher);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// An SSE event, as its id and its data.
    Event(String, serde_json::Value),
    /// Any other line.
    Line(String),
}

/// How long a stream has for what is waited for, by the test's own clock.
const PATIENCE: Duration = Duration::from_hours(24);

impl Eyes {
    /// The next frames, as text; none at the end.
    pub(crate) async fn frames(&mut self) -> (Vec<Bytes>, Next) {
        let mut out = Vec::new();
        let next = poll_fn(|cx| self.0.poll_frames(cx, &mut out)).await;
        (out, next)
    }

    /// The next frames, as what they are.
    pub(crate) async fn look(&mut self) -> (Vec<Seen>, Next) {
        let (frames, next) = self.frames().await;
        (parse(&frames), next)
    }

    /// The next frames, as text, of a stream that should have said what is waited for by `deadline`: a
    /// stream of heartbeats alone goes on for ever.
    async fn frames_before(&mut self, deadline: Instant, seen: &[Seen]) -> (Vec<Bytes>, Next) {
        let frames = tokio::time::timeout_at(deadline, self.frames()).await;
        frames.unwrap_or_else(|_| panic!("no more than {seen:?} in {PATIENCE:?}"))
    }

    /// Everything up to the end of the stream, heartbeats and greeting left out.
    pub(crate) async fn rest(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (frames, next) = self.frames_before(deadline, &seen).await;
            seen.extend(parse(&frames).into_iter().filter(|s| !is_noise(s)));
            if next == Next::End {
                return seen;
            }
        }
    }

    /// The events up to the next heartbeat.
    pub(crate) async fn until_idle(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (frames, next) = self.frames_before(deadline, &seen).await;
            assert_eq!(next, Next::More, "ended: {seen:?}, {frames:?}");
            seen.extend(parse(&frames).into_iter().filter(|s| !is_noise(s)));
            if frames.contains(&sse::KEEP_ALIVE) {
                return seen;
            }
        }
    }

    /// The next `count` events.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while seen.len() < count {
            let (frames, next) = self.frames_before(deadline, &seen).await;
            seen.extend(parse(&frames).into_iter().filter(|s| !is_noise(s)));
            assert!(
                next == Next::More || seen.len() >= count,
                "ended early: {seen:?}"
            );
        }
        seen
    }
}

/// What `retry:` at the beginning of a frame says, in milliseconds.
pub(crate) fn retry(frame: &[u8]) -> u64 {
    let text = std::str::from_utf8(frame).expect("SSE is text");
    let line = text.lines().next().expect("a line");
    let millis = line.strip_prefix("retry: ").expect("a retry");
    millis.parse().expect("milliseconds")
}

/// Asserts that a stream with nothing to tell yet began as it should.
pub(crate) fn is_greeting(frames: &[Bytes]) {
    let [greeting, comment] = frames else {
        panic!("{frames:?}");
    };
    assert!((1000..=4000).contains(&retry(greeting)), "{frames:?}");
    assert_eq!(greeting.last_chunk(), Some(b"\n"), "{frames:?}");
    assert!(!greeting.ends_with(b"\n\n"), "{frames:?}");
    assert_eq!(comment, ": keep-alive\n");
}

fn is_noise(seen: &Seen) -> bool {
    matches!(seen, Seen::Line(line) if line.starts_with("retry:") || line.starts_with(": keep-alive"))
}

/// What frames say. An event is one frame or two, its id and the rest.
fn parse(frames: &[Bytes]) -> Vec<Seen> {
    let mut frames = frames.iter().map(|frame| String::from_utf8_lossy(frame));
    let mut seen = Vec::new();
    while let Some(frame) = frames.next() {
        let Some(event) = frame.strip_prefix("id: ") else {
            seen.push(Seen::Line(frame.trim_end().to_owned()));
            continue;
        };
        let (id, data) = event.split_once('\n').expect("a whole line");
        let rest = (data.is_empty()).then(|| frames.next().expect("the event's data"));
        let data = rest.as_deref().unwrap_or(data);
        let data = data.strip_prefix("data: ").expect("data");
        let data = data.strip_suffix("\n\n").expect("a blank line");
        let data = serde_json::from_str(data).expect("data is JSON");
        seen.push(Seen::Event(id.to_owned(), data));
    }
    seen
}

/// The ids of what was seen; other lines as they are.
pub(crate) fn ids(seen: &[Seen]) -> Vec<String> {
    seen.iter()
        .map(|s| match s {
            Seen::Event(id, _) => id.clone(),
            Seen::Line(line) => line.clone(),
        })
        .collect()
}

/// Which job, and what of it, in short: `j job:started 2`.
pub(crate) fn told(seen: &[Seen]) -> Vec<String> {
    seen.iter()
        .map(|s| {
            let data = data(s);
            let text = |field: &str| data[field].as_str().unwrap_or("-").to_owned();
            let (job, kind) = (text("job_id"), text("event_type"));
            format!("{job} {kind} {}", data["sequence"])
        })
        .collect()
}

pub(crate) fn data(seen: &Seen) -> &serde_json::Value {
    match seen {
        Seen::Event(_, data) => data,
        other @ Seen::Line(_) => panic!("expected an event, got {other:?}"),
    }
}
