//! External jobs whose log doesn't say whose they are, because the publisher left it out and Triton gave no
//! answer when the log began. One's own is never given up for that; another tenant's is as absent (I10).

use std::time::Duration;

use conch_domain::{Caller, Clients, Job, JobRecord, JobStatus, Timestamp};
use conch_ports::{ErrorKind, ResultCache};
use conch_services::mare::hub::{self, Attached, Next, Selection};
use conch_services::mare::lookup::Events;
use futures::future::join_all;
use serde_json::json;

use crate::tenants::{Triton, told};
use crate::world::{
    Eyes, POSITION_CHECK, Seen, World, caller, client_id, data, ids, job_id, name, named,
};

fn owner() -> Caller {
    caller(&["c1"], Timestamp::from_micros(i64::MAX))
}

fn other_tenant() -> Caller {
    caller(&["c2"], Timestamp::from_micros(i64::MAX))
}

fn clients(id: &str) -> Clients {
    Clients::only([client_id(id)]).expect("few")
}

fn known_to_triton(owner: Option<&str>) -> Job {
    let job = Job::initial(job_id("j"), "00000000".parse().expect("an epoch"), false);
    Job::restore(JobRecord {
        status: JobStatus::Running,
        client_id: owner.map(client_id),
        ..(*job).clone()
    })
}

