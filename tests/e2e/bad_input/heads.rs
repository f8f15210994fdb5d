//! Heads, by hand: what two servers may read differently is refused, what is too much or too slow is cut,
//! and whatever follows it on the connection is nobody else's request.

use conch_harness::conch::Plan;
use conch_harness::http::Answer;
use conch_harness::raw::{exchange, status, statuses};
use conch_harness::{Conch, Table};
use reqwest::Method;

/// Hung up on, without a word.
const NOTHING: u16 = 0;

/// What a good request is made of.
const GET: &str = "GET /v1/triton/health HTTP/1.1\r\n";
const CLOSE: &str = "connection: close\r\n\r\n";

/// A head, and the statuses that it may be answered with.
type Row = (&'static str, String, &'static [u16]);

/// A request with these header lines after its own.
fn get(lines: &str) -> String {
    format!("{GET}host: localhost\r\n{lines}{CLOSE}")
}

/// A POST with these header lines and this body, after which the connection may go on.
fn post(lines: &str, body: &str) -> String {
    format!(
        "POST /v1/triton/clients HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{lines}\r\n{body}"
    )
}

fn first_lines() -> Vec<Row> {
    let line = |first: &str| format!("{first}\r\nhost: localhost\r\n{CLOSE}");
    vec![
        ("as it should be", get(""), &[200]),
        ("HTTP/1.0", line("GET /livez HTTP/1.0"), &[200]),
        (
            "HTTP/1.0 without a host",
            "GET /livez HTTP/1.0\r\n\r\n".into(),
            &[200],
        ),
        ("HTTP/0.9", "GET /livez\r\n".into(), &[NOTHING, 400]),
        ("HTTP/0.9 with headers", line("GET /livez"), &[400]),
        ("HTTP/1.2", line("GET /livez HTTP/1.2"), &[400, 505]),
        ("HTTP/2.0", line("GET /livez HTTP/2.0"), &[400, 505]),
        ("http/1.1", line("GET /livez http/1.1"), &[400]),
        ("HTTP/1.1x", line("GET /livez HTTP/1.1x"), &[400]),
        (
            "the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".into(),
            &[NOTHING, 400, 505],
        ),
        (
            "TLS",
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\r\n\r\n".into(),
            &[NOTHING, 400],
        ),
        ("SSH", "SSH-2.0-OpenSSH_9.9\r\n\r\n".into(), &[400]),
        ("RESP", "*1\r\n$4\r\nPING\r\n\r\n".into(), &[400]),
        (
            "an answer",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(),
            &[400],
        ),
        ("NULs", "\0\0\0\0\r\n\r\n".into(), &[NOTHING, 400]),
        (
            "an absolute form",
            line("GET http://localhost/livez HTTP/1.1"),
            &[200],
        ),
        (
            "an absolute form of another host than the header's",
            line("GET http://a/livez HTTP/1.1"),
            &[421],
        ),
        (
            "an absolute form of a host that isn't local, in both",
            format!("GET http://a.example/livez HTTP/1.1\r\nhost: a.example\r\n{CLOSE}"),
            &[421],
        ),
        (
            "an absolute form elsewhere",
            line("GET http://169.254.169.254/latest/meta-data HTTP/1.1"),
            &[421],
        ),
        (
            "an absolute form of FTP",
            line("GET ftp://a/livez HTTP/1.1"),
            &[421],
        ),
        ("CONNECT", line("CONNECT a:443 HTTP/1.1"), &[400, 404, 405]),
        (
            "CONNECT to a path",
            line("CONNECT /livez HTTP/1.1"),
            &[400, 404, 405],
        ),
        ("OPTIONS *", line("OPTIONS * HTTP/1.1"), &[200, 400, 404]),
        ("GET *", line("GET * HTTP/1.1"), &[400, 404]),
        ("TRACE", line("TRACE /livez HTTP/1.1"), &[405]),
        ("a made-up method", line("BREW /livez HTTP/1.1"), &[405]),
        (
            "a method in lower case",
            line("get /livez HTTP/1.1"),
            &[405],
        ),
        ("a method of brackets", line("G(T /livez HTTP/1.1"), &[400]),
        (
            "a method of 10,000 letters",
            line(&format!("{} / HTTP/1.1", "A".repeat(10_000))),
            &[400, 404, 405],
        ),
        ("two blanks", line("GET  /livez HTTP/1.1"), &[400]),
        ("a tab for a blank", line("GET\t/livez HTTP/1.1"), &[400]),
        ("a blank in the path", line("GET /li vez HTTP/1.1"), &[400]),
        (
            "empty lines before it",
            format!("\r\n\r\n{}", get("")),
            &[200],
        ),
        (
            "a header before it",
            format!("host: localhost\r\n{}", get("")),
            &[400],
        ),
        (
            "64 KiB of path",
            line(&format!("GET /{} HTTP/1.1", "x".repeat(64 * 1024))),
            &[414, 431],
        ),
        (
            "LF alone",
            "GET /livez HTTP/1.1\nhost: localhost\nconnection: close\n\n".into(),
            &[200, 400],
        ),
        (
            "CR alone",
            "GET /livez HTTP/1.1\rhost: localhost\rconnection: close\r\r".into(),
            &[NOTHING, 400],
        ),
    ]
}

