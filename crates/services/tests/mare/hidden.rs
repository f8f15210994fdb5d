//! Jobs of which it takes a question to learn whose they are, or whether they exist, while not everyone
//! who is asked answers. Another tenant's is as absent, errors included (I10); one's own is never given up.

use std::time::Duration;

use conch_domain::{Caller, Clients, Job, JobRecord, JobStatus, Timestamp};
use conch_doubles::When;
use conch_ports::{ErrorKind, ResultCache};
use conch_services::mare::hub::{Attached, Settings};

use crate::world::{Eyes, Seen, World, caller, client_id, data, ids, job_id, name, named};

fn c1() -> Clients {
    Clients::only([client_id("c1")]).expect("few")
}

/// Where the other tenant's job can be found.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Is {
    Absent,
    /// An external job whose log shows no end.
    Unfinished,
    /// The same, and its cached failure may have been gone on from.
    Failed,
    /// Finished, and kept in this process, which may have missed an announcement since.
    KeptHere,
}

/// Who gives no answer.
#[derive(Debug, Clone, Copy)]
enum Down {
    Nothing,
    Triton(ErrorKind),
    Log,
    Cache,
}

fn fail(world: &World, operation: &'static str) {
    let (kind, when) = (ErrorKind::Unavailable, When::Before);
    world.faults.fail_next(operation, 10_000, kind, when);
}

async fn world(is: Is) -> World {
    let world = World::new();
    let mut job = match is {
        Is::Absent => return world,
        Is::Unfinished | Is::Failed => world.external_job_of("j", "c2"),
        Is::KeptHere => world.job_of("j", "c2"),
    };
    job.start().await;
    if is == Is::Failed {
        let failed = Job::restore(JobRecord {
            status: JobStatus::Failed,
            ..(*job.job).clone()
        });
        let result = conch_wire::job::encode(&failed);
        let put = world.memory.put(&job.job.id, result).await;
        put.expect("memory answers");
    }
    if is == Is::KeptHere {
        job.complete().await;
        world.has_heard().await;
        let found = world.lookup.job(&job.job.id).await;
        assert!(found.expect("an answer").is_some());
        world.faults.wipe();
        world.has_heard().await;
        world.lookup.lapsed();
    }
    world
}

#[tokio::test(start_paused = true)]
async fn an_outage_shows_as_it_does_for_an_absent_job() {
    for down in [
        Down::Nothing,
        Down::Triton(ErrorKind::Unavailable),
        Down::Triton(ErrorKind::Timeout),
        Down::Log,
        Down::Cache,
    ] {
        let mut absent = None;
        for is in [Is::Absent, Is::Unfinished, Is::Failed, Is::KeptHere] {
            let world = world(is).await;
            match down {
                Down::Nothing => {}
                Down::Triton(kind) => world.triton.fail(kind),
                Down::Log => fail(&world, "job_log.read"),
                Down::Cache => fail(&world, "result_cache.get"),
            }
            let found = world.lookup.job_seen_by(&c1(), &job_id("j")).await;
            let found = found.map_err(|error| error.to_string());
            let absent = absent.get_or_insert_with(|| found.clone());
            assert_eq!(found, *absent, "{is:?}, {down:?}");
            assert_eq!(found.is_ok(), matches!(down, Down::Nothing), "{down:?}");
        }
    }
}

/// What the Python edge caches: five fields, without the job's owner.
const FIVE_FIELDS: &str = r#"{"job_id":"j","status":"completed","template_ids":["t1"],"template_count":1,"generation_duration_ms":9}"#;

/// A job of c1 whose log is gone and of which a result of five fields is left.
async fn five_fields() -> World {
    let world = World::with_a_distant_store(conch_memory::Settings::default());
    let put = world.memory.put(&job_id("j"), FIVE_FIELDS.into()).await;
    put.expect("memory answers");
    world
}

fn known_to_triton() -> Job {
    let job = Job::initial(job_id("j"), "00000000".parse().expect("an epoch"), false);
    Job::restore(JobRecord {
        status: JobStatus::Completed,
        client_id: Some(client_id("c1")),
        ..(*job).clone()
    })
}

