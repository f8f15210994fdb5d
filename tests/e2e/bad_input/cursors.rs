//! Cursors: one that can't be honoured is a snapshot with `reset: true` and never an error, which would
//! end an EventSource for good.

use conch_harness::conch::Plan;
use conch_harness::http::{Answer, client};
use conch_harness::raw::exchange;
use conch_harness::sse::{Stream, position};
use conch_harness::{Conch, Event, Table};
use serde_json::Value;

/// Runs a job to its end; its id and its events.
async fn ended_job(conch: &Conch) -> (String, Vec<Event>) {
    let mare = conch.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let events = mare.subscribe(&job_id).await.read_to_end().await;
    (job_id, events)
}

/// Checks that a stream of an ended job is one snapshot that resets, at the job's end.
fn assert_reset(events: &[Event], last: &Event, asked: Option<&str>) {
    assert_eq!(events.len(), 1, "{events:#?}");
    let snapshot = events[0].json();
    assert_eq!(snapshot["event_type"], "job:snapshot", "{snapshot}");
    assert_eq!(snapshot["reset"], true, "{snapshot}");
    assert_eq!(snapshot["status"], "completed", "{snapshot}");
    assert_eq!(snapshot["job_id"], last.json()["job_id"], "{snapshot}");
    if let Some(asked) = asked {
        assert_eq!(snapshot["requested"], asked, "{snapshot}");
    }
    // Its id is where it stands: a reconnect with it is at the end.
    assert_eq!(events[0].id, last.id);
}

