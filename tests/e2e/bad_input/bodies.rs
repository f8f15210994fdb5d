//! Request bodies: 400 for what is no JSON, 413, 415 and 408 for what isn't even read, 422 for what isn't
//! what was asked for, with the path of the field.

use conch_harness::http::{Answer, client};
use conch_harness::raw::{exchange, statuses};
use conch_harness::{Conch, Table};
use reqwest::Method;
use serde_json::json;

use super::all_in_one;

const JSON: &str = "application/json";

/// Bodies that are no JSON object.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let nested = |open: &str, close: &str| {
        let (open, close) = (open.repeat(10_000), close.repeat(10_000));
        format!("{{\"name\":\"x\",\"x\":{open}1{close}}}").into_bytes()
    };
    let mut rows: Vec<(&str, Vec<u8>)> = [
        ("an open brace", "{"),
        ("words", "nonsense"),
        ("a string", r#""name""#),
        ("a number", "7"),
        ("null", "null"),
        ("a list", r#"["name"]"#),
        ("half of it", r#"{"name":"x"#),
        ("trailing bytes", r#"{"name":"x"} trailing"#),
        ("two of them", r#"{"name":"x"}{"name":"y"}"#),
        ("a trailing comma", r#"{"name":"x",}"#),
        ("a comment", r#"{"name":"x"} // really"#),
        ("single quotes", "{'name':'x'}"),
        ("a bare key", r#"{name:"x"}"#),
        ("the same key twice", r#"{"name":"x","name":"y"}"#),
        (
            "the same key twice, spelled in two ways",
            r#"{"name":"x","n\u0061me":"y"}"#,
        ),
        (
            "the same key twice, deep",
            r#"{"name":"x","meta_data":{"a":[{"b":1,"b":1}]}}"#,
        ),
        ("a lone surrogate", r#"{"name":"\ud800"}"#),
        ("a lone low surrogate", r#"{"name":"\udc00x"}"#),
        (
            "surrogates the wrong way round",
            r#"{"name":"\udc00\ud800"}"#,
        ),
        ("a lone surrogate in a key", r#"{"name":"x","\ud800":1}"#),
        ("a raw line end in a string", "{\"name\":\"a\nb\"}"),
        ("a raw NUL in a string", "{\"name\":\"a\0b\"}"),
        ("a NUL after it", "{\"name\":\"x\"}\0"),
        ("an unknown escape", r#"{"name":"\x41"}"#),
        ("NaN", r#"{"name":"x","meta_data":{"a":NaN}}"#),
        ("infinity", r#"{"name":"x","meta_data":{"a":-Infinity}}"#),
        (
            "a number too large to be one",
            r#"{"name":"x","meta_data":{"a":1e999}}"#,
        ),
        ("a leading zero", r#"{"name":"x","meta_data":{"a":007}}"#),
        ("hexadecimal", r#"{"name":"x","meta_data":{"a":0x10}}"#),
        ("a form", "name=x"),
        ("XML", "<name>x</name>"),
        ("a BOM", "\u{feff}{\"name\":\"x\"}"),
    ]
    .map(|(name, body)| (name, body.as_bytes().to_vec()))
    .into();
    rows.extend([
        ("10,000 lists deep", nested("[", "]")),
        ("10,000 objects deep", nested("{\"a\":", "}")),
        ("10,000 lists deep and no end", vec![b'['; 10_000]),
        ("200,000 lists deep and no end", vec![b'['; 200_000]),
        ("not UTF-8", b"{\"name\":\"\xff\"}".to_vec()),
        ("an overlong NUL", b"{\"name\":\"\xc0\x80\"}".to_vec()),
        ("half a character", b"{\"name\":\"\xc3\"}".to_vec()),
        ("UTF-16", b"\xff\xfe{\0\"\0n\0".to_vec()),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec()),
        ("200 KiB of blanks", vec![b' '; 200 * 1024]),
    ]);
    rows
}

/// Bodies of `POST /clients`, and the field that each must be told of.
const CLIENTS: &[(&str, &str)] = &[
    ("{}", "name"),
    (r#"{"Name":"x"}"#, "name"),
    (r#"{"name":null}"#, "name"),
    (r#"{"name":7}"#, "name"),
    (r#"{"name":true}"#, "name"),
    (r#"{"name":["x"]}"#, "name"),
    (r#"{"name":{"x":1}}"#, "name"),
    (r#"{"name":""}"#, "name"),
    (r#"{"name":"  \t\r\n "}"#, "name"),
    (r#"{"name":"\u2003\u3000"}"#, "name"),
    (r#"{"name":"x","industry":[]}"#, "industry"),
    (r#"{"name":"x","industry":1e400000}"#, ""),
    (r#"{"name":"x","industry":1.5}"#, "industry"),
    (r#"{"name":"x","meta_data":[]}"#, "meta_data"),
    (r#"{"name":"x","meta_data":"{}"}"#, "meta_data"),
    (r#"{"name":"x","meta_data":0}"#, "meta_data"),
];

const VALUE_PROPOSITIONS: &[(&str, &str)] = &[
    ("{}", "content"),
    (r#"{"content":"too short"}"#, "content"),
    (r#"{"content":"         short         "}"#, "content"),
    (r#"{"content":12345678901}"#, "content"),
    (
        r#"{"content":"long enough for one","is_active":"yes"}"#,
        "is_active",
    ),
    (
        r#"{"content":"long enough for one","is_active":1}"#,
        "is_active",
    ),
    (
        r#"{"content":"long enough for one","meta_data":7}"#,
        "meta_data",
    ),
];

const JOBS: &[&str] = &[
    r#"{"value_proposition_id":7}"#,
    r#"{"value_proposition_id":""}"#,
    r#"{"value_proposition_id":"a b"}"#,
    r#"{"value_proposition_id":"../x"}"#,
    r#"{"value_proposition_id":["x"]}"#,
    r#"{"value_proposition_id":"\u0000"}"#,
    r#"{"value_proposition_id":"\u202e"}"#,
];

async fn send(url: String, content_type: Option<&str>, body: impl Into<reqwest::Body>) -> Answer {
    let mut request = client().post(url);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    Answer::to(request.body(body)).await
}

fn names(answer: &Answer, field: &str) {
    let problem = answer.expect_problem(422, "invalid-field");
    assert_eq!(problem["errors"][0]["path"], field, "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_posts() {
    let conch = all_in_one().await;
    let mare = conch.mare();
    let client_id = mare.new_client("Fabrikam Health").await;
    let clients = mare.url("/clients");
    let propositions = mare.url(&format!("/clients/{client_id}/value-propositions"));
    let jobs = mare.url(&format!("/clients/{client_id}/generate-templates"));
    let triton = |path: &str| format!("{}{path}", conch.triton_url());
    let before = mare.get("/clients").await.json(200)["total"].clone();
    let mut table = Table::of("bodies");

    for (name, body) in malformed() {
        let claim = async {
            for url in [
                &clients,
                &propositions,
                &triton("/clients/"),
                &triton("/jobs/"),
            ] {
                let answer = send(url.clone(), Some(JSON), body.clone()).await;
                answer.expect_problem(400, "malformed-json");
            }
            // Its body may be left out, and blanks leave it out.
            if !body.iter().all(u8::is_ascii_whitespace) {
                let answer = send(jobs.clone(), Some(JSON), body.clone()).await;
                answer.expect_problem(400, "malformed-json");
            }
        };
        table.row(name, claim).await;
    }
    let claim = async {
        for url in [&clients, &propositions, &triton("/jobs/")] {
            let answer = send(url.clone(), None, "").await;
            answer.expect_problem(400, "malformed-json");
        }
    };
    table.row("none", claim).await;

    for (body, field) in CLIENTS {
        let claim = async {
            for url in [&clients, &triton("/clients/")] {
                let answer = send(url.clone(), Some(JSON), *body).await;
                if field.is_empty() {
                    answer.expect_problem(400, "malformed-json");
                } else {
                    names(&answer, field);
                }
            }
        };
        table.row(body, claim).await;
    }
    let long = |n: usize| json!({"name": "\u{1f41a}".repeat(n)}).to_string();
    let claim = async {
        names(&send(clients.clone(), Some(JSON), long(201)).await, "name");
        let industry = json!({"name": "x", "industry": "y".repeat(201)}).to_string();
        names(
            &send(clients.clone(), Some(JSON), industry).await,
            "industry",
        );
    };
    table.row("201 characters", claim).await;
    for (body, field) in VALUE_PROPOSITIONS {
        let claim = async { names(&send(propositions.clone(), Some(JSON), *body).await, field) };
        table.row(body, claim).await;
    }
    let claim = async {
        let body = json!({"content": "x".repeat(20_001)}).to_string();
        names(
            &send(propositions.clone(), Some(JSON), body).await,
            "content",
        );
    };
    table.row("20,001 characters", claim).await;
    for body in JOBS {
        let claim = async {
            let answer = send(jobs.clone(), Some(JSON), *body).await;
            names(&answer, "value_proposition_id");
            let body = body.replace('{', &format!("{{\"client_id\":\"{client_id}\","));
            let answer = send(triton("/jobs/"), Some(JSON), body).await;
            names(&answer, "value_proposition_id");
        };
        table.row(body, claim).await;
    }
    for body in [
        r"{}",
        r#"{"client_id":7}"#,
        r#"{"client_id":"a b"}"#,
        r#"{"client_id":null}"#,
    ] {
        let claim = async {
            names(&send(triton("/jobs/"), Some(JSON), body).await, "client_id");
        };
        table.row(body, claim).await;
    }
    let claim = async {
        let unknown = json!({"value_proposition_id": "nobody-s"}).to_string();
        let answer = send(jobs.clone(), Some(JSON), unknown).await;
        answer.expect_problem(404, "value-proposition-not-found");
        let answer = mare
            .post("/clients/nobody/generate-templates", &json!({}))
            .await;
        answer.expect_problem(404, "client-not-found");
        let content = json!({"content": "long enough for one"});
        let answer = mare
            .post("/clients/nobody/value-propositions", &content)
            .await;
        answer.expect_problem(404, "client-not-found");
    };
    table.row("ids that nobody has", claim).await;

    content_types(&mut table, &clients).await;
    sizes(&mut table, &conch, &clients).await;
    kept(&mut table, &conch, before.as_u64().expect("a number")).await;
    table.end(&[&conch]).await;
}

async fn content_types(table: &mut Table, clients: &str) {
    let body = r#"{"name":"x"}"#;
    for content_type in [
        None,
        Some(""),
        Some("text/plain"),
        Some("text/json"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/jsonp"),
        Some("application/json+x"),
        Some("json"),
        Some("application/octet-stream; application/json"),
        Some("application"),
        Some("*/*"),
    ] {
        let claim = async {
            let answer = send(clients.to_owned(), content_type, body).await;
            answer.expect_problem(415, "unsupported-media-type");
        };
        table.row(&format!("{content_type:?}"), claim).await;
    }
    let claim = async {
        for url in ["", "x"] {
            let request = client().post(format!("{clients}{url}"));
            let answer = Answer::to(
                request
                    .header("content-type", b"\xff".as_slice())
                    .body(body),
            );
            assert!([404, 415].contains(&answer.await.status.as_u16()));
        }
    };
    table.row("a content type that is not ASCII", claim).await;
}

async fn sizes(table: &mut Table, conch: &Conch, clients: &str) {
    let limit = 256 * 1024;
    let padded = |size: usize| format!("{{\"name\":7{}}}", " ".repeat(size - 10));
    let claim = async {
        let answer = send(clients.to_owned(), Some(JSON), padded(limit)).await;
        names(&answer, "name");
    };
    table.row("256 KiB fit", claim).await;
    let claim = async {
        let answer = send(clients.to_owned(), Some(JSON), padded(limit + 1)).await;
        answer.expect_problem(413, "body-too-large");
    };
    table.row("256 KiB and one byte", claim).await;
    let claim = async {
        let chunks = (0..257).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024]));
        let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
        let answer = send(clients.to_owned(), Some(JSON), body).await;
        answer.expect_problem(413, "body-too-large");
    };
    table.row("257 KiB in chunks", claim).await;
    let claim = async {
        let endless = || Ok::<_, std::io::Error>(vec![b' '; 16 * 1024]);
        let body = reqwest::Body::wrap_stream(futures::stream::repeat_with(endless));
        let request = client()
            .post(clients)
            .header("content-type", JSON)
            .body(body);
        // Either it is told, or it is cut before it has listened.
        if let Ok(answer) = Answer::attempt(request).await {
            answer.expect_problem(413, "body-too-large");
        }
    };
    table.row("chunks without an end", claim).await;
    let claim = async {
        let mut request =
            b"POST /v1/triton/clients HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
            transfer-encoding: chunked\r\n\r\n"
                .to_vec();
        request.extend(b"2\r\n  \r\n".repeat(140_000));
        let answer = exchange(conch.mare_port(), &request).await;
        assert!(
            [vec![413], vec![]].contains(&statuses(&answer)),
            "{answer:.300}"
        );
    };
    table.row("140,000 chunks of two bytes", claim).await;
}

/// What is unknown is ignored, what is odd is kept as it came, and of the rest there is nothing.
async fn kept(table: &mut Table, conch: &Conch, before: u64) {
    let mare = conch.mare();
    let claim = async {
        let clients = mare.get("/clients").await.json(200);
        assert_eq!(clients["total"], before, "nothing of the above was kept");
    };
    table.row("nothing was kept", claim).await;
    for (name, text) in [
        ("line ends", "a\r\nid: 5\r\ndata: {}\r\n\r\nb"),
        ("a NUL", "a\0b"),
        ("separators", "a\u{2028}b\u{2029}c\u{85}d"),
        ("a right-to-left override", "\u{202e}desrever"),
        ("noncharacters", "\u{fffe}\u{ffff}\u{10ffff}"),
        ("combining marks", "e\u{301}\u{301}\u{301}"),
        ("markup", "<script>alert(1)</script>"),
        ("a template", "{{7*7}}${7*7}"),
        ("200 characters of four bytes", &"\u{1f41a}".repeat(200)),
    ] {
        let claim = async {
            let body = json!({
                "name": text,
                "unknown": [1],
                "meta_data": {text: [text, u64::MAX, i64::MIN, 1.5e300, null]},
            });
            let made = mare.post("/clients", &body).await.json(201);
            let id = made["id"].as_str().expect("text");
            let client = mare.get(&format!("/clients/{id}")).await.json(200);
            assert_eq!(client["name"], text);
            assert_eq!(client["meta_data"], body["meta_data"]);
            assert!(client.get("unknown").is_none(), "{client}");
        };
        table.row(&format!("kept: {name}"), claim).await;
    }
    let claim = async {
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let body = format!("{{\"name\":\"deep\",\"meta_data\":{{\"a\":{deep}}}}}");
        let answer = Answer::to(
            mare.request(Method::POST, "/clients")
                .header("content-type", JSON)
                .body(body),
        );
        let made = answer.await.json(201);
        let id = made["id"].as_str().expect("text");
        let client = mare.get(&format!("/clients/{id}")).await.json(200);
        assert_eq!(client["meta_data"]["a"].to_string(), deep);
        mare.get("/clients").await.json(200);
    };
    table
        .row("kept: a hundred lists deep, and listed", claim)
        .await;
}
