//! What a connection may cost: who is over a limit is told or cut, and counted, by that limit's name.

use std::time::Duration;

use conch_http::serve::Settings;
use tokio::io::AsyncWriteExt;

use crate::counters::Counters;
use crate::harness::{ask, connect, read_all, read_until, serve_here};

#[tokio::test]
async fn a_head_of_so_many_bytes_is_taken_and_no_longer_one() {
    let counters = Counters::start();
    let settings = Settings {
        max_head: 8192,
        ..Settings::default()
    };
    let (handle, _source) = serve_here(settings).await;
    let head = |bytes: usize| {
        let empty = "GET /hello HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        let filler = "x".repeat(bytes - empty);
        format!("GET /hello HTTP/1.1\r\nHost: a\r\nX: {filler}\r\n\r\n")
    };
    let many = format!(
        "GET /hello HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: 1\r\n".repeat(200)
    );
    for (request, hits) in [
        (head(8192), 0),
        (head(8193), 1),
        (head(60_000), 2),
        (many, 3),
    ] {
        let mut client = connect(&handle).await;
        // The server may close before it has all.
        drop(client.write_all(request.as_bytes()).await);
        let expected = if hits == 0 { "200" } else { "431" };
        let answer = read_until(&mut client, "\r\n\r\n").await;
        let bytes = request.len();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{bytes}: {answer}"
        );
        if hits > 0 {
            read_all(&mut client).await;
        }
        assert_eq!(counters.hits("max_head_bytes"), hits, "{bytes}");
    }
    assert_eq!(counters.hits("head_timeout_seconds"), 0);
}

#[tokio::test]
async fn all_unfinished_heads_together_are_bounded() {
    let counters = Counters::start();
    let settings = Settings {
        max_unfinished_heads: 100 * 1024,
        ..Settings::default()
    };
    let (handle, _source) = serve_here(settings).await;
    let part = format!(
        "GET /hello HTTP/1.1\r\nHost: a\r\nX: {}",
        "x".repeat(40 * 1024)
    );
    let mut held = vec![ask(&handle, &part).await, ask(&handle, &part).await];
    // Read, as the next answers show.
    for socket in &mut held {
        socket.write_all(b"x").await.unwrap();
    }
    let mut small = ask(&handle, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;
    read_until(&mut small, "hello").await;
    let mut over = ask(&handle, &part).await;
    let answer = read_all(&mut over).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains(r#""code":"overloaded""#), "{answer}");
    assert_eq!(counters.hits("max_unfinished_heads"), 1);
    // What is finished is free again.
    for mut socket in held {
        socket.write_all(b"\r\n\r\n").await.unwrap();
        read_until(&mut socket, "hello").await;
    }
    let mut again = ask(&handle, &format!("{part}\r\n\r\n")).await;
    read_until(&mut again, "hello").await;
    assert_eq!(counters.hits("max_unfinished_heads"), 1);
}

/// A client that pipelines may go over the bound while an earlier answer is still being sent.
#[tokio::test]
async fn an_answer_under_way_is_whole_before_a_head_over_the_bound_is_refused() {
    let counters = Counters::start();
    let settings = Settings {
        max_unfinished_heads: 10 * 1024,
        ..Settings::default()
    };
    let (handle, _source) = serve_here(settings).await;
    // Where a handler doesn't read a body of several reads, hyper reads the next head before it has sent
    // the answer.
    let body = "b".repeat(10_000);
    let head = "GET /large HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n";
    let mut client = ask(&handle, &format!("{head}{body}GET /hello HTTP/1.1\r\n")).await;
    let head = read_until(&mut client, "\r\n\r\n").await;
    assert!(head.contains("content-length: 4194304\r\n"), "{head}");
    let part = format!("Host: a\r\nX: {}", "x".repeat(20 * 1024));
    client.write_all(part.as_bytes()).await.unwrap();
    // By the time that this is answered, the server has had its turn with what came before it.
    let mut other = ask(&handle, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;
    read_until(&mut other, "hello").await;
    let rest = read_all(&mut client).await;
    let (body, next) = rest.split_at(rest.find(|c| c != 'x').unwrap_or(rest.len()));
    assert_eq!(
        body.len(),
        4 << 20,
        "the answer under way is cut by: {next}"
    );
    assert!(
        next.starts_with("HTTP/1.1 503 "),
        "after the answer: {next}"
    );
    assert_eq!(counters.hits("max_unfinished_heads"), 1);
}

/// A proxy keeps its connections, and sends any number of requests on each.
#[tokio::test]
async fn requests_that_were_answered_leave_nothing_of_the_bound() {
    let counters = Counters::start();
    let settings = Settings {
        max_unfinished_heads: 4096,
        ..Settings::default()
    };
    let (handle, _source) = serve_here(settings).await;
    let lines = "X:   1  \r\n".repeat(90);
    let get = format!("GET http://a/hello HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\n";
    let body = "hello".repeat(20);
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n64\r\n{body}\r\n0\r\n\r\n");
    let unread = format!("POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{body}");
    let mut client = connect(&handle).await;
    for round in 0..100 {
        for (request, end) in [
            (&get, "hello"),
            (&chunked, body.as_str()),
            (&unread, "\r\n\r\n"),
        ] {
            client.write_all(request.as_bytes()).await.unwrap();
            let answer = read_until(&mut client, end).await;
            assert!(!answer.contains(" 503 "), "{round}: {answer}");
        }
    }
    assert_eq!(counters.hits("max_unfinished_heads"), 0);
}

#[tokio::test]
async fn a_slow_head_is_told_from_an_idle_connection() {
    let counters = Counters::start();
    let settings = Settings {
        head_timeout: Duration::from_millis(100),
        ..Settings::default()
    };
    let (handle, _source) = serve_here(settings).await;
    let hello = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    for (request, hits) in [
        ("", 1),
        ("GET /hello HTTP/1.1\r\nHos", 2),
        // Between two requests a connection may be idle for as long, and is closed without a word.
        (hello, 2),
        (&format!("{hello}GET /hel"), 3),
    ] {
        let mut client = ask(&handle, request).await;
        let answer = read_all(&mut client).await;
        let is_answered = request.contains(hello);
        assert_eq!(answer.contains("hello"), is_answered, "{answer}");
        assert_eq!(counters.hits("head_timeout_seconds"), hits, "{request:?}");
    }
    // What drips has no more time than what comes at once.
    let mut client = connect(&handle).await;
    for byte in "GET /".bytes().chain(std::iter::repeat(b'x')) {
        if client.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(counters.hits("head_timeout_seconds"), 4);
}
