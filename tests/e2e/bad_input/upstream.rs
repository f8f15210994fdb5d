//! What answers in Triton's place: 502 for what makes no sense, 504 for what comes too late, and never
//! more memory than an answer may have.

use std::sync::Arc;
use std::time::Duration;

use conch_harness::conch::Plan;
use conch_harness::{Conch, Persistence, Redis, Stream, Table};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What is written for a request of that path; the connection is then closed.
type Script = fn(&str) -> Answer;

enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These, and then the others over and over, for as long as they are read.
    Endless(Vec<u8>, Vec<u8>),
    /// These, and then nothing, for ever.
    Silence(Vec<u8>),
    /// These, a byte at a time.
    Drip(Vec<u8>),
}

use Answer::{Bytes, Drip, Endless, Silence};

/// A server that speaks by hand.
struct Stub {
    port: u16,
    server: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Stub {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        let server = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket));
            }
        });
        Self { port, server }
    }
}

/// Reads one head and answers it.
async fn serve(mut socket: TcpStream) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        match socket.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(n) => head.extend_from_slice(&piece[..n]),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    // Nobody is told of a peer that went away: that is its right.
    let _gone = write(&mut socket, answer(path)).await;
}

async fn write(socket: &mut TcpStream, answer: Answer) -> std::io::Result<()> {
    match answer {
        Bytes(bytes) => socket.write_all(&bytes).await,
        Endless(first, then) => {
            socket.write_all(&first).await?;
            loop {
                socket.write_all(&then).await?;
            }
        }
        Silence(bytes) => {
            socket.write_all(&bytes).await?;
            let mut rest = [0; 64];
            while socket.read(&mut rest).await? > 0 {}
            Ok(())
        }
        Drip(bytes) => {
            for byte in bytes {
                socket.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        }
    }
}

/// What each path is answered. The job's id is the row's name.
fn answer(path: &str) -> Answer {
    let path = path.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    match segments[..] {
        ["jobs", name] => ROWS
            .iter()
            .find(|row| row.0 == name)
            .map_or_else(|| json(404, "{}"), |row| row.1(name)),
        ["templates"] => json(200, r#"{"total":0,"templates":[]}"#),
        // Anything else is well, so that nobody takes this for a service that is down.
        _ => json(200, r#"{"total":0,"clients":[],"jobs":[]}"#),
    }
}

fn json(status: u16, body: &str) -> Answer {
    http(
        status,
        "content-type: application/json\r\n",
        body.as_bytes(),
    )
}

fn http(status: u16, lines: &str, body: &[u8]) -> Answer {
    let head = format!(
        "HTTP/1.1 {status} OK\r\nconnection: close\r\n{lines}content-length: {}\r\n\r\n",
        body.len()
    );
    Bytes([head.as_bytes(), body].concat())
}

/// A job object with these fields in the place of its own.
fn job(name: &str, more: &str) -> Answer {
    json(200, &format!("{{\"id\":\"{name}\",{more}}}"))
}

const BAD: (u16, &str) = (502, "upstream-bad-response");
const DOWN: (u16, &str) = (502, "upstream-unavailable");
const LATE: (u16, &str) = (504, "upstream-timeout");
const FINE: (u16, &str) = (200, "");
const NOT_THERE: (u16, &str) = (404, "job-not-found");

const OPEN: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n";
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
const RUNS: &str = r#""client_id":"c","status":"running""#;

/// A job's id, what Triton answers for it, and what Mare does.
const ROWS: &[(&str, Script, (u16, &str))] = &[
    ("good", |name| job(name, RUNS), FINE),
    (
        "not-there",
        |_| json(404, r#"{"detail":"Job not found"}"#),
        NOT_THERE,
    ),
    ("not-there-and-no-words", |_| http(404, "", b""), NOT_THERE),
    (
        "not-there-in-html",
        |_| http(404, "content-type: text/html\r\n", b"<h1>nginx</h1>"),
        BAD,
    ),
    (
        "s500",
        |_| json(500, r#"{"detail":"Internal Server Error"}"#),
        BAD,
    ),
    ("s500-in-html", |_| http(500, "", b"<h1>oops</h1>"), BAD),
    ("s501", |_| json(501, "{}"), BAD),
    ("s502", |_| http(502, "", b"bad gateway"), DOWN),
    ("s503", |_| json(503, "{}"), DOWN),
    ("s504", |_| json(504, "{}"), DOWN),
    ("s599", |_| json(599, "{}"), BAD),
    ("s999", |_| json(999, "{}"), BAD),
    ("s400", |_| json(400, r#"{"detail":"no"}"#), BAD),
    ("s401", |_| json(401, "{}"), BAD),
    ("s403", |_| json(403, "{}"), BAD),
    ("s405", |_| json(405, "{}"), BAD),
    ("s418", |_| json(418, "{}"), BAD),
    (
        "s422",
        |_| json(422, r#"{"detail":[{"loc":["header","x"],"msg":"no"}]}"#),
        BAD,
    ),
    (
        "no-such-id-can-be",
        |_| {
            json(
                422,
                r#"{"detail":[{"loc":["path","job_id"],"msg":"no UUID"}]}"#,
            )
        },
        NOT_THERE,
    ),
    (
        "s204",
        |_| Bytes(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec()),
        BAD,
    ),
    (
        "s206",
        |_| http(206, "content-range: bytes 0-1/9\r\n", b"{}"),
        BAD,
    ),
    (
        "s304",
        |_| Bytes(b"HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n".to_vec()),
        BAD,
    ),
    (
        "redirected",
        |_| {
            http(
                302,
                "location: http://169.254.169.254/latest/meta-data\r\n",
                b"",
            )
        },
        BAD,
    ),
    (
        "redirected-to-itself",
        |_| http(307, "location: /jobs/redirected-to-itself\r\n", b""),
        BAD,
    ),
    (
        "html",
        |_| {
            http(
                200,
                "content-type: text/html\r\n",
                b"<!doctype html><h1>Welcome</h1>",
            )
        },
        BAD,
    ),
    ("empty", |_| json(200, ""), BAD),
    ("null", |_| json(200, "null"), BAD),
    ("words", |_| json(200, "hello"), BAD),
    (
        "list",
        |name| json(200, &format!("[{{\"id\":\"{name}\",{RUNS}}}]")),
        BAD,
    ),
    (
        "cut",
        |name| json(200, &format!("{{\"id\":\"{name}\",\"stat")),
        BAD,
    ),
    (
        "trailing",
        |name| json(200, &format!("{{\"id\":\"{name}\",{RUNS}}} x")),
        BAD,
    ),
    ("deep", |_| json(200, &"[".repeat(100_000)), BAD),
    ("not-utf8", |_| http(200, "", b"{\"id\":\"\xff\"}"), BAD),
    ("another-job", |_| job("somebody-else", RUNS), BAD),
    ("no-id", |_| json(200, r#"{"status":"running"}"#), BAD),
    (
        "id-of-number",
        |_| json(200, r#"{"id":7,"status":"running"}"#),
        BAD,
    ),
    (
        "two-ids",
        |name| job(name, r#""job_id":"other","status":"running""#),
        BAD,
    ),
    ("no-status", |name| job(name, r#""client_id":"c""#), BAD),
    (
        "status-of-later-days",
        |name| job(name, r#""status":"archived""#),
        BAD,
    ),
    ("status-of-number", |name| job(name, r#""status":3"#), BAD),
    (
        "templates-no-list",
        |name| job(name, r#""status":"completed","template_ids":"t-1""#),
        BAD,
    ),
    (
        "completed-without",
        |name| job(name, r#""status":"completed""#),
        BAD,
    ),
    (
        "completed-with-none",
        |name| {
            job(
                name,
                r#""status":"completed","template_ids":[],"template_count":0"#,
            )
        },
        BAD,
    ),
    (
        "odd-fields",
        |name| {
            job(
                name,
                r#""status":"running","progress":1e300,"attempt":-1,"client_id":7,"created_at":"0000-01-01","updated_at":[],"template_count":1.5"#,
            )
        },
        FINE,
    ),
    (
        "large-numbers",
        |name| {
            job(
                name,
                r#""status":"failed","attempt":4294967296,"progress":18446744073709551616,"generation_duration_ms":18446744073709551615,"completed_at":"9999-12-31T23:59:59.999999""#,
            )
        },
        FINE,
    ),
    (
        "text-of-all-kinds",
        |name| {
            job(
                name,
                r#""status":"failed","error_message":"a\r\n\r\ndata: {}\u2028\u0000\u202e""#,
            )
        },
        FINE,
    ),
    (
        "gzip-unasked",
        |_| {
            http(
                200,
                "content-encoding: gzip\r\n",
                b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0\0\0",
            )
        },
        BAD,
    ),
    (
        "length-too-large",
        |name| {
            Bytes(
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{{\"id\":\"{name}\",{RUNS}}}"
                )
                .into_bytes(),
            )
        },
        BAD,
    ),
    (
        "length-too-small",
        |name| {
            Bytes(format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{{\"id\":\"{name}\",{RUNS}}}").into_bytes())
        },
        BAD,
    ),
    (
        "length-negative",
        |_| Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}".to_vec()),
        BAD,
    ),
    (
        "length-beyond-64-bits",
        |_| Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\n{}".to_vec()),
        BAD,
    ),
    (
        "length-of-a-terabyte",
        |_| Silence(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n{".to_vec()),
        BAD,
    ),
    (
        "two-lengths",
        |_| Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}".to_vec()),
        BAD,
    ),
    (
        "chunks-broken",
        |_| Bytes(format!("{CHUNKED}zz\r\n{{}}\r\n").into_bytes()),
        BAD,
    ),
    (
        "chunks-cut",
        |_| Bytes(format!("{CHUNKED}ff\r\n{{").into_bytes()),
        BAD,
    ),
    (
        "endless-blanks",
        |_| Endless(OPEN.into(), vec![b' '; 65_536]),
        BAD,
    ),
    (
        "endless-chunks",
        |_| {
            Endless(
                CHUNKED.into(),
                format!("10000\r\n{}\r\n", "x".repeat(65_536)).into_bytes(),
            )
        },
        BAD,
    ),
    (
        "endless-head",
        |_| Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x-more: y\r\n".to_vec()),
        BAD,
    ),
    (
        "endless-line",
        |_| Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 65_536]),
        BAD,
    ),
    (
        "endless-informational",
        |_| {
            Endless(
                Vec::new(),
                b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_vec(),
            )
        },
        LATE,
    ),
    (
        "informational-and-then-well",
        |name| {
            Bytes(format!("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{{\"id\":\"{name}\",{RUNS}}}").into_bytes())
        },
        FINE,
    ),
    (
        "switches-protocols",
        |_| {
            Silence(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
                    .to_vec(),
            )
        },
        BAD,
    ),
    (
        "no-http",
        |_| Bytes(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        BAD,
    ),
    (
        "http-0-9",
        |name| Bytes(format!("{{\"id\":\"{name}\",{RUNS}}}").into_bytes()),
        BAD,
    ),
    (
        "http-2",
        |_| Bytes(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64".to_vec()),
        BAD,
    ),
    ("nuls", |_| Bytes(vec![0; 100]), BAD),
    (
        "header-injected",
        |_| Bytes(b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
        BAD,
    ),
    ("closed-at-once", |_| Bytes(Vec::new()), DOWN),
    (
        "cut-in-the-head",
        |_| Bytes(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
        DOWN,
    ),
    ("silent", |_| Silence(Vec::new()), LATE),
    ("silent-after-the-head", |_| Silence(OPEN.into()), LATE),
    (
        "silent-in-the-middle",
        |_| Silence(format!("{OPEN}{{\"id\":").into_bytes()),
        LATE,
    ),
    (
        "drips-its-head",
        |_| Drip(OPEN.repeat(5).into_bytes()),
        LATE,
    ),
    (
        "drips-its-body",
        |_| {
            Drip(b"HTTP/1.1 200 OK\r\n\r\n                                                                    ".to_vec())
        },
        LATE,
    ),
];

async fn look_up(api: &Conch, name: &str, expected: (u16, &str)) {
    let answer = api.mare().get(&format!("/jobs/{name}")).await;
    if expected.1.is_empty() {
        let job = answer.json(expected.0);
        assert_eq!(job["job_id"], name, "{job}");
        assert!(job["progress"].as_u64().is_some_and(|p| p <= 100), "{job}");
    } else {
        let problem = answer.expect_problem(expected.0, expected.1);
        let detail = problem["detail"].to_string();
        for told in ["169.254", "127.0.0.1", "TRITON_"] {
            assert!(!detail.contains(told), "{detail}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_triton_s_place() {
    let redis = Redis::start(Persistence::None);
    let stub = Stub::start().await;
    let api = Plan::api(&redis, &format!("http://127.0.0.1:{}", stub.port))
        .env("TRITON_TIMEOUT_SECONDS", "0.3")
        .env("LOCAL_RESULTS", "0")
        .start()
        .await;
    let api = Arc::new(api);
    let mut table = Table::of("answers of Triton");
    for (name, _, expected) in ROWS {
        let claim = async {
            look_up(&api, name, *expected).await;
            // An address that fails again and again is left alone for a while: this shows that it lives.
            look_up(&api, "good", FINE).await;
        };
        table.row(name, claim).await;
    }
    // A stream's answer is no error: who waits there is not sent away for what Triton said.
    let streams = ROWS.iter().filter(|row| row.2 == BAD).take(10).map(|row| {
        let url = api.mare().subscribe_url(row.0);
        let claim = async move { drop(Stream::open(&url, None).await) };
        (format!("a stream of {}", row.0), claim)
    });
    table.rows(streams).await;
    table.end(&[&api]).await;
}
