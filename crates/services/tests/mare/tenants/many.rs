//! Streams of many jobs for callers who may see some clients' jobs only: other tenants' jobs leave no trace.

use std::time::Duration;

use conch_domain::{Caller, EventKind, Identity, JobStatus, Timestamp};
use conch_services::mare::hub::Selection;
use futures::FutureExt;

use super::{Triton, c1, many_as, told, world};
use crate::world::{Seen, World, Writer, caller, client_id, clock, data, ids, job_id, name, named};

/// A job of c1's and one of c2's, both running and known to Triton.
async fn two_tenants() -> (World, [Writer; 2]) {
    let world = World::new();
    let mut jobs = [world.job("ours"), world.job_of("theirs", "c2")];
    for job in &mut jobs {
        job.start().await;
        world.triton.set_job(job.job.clone());
    }
    (world, jobs)
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_many_shows_ones_own_jobs_and_no_others() {
    let (world, [mut ours, mut theirs]) = two_tenants().await;
    let everything = many_as(&world, &c1(), Selection::default()).await;
    let of_both = Selection {
        job_ids: Vec::new(),
        client_ids: vec![client_id("c1"), client_id("c2")],
    };
    let of_both = many_as(&world, &c1(), of_both).await;
    let of_another = Selection {
        job_ids: Vec::new(),
        client_ids: vec![client_id("c2")],
    };
    let mut nothing = many_as(&world, &c1(), of_another).await;
    // One who sees all of them holds all of their topics.
    let mut all = many_as(&world, &Caller::unrestricted(), Selection::default()).await;
    all.events(2).await;
    let mut eyes = [everything, of_both];
    for eye in &mut eyes {
        let begun = eye.events(1).await;
        assert_eq!(data(&begun[0])["job_id"], "ours");
    }
    theirs.progress(10).await;
    let mut new = world.job_of("new", "c2");
    new.start().await;
    all.events(2).await;
    ours.progress(20).await;
    theirs.complete().await;
    ours.complete().await;
    for eye in &mut eyes {
        let seen = eye.events(2).await;
        assert!(seen.iter().all(|s| data(s)["job_id"] == "ours"), "{seen:?}");
        assert_eq!(data(&seen[1])["event_type"], "job:completed");
    }
    nothing.frames().await;
    assert_eq!(nothing.frames().await.0, [": keep-alive\n"]);
}

#[tokio::test(start_paused = true)]
async fn an_id_on_a_stream_over_many_tells_nothing_of_others_events() {
    let world = World::new();
    let mut all = many_as(&world, &Caller::unrestricted(), Selection::default()).await;
    let mut eyes = many_as(&world, &c1(), Selection::default()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let event = |job: &str, client: &str, second: &str| {
        format!(
            r#"{{"event_type":"data:x","job_id":"{job}","client_id":"{client}","timestamp":"2027-01-15T08:00:{second}"}}"#
        )
    };
    world.faults.announce_raw(event("f", "c2", "04.5"));
    let theirs = ids(&all.events(1).await)[0].clone();
    assert_eq!(theirs, "m-1800000004500");
    // Of an earlier moment, but heard of later.
    world.faults.announce_raw(event("g", "c1", "01"));
    let seen = eyes.events(1).await;
    assert_eq!(ids(&seen), ["m-1800000001000"], "the moment of its own");
}

/// Others were so busy that the stream has to begin again: its states are given under what it had
/// before.
#[tokio::test(start_paused = true)]
async fn nor_does_one_that_begins_again() {
    let world = World::new();
    let mut theirs = ["x", "y", "z"].map(|id| world.job_of(id, "c2"));
    let mut ours = ["one", "other"].map(|id| world.job(id));
    for job in ours.iter_mut().chain(&mut theirs) {
        job.start().await;
        world.triton.set_job(job.job.clone());
    }
    let mut eyes = many_as(&world, &c1(), Selection::default()).await;
    eyes.events(2).await;
    let before = tokio::time::Instant::now();
    let begun = clock()().as_millis();
    for round in 0..1500_u32 {
        tokio::time::advance(Duration::from_millis(1)).await;
        for job in &mut theirs {
            let kind = EventKind::TemplateFailed {
                template_index: round,
                total_templates: 7,
                error_message: "x".to_owned(),
            };
            job.append(kind).await;
            tokio::task::yield_now().await;
        }
        if round < 10 {
            let looked = eyes.frames().now_or_never();
            assert!(looked.is_none(), "it is none of its business");
        }
    }
    assert!(before.elapsed() > Duration::from_secs(1));
    let states = eyes.events(2).await;
    assert!(
        states
            .iter()
            .all(|s| data(s)["event_type"] == "job:snapshot")
    );
    assert_eq!(ids(&states)[0], format!("m-{begun}"), "{states:?}");
}

#[tokio::test(start_paused = true)]
async fn naming_another_tenants_job_is_naming_an_unknown_one() {
    for triton in Triton::ALL {
        for with in [&["j"][..], &["j", "ours"]] {
            let mut answers = Vec::new();
            for foreign in [None, Some(JobStatus::Running), Some(JobStatus::Completed)] {
                let world = world(foreign).await;
                let mut ours = world.job("ours");
                ours.start().await;
                ours.complete().await;
                triton.befall(&world);
                let attached = world.hub.watch_many_as(&c1(), named(with), None).await;
                let (name, mut seen) = told(attached).await;
                for seen in &mut seen {
                    if let Seen::Event(id, data) = seen {
                        "m".clone_into(id);
                        data["created_at"] = serde_json::Value::Null;
                    }
                }
                answers.push((name, seen));
            }
            assert_eq!(answers[1], answers[0], "{triton:?} {with:?}");
            assert_eq!(answers[2], answers[0], "{triton:?} {with:?}");
        }
    }
}

/// What is asked in place of a hidden job is asked for the one who named it.
#[tokio::test(start_paused = true)]
async fn naming_another_s_jobs_spends_ones_own_questions() {
    let world = World::new();
    let [ours, theirs] = ["c1", "c2"].map(|client| {
        let identity = Identity {
            issuer: "i".to_owned(),
            subject: client.to_owned(),
        };
        let is_theirs = caller(&[client], Timestamp::from_micros(i64::MAX));
        let (clients, scopes) = (is_theirs.clients().clone(), is_theirs.scopes());
        Caller::new(identity, clients, scopes, Timestamp::from_micros(i64::MAX))
    });
    let ids: Vec<String> = (0..150).map(|n| format!("j{n}")).collect();
    for id in &ids {
        world.job_of(id, "c2").start().await;
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let _watched = many_as(&world, &theirs, named(&ids)).await;
    let asking = async |caller: &Caller, id: &str| {
        let begun = tokio::time::Instant::now();
        let attached = world.hub.watch_as(caller, &job_id(id), None).await;
        assert_eq!(name(&attached), "Unknown");
        begun.elapsed()
    };
    let attached = world.hub.watch_many_as(&ours, named(&ids), None).await;
    assert_ne!(name(&attached), "Full");
    assert!(asking(&theirs, "absent").await.is_zero());
    assert!(!asking(&ours, "absent-too").await.is_zero());
}

#[tokio::test(start_paused = true)]
async fn the_loss_of_another_tenants_record_is_not_told() {
    let (world, _jobs) = two_tenants().await;
    let mut eyes = many_as(&world, &c1(), Selection::default()).await;
    let mut all = many_as(&world, &Caller::unrestricted(), Selection::default()).await;
    eyes.events(1).await;
    all.events(2).await;
    world.faults.wipe();
    for id in ["ours", "theirs"] {
        world.triton.forget_job(&job_id(id));
    }
    let lost = all.events(2).await;
    assert!(lost.iter().all(|s| data(s)["error_code"] == "record-lost"));
    let seen = eyes.events(1).await;
    assert_eq!(data(&seen[0])["job_id"], "ours");
    // The other's came before or after: either way nothing but heartbeats is left.
    assert_eq!(eyes.frames().await.0, [": keep-alive\n"]);
}
