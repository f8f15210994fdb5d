//! A server with a stream that the test feeds, and raw clients.

use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use conch_http::serve::{Frames, Handle, IoThreads, Next, Settings, Takeover};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) const THREADS: NonZero<usize> = NonZero::new(2).unwrap();
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Sends to all streams of a test, and counts them.
#[derive(Clone)]
pub(crate) struct Source {
    streams: Arc<Mutex<Vec<mpsc::UnboundedSender<Bytes>>>>,
    opened: watch::Sender<usize>,
    dropped: watch::Sender<usize>,
    never: watch::Sender<usize>,
}

impl Source {
    pub(crate) fn new() -> Self {
        Self {
            streams: Arc::default(),
            opened: watch::Sender::new(0),
            dropped: watch::Sender::new(0),
            never: watch::Sender::new(0),
        }
    }

    pub(crate) fn stream(&self) -> Response {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.streams.lock().unwrap().push(sender);
        self.opened.send_modify(|n| *n += 1);
        let frames = Channel {
            receiver,
            dropped: self.dropped.clone(),
        };
        (
            [(CONTENT_TYPE, "text/event-stream")],
            Takeover::new(frames),
            "a body that is not sent",
        )
            .into_response()
    }

    pub(crate) fn send(&self, frame: impl Into<Bytes>) {
        let frame = frame.into();
        for stream in self.streams.lock().unwrap().iter() {
            // One that is gone is what some tests are about.
            drop(stream.send(frame.clone()));
        }
    }

    pub(crate) fn end(&self) {
        self.streams.lock().unwrap().clear();
    }

    pub(crate) async fn opened(&self, count: usize) {
        wait_for(&self.opened, count).await;
    }

    /// Waits until so many requests came that are never answered.
    pub(crate) async fn never(&self, count: usize) {
        wait_for(&self.never, count).await;
    }

    pub(crate) async fn dropped(&self, count: usize) {
        wait_for(&self.dropped, count).await;
    }
}

pub(crate) async fn wait_for(counter: &watch::Sender<usize>, count: usize) {
    let mut counter = counter.subscribe();
    timeout(SOON, counter.wait_for(|n| *n == count))
        .await
        .expect("the count is reached in time")
        .expect("the source lives");
}

struct Channel {
    receiver: mpsc::UnboundedReceiver<Bytes>,
    dropped: watch::Sender<usize>,
}

impl Frames for Channel {
    fn poll_frames(&mut self, cx: &mut Context<'_>, out: &mut Vec<Bytes>) -> Poll<Next> {
        match self.receiver.poll_recv_many(cx, out, 1000) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(0) => Poll::Ready(Next::End),
            Poll::Ready(_) => Poll::Ready(Next::More),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.dropped.send_modify(|n| *n += 1);
    }
}

pub(crate) fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// One frame: the name of the thread that it was asked for on.
struct ThreadName;

impl Frames for ThreadName {
    fn poll_frames(&mut self, _: &mut Context<'_>, out: &mut Vec<Bytes>) -> Poll<Next> {
        out.push(thread_name().into());
        Poll::Ready(Next::End)
    }
}

pub(crate) async fn serve(settings: Settings) -> (Handle, Source) {
    serve_on(&IoThreads::start(THREADS).unwrap(), settings).await
}

/// As [`serve`], all of it on this thread.
pub(crate) async fn serve_here(settings: Settings) -> (Handle, Source) {
    serve_on(&IoThreads::on_current(), settings).await
}

async fn serve_on(threads: &IoThreads, settings: Settings) -> (Handle, Source) {
    let source = Source::new();
    let streams = source.clone();
    let never = source.never.clone();
    let router = Router::new()
        .route("/stream", get(move || async move { streams.stream() }))
        .route("/hello", get(|| async { "hello" }))
        .route("/large", get(|| async { "x".repeat(4 << 20) }))
        .route(
            "/slow",
            get(async || {
                tokio::time::sleep(Duration::from_millis(300)).await;
                "slow"
            }),
        )
        .route(
            "/never",
            get(move || async move {
                never.send_modify(|n| *n += 1);
                std::future::pending::<()>().await;
            }),
        )
        .route("/thread", get(async || thread_name()))
        .route(
            "/thread-of-stream",
            get(async || (Takeover::new(ThreadName), "")),
        )
        .route("/echo", post(|body: Bytes| async move { body }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let never = CancellationToken::new();
    let handle = settings.serve(listener, router, threads, &never).unwrap();
    (handle, source)
}

pub(crate) async fn connect(handle: &Handle) -> TcpStream {
    TcpStream::connect(handle.address()).await.unwrap()
}

/// A connection with `request` sent on it.
pub(crate) async fn ask(handle: &Handle, request: &str) -> TcpStream {
    let mut socket = connect(handle).await;
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Reads up to and with `end`, and nothing beyond it.
pub(crate) async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    let mut seen = [0; 8192];
    while !read.ends_with(end.as_bytes()) {
        let n = timeout(SOON, socket.peek(&mut seen))
            .await
            .unwrap_or_else(|_| panic!("only {:?}", String::from_utf8_lossy(&read)))
            .expect("a connection");
        assert!(n > 0, "ended after {:?}", String::from_utf8_lossy(&read));
        let before = read.len();
        for byte in &seen[..n] {
            read.push(*byte);
            if read.ends_with(end.as_bytes()) {
                break;
            }
        }
        let taken = read.len() - before;
        socket.read_exact(&mut seen[..taken]).await.unwrap();
    }
    String::from_utf8(read).unwrap()
}

/// Reads all up to the end of the connection, whether clean or not.
pub(crate) async fn read_all(socket: &mut TcpStream) -> String {
    let mut read = Vec::new();
    // An error is an end as good as any here; what was read before it counts.
    drop(
        timeout(SOON, socket.read_to_end(&mut read))
            .await
            .expect("the server closes in time"),
    );
    String::from_utf8_lossy(&read).into_owned()
}

/// A stream's head, with its date cut out.
pub(crate) fn undated(head: &str) -> String {
    let (before, after) = head.split_once("date: ").expect("a date");
    let (date, after) = after.split_once("\r\n").unwrap();
    assert!(date.ends_with(" GMT"), "{date}");
    format!("{before}{after}")
}

pub(crate) const STREAM: &str = "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n";
pub(crate) const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
