//! What stands between the streams and those who read them: readers that split lines at more characters
//! than CR and LF, and a proxy that compresses.

use std::process::Command;

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::foreign::{node, python, script};
use conch_harness::sse::Stream;
use conch_harness::{Conch, Persistence, Process, Redis, port};
use serde_json::Value;

use crate::clients::comes_as_it_happens;

/// All characters at which Python's `str.splitlines` ends a line, CR and LF aside.
const SEPARATORS: &str = "\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}";

/// What the contract's own loop over httpx prints: the job's last event.
async fn last_by_httpx(conch: &Conch, job_id: &str) -> Value {
    let mut program = script(python(), "httpx_stream.py");
    program.args([&format!("http://127.0.0.1:{}", conch.mare_port()), job_id]);
    let output = tokio::task::spawn_blocking(move || program.output());
    let output = output.await.expect("it does not panic").expect("it starts");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

async fn stream_has_no_separators(conch: &Conch, job_id: &str) -> String {
    let mut stream = Stream::open(&conch.mare().subscribe_url(job_id), None).await;
    stream.read_to_end().await;
    let raw = stream.raw();
    assert!(!raw.contains(|c| SEPARATORS.contains(c)), "{raw:?}");
    raw
}

#[tokio::test(flavor = "multi_thread")]
async fn httpx_reads_names_and_external_messages_with_line_separators() {
    let redis = Redis::start(Persistence::None);
    let nowhere = format!("http://127.0.0.1:{}", port::free());
    let conch = Plan::api(&redis, &nowhere).start().await;
    let publish = |kind: &str, more: &str| {
        // As many programs write JSON: what need not be escaped is raw.
        let raw = "{\"event_type\":\"KIND\",\"timestamp\":\"2025-12-01T08:55:49\",\"job_id\":\"raw\",\
                   \"client_id\":\"c\",\"note\u{2028}\":\"a\u{85}b\u{2029}c\u{7f}\"MORE}";
        let message = raw.replace("KIND", kind).replace("MORE", more);
        redis.send(&[b"PUBLISH", b"triton:jobs:all", message.as_bytes()]);
    };
    publish("job:started", "");
    drop(conch.mare().subscribe_once_known("raw").await);
    publish(
        "job:template_completed",
        ",\"template_id\":\"t\",\"name\":\"Return\u{2028}on\u{85}investment\"",
    );
    publish(
        "job:completed",
        r#","template_ids":["t"],"template_count":1"#,
    );
    eventually("it has ended", async || {
        (conch.mare().job("raw").await["status"] == "completed").then_some(())
    })
    .await;
    let raw = stream_has_no_separators(&conch, "raw").await;
    assert!(raw.contains("\"note\\u2028\":\"a\\u0085b\\u2029c"), "{raw}");
    assert!(raw.contains("Return\\u2028on\\u0085investment"), "{raw}");
    let last = last_by_httpx(&conch, "raw").await;
    assert_eq!(last["note\u{2028}"], "a\u{85}b\u{2029}c\u{7f}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressing_proxy_passes_events_on_one_by_one() {
    let conch = Plan::all_in_one().pace(400).start().await;
    let mare = conch.mare();
    let mut proxy = script(node(), "compressing_proxy.mjs");
    proxy.arg(format!("http://127.0.0.1:{}", conch.mare_port()));
    let proxy = Process::start("compressing_proxy.mjs", &mut proxy);
    let port = eventually("the proxy listens", async || {
        proxy.stdout().trim().parse::<u16>().ok()
    })
    .await;
    let through = |url: &str| {
        let own = format!(":{}", conch.mare_port());
        let url = url.replace(&own, &format!(":{port}"));
        let mut curl = Command::new("curl");
        curl.args(["-sNi", "--compressed", "--noproxy", "*", &url]);
        Process::start("curl", &mut curl)
    };
    // It does compress what may be transformed.
    let plain = through(&format!(
        "http://127.0.0.1:{}/openapi.json",
        conch.mare_port()
    ));
    eventually("the proxy compresses", async || {
        let head = plain.stdout().to_lowercase();
        head.contains("content-encoding: ").then_some(())
    })
    .await;

    let client = mare.new_client("Fabrikam Health").await;
    let job_id = mare.submit(&client).await;
    let curl = through(&mare.subscribe_url(&job_id));
    comes_as_it_happens(&curl, &mare, &job_id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn httpx_bears_a_silence_that_is_longer_than_its_timeout() {
    let redis = Redis::start(Persistence::None);
    let conch = Plan::api(&redis, &format!("http://127.0.0.1:{}", port::free()))
        .start()
        .await;
    let says = |kind: &str| {
        let event = format!(
            r#"{{"event_type":"{kind}","timestamp":"2025-12-01T08:55:49","job_id":"quiet","client_id":"c"}}"#
        );
        redis.send(&[b"PUBLISH", b"triton:jobs:all", event.as_bytes()]);
    };
    eventually("its start has come through", async || {
        says("job:started");
        let job = conch.mare().get("/jobs/quiet").await;
        (job.status == 200).then_some(())
    })
    .await;
    let end_after_silence = async {
        let mut own = Stream::open(&conch.mare().subscribe_url("quiet"), None).await;
        // Three heartbeats by the default: eight seconds and more. httpx waits five for a byte.
        for _ in 0..3 {
            own.until_comment("keep-alive").await;
        }
        says("job:completed");
    };
    let (last, ()) = tokio::join!(last_by_httpx(&conch, "quiet"), end_after_silence);
    assert_eq!(last["event_type"], "job:completed");
}
