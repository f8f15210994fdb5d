//! The programs as an operator starts and ends them.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use conch_harness::conch::{Plan, program};

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

#[test]
fn a_setting_that_cannot_work_stops_a_program_before_it_binds() {
    for (name, variable, value) in [
        ("conch-api", "MARE_API_ADDR", "127.0.0.1:99999"),
        ("conch-api", "REDIS_URL", "http://:secret@cache"),
        ("conch-worker", "REDIS_URL", "redis://:secret@cache:99999/0"),
        ("conch-api", "RESULT_TTL_SECONDS", "0"),
        ("conch-api", "EVENT_BUS", "memory"),
        ("conch-worker", "EVENT_BUS", "memory"),
        ("conch-worker", "LEASE_SECONDS", "soon"),
        ("conch-worker", "TRITON_API_ADDR", "0.0.0.0:8000"),
        ("conch-api", "AUTH", "jwt"),
        ("conch-api", "MARE_API_ADDR", "0.0.0.0:16000"),
    ] {
        let output = run(name, &[], &[(variable, value)]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{name} {variable}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        let named = said.contains(variable) || said.contains("TRITON_TOKEN");
        assert!(named, "{variable} is not named: {said}");
        if value.contains("secret") || value.contains("127.0.0.1") {
            assert!(!said.contains(value), "a value is never shown: {said}");
        }
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