fn headers() -> Vec<Row> {
    vec![
        (
            "64 KiB",
            get(&format!("x-big: {}\r\n", "x".repeat(64 * 1024))),
            &[431],
        ),
        (
            "64 KiB of name",
            get(&format!("{}: x\r\n", "x".repeat(64 * 1024))),
            &[400, 431],
        ),
        ("200 headers", get(&"x-many: 1\r\n".repeat(200)), &[431]),
        ("10,000 headers", get(&"a: 1\r\n".repeat(10_000)), &[431]),
        (
            "55 KiB fit",
            get(&format!("x-big: {}\r\n", "x".repeat(55 * 1024))),
            &[200],
        ),
        ("no host", format!("{GET}{CLOSE}"), &[400]),
        ("two hosts", get("host: b\r\n"), &[400]),
        ("the same host twice", get("host: localhost\r\n"), &[400]),
        (
            "a host of two",
            format!("{GET}host: a, b\r\n{CLOSE}"),
            &[400],
        ),
        (
            "a host with a path",
            format!("{GET}host: a/b\r\n{CLOSE}"),
            &[400],
        ),
        (
            "a host with a user",
            format!("{GET}host: user@a\r\n{CLOSE}"),
            &[400],
        ),
        (
            "a host with a blank",
            format!("{GET}host: a b\r\n{CLOSE}"),
            &[400],
        ),
        (
            "a host with no port's digits",
            format!("{GET}host: a:b\r\n{CLOSE}"),
            &[400],
        ),
        (
            "a host with port 99999",
            format!("{GET}host: localhost:99999\r\n{CLOSE}"),
            &[200, 400],
        ),
        (
            "a host of elsewhere",
            format!("{GET}host: a\r\n{CLOSE}"),
            &[403],
        ),
        (
            "a host that is not ASCII",
            format!("{GET}host: \u{1f41a}\r\n{CLOSE}"),
            &[400],
        ),
        (
            "an empty host",
            format!("{GET}host:\r\n{CLOSE}"),
            &[200, 400],
        ),
        (
            "a host of IPv6",
            format!("{GET}host: [::1]:16000\r\n{CLOSE}"),
            &[200],
        ),
        ("a folded line", get("x-folded: a\r\n b\r\n"), &[400]),
        (
            "a fold at once",
            format!("{GET} host: localhost\r\n{CLOSE}"),
            &[400],
        ),
        ("a blank before the colon", get("x-odd : 1\r\n"), &[400]),
        ("no colon", get("x-odd\r\n"), &[400]),
        ("no name", get(": 1\r\n"), &[400]),
        ("a name in brackets", get("x(odd): 1\r\n"), &[400]),
        ("a name that is not ASCII", get("x-\u{e9}: 1\r\n"), &[400]),
        ("a NUL in a value", get("x-odd: a\0b\r\n"), &[400]),
        ("a NUL in a name", get("x-\0odd: b\r\n"), &[400]),
        ("a CR in a value", get("x-odd: a\rb\r\n"), &[400]),
        ("a CR that ends a value", get("x-odd: a\r\r\n"), &[400]),
        ("a bell", get("x-odd: \u{7}\r\n"), &[400]),
        ("a DEL", get("x-odd: \u{7f}\r\n"), &[400]),
        ("UTF-8", get("x-odd: \u{1f41a}\r\n"), &[200]),
        (
            "to be upgraded",
            get("upgrade: websocket\r\nsec-websocket-key: x\r\n"),
            &[200],
        ),
        (
            "to be upgraded to h2c",
            get("upgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
            &[200],
        ),
        (
            "a range",
            get("range: bytes=0-,5-1,-99999999999999999999\r\n"),
            &[200],
        ),
        (
            "a date of no calendar",
            get("if-modified-since: yesterday\r\n"),
            &[200],
        ),
        ("an origin that is none", get("origin: \u{e9}\r\n"), &[200]),
        (
            "an odd forwarded",
            get("forwarded: for=\"_x\";host=b\r\nx-forwarded-host: b\r\n"),
            &[200],
        ),
        (
            "a method to be overridden",
            get("x-http-method-override: DELETE\r\n"),
            &[200],
        ),
    ]
}

/// Where a body begins and ends. What comes after it must never be taken for a request of its own.
fn framing() -> Vec<Row> {
    let smuggled = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let chunked = "transfer-encoding: chunked\r\nconnection: close\r\n";
    let empty = "0\r\n\r\n";
    let both = |lines: &str| post(&format!("{lines}connection: close\r\n"), empty);
    let te = |value: &str| both(&format!("transfer-encoding: {value}\r\n"));
    let length = |value: &str| {
        post(
            &format!("content-length: {value}\r\nconnection: close\r\n"),
            "{}",
        )
    };
    vec![
        (
            "a length and chunks",
            both("content-length: 5\r\ntransfer-encoding: chunked\r\n"),
            &[400],
        ),
        (
            "chunks and a length",
            both("transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
            &[400],
        ),
        (
            "chunks and no length to speak of",
            both("transfer-encoding: chunked\r\ncontent-length: 0\r\n"),
            &[400],
        ),
        (
            "a length hidden by chunks, with a request behind it",
            post(
                &format!(
                    "content-length: {}\r\ntransfer-encoding: chunked\r\n",
                    5 + smuggled.len()
                ),
                &format!("{empty}{smuggled}"),
            ),
            &[400],
        ),
        ("two lengths", length("2\r\ncontent-length: 3"), &[400]),
        ("a list of lengths", length("2, 3"), &[400]),
        ("a length with a sign", length("+2"), &[400]),
        ("a negative length", length("-2"), &[400]),
        ("a length in hexadecimal", length("0x2"), &[400]),
        ("a length with a fraction", length("2.0"), &[400]),
        ("no length", length(""), &[400]),
        (
            "a length beyond 64 bits",
            length("18446744073709551616"),
            &[400],
        ),
        (
            "the largest length",
            length("18446744073709551615"),
            &[400, 413, 431],
        ),
        ("an exabyte", length("1000000000000000000"), &[413]),
        ("chunked twice", te("chunked, chunked"), &[400]),
        ("chunked, then something", te("chunked, gzip"), &[400]),
        ("something alone", te("gzip"), &[400]),
        ("identity", te("identity"), &[400]),
        ("something, then chunked", te("x, chunked"), &[501]),
        ("a coding that others know", te("gzip, chunked"), &[501]),
        ("xchunked", te("xchunked"), &[400]),
        ("chunked with a tab before it", te("\u{b}chunked"), &[400]),
        ("chunked in quotes", te("\"chunked\""), &[400]),
        (
            "a blank before the colon of chunks",
            both("transfer-encoding : chunked\r\n"),
            &[400],
        ),
        (
            "chunks of HTTP/1.0",
            format!(
                "POST /v1/triton/clients HTTP/1.0\r\ncontent-type: application/json\r\n{chunked}\r\n{empty}"
            ),
            &[400],
        ),
        (
            "a chunk's size with a sign",
            post(chunked, "+2\r\n{}\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "a chunk's size in words",
            post(chunked, "two\r\n{}\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "a chunk's size beyond 64 bits",
            post(chunked, "10000000000000000\r\n{}"),
            &[400],
        ),
        (
            "a chunk of nearly 64 bits",
            post(chunked, "ffffffffffffffff\r\n{}"),
            &[400, 408, 413],
        ),
        (
            "a chunk without its end",
            post(chunked, "2\r\n{}0\r\n\r\n"),
            &[400],
        ),
        (
            "64 KiB after a chunk's size",
            post(chunked, &format!("2;{}\r\n", "x".repeat(64 * 1024))),
            &[400],
        ),
        (
            "64 KiB of trailers",
            post(
                chunked,
                &format!("0\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024)),
            ),
            &[400],
        ),
        (
            "chunks that end in the middle",
            post(chunked, "5\r\n{\"na"),
            &[400, 408],
        ),
        ("a body that ends in the middle", length("200"), &[400, 408]),
        (
            "an expectation that nobody knows",
            get("expect: a-miracle\r\n"),
            &[200, 417],
        ),
        (
            "an expectation, and a body that nobody will take",
            post(
                "content-length: 300000\r\nexpect: 100-continue\r\nconnection: close\r\n",
                "",
            ),
            &[413],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn by_hand() {
    let conch = Plan::all_in_one()
        .env("HEAD_TIMEOUT_SECONDS", "0.5")
        .env("BODY_TIMEOUT_SECONDS", "0.5")
        .start()
        .await;
    let port = conch.mare_port();
    let before = conch.mare().get("/clients").await.json(200);
    let mut table = Table::of("heads");
    let rows = [first_lines(), headers(), framing()].concat();
    table
        .rows(rows.into_iter().map(|(name, request, expected)| {
            let claim = async move {
                let answer = exchange(port, request.as_bytes()).await;
                let found = statuses(&answer);
                let first = found.first().copied().unwrap_or(NOTHING);
                assert!(expected.contains(&first), "{first}: {answer:.300}");
                // One request, one answer, however much like another one its rest may look.
                assert!(found.len() <= 1, "{answer:.600}");
            };
            (name.to_owned(), claim)
        }))
        .await;
    slow(&mut table, port).await;
    pipelines(&mut table, port).await;
    let claim = async {
        let after = conch.mare().get("/clients").await.json(200);
        assert_eq!(before["total"], after["total"], "nothing of it was taken");
    };
    table.row("nothing was made of it", claim).await;
    answers(&mut table, &conch).await;
    table.end(&[&conch]).await;
}

/// What never comes to its end.
async fn slow(table: &mut Table, port: u16) {
    for (name, request, expected) in [
        ("nothing at all", "", &[NOTHING, 408][..]),
        ("half a first line", "GET /v1/tri", &[NOTHING, 408]),
        (
            "a head without its end",
            "GET /livez HTTP/1.1\r\nhost: localhost\r\n",
            &[NOTHING, 408],
        ),
        (
            "half a chunk",
            &post("transfer-encoding: chunked\r\n", "5\r\n{\"n"),
            &[408],
        ),
        (
            "half a body",
            &post("content-length: 20\r\n", "{\"name"),
            &[408],
        ),
        (
            "trailers without an end",
            &post("transfer-encoding: chunked\r\n", "0\r\nx: 1\r\n"),
            &[400, 408],
        ),
    ] {
        let claim = async {
            let answer = exchange(port, request.as_bytes()).await;
            assert!(expected.contains(&status(&answer)), "{answer}");
        };
        table.row(name, claim).await;
    }
    for (name, begin, piece, expected) in [
        (
            "a head that drips",
            GET.to_owned(),
            "x: 1\r\n",
            &[NOTHING, 408][..],
        ),
        (
            "a body that drips",
            post("content-length: 200000\r\n", ""),
            " ",
            &[408],
        ),
        (
            "chunks that drip",
            post("transfer-encoding: chunked\r\n", ""),
            "1\r\n \r\n",
            &[408],
        ),
    ] {
        let claim = async {
            let answer = conch_harness::raw::drip(port, begin.as_bytes(), piece.as_bytes()).await;
            assert!(expected.contains(&status(&answer)), "{answer}");
        };
        table.row(name, claim).await;
    }
}

/// Several requests in one go.
async fn pipelines(table: &mut Table, port: u16) {
    let ok = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let last = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{CLOSE}");
    let body = r#"{"name":7}"#;
    let with_body = post(&format!("content-length: {}\r\n", body.len()), body);
    let stream = "GET /v1/triton/jobs/nobody/subscribe HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for (name, request, expected) in [
        (
            "one after the other",
            format!("{ok}{ok}{last}"),
            vec![200, 200, 200],
        ),
        (
            "a hundred",
            format!("{}{last}", ok.repeat(100)),
            vec![200; 101],
        ),
        ("after a body", format!("{with_body}{last}"), vec![422, 200]),
        (
            "after a 404 of a stream",
            format!("{stream}{last}"),
            vec![404, 200],
        ),
        (
            "after a head that is refused",
            format!("{GET}host: localhost\r\nhost: b\r\n\r\n{last}"),
            vec![400],
        ),
        ("after one that closes", format!("{last}{ok}"), vec![200]),
        (
            "after a body that is too large",
            format!(
                "{}{}{last}",
                post("content-length: 300000\r\n", ""),
                " ".repeat(300_000)
            ),
            vec![413],
        ),
        (
            "a body where none is asked for",
            format!(
                "GET /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{ok}{last}",
                ok.len()
            ),
            vec![200, 200],
        ),
        (
            "a HEAD",
            format!("HEAD /livez HTTP/1.1\r\nhost: localhost\r\n\r\n{last}"),
            vec![200, 200],
        ),
    ] {
        let claim = async {
            let answer = exchange(port, request.as_bytes()).await;
            assert_eq!(statuses(&answer), expected, "{answer:.600}");
        };
        table.row(name, claim).await;
    }
}

/// What a stream's `Accept` may be.
async fn answers(table: &mut Table, conch: &Conch) {
    let mare = conch.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    mare.until_status(&job_id, "completed").await;
    for (accept, expected) in [
        ("image/png", 406),
        ("application/json", 406),
        ("text/html;q=1, text/event-stream;q=0", 406),
        ("*/*;q=0", 406),
        ("text/event-streams", 406),
        ("nonsense", 406),
        (";;;,,,q=", 406),
        ("text/event-stream", 200),
        ("TEXT/Event-Stream", 200),
        ("text/*;q=0.1", 200),
        ("*/*", 200),
        ("", 200),
    ] {
        let claim = async {
            for path in ["/jobs/subscribe?job_id=", "/jobs/"] {
                let path = format!("{path}{job_id}");
                let path = if path.contains('?') {
                    path
                } else {
                    path + "/subscribe"
                };
                let request = mare.request(Method::GET, &path);
                let answer = Answer::to(request.header("accept", accept)).await;
                assert_eq!(answer.status, expected, "{}", answer.body);
                if expected == 406 {
                    answer.expect_problem(406, "not-acceptable");
                }
            }
        };
        table.row(&format!("to accept {accept:?}"), claim).await;
    }
}