/// What a query parameter's value is on the wire.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| {
        encoded + &format!("%{byte:02X}")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_job() {
    let conch = Plan::all_in_one()
        .env("RECORD_LOST_SECONDS", "0.1")
        .start()
        .await;
    let mare = conch.mare();
    let (job_id, whole) = ended_job(&conch).await;
    let last = whole.last().expect("it ended");
    let (epoch, sequence) = position(&last.id);
    let elsewhere = if epoch == "00000000" { "1" } else { "0" }.repeat(8);
    let url = mare.subscribe_url(&job_id);
    let mut table = Table::of("cursors");

    let mut unusable: Vec<String> = [
        "abc",
        "-1",
        "-",
        "--",
        "0",
        "1",
        "+1",
        "1.5",
        "1e3",
        "0x1",
        "NaN",
        "null",
        "undefined",
        "[object Object]",
        "18446744073709551616",
        "-9223372036854775808",
        "m-1",
        "m-0",
        "lost-1",
        "lost-",
        "LOST-0",
        "'; DROP TABLE jobs; --",
        "../../etc/passwd",
        "{job_id}",
        "<b>",
        "%0d%0aX-Injected: 1",
    ]
    .map(str::to_owned)
    .into();
    for rest in [
        "",
        "-",
        "-x",
        "--1",
        "-+1",
        "-01",
        "-1 1",
        "-1-1",
        "-1.0",
        "-1e2",
        "-0x1",
        "-1\u{a0}",
        "-9007199254740992",
        "-9223372036854775808",
        "-18446744073709551615",
        "-18446744073709551616",
        "-99999999999999999999999999",
    ] {
        unusable.push(format!("{epoch}{rest}"));
    }
    unusable.push(format!("{epoch}-{}", sequence + 1));
    unusable.push(format!("{epoch}-9007199254740991"));
    unusable.push(format!(
        "{}-1",
        epoch.to_uppercase().replace(char::is_numeric, "A")
    ));
    unusable.push(format!("{}-1", &epoch[..7]));
    unusable.push(format!("{epoch}0-1"));
    unusable.push(format!("{elsewhere}-1"));
    unusable.push(format!("{elsewhere}-{sequence}"));
    unusable.push("x".repeat(1000));
    unusable.push("9".repeat(4000));

    for cursor in unusable {
        let short: String = cursor.chars().take(128).collect();
        let claim = async {
            if cursor.is_ascii() {
                let mut stream = Stream::open(&url, Some(&cursor)).await;
                assert_reset(&stream.read_to_end().await, last, Some(&short));
                assert_eq!(stream.comments(), ["Connection closing - job completed"]);
            }
            for parameter in ["after", "last_event_id", "lastEventId"] {
                let url = format!("{url}?{parameter}={}", encoded(&cursor));
                let events = Stream::open(&url, None).await.read_to_end().await;
                assert_reset(&events, last, Some(&short));
            }
        };
        table.row(&format!("{cursor:.40}"), claim).await;
    }

    // What only a parameter can carry.
    for (name, cursor) in [
        ("line ends", "a\r\nid: 5f3a9c1e-1\r\ndata: {}\r\n\r\n"),
        ("a NUL", "a\0b"),
        ("a right-to-left override", "\u{202e}1-e1c9a3f5"),
        ("a line separator", "a\u{2028}b"),
        ("other digits", "5f3a9c1e-\u{ff11}"),
        ("an emoji", "\u{1f41a}"),
    ] {
        let claim = async {
            let url = format!("{url}?after={}", encoded(cursor));
            let events = Stream::open(&url, None).await.read_to_end().await;
            assert_reset(&events, last, Some(cursor));
        };
        table.row(name, claim).await;
    }

    // What only bytes by hand can carry.
    for (name, header) in [
        ("not UTF-8", &b"\xff\xfe"[..]),
        ("half a character", b"a\xc3"),
        ("a tab", b"a\tb"),
        ("Latin-1", b"caf\xe9"),
    ] {
        let claim = async {
            let head =
                format!("GET /v1/triton/jobs/{job_id}/subscribe HTTP/1.0\r\nlast-event-id: ");
            let request = [head.as_bytes(), header, b"\r\n\r\n"].concat();
            let answer = exchange(conch.mare_port(), &request).await;
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
            assert!(head.contains(" 200 OK"), "{head}");
            let data = body.lines().find_map(|line| line.strip_prefix("data: "));
            let snapshot: Value = serde_json::from_str(data.expect("an event")).expect("JSON");
            assert_eq!(snapshot["reset"], true, "{snapshot}");
        };
        table.row(name, claim).await;
    }

    let all = async |request: reqwest::RequestBuilder, expected: &[Event]| {
        let body = Answer::to(request).await.body;
        let ids: Vec<&str> = body
            .lines()
            .filter_map(|l| l.strip_prefix("id: "))
            .collect();
        let expected: Vec<&str> = expected.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(ids, expected);
    };
    let claim = async {
        all(client().get(&url).header("last-event-id", ""), &whole).await;
        all(client().get(format!("{url}?after=")), &whole).await;
        all(client().get(format!("{url}?after=&last_event_id=")), &whole).await;
    };
    table.row("none at all: from the beginning", claim).await;
    let claim = async {
        let two = client().get(&url).header("last-event-id", &whole[0].id);
        all(two.header("last-event-id", "nonsense"), &whole[1..]).await;
        let twice = format!("{url}?after=nonsense&after={}", whole[1].id);
        all(client().get(twice), &whole[2..]).await;
    };
    table.row("two: one counts", claim).await;
    let claim = async {
        for cursor in [&last.id, "lost-0"] {
            let answer = Answer::to(client().get(&url).header("last-event-id", cursor)).await;
            assert_eq!(answer.status, 204, "{cursor}");
            assert_eq!(answer.body, "");
        }
    };
    table.row("an end", claim).await;

    // A job that nobody knows: only a cursor that may have been given out proves that it existed.
    for (name, cursor, proof) in [
        ("nonsense is no proof", "nonsense", false),
        (
            "nor is what no log gets to",
            "5f3a9c1e-18446744073709551615",
            false,
        ),
        ("a well-formed one is", "5f3a9c1e-1", true),
    ] {
        let claim = async {
            let path = format!("/jobs/nobody/subscribe?after={cursor}");
            if proof {
                let mut stream = Stream::open(&mare.url(&path), None).await;
                let events = stream.read_to_end().await;
                assert_eq!(events.len(), 1, "{events:#?}");
                assert_eq!(events[0].id, "lost-0");
                assert_eq!(events[0].json()["error_code"], "record-lost");
            } else {
                mare.get(&path).await.expect_problem(404, "job-not-found");
            }
        };
        table.row(name, claim).await;
    }

    for after in [
        "x",
        "-1",
        "1.5",
        "1e3",
        " 1",
        "5f3a9c1e-1",
        "18446744073709551616",
        "NaN",
        "%00",
        "%ff",
    ] {
        let claim = async {
            let path = format!("/jobs/{job_id}/events?after={after}");
            let problem = mare.get(&path).await.expect_problem(422, "invalid-field");
            assert_eq!(problem["errors"][0]["path"], "after", "{problem}");
        };
        table.row(&format!("history after {after}"), claim).await;
    }
    for after in ["18446744073709551615", "9223372036854775807", "1000000"] {
        let claim = async {
            let path = format!("/jobs/{job_id}/events?after={after}");
            let history = mare.get(&path).await.json(200);
            assert_eq!(history["events"], serde_json::json!([]), "{history}");
        };
        table.row(&format!("history after {after}"), claim).await;
    }
    table.end(&[&conch]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_jobs_and_of_a_trimmed_log() {
    let conch = Plan::all_in_one().env("HISTORY_LIMIT", "5").start().await;
    let mare = conch.mare();
    let (job_id, events) = ended_job(&conch).await;
    let (epoch, head) = position(&events.last().expect("it ended").id);
    let mut table = Table::of("cursors of many jobs and of trimmed logs");
    for trimmed in [0, 1, 2] {
        let claim = async {
            let cursor = format!("{epoch}-{trimmed}");
            let mut stream = Stream::open(&mare.subscribe_url(&job_id), Some(&cursor)).await;
            let events = stream.read_to_end().await;
            let snapshot = events[0].json();
            assert_eq!(snapshot["event_type"], "job:snapshot", "{snapshot}");
            assert_eq!(snapshot["reset"], true, "{snapshot}");
            assert_eq!(snapshot["requested"], cursor, "{snapshot}");
            // What is kept follows, without a gap.
            let (_, from) = position(&events[0].id);
            let rest: Vec<u64> = events[1..].iter().map(|e| position(&e.id).1).collect();
            assert_eq!(rest, (from + 1..=head).collect::<Vec<_>>());
        };
        table.row(&format!("trimmed {trimmed}"), claim).await;
    }
    for cursor in [
        "m-",
        "m--1",
        "m-x",
        "m-1.5",
        "m-+1",
        "M-1",
        "m-9223372036854775808",
        "m-18446744073709551616",
        "x",
        "5f3a9c1e-1",
        "lost-0",
        "m-0",
        "m-1",
        "m-9223372036854775807",
        "m-253402300799998",
    ] {
        let claim = async {
            let path = format!("/jobs/subscribe?job_id={job_id}&after={cursor}");
            let mut stream = Stream::open(&mare.url(&path), None).await;
            let events = stream.read_to_end().await;
            assert_eq!(events.len(), 1, "{events:#?}");
            let snapshot = events[0].json();
            assert_eq!(snapshot["job_id"], job_id, "{snapshot}");
            assert_eq!(snapshot["status"], "completed", "{snapshot}");
            assert_eq!(events[0].id, "m-253402300799999");
        };
        table.row(&format!("many, {cursor}"), claim).await;
    }
    let claim = async {
        let path = format!("/jobs/subscribe?job_id={job_id}&after=m-253402300799999");
        assert_eq!(mare.get(&path).await.status, 204);
    };
    table.row("many, the end", claim).await;
    table.end(&[&conch]).await;
}
