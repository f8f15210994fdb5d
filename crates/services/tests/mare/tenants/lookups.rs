//! Lookups for callers who may see some clients' jobs only: another tenant's record is answered as an
//! absent one, after the same queries.

use conch_domain::{Job, JobStatus};
use conch_ports::{Document, ResultCache};
use conch_services::mare::access::Access;
use conch_services::mare::lookup::Events;
use conch_services::mare::submissions::SubmissionRate;

use super::{Triton, c1, world};
use crate::world::{World, client_id, job_id};

#[tokio::test(start_paused = true)]
async fn a_lookup_of_another_tenants_job_is_that_of_an_absent_one() {
    for triton in Triton::ALL {
        let mut answers = Vec::new();
        for foreign in [None, Some(JobStatus::Running), Some(JobStatus::Completed)] {
            let world = world(foreign).await;
            triton.befall(&world);
            let clients = c1().clients().clone();
            let job = world.lookup.job_seen_by(&clients, &job_id("j")).await;
            let events = world.lookup.events_seen_by(&clients, &job_id("j"), 0).await;
            answers.push((
                job.map_err(|e| e.to_string()),
                events.map_err(|e| e.to_string()),
            ));
        }
        assert_eq!(answers[1], answers[0], "{triton:?}");
        assert_eq!(answers[2], answers[0], "{triton:?}");
        if !matches!(triton, Triton::Fails) {
            assert_eq!(answers[0], (Ok(None), Ok(Events::Unknown)));
        }
    }
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    job.complete().await;
    let clients = c1().clients().clone();
    let found = world.lookup.job_seen_by(&clients, &job_id("j")).await;
    assert!(found.expect("an answer").is_some());
    let events = world.lookup.events_seen_by(&clients, &job_id("j"), 0).await;
    assert!(matches!(events.expect("an answer"), Events::Kept(lines) if lines.len() == 3));
}

/// What the store and Triton are asked for each of these, as often as it is asked.
fn asked(world: &World) -> [u64; 4] {
    [
        world.faults.calls("result_cache.get"),
        world.faults.calls("job_log.read"),
        world.triton.calls("job"),
        world.triton.calls("template"),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_another_tenant_s_record_is_what_is_asked_for_an_absent_one() {
    #[derive(Debug, Clone, Copy)]
    enum Is {
        Absent,
        InItsLog,
        InTheCache,
        KeptHere,
        KnownToTriton,
    }
    for is in [
        Is::InItsLog,
        Is::InTheCache,
        Is::KeptHere,
        Is::KnownToTriton,
        Is::Absent,
    ] {
        let world = World::new();
        let mut job = world.job_of("j", "c2");
        match is {
            Is::Absent => {}
            Is::InItsLog => job.start().await,
            Is::InTheCache | Is::KeptHere => {
                job.start().await;
                job.complete().await;
            }
            Is::KnownToTriton => world.triton.set_job({
                let other = world.job_of("other", "c2");
                let mut known = (*other.job).clone();
                known.id = job_id("j");
                known.client_id = Some(client_id("c2"));
                Job::restore(known)
            }),
        }
        world.has_heard().await;
        if matches!(is, Is::KeptHere) {
            let found = world.lookup.job(&job_id("j")).await;
            assert!(found.expect("an answer").is_some());
        }
        let clients = c1().clients().clone();
        let before = asked(&world);
        let found = world.lookup.job_seen_by(&clients, &job_id("j")).await;
        assert_eq!(found.expect("an answer"), None);
        let after_job = asked(&world);
        let events = world.lookup.events_seen_by(&clients, &job_id("j"), 0).await;
        assert_eq!(events.expect("an answer"), Events::Unknown);
        let after_events = asked(&world);
        let diff = |a: [u64; 4], b: [u64; 4]| std::array::from_fn(|i| b[i] - a[i]);
        let of_the_job: [u64; 4] = diff(before, after_job);
        let of_the_events: [u64; 4] = diff(after_job, after_events);
        assert_eq!(of_the_job, [1, 1, 1, 0], "{is:?}");
        assert_eq!(of_the_events, [0, 1, 1, 0], "{is:?}");
    }
    let world = World::new();
    let access = Access::new(world.triton.clone(), SubmissionRate::unlimited());
    let theirs = Document::from_json(r#"{"id":"t1","client_id":"c2"}"#);
    world
        .triton
        .set_template("t1".parse().expect("an id"), theirs);
    for id in ["t1", "absent"] {
        let before = asked(&world);
        let found = access.template(&c1(), &id.parse().expect("an id")).await;
        assert_eq!(found.expect("an answer"), None);
        assert_eq!(asked(&world)[3], before[3] + 1, "{id}");
    }
}

/// The Python edge caches five fields, and not whose the job is.
#[tokio::test(start_paused = true)]
async fn a_cached_result_that_does_not_say_whose_it_is_is_looked_into_further() {
    for (client, seen) in [("c1", true), ("c2", false)] {
        let world = World::new();
        let mut job = world.job_of("j", client);
        job.start().await;
        let five = r#"{"job_id":"j","status":"completed","template_ids":[],"template_count":0,"generation_duration_ms":1}"#;
        let put = world.memory.put(&job_id("j"), five.into()).await;
        put.expect("memory answers");
        let clients = c1().clients().clone();
        for _ in 0..2 {
            let found = world.lookup.job_seen_by(&clients, &job_id("j")).await;
            assert_eq!(found.expect("an answer").is_some(), seen, "{client}");
        }
    }
}