async fn say(world: &World, kind: &str) {
    let event = json!({"event_type": kind, "job_id": "j", "template_ids": ["t"]});
    world.faults.announce_raw(event.to_string());
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// A world in which j's log has these events and no owner, and Triton doesn't answer.
async fn world(kinds: &[&str]) -> World {
    let world = World::new();
    world.triton.fail(ErrorKind::Unavailable);
    tokio::time::sleep(Duration::from_millis(10)).await;
    for kind in kinds {
        say(&world, kind).await;
    }
    let log = world.memory.log().read(&job_id("j"), 0, 0).await;
    let log = log.expect("memory answers").expect("it has begun");
    assert_eq!(log.job.client_id, None);
    world
}

fn heal_after(world: &World, silence: Duration) {
    let triton = world.triton.clone();
    tokio::spawn(async move {
        tokio::time::sleep(silence).await;
        triton.heal();
    });
}

fn eyes(attached: Attached) -> Eyes {
    match attached {
        Attached::Stream(watcher) => Eyes(watcher),
        other => panic!("expected a stream, got {}", name(&other)),
    }
}

const RUNNING: &[&str] = &["job:started"];
const ENDED: &[&str] = &["job:started", "job:completed"];

#[tokio::test(start_paused = true)]
async fn an_owner_is_told_of_a_job_whose_log_names_none() {
    let silences = [
        Duration::ZERO,
        Duration::from_millis(700),
        Duration::from_mins(5),
    ];
    for kinds in [RUNNING, ENDED] {
        for silence in silences {
            for cursor in [None, Some("0000abcd-1"), Some("nonsense")] {
                let world = world(kinds).await;
                world.triton.set_job(known_to_triton(Some("c1")));
                heal_after(&world, silence);
                if silence.is_zero() {
                    world.triton.heal();
                }
                let (owner, id) = (owner(), job_id("j"));
                let one = world.hub.watch_as(&owner, &id, cursor);
                let many = world.hub.watch_many_as(&owner, named(&["j"]), None);
                let (one, many) = tokio::join!(one, many);
                for attached in [one, many] {
                    let seen = eyes(attached).events(1).await;
                    let said = data(&seen[0]);
                    assert_eq!(said["job_id"], "j", "{kinds:?} {silence:?} {cursor:?}");
                    assert_ne!(said["status"], "failed", "{said}");
                }
            }
        }
    }
}

/// Its publisher may be faster than its Triton.
#[tokio::test(start_paused = true)]
async fn triton_is_asked_again_for_later_streams() {
    for kinds in [RUNNING, ENDED] {
        let world = world(kinds).await;
        world.triton.heal();
        let id = job_id("j");
        let mut all = eyes(world.hub.watch(&id, None).await);
        all.events(1).await;
        // A stream that keeps the job followed.
        let kept = world.hub.watch_many(named(&["j", "to-come"]), None).await;
        let mut kept = eyes(kept);
        kept.events(1).await;
        let attached = world.hub.watch_as(&owner(), &id, None).await;
        assert_eq!(name(&attached), "Unknown", "Triton knows of no such job");
        world.triton.set_job(known_to_triton(Some("c1")));
        tokio::time::sleep(POSITION_CHECK).await;
        let attached = world.hub.watch_as(&owner(), &id, None).await;
        let seen = eyes(attached).events(1).await;
        assert_eq!(data(&seen[0])["event_type"], "job:started");
    }
}

/// A publisher that is never silent leaves no position check to ask at.
#[tokio::test(start_paused = true)]
async fn triton_is_asked_again_though_the_job_is_never_silent() {
    let world = world(RUNNING).await;
    world.triton.set_job(known_to_triton(Some("c1")));
    heal_after(&world, POSITION_CHECK);
    let faults = world.faults.clone();
    let chatter = tokio::spawn(async move {
        for number in 0.. {
            let event =
                json!({"event_type": "job:progress", "job_id": "j", "progress": number / 10});
            faults.announce_raw(event.to_string());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let attached = world.hub.watch_as(&owner(), &job_id("j"), None).await;
    let mut eyes = eyes(attached);
    let first = tokio::time::timeout(POSITION_CHECK * 4, eyes.events(1)).await;
    assert_eq!(
        data(&first.expect("by then")[0])["event_type"],
        "job:started"
    );
    chatter.abort();
}

/// What another tenant's caller asks for.
#[derive(Debug, Clone, Copy)]
enum Asks {
    Stream(Option<&'static str>),
    StreamOfMany,
    Lookups,
}

/// All that c1's caller is told.
async fn answer(world: &World, asks: Asks) -> String {
    let (caller, id) = (owner(), job_id("j"));
    match asks {
        Asks::Stream(cursor) => {
            let attached = world.hub.watch_as(&caller, &id, cursor).await;
            format!("{:?}", told(attached).await)
        }
        Asks::StreamOfMany => {
            let attached = world.hub.watch_many_as(&caller, named(&["j"]), None).await;
            format!("{:?}", told(attached).await)
        }
        Asks::Lookups => {
            let job = world.lookup.job_seen_by(caller.clients(), &id).await;
            let events = world.lookup.events_seen_by(caller.clients(), &id, 0).await;
            let job = job.map_err(|error| error.to_string());
            format!("{job:?} {:?}", events.map_err(|error| error.to_string()))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_tenant_sees_what_it_sees_of_an_absent_job() {
    let streams = [None, Some("nonsense"), Some("0000abcd-1"), Some("ended-0")].map(Asks::Stream);
    for asks in streams
        .into_iter()
        .chain([Asks::StreamOfMany, Asks::Lookups])
    {
        for triton in Triton::ALL {
            let mut of_absent = None;
            for (kinds, of) in [
                (None, None),
                (Some(RUNNING), Some(known_to_triton(Some("c2")))),
                (Some(RUNNING), Some(known_to_triton(None))),
                (Some(RUNNING), None),
                (Some(ENDED), Some(known_to_triton(Some("c2")))),
                (Some(ENDED), None),
            ] {
                let world = match kinds {
                    Some(kinds) => world(kinds).await,
                    None => World::new(),
                };
                world.triton.heal();
                let is_known = of.is_some();
                if let Some(of) = of {
                    world.triton.set_job(of);
                }
                triton.befall(&world);
                let answer = answer(&world, asks).await;
                let of_absent = of_absent.get_or_insert_with(|| answer.clone());
                assert_eq!(
                    answer, *of_absent,
                    "{asks:?} {triton:?} {kinds:?} {is_known}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lookups_ask_triton_whose_the_job_is() {
    for kinds in [RUNNING, ENDED] {
        let world = world(kinds).await;
        world.triton.set_job(known_to_triton(Some("c1")));
        let (one, id) = (clients("c1"), job_id("j"));
        let events = world.lookup.events_seen_by(&one, &id, 0).await;
        events.expect_err("Triton doesn't answer");
        let job = world.lookup.job_seen_by(&one, &id).await;
        job.expect_err("Triton doesn't answer");
        world.triton.heal();
        let before = world.triton.calls("job");
        let events = world.lookup.events_seen_by(&one, &id, 0).await;
        let events = events.expect("an answer");
        assert!(matches!(events, Events::Kept(lines) if lines.len() == kinds.len()));
        let job = world.lookup.job_seen_by(&one, &id).await;
        assert!(job.expect("an answer").is_some());
        assert!(world.triton.calls("job") <= before + 2);
        let two = clients("c2");
        let job = world.lookup.job_seen_by(&two, &id).await;
        assert_eq!(job.expect("an answer"), None);
        let events = world.lookup.events_seen_by(&two, &id, 0).await;
        assert_eq!(events.expect("an answer"), Events::Unknown);
    }
}

/// No stream names the job, and it is announced before its owner is known.
#[tokio::test(start_paused = true)]
async fn streams_without_names_are_told_of_a_job_once_its_owner_is_known() {
    let world = World::new();
    let streams = streams_without_names(&world).await;
    // What they begin with is known, and j isn't there.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.triton.fail(ErrorKind::Unavailable);
    world.triton.set_job(known_to_triton(Some("c1")));
    say(&world, "job:started").await;
    let log = world.memory.log().read(&job_id("j"), 0, 0).await;
    let log = log.expect("memory answers").expect("it has begun");
    assert_eq!(log.job.client_id, None);
    heal_after(&world, POSITION_CHECK);
    let seen = heard_by(streams).await;
    let counts: Vec<_> = seen.iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 0, 1], "{seen:?}");
}

/// What the Python edge caches: five fields, without the job's owner.
const FIVE_FIELDS: &str = r#"{"job_id":"j","status":"completed","template_ids":["t1"],"template_count":1,"generation_duration_ms":9}"#;

#[tokio::test(start_paused = true)]
async fn a_stream_that_knows_whose_the_job_is_hears_its_end_from_a_result_that_does_not() {
    for own in [false, true] {
        let world = World::with_a_distant_store(conch_memory::Settings::default());
        let mut job = if own {
            world.job_of("j", "c1")
        } else {
            world.external_job_of("j", "c1")
        };
        job.start().await;
        let (owner, id) = (owner(), job_id("j"));
        let one = world.hub.watch_as(&owner, &id, None).await;
        let many = world.hub.watch_many_as(&owner, named(&["j"]), None).await;
        let (mut one, mut many) = (eyes(one), eyes(many));
        one.events(2).await;
        many.events(1).await;
        world.faults.wipe();
        let put = world.memory.put(&id, FIVE_FIELDS.into()).await;
        put.expect("memory answers");
        world.triton.hang();
        heal_after(&world, POSITION_CHECK * 2);
        let (one, many) = tokio::join!(one.rest(), many.rest());
        for seen in [&one, &many] {
            let [.., end, _] = &seen[..] else {
                panic!("{seen:?}");
            };
            assert_eq!(data(end)["status"], "completed", "own: {own}, {seen:?}");
        }
        assert_eq!(ids(&one)[0], "ended-0");
    }
}

/// No stream names the job, and its end is known before its owner is.
#[tokio::test(start_paused = true)]
async fn streams_without_names_are_told_of_an_end_without_a_log_once_its_owner_is_known() {
    let mut memory = conch_memory::Settings::default();
    memory.quotas.foreign_jobs = 1;
    let world = World::with(memory, hub::Settings::default());
    world.triton.fail(ErrorKind::Unavailable);
    let streams = streams_without_names(&world).await;
    say(&world, "job:started").await;
    world.faults.wipe();
    let put = world.memory.put(&job_id("j"), FIVE_FIELDS.into()).await;
    put.expect("memory answers");
    // Now there is no room for a log that says what Triton knows.
    let of_another = json!({"event_type": "job:started", "job_id": "k", "client_id": "c3"});
    world.faults.announce_raw(of_another.to_string());
    let initial = known_to_triton(Some("c1"));
    world.triton.set_job(Job::restore(JobRecord {
        status: JobStatus::Completed,
        ..(*initial).clone()
    }));
    heal_after(&world, POSITION_CHECK * 2);
    let seen = heard_by(streams).await;
    let statuses = seen.iter().map(|seen| {
        let of_it = seen.iter().map(data).filter(|data| data["job_id"] == "j");
        of_it.map(|data| data["status"].clone()).collect()
    });
    let statuses: Vec<Vec<_>> = statuses.collect();
    let [of_owner, of_other, of_all] = &statuses[..] else {
        panic!("{statuses:?}");
    };
    assert_eq!(of_owner, &["completed"], "{seen:?}");
    assert!(of_other.is_empty(), "{seen:?}");
    assert_eq!(of_all.len(), 2, "{seen:?}");
    assert_eq!(of_all[1], "completed");
}

/// Streams without names that have begun: the owner's, another tenant's, and one of all jobs.
async fn streams_without_names(world: &World) -> Vec<Eyes> {
    let mut streams = Vec::new();
    for caller in [owner(), other_tenant(), Caller::unrestricted()] {
        let attached = world.hub.watch_many_as(&caller, Selection::default(), None);
        let mut eyes = eyes(attached.await);
        eyes.frames().await;
        streams.push(eyes);
    }
    streams
}

/// What streams that go on are told in the next minute.
async fn heard_by(streams: Vec<Eyes>) -> Vec<Vec<Seen>> {
    join_all(streams.into_iter().map(heard)).await
}

async fn heard(mut eyes: Eyes) -> Vec<Seen> {
    let mut seen = Vec::new();
    let until = tokio::time::Instant::now() + POSITION_CHECK * 6;
    while let Ok((new, next)) = tokio::time::timeout_at(until, eyes.look()).await {
        assert_eq!(next, Next::More, "streams without names go on");
        let events = new.into_iter().filter(|new| matches!(new, Seen::Event(..)));
        seen.extend(events);
    }
    seen
}
