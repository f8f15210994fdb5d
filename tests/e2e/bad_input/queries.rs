//! Query parameters and idempotency keys: 422 that names the parameter, 400 for what should be an id.

use conch_harness::Table;
use conch_harness::http::Answer;
use reqwest::Method;
use serde_json::json;

use super::{all_in_one, get_raw};

/// A path below `/v1/triton`, and the parameter that is wrong.
const INVALID: &[(&str, &str)] = &[
    ("jobs?client_id=", "client_id"),
    ("jobs/subscribe?job_id=", "job_id"),
    ("jobs/subscribe?job_id", "job_id"),
    ("jobs/subscribe?job_id=a&job_id=&job_id=b", "job_id"),
    ("jobs/subscribe?client_id=", "client_id"),
    ("templates?job_id=", "job_id"),
    ("clients?page=0", "page"),
    ("clients?page=-1", "page"),
    ("clients?page=x", "page"),
    ("clients?page=1.0", "page"),
    ("clients?page=1e3", "page"),
    ("clients?page=%201", "page"),
    ("clients?page=+1", "page"),
    ("clients?page=%2B1", "page"),
    ("clients?page=0x10", "page"),
    ("clients?page=%EF%BC%91", "page"),
    ("clients?page=%00", "page"),
    ("clients?page=%ff", "page"),
    ("clients?page=1&page=0", "page"),
    ("clients?page=4294967296", "page"),
    ("clients?page=18446744073709551616", "page"),
    ("clients?page=1;page_size=0", "page"),
    ("clients?page_size=0", "page_size"),
    ("clients?page_size=101", "page_size"),
    ("clients?page_size=1000000000", "page_size"),
    ("jobs?page=0", "page"),
    ("jobs?page_size=0", "page_size"),
    ("jobs?page_size=-5", "page_size"),
    ("jobs?page_size=1000000000", "page_size"),
    ("jobs?page_size=99999999999999999999", "page_size"),
    ("jobs?status=done", "status"),
    ("jobs?status=Completed", "status"),
    ("jobs?status=completed%20", "status"),
    ("jobs?status=completed,failed", "status"),
    ("jobs?status=%00", "status"),
    ("jobs?status[]=completed&status=x", "status"),
    ("jobs?updated_since=yesterday", "updated_since"),
    ("jobs?updated_since=0", "updated_since"),
    ("jobs?updated_since=1764579349", "updated_since"),
    ("jobs?updated_since=2025-13-01T00:00:00Z", "updated_since"),
    ("jobs?updated_since=2025-02-30T00:00:00Z", "updated_since"),
    ("jobs?updated_since=2025-12-01T25:00:00Z", "updated_since"),
    ("jobs?updated_since=10000-01-01T00:00:00Z", "updated_since"),
    (
        "jobs?updated_since=-009999-01-01T00:00:00Z",
        "updated_since",
    ),
    ("templates?page=0", "page"),
    ("templates?page_size=101", "page_size"),
    ("templates?category=other", "category"),
    ("templates?category=roi-focused'--", "category"),
    ("templates?target_audience=health%20plan", "target_audience"),
    (
        "templates?target_audience=Health%20Plan%0d%0a",
        "target_audience",
    ),
];

/// Queries that are odd, and fine.
const ODD: &[&str] = &[
    "clients?",
    "clients?&&&",
    "clients?=",
    "clients?page",
    "clients?page=",
    "clients?industry=&page_size=",
    "jobs?status=&updated_since=",
    "templates?category=&target_audience=",
    "clients?page=0&page=1",
    "clients?page=4294967295&page_size=100",
    "clients?page=00001",
    "clients?surplus=%ff&%00=%00",
    "clients?industry=%00",
    "clients?industry=%ff",
    "clients?industry=%0d%0aX-Injected:%201",
    "clients?industry=*",
    "clients?industry='%20OR%201=1",
    "clients?industry=a&industry=b",
    "jobs?page=4294967295&page_size=100",
    "jobs?updated_since=0000-01-01T00:00:00Z",
    "jobs?updated_since=9999-12-30T00:00:00Z",
    "jobs?updated_since=2025-12-01T08:55:49.123456",
    "jobs?updated_since=2025-12-01T08:55:49%2B14:00",
    "templates?page=4294967295",
    "templates?target_audience=Health+Plan",
];

