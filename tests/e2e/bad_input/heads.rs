//! Request heads, written by hand: those that two servers may read differently are refused, those that
//! are too large or too slow are cut off, and the rest of the connection is never taken for another request.

mod framing;
mod lines;

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
    let rows = [lines::first(), lines::headers(), framing::rows()].concat();
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
