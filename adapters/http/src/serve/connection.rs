//! One connection while hyper speaks on it, and the moment when it leaves hyper.
//!
//! The handler's response comes out of the router with a [`Takeover`]. Instead of giving it to
//! hyper, the service leaves it on the connection's [`HandOff`] and stays pending for ever. So hyper
//! has nothing more to write, and can't begin another request, because one is in flight. Once it has
//! flushed the answers to earlier, pipelined requests, the driver takes the socket back and drops
//! hyper's state, some 20 KiB of it. What the client has already sent after its request is
//! dropped: the answer says `connection: close`.

use std::convert::Infallible;
use std::future::{self, Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{CONNECTION, CONTENT_LENGTH};
use axum::http::{HeaderValue, Method, Request, Response};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures::stream;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::Settings;
use super::hand_off::{HandOff, Taken};
use super::head;
use super::io_threads::{self, Load};
use super::stream::Stream;
use super::takeover::Takeover;
use super::tap::{self, Tap};
use super::tracker::{Role, TaskGuard};
use super::unfinished::Heads;
use crate::limits;
use crate::problem::{Code, Problem};

/// What all connections of a server share.
pub(super) struct Protocol {
    http: http1::Builder,
    router: Router,
    /// Where streams run.
    home: Handle,
    stop: CancellationToken,
    max_head: usize,
    heads: Arc<Heads>,
}

impl Protocol {
    /// Streams will run on the current runtime.
    pub(super) fn new(settings: &Settings, router: Router, stop: CancellationToken) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(settings.head_timeout)
            .max_buf_size(settings.max_head.max(8 * 1024))
            .max_header_size(settings.max_head)
            // A client that shuts its sending side down after a request still reads the answer.
            .half_close(true)
            .keep_alive(true);
        Self {
            http,
            router,
            home: Handle::current(),
            stop,
            max_head: settings.max_head,
            heads: Heads::new(settings.max_unfinished_heads),
        }
    }
}

/// Serves requests until the peer or `stop` ends the connection, or a stream takes it over.
pub(super) async fn drive(
    socket: TcpStream,
    peer: SocketAddr,
    protocol: Arc<Protocol>,
    load: Load,
    guard: TaskGuard,
) {
    let hand_off = Arc::new(HandOff::new(&protocol.heads));
    let service = RouterService {
        router: protocol.router.clone(),
        peer,
        hand_off: Arc::clone(&hand_off),
    };
    let tap = TokioIo::new(Tap::new(socket, Arc::clone(&hand_off), protocol.max_head));
    let mut connection = protocol.http.serve_connection(tap, service);
    let mut stopping = false;
    let mut stopped = pin!(protocol.stop.cancelled());
    let ended = poll_fn(|cx| {
        if !stopping && stopped.as_mut().poll(cx).is_ready() {
            stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if hand_off.is_cleared() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    match ended {
        Some(Ok(())) => {}
        // The peer's doing: a head that is too large or too slow, or a connection that broke.
        Some(Err(error)) => {
            tracing::debug!(%error, %peer, "connection ended");
            if error.is_parse() {
                if error.is_parse_too_large() {
                    limits::hit("max_head_bytes");
                }
                let tap = connection.into_parts().io.into_inner();
                linger(
                    tap.into_socket(),
                    Bytes::new(),
                    guard.tracker().settings.linger,
                )
                .await;
            } else if error.is_timeout() {
                // Not one that was kept alive and is idle.
                if hand_off.is_unused() || !connection.into_parts().read_buf.is_empty() {
                    limits::hit("head_timeout_seconds");
                }
            } else {
                let tap = connection.into_parts().io.into_inner();
                if tap.is_overloaded() {
                    limits::hit("max_unfinished_heads");
                    let time = guard.tracker().settings.linger;
                    linger(tap.into_socket(), tap::overloaded(), time).await;
                }
            }
        }
        None => {
            let Some(taken) = hand_off.take() else { return };
            let parts = connection.into_parts();
            let socket = parts.io.into_inner().into_socket();
            let Some(socket) = io_threads::moved(&protocol.home, socket) else {
                return;
            };
            let surplus = parts.read_buf.len();
            let tracker = Arc::clone(guard.tracker());
            // The thread has one connection less from here on, whenever this task gets to its end.
            drop(load);
            guard.leave_to(|| {
                tracker.spawn(Role::Stream, &protocol.home, |guard| {
                    Stream::new(
                        socket,
                        taken.frames,
                        taken.head,
                        taken.chunked,
                        surplus,
                        guard,
                    )
                });
            });
        }
    }
}

/// Sends the last of a connection, and reads and drops what the peer still sends, for so long: closed with
/// something unread, the peer's system would throw the answer away.
async fn linger(mut socket: TcpStream, last: Bytes, time: Duration) {
    const MOST: usize = 256 * 1024;
    let all = async {
        socket.write_all(&last).await?;
        socket.shutdown().await?;
        let mut sink = [0; 4096];
        let mut read = 0;
        while read < MOST {
            match socket.read(&mut sink).await? {
                0 => break,
                n => read += n,
            }
        }
        io::Result::Ok(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(time, all).await {
        tracing::debug!(%error, "a connection broke before its last answer was taken");
    }
}

/// The router, as hyper calls it.
struct RouterService {
    router: Router,
    peer: SocketAddr,
    hand_off: Arc<HandOff>,
}

impl hyper::service::Service<Request<Incoming>> for RouterService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.hand_off.begin(&request);
        let shown = request.headers().get_all(CONTENT_LENGTH).iter().count();
        if let Some(objection) = head::objection(&request, self.hand_off.hides_length(shown)) {
            let mut refusal = objection.into_response();
            // Where the next request begins is not certain.
            refusal
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
            self.hand_off.answered();
            return Box::pin(future::ready(Ok(refusal)));
        }
        let is_head = *request.method() == Method::HEAD;
        let version = request.version();
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let answer = self.router.clone().call(request);
        let hand_off = Arc::clone(&self.hand_off);
        Box::pin(async move {
            let mut response = answer.await?;
            hand_off.answered();
            let Some(takeover) = response.extensions_mut().remove::<Takeover>() else {
                return Ok(response);
            };
            if is_head {
                // A GET has no length. An empty body would be announced as one of 0 bytes.
                response.headers_mut().remove(CONTENT_LENGTH);
                *response.body_mut() = Body::from_stream(stream::empty::<io::Result<Bytes>>());
                return Ok(response);
            }
            let Some(frames) = takeover.take() else {
                tracing::error!("a stream was answered twice");
                return Ok(Problem::from(Code::Internal).into_response());
            };
            let (parts, _) = response.into_parts();
            hand_off.put(Taken {
                frames,
                head: head::encode(&parts, version),
                chunked: head::is_chunked(version),
            });
            future::pending().await
        })
    }
}