#[tokio::test(flavor = "multi_thread")]
async fn query_parameters() {
    let conch = all_in_one().await;
    let mare = conch.mare();
    let mut table = Table::of("query parameters");
    for (path, parameter) in INVALID {
        let claim = async {
            let answer = mare.get(&format!("/{path}")).await;
            let problem = answer.expect_problem(422, "invalid-field");
            assert_eq!(problem["errors"][0]["path"], *parameter, "{problem}");
        };
        table.row(path, claim).await;
    }
    for path in ODD {
        let claim = async {
            let answer = mare.get(&format!("/{path}")).await;
            let page = answer.json(200);
            assert!(page["total"].is_u64(), "{page}");
            assert!(answer.headers.get("x-injected").is_none());
        };
        table.row(path, claim).await;
    }
    for id in ["a%20b", "%00", "%ff", "*", "all", "a,b", "%E2%80%AE"] {
        let claim = async {
            let path = format!("/templates?job_id={id}");
            mare.get(&path).await.expect_problem(400, "invalid-job-id");
            let path = format!("/jobs/subscribe?job_id=good&job_id={id}");
            mare.get(&path).await.expect_problem(400, "invalid-job-id");
            // No client is kept from being called `all`.
            if id != "all" {
                for list in ["jobs", "templates", "jobs/subscribe"] {
                    let path = format!("/{list}?client_id={id}");
                    let answer = mare.get(&path).await;
                    answer.expect_problem(400, "invalid-client-id");
                }
            }
        };
        table.row(&format!("the id {id}"), claim).await;
    }
    for (name, parameter) in [("jobs", "job_id"), ("clients", "client_id")] {
        let claim = async {
            let many = format!("{parameter}=a&").repeat(1001);
            let answer = mare.get(&format!("/jobs/subscribe?{many}")).await;
            let problem = answer.expect_problem(422, "invalid-field");
            assert_eq!(problem["errors"][0]["path"], parameter, "{problem}");
        };
        table.row(&format!("1,001 {name} on a stream"), claim).await;
    }
    let claim = async {
        let many = "x=1&".repeat(3500);
        let path = format!("/v1/triton/clients?{many}");
        assert_eq!(get_raw(&conch, path.as_bytes()).await, 200);
    };
    table.row("as many as a head has room for", claim).await;
    let claim = async {
        let path = format!("/v1/triton/clients?x={}", "x".repeat(70_000));
        let answer = get_raw(&conch, path.as_bytes()).await;
        assert!([414, 431].contains(&answer), "{answer}");
    };
    table.row("more than a head has room for", claim).await;
    table.end(&[&conch]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotency_keys() {
    let conch = all_in_one().await;
    let mare = conch.mare();
    let client_id = mare.new_client("Fabrikam Health").await;
    let path = format!("/clients/{client_id}/generate-templates");
    let submit = async |keys: &[&[u8]], body: &str| {
        let mut request = mare.request(Method::POST, &path);
        for key in keys {
            request = request.header("idempotency-key", *key);
        }
        if !body.is_empty() {
            let json = ("content-type", "application/json");
            request = request.header(json.0, json.1).body(body.to_owned());
        }
        Answer::to(request).await
    };
    let mut table = Table::of("idempotency keys");
    let too_long = [b'k'; 256];
    for (name, keys) in [
        ("empty", &[&b""[..]][..]),
        ("a blank", &[b"a b"]),
        ("a tab", &[b"a\tb"]),
        ("not UTF-8", &[b"\xff"]),
        ("Latin-1", &[b"caf\xe9"]),
        ("UTF-8", &["\u{1f41a}".as_bytes()]),
        ("256 characters", &[&too_long]),
        ("two of them", &[b"k-1", b"k-2"]),
        ("the same twice", &[b"k-1", b"k-1"]),
    ] {
        let claim = async {
            let problem = submit(keys, "").await.expect_problem(422, "invalid-field");
            assert_eq!(problem["errors"][0]["path"], "Idempotency-Key", "{problem}");
        };
        table.row(name, claim).await;
    }
    let longest = [b'~'; 255];
    for (name, key) in [
        ("255 characters", &longest[..]),
        (
            "a quoted string",
            b"\"8e03978e-40d5-43dd-bc93-6894a57f9324\"",
        ),
        ("what a key of Redis could be", b"triton:queue:ready"),
        ("a glob", b"*"),
        ("a path", b"../../x"),
        ("JSON", b"{\"a\":1}"),
    ] {
        let claim = async {
            let first = submit(&[key], "").await.json(202);
            let again = submit(&[key], "").await.json(202);
            assert_eq!(first["job_id"], again["job_id"]);
            let same = submit(&[key], " {} ").await.json(202);
            assert_eq!(
                first["job_id"], same["job_id"],
                "no body and none to speak of"
            );
        };
        table.row(name, claim).await;
    }
    let claim = async {
        submit(&[b"k-reused"], "").await.json(202);
        let propositions = format!("/clients/{client_id}/value-propositions");
        let listed = mare.get(&propositions).await.json(200);
        let body = json!({"value_proposition_id": listed[0]["id"]}).to_string();
        let answer = submit(&[b"k-reused"], &body).await;
        answer.expect_problem(422, "idempotency-key-reused");
    };
    table.row("one with another body", claim).await;
    let claim = async {
        let twenty = (0..20).map(|_| submit(&[b"k-raced"], ""));
        let mut answers = futures::future::join_all(twenty).await.into_iter();
        let first = answers.next().expect("twenty").json(202);
        for answer in answers {
            assert_eq!(answer.json(202)["job_id"], first["job_id"]);
        }
    };
    table.row("twenty at once", claim).await;
    let claim = async {
        let jobs = mare
            .get(&format!("/jobs?client_id={client_id}&page_size=100"))
            .await;
        assert_eq!(jobs.json(200)["total"], 8, "one per key that was taken");
    };
    table
        .row("nothing happened twice, or that was refused", claim)
        .await;
    table.end(&[&conch]).await;
}
