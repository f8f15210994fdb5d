//! What bounds a caller, a stream and a foreign job: the answer to who is over it, and the count.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::{
    Caller, Clients, EventCap, Identity, Job, JobRecord, JobStatus, MAX_TEMPLATE_IDS,
    MAX_TEXT_CHARS, Scopes, Timestamp,
};
use conch_doubles::ScriptedTriton;
use conch_ports::{Document, NewJob};
use conch_services::mare::access::{Access, Submitted};
use conch_services::mare::hub::{Attached, Next, Selection, Settings};
use conch_services::mare::ingest::ForeignEvents;
use conch_services::mare::submissions::SubmissionRate;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::counters::Counters;
use crate::world::{
    Eyes, MAX_EVENT_BYTES, Seen, World, client_id, completed, data, ids, job_id, name, retry,
};

const NEVER: Timestamp = Timestamp::from_micros(i64::MAX);

/// Somebody who may see everything.
fn who(subject: &str, ends_at: Timestamp) -> Caller {
    let identity = Identity {
        issuer: "https://issuer.example".to_owned(),
        subject: subject.to_owned(),
    };
    Caller::new(identity, Clients::ALL, Scopes::all(), ends_at)
}

fn world(settings: Settings) -> World {
    World::with(conch_memory::Settings::default(), settings)
}

fn three_each() -> World {
    world(Settings {
        max_streams_per_caller: Some(3),
        ..Settings::default()
    })
}

/// Is told to come back much later, and nothing else.
async fn is_turned_away(attached: Attached) {
    let Attached::Full(watcher) = attached else {
        panic!("let in: {}", name(&attached));
    };
    let (seen, next) = Eyes(watcher).look().await;
    assert_eq!(next, Next::End);
    let [Seen::Line(line)] = &seen[..] else {
        panic!("{seen:?}");
    };
    let retry: u64 = retry(line.as_bytes());
    assert!((30_000..=60_000).contains(&retry), "{retry}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_has_so_many_streams_of_both_kinds() {
    let counters = Counters::start();
    let world = three_each();
    let mut job = world.job("j");
    job.start().await;
    let mut over = world.job("over");
    over.start().await;
    over.complete().await;
    let one = async |caller: &Caller| world.hub.watch_as(caller, &job_id("j"), None).await;
    let many = async |caller: &Caller| {
        let everything = Selection::default();
        world.hub.watch_many_as(caller, everything, None).await
    };
    let (a, b) = (who("a", NEVER), who("b", NEVER));
    let mut held = vec![one(&a).await, many(&a).await, one(&a).await];
    is_turned_away(one(&a).await).await;
    is_turned_away(many(&a).await).await;
    // Another token of the same caller is the same caller; another caller is none of them.
    is_turned_away(one(&who("a", (world.clock)().plus_millis(9000))).await).await;
    assert_eq!(counters.hits("max_streams_per_caller"), 3);
    held.push(one(&b).await);
    // What opens no stream takes no place.
    for (id, cursor) in [("over", Some("0000abcd-3")), ("unknown", None)] {
        let attached = world.hub.watch_as(&b, &job_id(id), cursor).await;
        assert!(matches!(attached, Attached::Ended | Attached::Unknown));
    }
    held.extend([one(&b).await, many(&b).await]);
    is_turned_away(many(&b).await).await;
    assert!(held.iter().all(|a| matches!(a, Attached::Stream(_))));

    // A place is free again however its stream ended: left by the watcher, at the job's end, by
    // what followed it.
    held.remove(1);
    held.push(many(&a).await);
    is_turned_away(one(&a).await).await;
    let Attached::Stream(watcher) = held.remove(0) else {
        unreachable!("it was let in");
    };
    job.append(completed()).await;
    let mut eyes = Eyes(watcher);
    assert_eq!(
        ids(&eyes.rest().await).last().unwrap(),
        ": Connection closing - job completed"
    );
    is_turned_away(many(&a).await).await;
    drop(eyes);
    assert!(matches!(many(&a).await, Attached::Stream(_)));
    assert_eq!(counters.hits("max_streams_per_caller"), 6);
    assert_eq!(counters.of("conch_watchers_turned_away_total"), 0);
}

/// As many ask at once as there are threads, all of them again and again: never more than so many are
/// in, and when all have gone there is room for so many.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_streams_of_a_caller_are_counted_exactly() {
    let world = Arc::new(three_each());
    world.job("j").start().await;
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            let (caller, id) = (who("a", NEVER), job_id("j"));
            let mut let_in = 0;
            for round in 0..200 {
                let attach = world.hub.watch_as(&caller, &id, None);
                // Some give up in the middle of it.
                let attached = if (task + round) % 5 == 0 {
                    tokio::time::timeout(Duration::ZERO, attach).await.ok()
                } else {
                    Some(attach.await)
                };
                if let Some(Attached::Stream(_stream)) = attached {
                    let_in += 1;
                    assert!(world.hub.watchers() <= 3);
                    tokio::task::yield_now().await;
                }
            }
            let_in
        });
    }
    let let_in: usize = tasks.join_all().await.into_iter().sum();
    assert!(let_in > 3, "{let_in}");
    let caller = who("a", NEVER);
    let mut held = Vec::new();
    for _ in 0..3 {
        let attached = world.hub.watch_as(&caller, &job_id("j"), None).await;
        assert!(matches!(attached, Attached::Stream(_)));
        held.push(attached);
    }
    is_turned_away(world.hub.watch_as(&caller, &job_id("j"), None).await).await;
}

