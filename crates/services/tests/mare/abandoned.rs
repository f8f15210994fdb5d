//! Jobs that nobody works at for so long that their logs run out: they wait, and whoever comes at last
//! ends them, so that everybody who watches learns of it.

use std::sync::Arc;
use std::time::Duration;

use conch_conformance::build;
use conch_domain::JobId;
use conch_ports::{MockTemplateGenerator, NewJob, Requested};
use conch_services::mare::hub::Selection;
use conch_services::triton::submit::Submit;
use conch_services::worker::{Dependencies, Settings};
use tokio_util::sync::CancellationToken;

use crate::world::{Seen, World, data, ids, named};

/// The store in memory forgets an unfinished log after seven.
const EIGHT_DAYS: Duration = Duration::from_hours(8 * 24);
const CLOSING: &str = ": Connection closing - job failed";

async fn submitted(world: &World) -> JobId {
    let catalogue = world.memory.catalogue();
    let client = build::client("health plans", 0);
    catalogue
        .create_client(&client)
        .await
        .expect("the store answers");
    let value_proposition = build::value_proposition(&client.id, 0);
    let added = catalogue.add_value_proposition(&value_proposition).await;
    assert!(added.expect("the store answers"));
    let submit = Submit::new(world.memory.queue(), catalogue, Arc::clone(&world.clock));
    let new = NewJob {
        client_id: client.id,
        value_proposition_id: None,
        schedule: conch_domain::Schedule::default(),
        idempotency_key: None,
    };
    match submit
        .submit(new, "somebody")
        .await
        .expect("the store answers")
    {
        Requested::Accepted(job) | Requested::Repeated(job) => {
            world.triton.set_job((*job).clone());
            job.id.clone()
        }
        refused => panic!("{refused:?}"),
    }
}

async fn status(world: &World, id: &JobId) -> String {
    let bytes = world
        .lookup
        .job(id)
        .await
        .expect("the store answers")
        .expect("it is known");
    let job: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    job["status"].as_str().expect("a status").to_owned()
}

/// What must come now that a worker is there.
async fn soon(seen: impl Future<Output = Vec<Seen>>) -> Vec<Seen> {
    let in_time = tokio::time::timeout(Duration::from_mins(1), seen).await;
    in_time.expect("who watches is told")
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_comes_after_the_log_has_run_out_ends_the_job_for_all_who_watch() {
    let world = World::new();
    let id = submitted(&world).await;
    let mut one = world.watch(id.as_str(), None).await;
    let mut naming = world.watch_many(named(&[id.as_str()]), None).await;
    let mut open = world.watch_many(Selection::default(), None).await;
    for eyes in [&mut one, &mut naming, &mut open] {
        let seen = eyes.events(1).await;
        assert_eq!(data(&seen[0])["status"], "pending");
    }

    tokio::time::advance(EIGHT_DAYS).await;
    let log = world
        .memory
        .log()
        .read(&id, 0, 0)
        .await
        .expect("the store answers");
    assert!(log.is_none(), "it has run out");
    for eyes in [&mut one, &mut naming, &mut open] {
        assert_eq!(eyes.until_idle().await, [], "all there is to do is wait");
    }
    assert_eq!(status(&world, &id).await, "pending");

    // The job's time is up: there is nothing to ask a generator for.
    let mut generator = MockTemplateGenerator::new();
    generator.expect_generate().never();
    let worker = Settings::default().build(Dependencies {
        log: world.memory.log(),
        queue: world.memory.queue(),
        catalogue: world.memory.catalogue(),
        generator: Arc::new(generator),
        clock: Arc::clone(&world.clock),
    });
    let shutdown = CancellationToken::new();
    let signals = world.memory.bus().subscribe();
    let worker = tokio::spawn(worker.run(signals, shutdown.clone()));

    let seen = soon(one.rest()).await;
    let [end, close] = &seen[..] else {
        panic!("expected where it stands now, and the close: {seen:?}");
    };
    let end = data(end);
    assert_eq!(end["event_type"], "job:snapshot", "in an epoch of its own");
    assert_eq!(
        (&end["reset"], &end["status"]),
        (&true.into(), &"failed".into())
    );
    let message = end["error_message"].as_str().expect("a reason");
    assert!(message.contains("deadline"), "{message}");
    assert_eq!(ids(std::slice::from_ref(close)), [CLOSING]);

    for (name, seen) in [
        ("one that names it", soon(naming.rest()).await),
        ("one that names none", soon(open.events(1)).await),
    ] {
        let last = seen.iter().rfind(|seen| matches!(seen, Seen::Event(..)));
        assert_eq!(data(last.expect(name))["status"], "failed", "{name}");
    }
    assert_eq!(status(&world, &id).await, "failed");
    let record = world
        .memory
        .catalogue()
        .job(&id)
        .await
        .expect("the store answers");
    assert!(record.expect("it is kept").status.is_terminal());
    assert_eq!(
        world
            .memory
            .queue()
            .next_due()
            .await
            .expect("the store answers"),
        None
    );
    shutdown.cancel();
    worker.await.expect("a worker doesn't panic");
}
