//! Libraries that dispatch a message for whatever stands before a blank line, and parse its data: the two
//! that most tell whether a stream is read by others as it is meant. `make compat` tries all of them.

use std::process::Command;

use conch_harness::Event;
use conch_harness::conch::Plan;
use conch_harness::foreign::{node, python, script};

/// Watches a job from its beginning, and once more when it is finished: the same both times, each event
/// once.
async fn reads_a_live_and_a_finished_job(program: impl Fn() -> Command) {
    let conch = Plan::all_in_one().pace(100).start().await;
    let mare = conch.mare();
    let client = mare.new_client("Fabrikam Health").await;
    let job_id = mare.submit(&client).await;
    let mut printed = Vec::new();
    for what in ["live", "finished"] {
        let mut command = program();
        command.arg(mare.subscribe_url(&job_id));
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.expect("it does not panic").expect("it starts");
        assert!(output.status.success(), "{what}: {output:?}");
        printed.push(String::from_utf8(output.stdout).expect("text"));
    }
    let whole = mare.subscribe(&job_id).await.read_to_end().await;
    let kinds: Vec<String> = whole.iter().map(Event::kind).collect();
    let expected = format!("{}\nended\n", kinds.join("\n"));
    assert_eq!(kinds.last().map(String::as_str), Some("job:completed"));
    assert_eq!(printed, [expected.as_str(); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_event_source_parses_each_message() {
    reads_a_live_and_a_finished_job(|| script(node(), "fetch_event_source.mjs")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn httpx_sse_parses_each_message() {
    reads_a_live_and_a_finished_job(|| script(python(), "httpx_sse_stream.py")).await;
}