/// Everybody is one caller there, and one limit for all of them would be no limit of a caller's.
#[tokio::test(start_paused = true)]
async fn ten_thousand_watchers_who_need_not_say_who_they_are() {
    let counters = Counters::start();
    let world = three_each();
    let mut job = world.job("j");
    job.start().await;
    let mut all = Vec::new();
    for _ in 0..10_000 {
        all.push(world.watch("j", None).await);
    }
    job.complete().await;
    for eyes in &mut all {
        assert_eq!(eyes.rest().await.len(), 4);
    }
    assert_eq!(counters.hits("max_streams_per_caller"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_lasts_so_long_and_is_gone_on_with() {
    let counters = Counters::start();
    let lifetime = Duration::from_secs(100);
    let world = world(Settings {
        stream_lifetime: Some(lifetime),
        ..Settings::default()
    });
    let mut job = world.job("j");
    job.start().await;
    let begun = Instant::now();
    let mut eyes = Vec::new();
    for _ in 0..40 {
        eyes.push(world.watch("j", None).await);
    }
    let mut everything = world.watch_many(Selection::default(), None).await;
    job.progress(14).await;
    let mut ends = Vec::new();
    let mut farewells = Vec::new();
    let mut watch = JoinSet::new();
    for mut eyes in eyes {
        watch.spawn(async move {
            let mut seen = Vec::new();
            loop {
                let (more, next) = eyes.look().await;
                seen.extend(more);
                if next == Next::End {
                    return (seen, begun.elapsed());
                }
            }
        });
    }
    for (seen, lasted) in watch.join_all().await {
        assert_eq!(ids(&seen)[1..4], ["0000abcd-1", "0000abcd-2", "0000abcd-3"]);
        let Some(Seen::Line(last)) = seen.last() else {
            panic!("{seen:?}");
        };
        let retry: u64 = retry(last.as_bytes());
        assert!((1000..=4000).contains(&retry), "{retry}");
        ends.push(lasted);
        farewells.push(retry);
    }
    ends.sort();
    farewells.sort_unstable();
    farewells.dedup();
    // A tenth either way, and up to a second for the look by the second.
    let allowed = lifetime.mul_f64(0.9)..=lifetime.mul_f64(1.1) + Duration::from_secs(1);
    assert!(ends.iter().all(|end| allowed.contains(end)), "{ends:?}");
    let first = ends[0] + Duration::from_secs(5);
    let last = ends[ends.len() - 1];
    assert!(last > first, "all went at once: {ends:?}");
    assert!(farewells.len() > 5, "all come back at once: {farewells:?}");

    let rest = everything.rest().await;
    assert!(!rest.is_empty(), "its snapshot, the event, and no end");
    assert_eq!(counters.hits("stream_lifetime_seconds"), 41);
    assert_eq!(world.hub.watchers(), 1, "`everything` itself");

    job.complete().await;
    let mut again = world.watch("j", Some("0000abcd-3")).await;
    let rest = again.rest().await;
    assert_eq!(
        ids(&rest),
        ["0000abcd-4", ": Connection closing - job completed"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_comes_first_ends_a_stream() {
    let world = world(Settings {
        stream_lifetime: Some(Duration::from_secs(100)),
        ..Settings::default()
    });
    world.job("j").start().await;
    let now = (world.clock)();
    for (seconds, is_expired) in [(50, true), (200, false)] {
        let caller = who("a", now.plus_millis(seconds * 1000));
        let attached = world.hub.watch_as(&caller, &job_id("j"), None).await;
        let Attached::Stream(watcher) = attached else {
            panic!("{}", name(&attached));
        };
        let mut eyes = Eyes(watcher);
        let last = loop {
            let (frames, next) = eyes.frames().await;
            if next == Next::End {
                break frames.last().unwrap().clone();
            }
        };
        assert_eq!(
            last == conch_wire::sse::AUTH_EXPIRED,
            is_expired,
            "{last:?}"
        );
    }
}

/// An end that is there is told by the stream that is about to end anyway.
#[tokio::test(start_paused = true)]
async fn a_stream_at_its_end_tells_what_is_there_first() {
    let world = world(Settings {
        stream_lifetime: Some(Duration::from_secs(100)),
        ..Settings::default()
    });
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    job.complete().await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    let rest = ids(&eyes.rest().await);
    assert_eq!(rest, ["0000abcd-3", ": Connection closing - job completed"]);
}

fn new_job(client: &str, key: Option<&str>) -> NewJob {
    NewJob {
        client_id: client_id(client),
        value_proposition_id: None,
        schedule: conch_domain::Schedule::default(),
        idempotency_key: key.map(str::to_owned),
    }
}

#[tokio::test(start_paused = true)]
async fn who_submits_too_often_is_told_before_triton_is_asked() {
    let counters = Counters::start();
    let triton = Arc::new(ScriptedTriton::new());
    triton.set_client(client_id("c1"), Document::from_json(r#"{"id":"c1"}"#));
    let four = NonZeroU32::new(4).unwrap();
    let access = Access::new(triton.clone(), SubmissionRate::per_minute(four));
    let limited = Caller::new(
        Identity::clone(who("a", NEVER).identity().unwrap()),
        Clients::only([client_id("c1")]).unwrap(),
        Scopes::all(),
        NEVER,
    );
    let submit = async |caller: &Caller, client, key| {
        access.submit(caller, new_job(client, key)).await.unwrap()
    };
    let accepted = |s: Submitted| matches!(s, Submitted::Accepted(_));
    assert!(accepted(submit(&limited, "c1", Some("k")).await));
    // The same once more is a submission like any other; so is one for what isn't theirs, and one for
    // what isn't there.
    assert!(accepted(submit(&limited, "c1", Some("k")).await));
    for client in ["c2", "absent"] {
        assert_eq!(submit(&limited, client, None).await, Submitted::NoClient);
    }
    let asked = triton.total_calls();
    for (client, key) in [
        ("c1", Some("k")),
        ("c1", None),
        ("c2", None),
        ("absent", None),
    ] {
        let Submitted::TooOften { retry_after } = submit(&limited, client, key).await else {
            panic!("{client} {key:?} was let through");
        };
        assert_eq!(retry_after, Duration::from_secs(15));
    }
    assert_eq!(triton.total_calls(), asked);
    assert_eq!(counters.hits("submissions_per_minute"), 4);
    assert!(accepted(submit(&who("b", NEVER), "c1", None).await));
    tokio::time::advance(Duration::from_secs(15)).await;
    assert!(accepted(submit(&limited, "c1", None).await));
    // Those who need not say who they are are one together.
    for _ in 0..4 {
        assert!(accepted(submit(&Caller::unrestricted(), "c1", None).await));
    }
    let fifth = submit(&Caller::unrestricted(), "c1", None).await;
    assert!(matches!(fifth, Submitted::TooOften { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_job_takes_so_many_events_and_its_end() {
    let counters = Counters::start();
    let foreign = ForeignEvents::Accept {
        max_bytes: MAX_EVENT_BYTES,
        cap: EventCap::new(3),
    };
    let memory = conch_memory::Settings::default();
    let world = World::build(memory, Settings::default(), foreign);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let tell = async |kind: &str, number: u32| {
        let event =
            json!({"event_type":kind,"job_id":"f","n":number,"template_id":format!("t{number}")});
        world.faults.announce_raw(event.to_string());
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    tell("job:started", 0).await;
    for number in 1..=10 {
        tell("job:progress", number).await;
        tell("data:generated", number).await;
    }
    for number in 1..=10 {
        tell("job:template_completed", number).await;
    }
    tell("job:completed", 0).await;
    let mut eyes = world.watch("f", None).await;
    let kinds: Vec<_> = eyes
        .rest()
        .await
        .iter()
        .filter(|seen| matches!(seen, Seen::Event(..)))
        .map(|seen| data(seen)["event_type"].as_str().unwrap().to_owned())
        .collect();
    let expected = [
        "job:started",
        "job:progress",
        "data:generated",
        "job:template_completed",
        "job:template_completed",
        "job:template_completed",
        "job:completed",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(counters.hits("max_events_per_job"), 18 + 7);
    let dropped = "conch_channel_events_dropped_total{reason=\"illegal\"}";
    assert_eq!(counters.of(dropped), 18 + 7);
}

#[tokio::test(start_paused = true)]
async fn what_another_triton_says_makes_no_event_that_nobody_can_read() {
    let world = World::new();
    let told = |id: &str, status: JobStatus| {
        let initial = Job::initial(job_id(id), "00000000".parse().unwrap(), false);
        Job::restore(JobRecord {
            status,
            error_message: Some("\u{1}é".repeat(1 << 19)),
            template_ids: (0..20_000)
                .map(|n| format!("t{n:063}").parse().unwrap())
                .collect(),
            template_count: 20_000,
            ..(*initial).clone()
        })
    };
    for (id, status) in [
        ("failed", JobStatus::Failed),
        ("completed", JobStatus::Completed),
        ("cancelled", JobStatus::Cancelled),
    ] {
        world.triton.set_job(told(id, status));
        let rest = world.watch(id, None).await.rest().await;
        let events: Vec<_> = rest
            .iter()
            .filter(|seen| matches!(seen, Seen::Event(..)))
            .map(data)
            .collect();
        let end = events[events.len() - 1];
        assert_eq!(end["event_type"], format!("job:{id}"));
        let bytes = end.to_string().len();
        assert!(bytes < conch_wire::event::MAX_EVENT_BYTES, "{bytes}");
        if id == "failed" {
            let text = end["error_message"].as_str().unwrap();
            assert_eq!(text.chars().count(), MAX_TEXT_CHARS);
        } else {
            let listed = end["template_ids"].as_array().unwrap();
            assert_eq!(listed.len(), MAX_TEMPLATE_IDS);
        }
    }
}
