//! Lookups of another tenant's job while not everyone who is asked for it answers: as of an absent job,
//! errors included (I10).

use conch_domain::{Clients, JobStatus};
use conch_memory::When;
use conch_ports::{ErrorKind, ResultCache};

use crate::world::{World, client_id, job_id};

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
        let failed = conch_domain::Job::restore(conch_domain::JobRecord {
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
async fn whoever_is_down_shows_as_it_does_for_an_absent_job() {
    for down in [
        Down::Nothing,
        Down::Triton(ErrorKind::Unavailable),
        Down::Triton(ErrorKind::Timeout),
        Down::Log,
    ] {
        let mut absent = None;
        for is in [Is::Absent, Is::Unfinished, Is::Failed, Is::KeptHere] {
            let world = world(is).await;
            match down {
                Down::Nothing => {}
                Down::Triton(kind) => world.triton.fail(kind),
                Down::Log => {
                    let (kind, when) = (ErrorKind::Unavailable, When::Before);
                    world.faults.fail_next("event_bus.read", 100, kind, when);
                }
            }
            let found = world.lookup.job_seen_by(&c1(), &job_id("j")).await;
            let found = found.map_err(|error| error.to_string());
            let absent = absent.get_or_insert_with(|| found.clone());
            assert_eq!(found, *absent, "{is:?}, {down:?}");
            assert_eq!(found.is_ok(), matches!(down, Down::Nothing), "{down:?}");
        }
    }
}
