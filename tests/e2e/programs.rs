//! The programs as an operator starts and ends them.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use conch_harness::conch::{Plan, program};
use conch_harness::http::{Answer, Mare};
use reqwest::Method;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_system_says_what_to_try() {
    let conch = Plan::all_in_one().start().await;
    let printed = conch_harness::eventually::eventually("it is announced", async || {
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
    let (mare, triton) = (conch.mare(), Mare::on(conch.triton_port()));
    let client = mare.new_client("Fabrikam Health").await;
    let submit = format!("/v1/triton/clients/{client}/generate-templates");
    let as_page = |mare: &Mare, path: &str, name: &str, value: &str| {
        Answer::to(mare.request(Method::POST, path).header(name, value))
    };
    let evil = "https://evil.example";
    let answer = as_page(&mare, &submit, "origin", evil).await;
    answer.expect_problem(403, "forbidden");
    let answer = as_page(&triton, "/jobs", "origin", "http://localhost:3000").await;
    answer.expect_problem(403, "forbidden");
    for listener in [&mare, &triton] {
        let answer = as_page(listener, "/clients", "host", "rebind.example:16000").await;
        answer.expect_problem(403, "forbidden");
    }
    let allowed = [
        ("origin", "http://localhost:3000"),
        ("host", "conch.example"),
    ];
    for (name, value) in allowed {
        as_page(&mare, &submit, name, value).await.json(202);
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
    let mare = conch.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let mut stream = mare.subscribe(&job_id).await;
    stream.read_until(|e| e.kind() == "job:started").await;
    let before = Instant::now();
    conch.stop();
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "{:?}",
        before.elapsed()
    );
    while stream.next_event().await.is_some() {}
}
