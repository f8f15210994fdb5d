//! Ids in paths: what is none is 400, and what is one that nobody has is 404, wherever it stands.

use conch_harness::Table;

use super::{all_in_one, get_raw};

/// Segments that are no id, as an honest client sends them.
const NO_IDS: &[&str] = &[
    "%2e%2e%2f",
    "..%2fx",
    "%2e%2e%5cx",
    "x%2f",
    "%2fetc%2fpasswd",
    "%00",
    "a%00b",
    "a%0d%0aX",
    "a%0aX",
    "%09",
    "a%20b",
    "%20",
    "a+b",
    "*",
    "a.b",
    "...",
    "a:b",
    "a;b",
    "a;x=1",
    "a,b",
    "a@b",
    "a=b",
    "a&b",
    "a%26b",
    "a%3Fb",
    "a%23b",
    "a%25b",
    "$a",
    "~a",
    "(a)",
    "a'",
    "%22a%22",
    "%3Cscript%3E",
    "%7Bt%7D",
    "{t}",
    "%5B0%5D",
    "%60a%60",
    "a%7Cb",
    "%E2%80%AE",
    "%E2%80%AEabc",
    "a%E2%80%8B",
    "%EF%BB%BFa",
    "%C3%A9",
    "%EF%BC%91",
    "%F0%9F%90%9A",
    "%ff",
    "%c0%af",
    "%ED%A0%80",
    "%80",
    "%",
    "%2",
    "%zz",
    "%u0041",
];

/// Ids that are well-formed, and that nobody has.
const UNKNOWN: &[&str] = &[
    "unknown",
    "ALL",
    "All",
    "-",
    "_",
    "0",
    "null",
    "undefined",
    "NaN",
    "__proto__",
    "constructor",
    "lost-0",
    "m-1",
    "5f3a9c1e-1",
];

#[tokio::test(flavor = "multi_thread")]
async fn paths_with_ids() {
    let conch = all_in_one().await;
    let mare = conch.mare();
    let mut table = Table::of("path ids");
    let too_long = ["x".repeat(65), "x".repeat(4096), "%78".repeat(65)];
    let too_long = too_long.iter().map(String::as_str);
    let bad: Vec<&str> = NO_IDS.iter().copied().chain(too_long).collect();

    // `subscribe` itself is a route: only in disguise it gets as far as to be taken for an id.
    for id in bad.iter().chain(&["all", "%61ll", "%73ubscribe"]) {
        let claim = async {
            for rest in ["", "/", "/events", "/subscribe", "/subscribe/"] {
                let path = format!("/jobs/{id}{rest}");
                mare.get(&path).await.expect_problem(400, "invalid-job-id");
            }
            let path = format!("/jobs/{id}");
            let answer = mare.delete(&path).await;
            let problem = answer.expect_problem(400, "invalid-job-id");
            let said = problem["detail"].as_str().expect("it says what is wrong");
            assert!(said.contains("1 to 64") || said.contains("UTF-8"), "{said}");
        };
        table.row(&format!("job {id}"), claim).await;
    }
    for id in &bad {
        let claim = async {
            let no_client = |answer: conch_harness::http::Answer| {
                answer.expect_problem(400, "invalid-client-id");
            };
            no_client(mare.get(&format!("/clients/{id}")).await);
            no_client(mare.get(&format!("/clients/{id}/value-propositions")).await);
            let path = format!("/clients/{id}/generate-templates");
            no_client(mare.post(&path, &serde_json::json!({})).await);
            let path = format!("/templates/{id}");
            let answer = mare.get(&path).await;
            answer.expect_problem(400, "invalid-template-id");
        };
        table.row(&format!("client and template {id}"), claim).await;
    }

    let longest = "x".repeat(64);
    for id in UNKNOWN.iter().chain(&[longest.as_str()]) {
        let claim = async {
            for rest in ["", "/events", "/subscribe"] {
                let path = format!("/jobs/{id}{rest}");
                mare.get(&path).await.expect_problem(404, "job-not-found");
            }
            let path = format!("/jobs/{id}");
            mare.delete(&path)
                .await
                .expect_problem(404, "job-not-found");
            let path = format!("/clients/{id}");
            mare.get(&path)
                .await
                .expect_problem(404, "client-not-found");
        };
        table.row(&format!("unknown {id}"), claim).await;
    }

    let both = &[400, 404];
    for (path, expected) in [
        (&b"/v1/triton/jobs/../x"[..], &both[..]),
        (b"/v1/triton/jobs/..", both),
        (b"/v1/triton/jobs/./x", both),
        (b"/v1/triton/jobs//x", &[404]),
        (b"//v1/triton/jobs/x", &[404]),
        (b"/v1/triton/jobs/x/../../health", both),
        (b"/v1/triton/jobs/x\\y", both),
        (b"/v1/triton/jobs/\xc3\xa9", &[400]),
        (b"/v1/triton/jobs/\xff", &[400]),
        (b"/v1/triton/jobs/a\0b", &[400]),
        (b"/v1/triton/jobs/a\tb", &[400]),
        (b"/v1/triton/jobs/a b", &[400]),
        (b"/v1/triton/jobs/a\"b", both),
        (b"/v1/triton/jobs/a<b>", both),
        (b"/v1/triton/jobs/x#fragment", both),
        (b"/V1/TRITON/jobs/x", &[404]),
        (b"/v1/triton/jobs/x/nothing", &[404]),
        (b"/v1/triton/jobs/x/events/y", &[404]),
        (b"/nothing", &[404]),
        (b"/", &[404]),
        (b"x", both),
        (b"?", &[400, 404]),
        (b"*", &[400, 404]),
    ] {
        let name = String::from_utf8_lossy(path).into_owned();
        let claim = async {
            let answer = get_raw(&conch, path).await;
            assert!(expected.contains(&answer), "{answer}");
        };
        table.row(&format!("raw {name}"), claim).await;
    }
    let claim = async {
        mare.get("/nothing").await.expect_problem(404, "not-found");
        let answer = mare.post("/health", &serde_json::json!({})).await;
        answer.expect_problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), "GET,HEAD");
    };
    table.row("no path, no method", claim).await;
    table.end(&[&conch]).await;
}
