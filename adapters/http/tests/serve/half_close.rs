//! Clients that shut their sending side down after a request, as `nc -N` and many scripts do.

use std::net::Shutdown;

use conch_http::serve::Settings;
use tokio::io::AsyncWriteExt;

use crate::harness::{SOON, STREAM, ask, read_all, read_until, serve};

const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn what_was_asked_before_the_end_of_input_is_answered() {
    let (handle, _source) = serve(Settings::default()).await;
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let chunked =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (request, answers, end) in [
        (HELLO.to_owned(), 1, "hello"),
        (HELLO.replace("1.1", "1.0"), 1, "hello"),
        (post.to_owned(), 1, "abc"),
        (chunked.to_owned(), 1, "abc"),
        (format!("{HELLO}{post}{HELLO}"), 3, "hello"),
        (
            "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            1,
            "slow",
        ),
        (
            "GET /large HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            1,
            "xxx",
        ),
    ] {
        let mut client = ask(&handle, &request).await;
        client.shutdown().await.unwrap();
        let answer = read_all(&mut client).await;
        assert_eq!(
            answer.matches("HTTP/1.").count(),
            answers,
            "{request}: {answer:.300}"
        );
        assert!(answer.ends_with(end), "{request}: {answer:.300}");
    }
    assert_eq!(handle.drain(SOON).await, 0);
}

#[tokio::test]
async fn a_blocking_client_gets_its_answer_after_the_end_of_its_input() {
    let (handle, _source) = serve(Settings::default()).await;
    let address = handle.address();
    let client = tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.write_all(HELLO.as_bytes()).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(client.await.unwrap().ends_with("hello"));
}

#[tokio::test]
async fn a_request_that_is_not_whole_at_the_end_of_input_ends_the_connection() {
    let (handle, _source) = serve(Settings::default()).await;
    for part in [
        "",
        "GET /hello HT",
        "GET /hello HTTP/1.1\r\nHost: a\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
    ] {
        let mut client = ask(&handle, part).await;
        client.shutdown().await.unwrap();
        let answer = read_all(&mut client).await;
        assert!(!answer.contains("200 OK"), "{part}: {answer}");
    }
    assert_eq!(handle.drain(SOON).await, 0, "no connection is left");
}

#[tokio::test]
async fn for_a_stream_the_end_of_input_means_that_the_peer_is_gone() {
    let (handle, source) = serve(Settings::default()).await;
    let mut at_once = ask(&handle, STREAM).await;
    at_once.shutdown().await.unwrap();
    source.dropped(1).await;
    let mut later = ask(&handle, STREAM).await;
    read_until(&mut later, "\r\n\r\n").await;
    later.shutdown().await.unwrap();
    source.dropped(2).await;
    let mut pipelined = ask(&handle, &format!("{HELLO}{STREAM}")).await;
    pipelined.shutdown().await.unwrap();
    assert!(read_all(&mut pipelined).await.contains("hello"));
    source.dropped(3).await;
    assert_eq!(handle.drain(SOON).await, 0);
}
