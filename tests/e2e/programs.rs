//! The programs as an operator starts and ends them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use conch_harness::conch::{Plan, program};
use conch_harness::eventually::eventually;
use conch_harness::http::{Answer, client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn run(name: &str, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command: Command = program(name);
    command.args(arguments).envs(env.iter().copied());
    command.output().expect("it can be started")
}

#[test]
fn each_program_tells_its_version_and_its_settings() {
    for (name, arguments) in [
        ("conch", &["run"][..]),
        ("conch-api", &[]),
        ("conch-worker", &[]),
    ] {
        let help = run(name, &[arguments, &["--help"]].concat(), &[]);
        assert!(help.status.success());
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.contains("RESULT_TTL_SECONDS"), "{name}: {help}");
        let version = run(name, &["--version"], &[]);
        assert!(version.status.success());
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        assert!(version.starts_with(&format!("{name} ")), "{version}");
    }
}

/// Its one line on standard error.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[test]
fn what_cannot_work_stops_a_program_before_it_binds() {
    let env = [
        ("TRITON_BASE_URL", "http://ann:s3cret@127.0.0.1:8000"),
        ("TRITON_TOKEN", "s3cret"),
    ];
    for (name, arguments) in [("conch", &["run"][..]), ("conch-api", &[])] {
        let said = refused(&run(name, arguments, &env));
        assert!(said.starts_with("TRITON_BASE_URL "), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_setting_that_is_no_text_stops_a_program() {
    let no_text = OsStr::from_bytes(b"jwt\xff");
    for (name, arguments) in [("conch", &["run"][..]), ("conch-api", &[])] {
        let mut command = program(name);
        // If it is passed over, the address stops the program all the same.
        command.args(arguments).env("AUTH", no_text);
        command.env("MARE_API_ADDR", "0.0.0.0:0");
        let said = refused(&command.output().expect("it can be started"));
        assert!(said.starts_with("AUTH "), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_system_says_what_to_try() {
    let conch = Plan::all_in_one().start().await;
    let printed = eventually("it is announced", async || {
        Some(conch.printed()).filter(|p| p.contains("curl -N"))
    })
    .await;
    assert!(
        printed.contains(&format!("127.0.0.1:{}", conch.mare_port())),
        "{printed}"
    );
    assert!(printed.contains("generate-templates"), "{printed}");
}

/// Nobody brings credentials here: a browser on this machine is inside of the only wall.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_elsewhere_are_kept_out_of_a_listener_without_credentials() {
    let conch = Plan::all_in_one()
        .env("ALLOWED_HOSTS", "conch.example")
        .start()
        .await;
    let client_id = conch.mare().new_client("Fabrikam Health").await;
    let submit = conch
        .mare()
        .url(&format!("/clients/{client_id}/generate-templates"));
    let jobs = format!("{}/jobs", conch.triton_url());
    let http = client();
    let post = |url: &str, name: &str, value: &str| Answer::to(http.post(url).header(name, value));
    for (url, name, value) in [
        (&submit, "origin", "https://evil.example"),
        (&submit, "host", "rebind.example:16000"),
        (&jobs, "origin", "http://localhost:3000"),
        (&jobs, "host", "rebind.example:8000"),
    ] {
        post(url, name, value)
            .await
            .expect_problem(403, "forbidden");
    }
    let get = http.get(&submit).header("host", "rebind.example");
    Answer::to(get).await.expect_problem(403, "forbidden");
    for (name, value) in [
        ("origin", "http://localhost:3000"),
        ("host", "conch.example"),
    ] {
        post(&submit, name, value).await.json(202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_s_variables_are_passed_over() {
    let conch = Plan::all_in_one()
        .env("REDIS_PORT", "tcp://10.0.0.1:6379")
        .env("TRITON_SERVICE_HOST", "10.0.0.2")
        .env("MARE_API_ADR", "127.0.0.1:1")
        .env("HISTORY_LIMIT", "")
        .start()
        .await;
    let log = conch.log();
    assert!(
        log.contains("MARE_API_ADDR"),
        "a misspelling is a warning that says what was meant: {log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_open_streams_within_its_limit() {
    let mut conch = Plan::all_in_one()
        .pace(60_000)
        .env("DRAIN_SECONDS", "1")
        .start()
        .await;
    let mut stream = conch.mare().started_job().await;
    let before = Instant::now();
    conch.stop();
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "{:?}",
        before.elapsed()
    );
    while stream.next_event().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_answered_while_everything_drains() {
    let mut conch = Plan::all_in_one().start().await;
    let client_id = conch.mare().new_client("Fabrikam Health").await;
    let mare = ("127.0.0.1", conch.mare_port());
    let body = r#"{"content": "We cut readmissions by 18% within a year."}"#;
    let head = format!(
        "POST /v1/triton/clients/{client_id}/value-propositions HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut request = TcpStream::connect(mare).await.expect("it listens");
    request.write_all(head.as_bytes()).await.expect("it reads");
    let mut go_on = [0; 25];
    request.read_exact(&mut go_on).await.expect("it answers");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    conch.ask_to_stop();
    eventually("Mare takes no more connections", async || {
        TcpStream::connect(mare).await.err()
    })
    .await;
    request.write_all(body.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    let answered = request.read_to_string(&mut answer).await;
    answered.expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    eventually("it has ended", async || Some(()).filter(|()| !conch.runs())).await;
    conch.stop();
}
