//! What a request and a caller may take of the edge, over real sockets: the answer to who takes more, and
//! the count.

use std::num::NonZeroU32;
use std::time::Duration;

use conch_domain::JobStatus;
use conch_http::body;
use conch_http::mare::{self, auth};
use conch_http::serve::Handle;
use conch_services::mare::hub;
use conch_services::mare::submissions::SubmissionRate;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::auth::{by_secret, mint};
use crate::counters::Counters;
use crate::edge::{Edge, edge_within, known, serve};
use crate::support;

/// Longest wait for anything.
const SOON: Duration = Duration::from_secs(10);

/// Sends that and reads until the server closes.
async fn exchange(server: &Handle, request: &str) -> String {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    // Whoever refuses early may hang up before it has all.
    drop(socket.write_all(request.as_bytes()).await);
    read_all(&mut socket).await
}

async fn read_all(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    // A reset after the answer is an end as good as any.
    drop(tokio::time::timeout(SOON, read).await.unwrap());
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} /v1/triton{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
         content-type: application/json\r\n{headers}\r\n{body}"
    )
}

/// Checks that it is a problem with that status and code.
fn is_problem(answer: &str, status: u16, code: &str) {
    let begins = format!("HTTP/1.1 {status} ");
    assert!(answer.starts_with(&begins), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
}

#[tokio::test]
async fn a_body_has_so_many_bytes_and_so_much_time() {
    let counters = Counters::start();
    let settings = mare::Settings {
        body: body::Limits {
            bytes: 2000,
            time: Duration::from_millis(200),
        },
        ..mare::Settings::default()
    };
    let edge = edge_within(
        settings,
        support::ops(),
        hub::Settings::default(),
        SubmissionRate::unlimited(),
    );
    let server = serve(&edge).await;
    let post = |headers: &str, body: &str| request("POST", "/clients", headers, body);
    let sized = |body: &str| post(&format!("content-length: {}\r\n", body.len()), body);
    let chunked = |body: &str| post("transfer-encoding: chunked\r\n", body);
    let whole = |body: &str| format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let name = r#"{"name":"a"}"#;
    let fits = name.to_owned() + &" ".repeat(2000 - name.len());
    let over = fits.clone() + " ";
    for (request, status, large, slow) in [
        (sized(&fits), 201, 0, 0),
        (chunked(&whole(&fits)), 201, 0, 0),
        (sized(&over), 413, 1, 0),
        // Announced, and refused before it comes.
        (post("content-length: 99999999\r\n", ""), 413, 2, 0),
        (chunked(&whole(&over)), 413, 3, 0),
        // Some of it comes, and then nothing.
        (post("content-length: 100\r\n", "{"), 408, 3, 1),
        (chunked("5\r\n{"), 408, 3, 2),
    ] {
        let answer = exchange(&server, &request).await;
        match status {
            413 => is_problem(&answer, 413, "body-too-large"),
            408 => is_problem(&answer, 408, "body-timeout"),
            _ => assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}"),
        }
        assert_eq!(counters.hits("max_body_bytes"), large, "{answer}");
        assert_eq!(counters.hits("body_timeout_seconds"), slow, "{answer}");
    }
}

/// An edge on which a caller may have two streams, and submit twice a minute.
fn narrow(auth: Option<auth::Settings>) -> Edge {
    let settings = mare::Settings {
        auth: auth.map(|settings| settings.build().unwrap()),
        ..mare::Settings::default()
    };
    let hub = hub::Settings {
        max_streams_per_caller: Some(2),
        ..hub::Settings::default()
    };
    let rate = SubmissionRate::per_minute(NonZeroU32::new(2).unwrap());
    let edge = edge_within(settings, support::ops(), hub, rate);
    edge.triton.set_job(known("running", JobStatus::Running));
    edge
}

/// The header of a caller of that name, who may do everything.
fn bearer(subject: &str) -> String {
    let mut claims = mint::claims(&json!("*"), mint::ALL);
    claims["sub"] = json!(subject);
    let head = json!({"alg": "HS256", "typ": "JWT"});
    let token = mint::token(mint::Key::Hs256(mint::SECRET.as_bytes()), &head, &claims);
    format!("authorization: Bearer {token}\r\n")
}

const ONE: &str = "/jobs/running/subscribe";
const MANY: &str = "/jobs/subscribe";

/// A stream that has begun: its first line is there.
async fn open(server: &Handle, path: &str, headers: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let request = request("GET", path, headers, "");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&seen).contains("retry: ") {
            let read = socket.read_buf(&mut seen).await.unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        }
    };
    tokio::time::timeout(SOON, read).await.unwrap();
    socket
}

/// Checks that all that a stream said was to come back much later.
fn is_turned_away(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("content-type: text/event-stream"),
        "{answer}"
    );
    let (_, retry) = answer.split_once("retry: ").unwrap();
    let (retry, rest) = retry.split_once('\n').unwrap();
    let retry: u64 = retry.parse().unwrap();
    assert!((30_000..=60_000).contains(&retry), "{answer}");
    assert_eq!(rest, ": reconnect later\n\r\n0\r\n\r\n", "{answer}");
}

