//! Lifetimes: what passes while somebody still reads, and what is left when all have passed.

use tokio::task::JoinSet;

use super::bounds::GROWTH_KIB;
use super::{Scale, seconds, start_on};
use crate::chaos::run::Terms;
use crate::chaos::{Figures, Kind, Shape, store};
use crate::eventually::eventually;
use crate::{Mare, Resp, Stream, Weather};

/// Result and history go while a stream is being read: it is unaffected; later `/events` answers 410.
pub(super) async fn lifetimes_pass_during_a_stream(scale: Scale) -> Figures {
    let shape = Shape::default()
        .env("RESULT_TTL_SECONDS", "1")
        .env("HISTORY_TTL_SECONDS", "1");
    let terms = Terms {
        results_live: false,
        history_ttl: Some(seconds(1.0)),
        ..Terms::default()
    };
    let run = start_on("ttl-stream", shape, terms).await;
    for _ in 0..scale.of(1, 5) {
        let job = run.submit_watched(4).await;
        run.until_templates(&job, 3).await;
        // Its readers can't read while the job ends and everything of it expires.
        let stalls = [0, 1].map(|i| run.hurt_api(i, Kind::Front(Weather::Stall), seconds(2.6)));
        assert_eq!(futures::future::join_all(stalls).await, [true, true]);
        run.until_told_to_stop(&job).await;
        assert_eq!(run.mare(0).job(&job).await["status"], "completed");
        // Of one that nobody watches, so that nobody has it told anew. Its record outlives its log.
        let unwatched = run.submit().await;
        run.until_ended(&unwatched).await;
        let mut redis = Resp::open(run.cluster.redis_port).await.expect("it runs");
        let log = format!("triton:log:{unwatched}");
        eventually("the log expires", async || {
            let left = redis.say(&["EXISTS", &log]).await;
            (left.expect("it answers").text() == "0").then_some(())
        })
        .await;
        let events = run.mare(0).get(&format!("/jobs/{unwatched}/events")).await;
        events.expect_problem(410, "events-expired");
        assert_eq!(run.mare(0).job(&unwatched).await["status"], "completed");
    }
    run.finish().await.expect_clean()
}

/// Finished jobs leave nothing but their records, which are paged through without a scan of the whole.
pub(super) async fn finished_jobs_leave_their_records_only(scale: Scale) -> Figures {
    let jobs: usize = crate::chaos::rounds::setting("LEFTOVERS").map_or(scale.of(80, 2_000), |n| {
        n.parse().expect("LEFTOVERS= is a number")
    });
    let shape = Shape {
        workers: 2,
        concurrency: 8,
        pace: 0,
        ..Shape::default()
    }
    .env("RESULT_TTL_SECONDS", "1")
    .env("HISTORY_TTL_SECONDS", "1")
    .env("MAX_QUEUED_JOBS", "1000000")
    .env("RUST_LOG", "warn");
    let terms = Terms {
        results_live: false,
        history_ttl: Some(seconds(1.0)),
        ends: false,
        ..Terms::default()
    };
    let run = start_on("ttl-leftovers", shape, terms).await;
    let mare = run.mare(0);
    let client = run.clients[0].clone();
    // The first share of them is the allocator's: what it took then is the base line.
    submit_all(&mare, &client, jobs / 4).await;
    let mut base = Vec::new();
    for node in run.cluster.nodes() {
        base.push((node.descriptors().await, node.resident().await));
    }
    submit_all(&mare, &client, jobs - jobs / 4).await;
    let mut redis = Resp::open(run.cluster.redis_port).await.expect("it runs");
    // Counting the queue is cheap, looking through all keys isn't.
    dwindle(&mut redis, async |redis| waiting(redis).await).await;
    dwindle(&mut redis, async |redis| leftovers(redis).await).await;
    for (node, (descriptors, resident)) in run.cluster.nodes().zip(base) {
        run.bound(
            &node.name,
            "descriptors",
            node.descriptors().await,
            descriptors + 32,
        );
        run.bound(
            &node.name,
            "resident KiB",
            node.resident().await,
            resident + 2 * GROWTH_KIB,
        );
    }
    redis
        .say(&["CONFIG", "RESETSTAT"])
        .await
        .expect("it answers");
    let mut seen = std::collections::BTreeSet::new();
    let size = 50;
    for page in 1..=jobs.div_ceil(size) {
        let path = format!("/jobs?client_id={client}&page={page}&page_size={size}");
        let answer = mare.get(&path).await.json(200);
        assert_eq!(answer["total"], jobs, "{path}");
        for job in answer["jobs"].as_array().into_iter().flatten() {
            assert_eq!(job["status"], "completed", "{job}");
            seen.insert(job["job_id"].as_str().expect("an id").to_owned());
        }
    }
    assert_eq!(seen.len(), jobs, "each on one page");
    let stats = redis
        .say(&["INFO", "commandstats"])
        .await
        .expect("it answers")
        .text();
    let scans = ["keys", "scan", "sscan", "hscan", "zscan"].into_iter();
    let scans: Vec<_> = scans
        .filter(|c| stats.contains(&format!("cmdstat_{c}:")))
        .collect();
    run.bound("redis", "scans", scans.len() as u64, 0);
    // Who comes now is told how it ended, from the record.
    let last = seen.last().expect("there is one");
    let told = Stream::open(&mare.subscribe_url(last), None)
        .await
        .read_to_end()
        .await;
    assert_eq!(
        told.last().expect("its end").text("status"),
        "completed",
        "{told:#?}"
    );
    run.finish().await.expect_clean()
}

/// Waits until there is nothing left of what is counted. As long as it becomes less all is well.
async fn dwindle(redis: &mut Resp, count: impl AsyncFn(&mut Resp) -> usize) {
    let mut left = count(redis).await;
    while left > 0 {
        left = eventually("there is less of it", async || {
            let now = count(redis).await;
            (now < left).then_some(now)
        })
        .await;
    }
}

/// Jobs that wait or run.
async fn waiting(redis: &mut Resp) -> usize {
    let mut all = 0;
    for key in ["triton:queue:ready", "triton:queue:leases"] {
        let count = redis.say(&["ZCARD", key]).await.expect("it answers");
        all += count.text().parse().unwrap_or(0);
    }
    all
}

/// Keys beside the catalogue's and the stamps of all logs.
async fn leftovers(redis: &mut Resp) -> usize {
    let keys = store::keys(redis, "triton:*").await.expect("it answers");
    let others = keys
        .iter()
        .filter(|key| !key.starts_with("triton:catalogue:") && *key != "triton:log::latest");
    others.count()
}

/// Submits so many jobs, eight at a time.
async fn submit_all(mare: &Mare, client: &str, jobs: usize) {
    let mut submitting = JoinSet::new();
    for lane in 0..8 {
        let (mare, client) = (mare.clone(), client.to_owned());
        submitting.spawn(async move {
            for _ in (lane..jobs).step_by(8) {
                mare.submit(&client).await;
            }
        });
    }
    while let Some(lane) = submitting.join_next().await {
        lane.expect("every submission is taken");
    }
}
