//! The peer of the lookups: the same axum behind the same kind of accept loop, answering a constant.
//!
//! A process of its own. It answers every request with the status, the headers and the body that it
//! read from a file, and must never do anything more: it is the yardstick.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    routing::get,
};
use bytes::Bytes;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;

use crate::exchange::{find, parse_head};

/// Answers the constant until the process is ended.
pub(crate) fn serve(address: SocketAddr, answer: &Path) -> Result<()> {
    let answer = std::fs::read(answer).with_context(|| format!("reading {}", answer.display()))?;
    let end = find(&answer, b"\r\n\r\n").context("the answer has no end of its head")?;
    let (status, named) = parse_head(&String::from_utf8_lossy(&answer[..end]))?;
    let status = StatusCode::from_u16(status)?;
    let mut headers = HeaderMap::new();
    for (name, value) in named {
        // These two the server writes itself, as it does for every answer.
        if name != "date" && name != "content-length" {
            headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
    }
    let body = Bytes::copy_from_slice(&answer[end + 4..]);
    // A route with a parameter, so that the router has as much to do.
    let constant = get(async move || (status, headers, body));
    let router = Router::new().route("/v1/triton/jobs/{job_id}", constant);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(accept(address, router))
}

async fn accept(address: SocketAddr, router: Router) -> Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("binding {address}"))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10));
            // A client that goes away is none of this server's business.
            drop(http.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}