#[tokio::test]
async fn a_stream_too_many_is_told_to_come_back_much_later() {
    let counters = Counters::start();
    let edge = narrow(Some(by_secret()));
    let server = serve(&edge).await;
    let a = bearer("a");
    let mut held = vec![open(&server, ONE, &a).await, open(&server, MANY, &a).await];
    let ticket = request("POST", "/jobs/running/ticket", &a, "");
    let ticket = exchange(&server, &ticket).await;
    let (_, ticket) = ticket.split_once("\r\n\r\n").unwrap();
    let ticket: Value = serde_json::from_str(ticket).unwrap();
    let by_ticket = format!("{ONE}?ticket={}", ticket["ticket"].as_str().unwrap());
    // Whichever stream it is, and by whichever way in.
    for (hits, (path, headers)) in (1..).zip([
        (ONE, a.clone()),
        (MANY, a.clone()),
        (ONE, format!("{a}last-event-id: abababab-1\r\n")),
        (&by_ticket, String::new()),
    ]) {
        let answer = exchange(&server, &request("GET", path, &headers, "")).await;
        is_turned_away(&answer);
        assert_eq!(counters.hits("max_streams_per_caller"), hits, "{path}");
    }
    // Others are none of it; nor is a HEAD, whose stream is over before it begins.
    held.push(open(&server, ONE, &bearer("b")).await);
    let b = bearer("b");
    for _ in 0..5 {
        let answer = exchange(&server, &request("HEAD", ONE, &b, "")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    held.push(open(&server, ONE, &b).await);
    assert_eq!(server.streams(), 4);
    assert_eq!(counters.hits("max_streams_per_caller"), 4);
    // Whoever left has left a place.
    drop(held.remove(0));
    let mut again = exchange(&server, &request("HEAD", ONE, &a, "")).await;
    while server.streams() > 3 {
        again = exchange(&server, &request("HEAD", ONE, &a, "")).await;
    }
    assert!(again.starts_with("HTTP/1.1 200 "), "{again}");
    held.push(open(&server, ONE, &a).await);
    assert_eq!(server.streams(), 4);
}

#[tokio::test]
async fn without_callers_nobody_has_too_many_streams() {
    let counters = Counters::start();
    let edge = narrow(None);
    let server = serve(&edge).await;
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(open(&server, ONE, "").await);
    }
    assert_eq!(server.streams(), 50);
    assert_eq!(counters.hits("max_streams_per_caller"), 0);
}

#[tokio::test]
async fn a_submission_too_many_is_429() {
    for with_auth in [true, false] {
        let counters = Counters::start();
        let edge = narrow(with_auth.then(by_secret));
        let server = serve(&edge).await;
        let submit = |subject: &str, more: &str| {
            let who = if with_auth {
                bearer(subject)
            } else {
                String::new()
            };
            let headers = format!("{who}{more}content-length: 0\r\n");
            request("POST", "/clients/acme/generate-templates", &headers, "")
        };
        let key = "idempotency-key: k\r\n";
        for _ in 0..2 {
            let answer = exchange(&server, &submit("a", key)).await;
            assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        }
        let asked = edge.triton.total_calls();
        for more in [key, ""] {
            let answer = exchange(&server, &submit("a", more)).await;
            is_problem(&answer, 429, "too-many-requests");
            assert!(answer.contains("SUBMISSIONS_PER_MINUTE"), "{answer}");
            let (_, after) = answer.split_once("retry-after: ").unwrap();
            let (after, _) = after.split_once("\r\n").unwrap();
            let after: u64 = after.parse().unwrap();
            assert!((1..=30).contains(&after), "{answer}");
        }
        let now_asked = edge.triton.total_calls();
        assert_eq!(now_asked, asked, "Triton hears nothing of it");
        assert_eq!(counters.hits("submissions_per_minute"), 2);
        // Another caller is another caller; without authentication all are one.
        let other = exchange(&server, &submit("b", "")).await;
        let expected = if with_auth { 202 } else { 429 };
        let begins = format!("HTTP/1.1 {expected} ");
        assert!(other.starts_with(&begins), "{other}");
    }
}

/// Whatever a caller makes up, an id, a path, a method, is no label.
#[tokio::test]
async fn requests_are_timed_by_method_route_and_status() {
    let counters = Counters::start();
    let edge = edge_within(
        mare::Settings::default(),
        support::ops(),
        hub::Settings::default(),
        SubmissionRate::unlimited(),
    );
    let server = serve(&edge).await;
    for (method, path, status) in [
        ("GET", "/jobs/a%20b", 400),
        ("GET", "/jobs/a%20c/", 400),
        ("GET", "/made/up", 404),
        ("MADEUP", "/jobs/a%20b", 405),
    ] {
        let answer = exchange(&server, &request(method, path, "", "")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    let of = |method: &str, route: &str, status: u16| {
        counters.of(&format!(
            "conch_http_request_seconds_count{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}"
        ))
    };
    assert_eq!(of("GET", "/v1/triton/jobs/{job_id}", 400), 2);
    assert_eq!(of("GET", "none", 404), 1);
    assert_eq!(of("other", "/v1/triton/jobs/{job_id}", 405), 1);
}
