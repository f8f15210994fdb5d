//! How streams are opened, and one of them over a socket.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::edge::{edge, finish, serve};
use crate::support::{get, send};

#[tokio::test]
async fn accepted_types_of_a_stream() {
    let edge = edge();
    finish(&edge.memory, "told").await;
    for (accept, status) in [
        (None, 200),
        (Some("text/event-stream"), 200),
        (Some("text/html, */*;q=0.1"), 200),
        (Some("TEXT/*"), 200),
        (Some("image/png"), 406),
        (Some("application/json"), 406),
        (Some("text/event-stream;q=0, */*"), 406),
        (Some("text/*, text/event-stream; q=0.0"), 406),
    ] {
        for path in [
            "/v1/triton/jobs/told/subscribe",
            "/v1/triton/jobs/subscribe",
        ] {
            let mut request = Request::get(path);
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            let answer = send(&edge.router, request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, status, "{accept:?}");
            if status == 200 {
                assert_eq!(answer.header("content-type"), Some("text/event-stream"));
                assert_eq!(answer.header("x-accel-buffering"), Some("no"));
            } else {
                answer.is_problem(406, "not-acceptable");
            }
        }
    }
}

/// What a server answers on a connection that it then closes.
async fn exchange(address: SocketAddr, head: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_stream_over_a_socket() {
    let edge = edge();
    finish(&edge.memory, "told").await;
    let server = serve(&edge).await;
    let path = "/v1/triton/jobs/told/subscribe";
    let whole = exchange(server.address(), &format!("GET {path} HTTP/1.1")).await;
    let head = whole.split("\r\n\r\n").next().unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    for line in [
        "content-type: text/event-stream",
        "cache-control: no-store, no-transform\r\n",
        "x-accel-buffering: no",
        "x-content-type-options: nosniff",
    ] {
        assert!(head.contains(line), "{head}");
    }
    let places = [
        "retry: ",
        "id: abababab-1\n",
        "id: abababab-2\n",
        ": Connection closing - job completed",
    ]
    .map(|part| {
        whole
            .find(part)
            .unwrap_or_else(|| panic!("{part} in {whole}"))
    });
    assert!(places.is_sorted(), "{whole}");

    let resume = |how: &str| format!("GET {path}{how}");
    let header_1 = " HTTP/1.1\r\nlast-event-id: abababab-1";
    let header_2 = " HTTP/1.1\r\nlast-event-id: abababab-2";
    for (request, expected, absent) in [
        (resume(header_1), "id: abababab-2\n", "id: abababab-1\n"),
        (
            resume("?after=abababab-1 HTTP/1.1"),
            "id: abababab-2\n",
            "id: abababab-1\n",
        ),
        (
            resume("?last_event_id=abababab-1 HTTP/1.1"),
            "id: abababab-2\n",
            "id: abababab-1\n",
        ),
        // The newer of the two: a polyfill adds it to the address of the first connect.
        (
            resume("?after=abababab-2&lastEventId=abababab-1 HTTP/1.1"),
            "id: abababab-2\n",
            "HTTP/1.1 204",
        ),
        // The header wins.
        (
            resume(&format!("?after=abababab-2{header_1}")),
            "id: abababab-2\n",
            "HTTP/1.1 204",
        ),
        (resume(header_2), "HTTP/1.1 204", "data:"),
        (
            resume("?after=abc HTTP/1.1"),
            r#""reset":true"#,
            "HTTP/1.1 4",
        ),
        (
            resume(" HTTP/1.1\r\nlast-event-id: -1"),
            r#""reset":true"#,
            "HTTP/1.1 4",
        ),
        (
            resume("?after=%ff%00 HTTP/1.1"),
            r#""reset":true"#,
            "HTTP/1.1 4",
        ),
        (
            format!("HEAD {path} HTTP/1.1"),
            "text/event-stream",
            "data:",
        ),
        (
            "GET /v1/triton/jobs/subscribe?job_id=told HTTP/1.1".to_owned(),
            "job:snapshot",
            "HTTP/1.1 4",
        ),
    ] {
        let answer = exchange(server.address(), &request).await;
        assert!(answer.contains(expected), "{request}: {answer}");
        assert!(!answer.contains(absent), "{request}: {answer}");
    }
    assert_eq!(server.drain(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn a_client_id_in_a_stream_of_many() {
    let edge = edge();
    let router = &edge.router;
    let path = "/v1/triton/jobs/subscribe?client_id=acme&client_id=other";
    let answer = get(router, path).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
}
