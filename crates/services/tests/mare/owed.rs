//! Jobs whose events found no room in the backlog: what became of them is asked once their turn comes,
//! also when the store is out of reach then.

use std::time::Duration;

use conch_domain::{Job, JobRecord, JobStatus};
use conch_doubles::When;
use conch_ports::ErrorKind;
use serde_json::json;

use crate::world::{MAX_EVENT_BYTES, World, job_id};

/// Events of nearly [`MAX_EVENT_BYTES`] that find room in a job's mebibyte.
const THAT_FIT: usize = 16;

/// A world whose job `f` has completed, which Triton knows. None of its events came into its log, and its
/// end found no room. The store then fails `failures` more reads, the first of them at the owed job's turn.
async fn owed(failures: usize) -> World {
    let world = World::new();
    let pause = Duration::from_millis(10);
    tokio::time::sleep(pause).await;
    let initial = Job::initial(job_id("f"), "0000abcd".parse().expect("an epoch"), false);
    world.triton.set_job(Job::restore(JobRecord {
        status: JobStatus::Completed,
        ..(*initial).clone()
    }));
    let fail = |calls, kind| {
        world
            .faults
            .fail_next("job_log.read", calls, kind, When::Before);
    };
    // The first event is offered again after at least 50 ms; the others wait meanwhile.
    fail(1, ErrorKind::Unavailable);
    fail(1 + THAT_FIT, ErrorKind::Refused);
    fail(failures, ErrorKind::Unavailable);
    let say = |event: serde_json::Value| world.faults.announce_raw(event.to_string());
    say(json!({"event_type":"job:started","job_id":"f"}));
    tokio::time::sleep(pause).await;
    let large = "x".repeat(MAX_EVENT_BYTES - 1000);
    for _ in 0..=THAT_FIT {
        say(json!({"event_type":"job:started","job_id":"f","extra":large}));
    }
    say(json!({"event_type":"job:completed","job_id":"f","extra":large}));
    tokio::time::sleep(pause).await;
    assert_eq!(world.faults.calls("job_log.read"), 1, "the others wait");
    world
}

async fn status(world: &World) -> Option<JobStatus> {
    let log = world.memory.log().read(&job_id("f"), 0, 0).await;
    log.expect("memory answers").map(|log| log.job.status)
}

#[tokio::test(start_paused = true)]
async fn an_owed_job_is_asked_about_once_the_store_is_back() {
    let world = owed(5).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let calls = world.faults.calls("job_log.read");
    assert!(calls > 1 + 1 + THAT_FIT as u64 + 5, "{calls} reads");
    assert_eq!(status(&world).await, Some(JobStatus::Completed));
    assert_eq!(world.triton.calls("job"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_given_up() {
    let world = owed(1000).await;
    tokio::time::sleep(Duration::from_mins(2)).await;
    let calls = world.faults.calls("job_log.read");
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(world.faults.calls("job_log.read"), calls);
    assert!(
        (10..40).contains(&(calls - 2 - THAT_FIT as u64)),
        "{calls} reads"
    );
    assert_eq!(world.triton.total_calls(), 0, "the log is read first");
}

/// The tasks that would wait for it are those that offer all external events.
#[tokio::test(start_paused = true)]
async fn triton_is_asked_about_an_owed_job_once() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Timeout] {
        let world = owed(0).await;
        world.triton.fail(kind);
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!(world.triton.calls("job"), 1, "{kind:?}");
        assert_eq!(status(&world).await, None);
    }
}
