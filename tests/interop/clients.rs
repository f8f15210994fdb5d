//! The clients that existing users have: EventSource, httpx, curl, a shell that polls.

use std::process::{Command, Output};

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::foreign::{node, python, script};
use conch_harness::http::{Answer, client};
use conch_harness::sse::{Stream, assert_whole};
use conch_harness::{Conch, Mare, Process};

/// Runs a program to its end without blocking this thread's runtime, and shows what it said if it fails.
async fn run(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || {
        let output = command.output();
        (command, output)
    });
    let (command, output) = output.await.expect("it does not panic");
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The demo client, which a fresh system creates as soon as it can.
pub(crate) async fn demo_client(conch: &Conch) -> String {
    let url = format!("{}/clients/", conch.triton_url());
    eventually("there is a demo client", async || {
        let clients = Answer::to(client().get(&url)).await.json(200);
        clients["clients"][0]["id"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_an_event_source_gets_its_templates() {
    let conch = Plan::all_in_one().pace(100).start().await;
    let mare = conch.mare();
    let job_id = mare.submit(&demo_client(&conch).await).await;

    let mut page = script(node(), "event_source.mjs");
    page.args([&format!("http://127.0.0.1:{}", conch.mare_port()), &job_id]);
    let output = run(page).await;

    let job = mare.job(&job_id).await;
    let printed = text(&output.stdout);
    let templates = job["template_ids"].as_array().expect("a list");
    assert_eq!(templates.len(), 7, "{job}");
    for id in templates {
        assert!(printed.contains(id.as_str().expect("text")), "{output:?}");
    }
    // `onmessage` fired for every event, in order, and the connection never broke.
    let seen = text(&output.stderr);
    let kinds: Vec<&str> = seen
        .lines()
        .filter_map(|l| l.split_once(' '))
        .map(|l| l.1)
        .collect();
    assert_eq!(kinds[..2], ["job:queued", "job:started"], "{seen}");
    assert_eq!(
        kinds
            .iter()
            .filter(|k| **k == "job:template_completed")
            .count(),
        7,
        "{seen}"
    );
    assert_eq!(kinds.last(), Some(&"job:completed"), "{seen}");
    assert!(!seen.contains("error"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_204_ends_an_event_source_that_nobody_closes() {
    let conch = Plan::all_in_one().pace(50).start().await;
    let mare = conch.mare();
    let job_id = mare.submit(&demo_client(&conch).await).await;

    let mut page = script(node(), "event_source_until_told.mjs");
    page.arg(mare.subscribe_url(&job_id));
    let printed = text(&run(page).await.stdout);

    let ours: Vec<String> = mare
        .subscribe(&job_id)
        .await
        .read_to_end()
        .await
        .iter()
        .map(|e| format!("{} {}", e.id, e.kind()))
        .chain(["closed".to_owned()])
        .collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), ours);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_loop_ends_with_the_job() {
    let conch = Plan::all_in_one().pace(100).start().await;
    let mare = conch.mare();
    let job_id = mare.submit(&demo_client(&conch).await).await;

    let mut program = script(python(), "httpx_stream.py");
    program.args([&format!("http://127.0.0.1:{}", conch.mare_port()), &job_id]);
    let output = run(program).await;

    let last: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!(last["event_type"], "job:completed");
    assert_eq!(last["job_id"], job_id);
    assert_eq!(last["template_count"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_through_works_word_for_word() {
    let conch = Plan::all_in_one().pace(100).start().await;
    demo_client(&conch).await;

    let mut shell = script(Command::new("bash"), "walk_through.sh");
    shell.args([
        conch.mare_port().to_string(),
        conch.triton_port().to_string(),
    ]);
    let printed = text(&run(shell).await.stdout);

    let (job_id, rest) = printed.split_once('\n').expect("the job's id comes first");
    let greeting = rest.split_once("\nid: ").expect("an event").0;
    let (_, retry) = greeting.rsplit_once("retry: ").expect("a retry");
    let retry: u64 = retry
        .parse()
        .expect("the first line of the first event's block");
    assert!((1000..=4000).contains(&retry), "{printed}");
    let end = "\n\n: Connection closing - job completed\nthe poll has ended\n";
    assert!(rest.ends_with(end), "{printed}");
    // curl saw what a strict client sees.
    let events = conch.mare().subscribe(job_id).await.read_to_end().await;
    assert_whole(&events, 1);
    for event in events {
        assert!(
            rest.contains(&format!("id: {}\ndata: {}\n\n", event.id, event.data)),
            "{event:?} is missing in {printed}"
        );
    }
}

/// Checks that a curl on a job's stream prints each event while the job runs, and then the close.
pub(crate) async fn comes_as_it_happens(curl: &Process, mare: &Mare, job_id: &str) {
    eventually("curl has the first template", async || {
        let printed = curl.stdout();
        printed.contains("job:template_completed").then_some(())
    })
    .await;
    // Nothing was held back until the end: the job still runs.
    let printed = curl.stdout();
    assert!(!printed.contains("job:completed"), "{printed}");
    assert_eq!(mare.job(job_id).await["status"], "running");
    eventually("curl has the end", async || {
        let end = ": Connection closing - job completed\n";
        curl.stdout().ends_with(end).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_sees_events_as_they_happen() {
    let conch = Plan::all_in_one().pace(400).start().await;
    let mare = conch.mare();
    let job_id = mare.submit(&demo_client(&conch).await).await;

    let curl = Process::start(
        "curl -N",
        Command::new("curl").args(["-sN", "--noproxy", "*", &mare.subscribe_url(&job_id)]),
    );
    comes_as_it_happens(&curl, &mare, &job_id).await;
    let whole = Stream::open(&mare.subscribe_url(&job_id), None)
        .await
        .read_to_end()
        .await;
    assert_whole(&whole, 1);
}