/// Everything that streams of the job tell: of it alone, and of many. None: it is said to be absent.
async fn told(world: &World, caller: &Caller, cursor: Option<&str>) -> [Option<Vec<Seen>>; 2] {
    let id = job_id("j");
    let one = world.hub.watch_as(caller, &id, cursor);
    let many = world.hub.watch_many_as(caller, named(&["j"]), None);
    let (one, many) = tokio::join!(one, many);
    let rest = async |attached| match attached {
        Attached::Stream(watcher) => Some(Eyes(watcher).rest().await),
        Attached::Unknown => None,
        other => panic!("{}", name(&other)),
    };
    let (one, many) = tokio::join!(rest(one), rest(many));
    [one, many]
}

#[tokio::test(start_paused = true)]
async fn a_result_is_told_to_its_owner_however_long_triton_takes_to_say_whose_it_is() {
    for silent_for in [Duration::from_millis(700), Duration::from_mins(5)] {
        for cursor in [None, Some("0000abcd-3")] {
            let world = five_fields().await;
            assert!(Settings::default().record_lost_after < Duration::from_mins(5));
            world.triton.set_job(known_to_triton());
            world.triton.fail(ErrorKind::Timeout);
            if silent_for < Duration::from_secs(1) {
                world.triton.hang();
            }
            let triton = world.triton.clone();
            tokio::spawn(async move {
                tokio::time::sleep(silent_for).await;
                triton.heal();
            });
            let end = Timestamp::from_micros(i64::MAX);
            let owner = caller(&["c1"], end);
            let other = caller(&["c2"], end);
            let anybody = Caller::unrestricted();
            let (owner, other, anybody) = tokio::join!(
                told(&world, &owner, cursor),
                told(&world, &other, None),
                async {
                    // A caller who sees every job has nothing more to wait for.
                    let told = told(&world, &anybody, cursor);
                    let at_once = tokio::time::timeout(Duration::from_secs(1), told).await;
                    at_once.expect("the end is known")
                },
            );
            for seen in owner.iter().chain(&anybody) {
                let seen = seen.as_ref().expect("it isn't absent");
                let [.., end, closing] = &seen[..] else {
                    panic!("{seen:?}");
                };
                assert_eq!(data(end)["status"], "completed", "{seen:?}");
                let closing = format!("{closing:?}");
                assert!(closing.contains("Connection closing"), "{closing}");
            }
            assert!(other.iter().flatten().all(Vec::is_empty), "{other:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_of_which_no_one_knows_whose_it_is_is_told_to_those_who_see_all() {
    let world = five_fields().await;
    let restricted = caller(&["c1"], Timestamp::from_micros(i64::MAX));
    world.triton.hang();
    let triton = world.triton.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        triton.heal();
    });
    let anybody = Caller::unrestricted();
    let (all, restricted) = tokio::join!(
        told(&world, &anybody, None),
        told(&world, &restricted, None)
    );
    assert!(all.iter().all(Option::is_some));
    assert_eq!(restricted, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_not_absent_while_the_cache_is_out_of_reach() {
    for cursor in [None, Some("0000abcd-3")] {
        let world = five_fields().await;
        fail(&world, "result_cache.get");
        let error = world.lookup.job(&job_id("j")).await;
        let error = error.expect_err("the cache may have it");
        assert_eq!(error.operation(), "result_cache.get");
        let attached = world.hub.watch(&job_id("j"), cursor).await;
        assert_eq!(name(&attached), "Stream");
        let Attached::Stream(watcher) = attached else {
            unreachable!("it is a stream");
        };
        tokio::time::sleep(Settings::default().record_lost_after * 2).await;
        world.faults.fail_no_more();
        let seen = Eyes(watcher).rest().await;
        assert_eq!(ids(&seen)[0], "ended-0");
        assert_eq!(data(&seen[0])["status"], "completed");
        assert!(
            world
                .lookup
                .job(&job_id("j"))
                .await
                .expect("an answer")
                .is_some()
        );
    }
    let world = World::new();
    fail(&world, "result_cache.get");
    world.triton.set_job(known_to_triton());
    let found = world.lookup.job(&job_id("j")).await.expect("Triton knows");
    assert!(found.is_some());
}
