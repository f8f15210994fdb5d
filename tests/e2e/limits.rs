//! What one caller may have, over real processes: so many streams and so many submissions, however they
//! race, leave and come back. And streams that last so long only.

use std::time::{Duration, Instant};

use conch_harness::conch::Plan;
use conch_harness::eventually::eventually;
use conch_harness::http::{Answer, client};
use conch_harness::sse::assert_whole;
use conch_harness::{Conch, port};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::auth::{ask, new_client, read_until, submit, watch_as};
use crate::tokens::{guarded, token};

/// A guarded system whose counters are served apart, and where.
async fn counted(plan: Plan) -> (Conch, String) {
    let ops = port::free();
    let conch = guarded(plan)
        .env("MARE_OPS_ADDR", format!("127.0.0.1:{ops}"))
        .start()
        .await;
    (conch, format!("http://127.0.0.1:{ops}/metrics"))
}

/// How often a limit was hit.
async fn hits(metrics: &str, limit: &str) -> usize {
    let series = format!("conch_limits_hit_total{{limit=\"{limit}\"}} ");
    let text = Answer::to(client().get(metrics)).await.body;
    let value = text.lines().find_map(|line| line.strip_prefix(&series));
    value.map_or(0, |value| value.parse().expect("a number"))
}

/// A stream if its caller is let in; else it has said when to come back, and ended.
async fn opened(url: &str, token: &str) -> Option<reqwest::Response> {
    let mut stream = watch_as(url, token).await;
    let seen = read_until(&mut stream, "data: ").await;
    if seen.contains("data: ") {
        return Some(stream);
    }
    let retry = seen.strip_prefix("retry: ").expect("a retry and no more");
    let retry = retry.lines().next().expect("a line");
    let retry: u64 = retry.parse().expect("milliseconds");
    assert!((30_000..=60_000).contains(&retry), "{seen}");
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_s_streams_are_counted_exactly_through_races_and_reconnects() {
    const MOST: usize = 5;
    let plan = Plan::all_in_one()
        .pace(60_000)
        .env("MAX_STREAMS_PER_CALLER", MOST.to_string());
    let (conch, metrics) = counted(plan).await;
    let admin = token(&json!("*"), 600);
    let client_id = new_client(&conch, &admin, "Fabrikam Health").await;
    let ours = token(&json!([client_id]), 600);
    let job = submit(&conch, &ours, &client_id).await;
    let one = conch.mare().subscribe_url(&job);
    let many = conch.mare().url(&format!("/jobs/subscribe?job_id={job}"));

    // Of those who come at once so many are let in, whichever they are.
    let race = async || {
        let mut opening = JoinSet::new();
        for n in 0..4 * MOST {
            let url = if n % 2 == 0 { &one } else { &many }.clone();
            // Each with a token of its own: it is the caller who counts.
            let token = token(&json!([client_id]), 600 + n as i64);
            opening.spawn(async move { opened(&url, &token).await });
        }
        let streams: Vec<_> = opening.join_all().await.into_iter().flatten().collect();
        assert_eq!(streams.len(), MOST);
        streams
    };
    let mut streams = race().await;
    assert_eq!(hits(&metrics, "max_streams_per_caller").await, 3 * MOST);
    assert!(opened(&one, &admin).await.is_some(), "somebody else");

    // One after the other is cut and comes again; there is never room for a sixth.
    for n in 0..3 * MOST {
        drop(streams.remove(0));
        let url = if n % 2 == 0 { &many } else { &one };
        let again = eventually("there is room again", async || opened(url, &ours).await);
        streams.push(again.await);
        assert!(opened(&one, &ours).await.is_none(), "a sixth one");
    }

    // All of them end with their job, and leave their places.
    let path = format!("/jobs/{job}");
    let cancelled = ask(&conch, &ours, Method::DELETE, &path, None).await;
    assert_eq!(cancelled.status, 202, "{}", cancelled.body);
    for stream in &mut streams {
        let rest = read_until(stream, ": Connection closing").await;
        assert!(rest.contains("job:cancelled"), "{rest}");
    }
    let next = submit(&conch, &ours, &client_id).await;
    let next = conch.mare().subscribe_url(&next);
    let mut streams = Vec::new();
    for _ in 0..MOST {
        let stream = eventually("a place is free", async || opened(&next, &ours).await);
        streams.push(stream.await);
    }
    assert!(opened(&next, &ours).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_submits_so_often_however_they_race() {
    const MOST: usize = 10;
    let plan = Plan::all_in_one().env("SUBMISSIONS_PER_MINUTE", MOST.to_string());
    let (conch, metrics) = counted(plan).await;
    let admin = token(&json!("*"), 600);
    let client_id = new_client(&conch, &admin, "Fabrikam Health").await;
    let path = format!("/clients/{client_id}/generate-templates");
    let begun = Instant::now();
    let mut submitting = JoinSet::new();
    for n in 0..3 * MOST {
        // A connection and a token of its own for each, and half of them under one key.
        let token = token(&json!([client_id]), 600 + n as i64);
        let mut request = conch.mare().request(Method::POST, &path).bearer_auth(token);
        if n % 2 == 0 {
            request = request.header("idempotency-key", "the-same");
        }
        submitting.spawn(Answer::to(request));
    }
    let answers = submitting.join_all().await;
    // One more for every six seconds that it took.
    let allowed = MOST + begun.elapsed().as_secs() as usize / 6;
    let accepted = answers.iter().filter(|a| a.status == 202).count();
    assert!((MOST..=allowed).contains(&accepted), "{accepted}");
    let mut longest = 0;
    for refused in answers.iter().filter(|a| a.status != 202) {
        refused.expect_problem(429, "too-many-requests");
        let after: u64 = refused.header("retry-after").parse().expect("seconds");
        assert!((1..=6).contains(&after), "{after}");
        longest = longest.max(after);
    }
    let refused = hits(&metrics, "submissions_per_minute").await;
    assert_eq!(refused, answers.len() - accepted);
    let jobs = ask(&conch, &admin, Method::GET, "/jobs", None)
        .await
        .json(200);
    let made = jobs["total"].as_u64().expect("a number") as usize;
    assert!((1..=accepted).contains(&made), "{made} of {accepted}");

    submit(&conch, &admin, &client_id).await;
    let ours = token(&json!([client_id]), 600);
    let limit = Duration::from_secs(longest + 10);
    let begun = Instant::now();
    eventually("there is room again", async || {
        assert!(begun.elapsed() < limit, "Retry-After was wrong");
        let answer = ask(&conch, &ours, Method::POST, &path, None).await;
        (answer.status == 202).then_some(())
    })
    .await;
}

/// Whoever comes back as a browser does misses nothing, though no stream lasts until the end.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_last_a_second_make_a_whole_one() {
    let conch = Plan::all_in_one()
        .pace(700)
        .env("STREAM_LIFETIME_SECONDS", "1")
        .env("RUST_LOG", "debug")
        .start()
        .await;
    let client_id = conch.mare().new_client("Fabrikam Health").await;
    let job = conch.mare().submit(&client_id).await;
    let watchers: Vec<_> = (0..10).map(|_| conch.mare().watch(&job)).collect();
    for watcher in watchers {
        assert_whole(&watcher.all(Duration::from_mins(1)).await, 1);
    }
    let metrics = format!("http://127.0.0.1:{}/metrics", conch.mare_port());
    let ended = hits(&metrics, "stream_lifetime_seconds").await;
    assert!(ended >= 20, "{ended}");
}
