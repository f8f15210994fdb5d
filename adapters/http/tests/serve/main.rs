//! The server under the routes, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/counters.rs"]
mod counters;
mod half_close;
mod harness;
mod limits;

use std::collections::VecDeque;
use std::time::Duration;

use conch_http::serve::Settings;
use counters::Counters;
use harness::{
    HEAD, SOON, STREAM, THREADS, ask, connect, read_all, read_until, serve, thread_name, undated,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

#[tokio::test]
async fn a_stream_is_byte_exact() {
    let (handle, source) = serve(Settings::default()).await;
    let mut client = ask(&handle, STREAM).await;
    assert_eq!(undated(&read_until(&mut client, "\r\n\r\n").await), HEAD);
    assert_eq!((handle.connections(), handle.streams()), (1, 1));
    source.send("data: 1\n\n");
    assert_eq!(
        read_until(&mut client, "\n\n\r\n").await,
        "9\r\ndata: 1\n\n\r\n"
    );
    source.send("");
    source.send("id: 2\n");
    source.send("data: 2\n\n");
    assert_eq!(
        read_until(&mut client, "\n\n\r\n").await,
        "f\r\nid: 2\ndata: 2\n\n\r\n"
    );
    source.end();
    assert_eq!(read_all(&mut client).await, "0\r\n\r\n");
    drop(client);
    source.dropped(1).await;
    assert_eq!(handle.drain(SOON).await, 0);
    assert_eq!((handle.connections(), handle.streams()), (0, 0));
}

#[tokio::test]
async fn handlers_are_spread_over_the_threads_and_streams_run_where_the_server_was_started() {
    let (handle, _source) = serve(Settings::default()).await;
    let mut held = Vec::new();
    let mut names = Vec::new();
    for _ in 0..2 * THREADS.get() {
        // A stream leaves its thread, so it doesn't count there.
        let request = "GET /thread-of-stream HTTP/1.1\r\nhost: x\r\n\r\n";
        let stream = read_all(&mut ask(&handle, request).await).await;
        let here = thread_name();
        assert!(
            stream.ends_with(&format!("\r\n{here}\r\n0\r\n\r\n")),
            "{stream}"
        );
        let mut socket = ask(&handle, "GET /thread HTTP/1.1\r\nhost: x\r\n\r\n").await;
        read_until(&mut socket, "\r\n\r\nhttp-").await;
        names.push(socket.read_u8().await.unwrap());
        held.push(socket);
    }
    names.sort_unstable();
    assert_eq!(names, b"0011");
}

#[tokio::test]
async fn a_library_decodes_what_is_sent() {
    let (handle, source) = serve(Settings::default()).await;
    // Fails only when another test of this process was first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let url = format!("http://{}/stream", handle.address());
    let mut response = reqwest::get(url).await.unwrap();
    let mut expected = String::new();
    // Batches of one frame, of many, of more than a chunk takes, and of a frame larger than a chunk.
    for (frames, length) in [(1, 1), (200, 10), (100, 5000), (2, 100_000), (1, 2030)] {
        for i in 0..frames {
            let frame = format!("data: {i} {}\n\n", "x".repeat(length));
            expected.push_str(&frame);
            source.send(frame);
        }
    }
    source.end();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    assert!(
        body == expected.as_bytes(),
        "{} of {}",
        body.len(),
        expected.len()
    );
}

#[tokio::test]
async fn http_1_0_gets_a_stream_without_chunks() {
    let (handle, source) = serve(Settings::default()).await;
    let mut client = ask(
        &handle,
        "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    )
    .await;
    assert_eq!(
        undated(&read_until(&mut client, "\r\n\r\n").await),
        "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    );
    source.send("data: 1\n\n");
    source.end();
    assert_eq!(read_all(&mut client).await, "data: 1\n\n");
}

#[tokio::test]
async fn the_second_request_of_a_connection_can_be_the_stream() {
    let (handle, source) = serve(Settings::default()).await;
    let mut client = ask(&handle, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;
    read_until(&mut client, "hello").await;
    client.write_all(STREAM.as_bytes()).await.unwrap();
    assert_eq!(undated(&read_until(&mut client, "\r\n\r\n").await), HEAD);
    source.send("data: 1\n\n");
    read_until(&mut client, "data: 1\n\n\r\n").await;
}

#[tokio::test]
async fn pipelined_answers_come_before_the_stream_and_later_requests_are_dropped() {
    let (handle, source) = serve(Settings::default()).await;
    let requests = [
        "GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        STREAM,
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let mut client = ask(&handle, &requests.concat()).await;
    let feed = async {
        source.opened(1).await;
        source.send("data: 1\n\n");
        source.end();
    };
    let ((), all) = tokio::join!(feed, read_all(&mut client));
    let (before, stream) = all.split_once("hello").expect("the second answer");
    assert!(before.matches('x').count() >= 4 << 20);
    assert!(
        undated(stream).ends_with(&format!("{HEAD}9\r\ndata: 1\n\n\r\n0\r\n\r\n")),
        "{stream}"
    );
}

#[tokio::test]
async fn a_body_and_an_expectation_do_not_disturb_a_stream() {
    let (handle, source) = serve(Settings::default()).await;
    let request =
        "GET /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\nExpect: 100-continue\r\n\r\n";
    let mut client = ask(&handle, request).await;
    assert_eq!(undated(&read_until(&mut client, "\r\n\r\n").await), HEAD);
    client.write_all(&[b'b'; 900]).await.unwrap();
    source.send("data: 1\n\n");
    read_until(&mut client, "data: 1\n\n\r\n").await;
}

#[tokio::test]
async fn head_is_answered_without_a_stream() {
    let (handle, source) = serve(Settings::default()).await;
    let request = STREAM.replace("GET", "HEAD");
    let mut client = ask(&handle, &request).await;
    let head = read_until(&mut client, "\r\n\r\n").await;
    // A GET would have none.
    assert!(!head.contains("content-length"), "{head}");
    source.dropped(1).await;
    client.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    assert_eq!((handle.connections(), handle.streams()), (1, 0));
}

#[tokio::test]
async fn a_peer_that_closes_either_way_is_gone_at_once() {
    let (handle, source) = serve(Settings::default()).await;
    let mut closing = ask(&handle, STREAM).await;
    read_until(&mut closing, "\r\n\r\n").await;
    closing.shutdown().await.unwrap();
    source.dropped(1).await;

    let mut resetting = ask(&handle, STREAM).await;
    read_until(&mut resetting, "\r\n\r\n").await;
    socket2::SockRef::from(&resetting)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(resetting);
    source.dropped(2).await;
}

#[tokio::test]
async fn a_peer_that_talks_through_a_stream_is_cut() {
    let (handle, source) = serve(Settings::default()).await;
    let mut client = ask(&handle, STREAM).await;
    read_until(&mut client, "\r\n\r\n").await;
    client.write_all(&vec![b'x'; 17 * 1024]).await.unwrap();
    source.dropped(1).await;
    assert!(timeout(SOON, client.read_u8()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_watcher_that_never_reads_is_cut_and_hurts_nobody_else() {
    let counters = Counters::start();
    let settings = Settings {
        write_stall: Duration::from_secs(1),
        ..Settings::default()
    };
    let (handle, source) = serve(settings).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(handle.address()).await.unwrap();
    slow.write_all(STREAM.as_bytes()).await.unwrap();
    source.opened(1).await;
    let mut quick = ask(&handle, STREAM).await;
    read_until(&mut quick, "\r\n\r\n").await;
    for _ in 0..100 {
        source.send(format!("data: {}\n\n", "x".repeat(10_000)));
    }
    source.send("data: last\n\n");
    read_until(&mut quick, "data: last\n\n\r\n").await;
    source.dropped(1).await;
    source.send("data: afterwards\n\n");
    read_until(&mut quick, "data: afterwards\n\n\r\n").await;
    assert_eq!(handle.streams(), 1);
    let cut = r#"conch_streams_cut_total{reason="write_stall"}"#;
    assert_eq!(counters.of(cut), 1);
}

#[tokio::test]
async fn what_a_slow_reader_gets_is_whole() {
    let (handle, source) = serve(Settings::default()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(handle.address()).await.unwrap();
    client.write_all(STREAM.as_bytes()).await.unwrap();
    source.opened(1).await;
    let mut expected = VecDeque::new();
    for i in 0..2000 {
        let frame = format!("data: {i} {}\n\n", "x".repeat(i % 3000));
        expected.push_back(frame.clone());
        source.send(frame);
        if i % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    source.end();
    let all = read_all(&mut client).await;
    let mut rest = all.split_once("\r\n\r\n").expect("a head").1;
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a size line");
        let size = usize::from_str_radix(size, 16).expect("a size");
        body.push_str(&after[..size]);
        rest = after[size..].strip_prefix("\r\n").expect("a chunk's end");
        if size == 0 {
            break;
        }
    }
    assert_eq!(rest, "");
    assert!(body == expected.into_iter().collect::<String>());
}

#[tokio::test]
async fn draining_lets_streams_say_their_last() {
    let (handle, source) = serve(Settings::default()).await;
    let mut stream = ask(&handle, STREAM).await;
    read_until(&mut stream, "\r\n\r\n").await;
    let mut idle = ask(&handle, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;
    read_until(&mut idle, "hello").await;
    let drained = handle.drain(SOON);
    let client = async {
        // The idle connection closes first, so the server has begun to drain.
        assert_eq!(read_all(&mut idle).await, "");
        assert!(TcpStream::connect(handle.address()).await.is_err());
        source.send("data: last\n\n");
        source.end();
        let rest = read_all(&mut stream).await;
        drop(stream);
        rest
    };
    let (cut, rest) = tokio::join!(drained, client);
    assert_eq!(rest, "c\r\ndata: last\n\n\r\n0\r\n\r\n");
    assert_eq!(cut, 0);
}

#[tokio::test]
async fn draining_ends_at_its_limit() {
    let (handle, source) = serve(Settings::default()).await;
    let mut stream = ask(&handle, STREAM).await;
    read_until(&mut stream, "\r\n\r\n").await;
    let mut stuck = ask(&handle, "GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut hello = ask(
        &handle,
        "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    read_all(&mut hello).await;
    source.never(1).await;
    let cut = handle.drain(Duration::from_millis(50)).await;
    assert_eq!(cut, 2);
    assert_eq!((handle.connections(), handle.streams()), (0, 0));
    source.dropped(1).await;
    assert_eq!(read_all(&mut stuck).await, "");
}

#[tokio::test]
async fn a_slow_or_silent_head_closes_the_connection() {
    let settings = Settings {
        head_timeout: Duration::from_millis(100),
        ..Settings::default()
    };
    let (handle, _source) = serve(settings).await;
    let mut silent = connect(&handle).await;
    let mut slow = ask(&handle, "GET /hello HTTP/1.1\r\nHos").await;
    let mut idle = ask(&handle, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(read_all(&mut silent).await, "");
    assert_eq!(read_all(&mut slow).await, "");
    assert!(read_all(&mut idle).await.ends_with("hello"));
}

#[tokio::test]
async fn a_large_head_is_refused() {
    let (handle, _source) = serve(Settings::default()).await;
    let long = format!(
        "GET /hello HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    let many = format!(
        "GET /hello HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: 1\r\n".repeat(200)
    );
    for request in [long, many] {
        let mut client = connect(&handle).await;
        // The server may close before it has all.
        drop(client.write_all(request.as_bytes()).await);
        let answer = read_all(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(
            answer.contains("\r\ncontent-type: application/problem+json\r\n"),
            "{answer}"
        );
        assert!(answer.contains(r#""code":"head-too-large""#), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{answer}"
        );
    }
    let fits = format!(
        "GET /hello HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(55 << 10)
    );
    read_until(&mut ask(&handle, &fits).await, "hello").await;
}

#[tokio::test]
async fn a_thousand_ids_fit_into_a_target() {
    let (handle, _source) = serve(Settings::default()).await;
    let ids = vec!["job_id=019df7ea-0000-7000-8000-000000000000"; 1000].join("&");
    let request = format!("GET /hello?{ids} HTTP/1.1\r\nHost: a\r\n\r\n");
    read_until(&mut ask(&handle, &request).await, "hello").await;
}

#[tokio::test]
async fn a_head_that_is_no_http_is_refused_in_words() {
    let (handle, _source) = serve(Settings::default()).await;
    for request in [
        "GET /hello HTTP/1.1\r\nHo st: a\r\n\r\n",
        "nonsense\r\n\r\n",
        // After an answer, in one write with it.
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n",
    ] {
        let answer = read_all(&mut ask(&handle, request).await).await;
        assert!(answer.contains("HTTP/1.1 400 "), "{request}: {answer}");
        assert!(
            answer.contains(r#""code":"malformed-request""#),
            "{request}: {answer}"
        );
        assert_eq!(
            answer.contains("hello"),
            request.contains("hello HTTP/1.1\r\nHost"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn codings_and_targets_that_are_not_for_this_server_are_refused() {
    let (handle, _source) = serve(Settings::default()).await;
    let target = |target: &str| format!("POST {target} HTTP/1.1\r\nHost: a:80\r\n\r\n");
    let coding =
        |headers: &str| format!("POST /echo HTTP/1.1\r\nHost: a\r\n{headers}\r\n0\r\n\r\n");
    for (request, status) in [
        (coding("Transfer-Encoding: chunked\r\n"), "200"),
        (coding("Transfer-Encoding: Chunked\r\n"), "200"),
        (coding("Transfer-Encoding: x, chunked\r\n"), "501"),
        (coding("Transfer-Encoding: gzip, chunked\r\n"), "501"),
        (
            coding("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
            "501",
        ),
        (coding("Transfer-Encoding: chunked, chunked\r\n"), "400"),
        (target("http://a/echo"), "200"),
        (target("http://A:80/echo"), "200"),
        (target("http://b/echo"), "421"),
        (target("http://a.b/echo"), "421"),
        (target("http://a:81/echo"), "421"),
    ] {
        let mut client = ask(&handle, &request).await;
        client.shutdown().await.unwrap();
        let answer = read_all(&mut client).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
        assert_eq!(
            answer.contains("problem+json"),
            status != "200",
            "{request}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_head_that_two_servers_may_read_differently_is_refused() {
    let (handle, _source) = serve(Settings::default()).await;
    for headers in [
        "Host: a\r\nHost: b\r\n",
        "",
        "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Host: a\r\ncontent-length: 5\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let request = format!("POST /echo HTTP/1.1\r\n{headers}\r\n0\r\n\r\n");
        let answer = read_all(&mut ask(&handle, &request).await).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{headers}: {answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains(r#""code":"malformed-request""#), "{answer}");
    }
}

#[tokio::test]
async fn lengths_and_chunks_may_take_turns_on_one_connection() {
    let (handle, _source) = serve(Settings::default()).await;
    let mut client = connect(&handle).await;
    for _ in 0..3 {
        let request = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        client.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut client, "abc").await;
        let request = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut client, "def").await;
    }
}

#[tokio::test]
async fn connections_over_the_limit_are_closed() {
    let counters = Counters::start();
    let settings = Settings {
        max_connections: 2,
        ..Settings::default()
    };
    let (handle, source) = serve(settings).await;
    let mut first = ask(&handle, STREAM).await;
    read_until(&mut first, "\r\n\r\n").await;
    let mut second = ask(&handle, STREAM).await;
    read_until(&mut second, "\r\n\r\n").await;
    assert_eq!(read_all(&mut connect(&handle).await).await, "");
    assert_eq!(counters.of("conch_connections_refused_total"), 1);
    drop(first);
    source.dropped(1).await;
    // The socket goes right after its frames; until then the limit still holds.
    let mut third = String::new();
    while third.is_empty() {
        let mut client = ask(
            &handle,
            "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;
        third = read_all(&mut client).await;
    }
    assert!(third.ends_with("hello"));
}

#[tokio::test]
async fn a_thousand_aborted_streams_leave_nothing() {
    let (handle, source) = serve(Settings::default()).await;
    // In four goes, as each stream takes two descriptors of the test's thousand.
    for opened in [250, 500, 750, 1000] {
        let mut clients = Vec::new();
        for _ in 0..250 {
            clients.push(ask(&handle, STREAM).await);
        }
        source.opened(opened).await;
        source.send("data: 1\n\n");
        read_until(&mut clients[249], "data: 1\n\n\r\n").await;
        drop(clients);
        source.dropped(opened).await;
    }
    // The source never ends: only the aborts can empty the server.
    assert_eq!(handle.drain(SOON).await, 0);
    assert_eq!((handle.connections(), handle.streams()), (0, 0));
}
