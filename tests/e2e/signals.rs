//! What asks a program to end, and when.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use conch_harness::Process;
use conch_harness::conch::{Plan, program};
use conch_harness::eventually::eventually_blocking;
use conch_harness::sse::assert_whole;
use nix::sys::signal::Signal;

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_closed_ends_a_program_by_a_drain() {
    let mut conch = Plan::all_in_one()
        .pace(60_000)
        .env("DRAIN_SECONDS", "1")
        .start()
        .await;
    let mut stream = conch.mare().started_job().await;
    // A shell says so to its jobs, and the kernel once more.
    conch.signal(Signal::SIGHUP);
    conch.signal(Signal::SIGHUP);
    assert_eq!(conch.end().code(), Some(0), "{}", conch.last_words());
    assert!(conch.log().contains("SIGHUP: draining"), "{}", conch.log());
    while stream.next_event().await.is_some() {}
    assert_eq!(stream.broken(), None, "a drain ends a stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_a_closed_terminal_changes_nothing() {
    let mut conch = Plan::all_in_one()
        .pace(10)
        .shell(r#"exec nohup "$@""#)
        .start()
        .await;
    // What is ignored is gone when this returns.
    conch.signal(Signal::SIGHUP);
    let mare = conch.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    assert_whole(&mare.subscribe(&job_id).await.read_to_end().await, 1);
    assert!(!conch.log().contains("draining"), "{}", conch.log());
    conch.stop();
}

#[test]
fn a_signal_during_the_start_ends_it_at_once() {
    // A Redis that takes connections and says nothing: the start waits for its time.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("redis://{}/0", silent.local_addr().expect("it is bound"));
    for (signal, bit) in [(Signal::SIGHUP, 0), (Signal::SIGTERM, 14)] {
        let mut command: Command = program("conch-api");
        command
            .env("REDIS_URL", &url)
            .env("MARE_API_ADDR", "127.0.0.1:0");
        let mut api = Process::start("conch-api", &mut command);
        eventually_blocking("it listens for signals", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", api.pid())).ok()?;
            let caught = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(caught.trim(), 16).expect("a set");
            (caught >> bit & 1 == 1).then_some(())
        });
        api.signal(signal);
        let status = api.wait(Duration::from_secs(5));
        assert_eq!(status.code(), Some(0), "{signal}\n{}", api.last_words());
        assert!(!api.stderr().contains("listens on"), "{}", api.stderr());
    }
}
