//! Streams of one job for callers who may see some clients' jobs only (I10): another tenant's job looks
//! absent, whatever is requested and whatever is down.

mod credentials;
mod lookups;
mod many;

use std::time::Duration;

use conch_domain::{Caller, JobStatus, Timestamp};
use conch_ports::ErrorKind;
use conch_services::mare::hub::{Attached, Next, Selection, Settings};

use crate::world::{Eyes, Seen, World, caller, data, ids, job_id, name};

const CLOSING: &str = ": Connection closing - job completed";

/// Who may see c1's jobs for longer than any test takes.
fn c1() -> Caller {
    caller(&["c1"], Timestamp::from_micros(i64::MAX))
}

async fn watch_as(world: &World, caller: &Caller, id: &str, cursor: Option<&str>) -> Eyes {
    match world.hub.watch_as(caller, &job_id(id), cursor).await {
        Attached::Stream(watcher) => Eyes(watcher),
        other => panic!("expected a stream, got {}", name(&other)),
    }
}

async fn many_as(world: &World, caller: &Caller, selection: Selection) -> Eyes {
    match world.hub.watch_many_as(caller, selection, None).await {
        Attached::Stream(watcher) => Eyes(watcher),
        other => panic!("expected a stream, got {}", name(&other)),
    }
}

/// Longer than anything is waited for, but a job that is to come.
const LONG: Duration = Duration::from_mins(5);

/// All that whoever attaches is told, heartbeats and the time in it left out.
pub(crate) async fn told(attached: Attached) -> (&'static str, Vec<Seen>) {
    let name = name(&attached);
    let (Attached::Stream(watcher) | Attached::Full(watcher)) = attached else {
        return (name, Vec::new());
    };
    let mut eyes = Eyes(watcher);
    let mut seen = Vec::new();
    let rest = async {
        loop {
            let (mut new, next) = eyes.look().await;
            seen.append(&mut new);
            if next == Next::End {
                break;
            }
        }
    };
    let ended = tokio::time::timeout(LONG, rest).await;
    seen.retain(|seen| !matches!(seen, Seen::Line(line) if line.starts_with(": keep-alive") || line.starts_with("retry:")));
    if ended.is_err() {
        seen.push(Seen::Line("goes on".to_owned()));
    }
    for event in &mut seen {
        if let Seen::Event(_, data) = event {
            data["timestamp"] = serde_json::Value::Null;
        }
    }
    (name, seen)
}

/// What is wrong with Triton while somebody attaches.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Triton {
    Answers,
    Fails,
    Hangs,
}

impl Triton {
    pub(crate) const ALL: [Self; 3] = [Self::Answers, Self::Fails, Self::Hangs];

    /// Puts a world in that state, from which it recovers after five seconds.
    pub(crate) fn befall(self, world: &World) {
        match self {
            Self::Answers => return,
            Self::Fails => world.triton.fail(ErrorKind::Unavailable),
            Self::Hangs => world.triton.hang(),
        }
        let triton = world.triton.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            triton.heal();
        });
    }
}

/// A world in which j, if it is there at all, is c2's and has ended or not.
async fn world(foreign: Option<JobStatus>) -> World {
    let world = World::new();
    if let Some(status) = foreign {
        let mut job = world.job_of("j", "c2");
        job.start().await;
        if status.is_terminal() {
            job.complete().await;
        }
        world.triton.set_job(job.job.clone());
        // Its own client watches it, so its topic is there.
        let mut theirs = world.watch("j", None).await;
        theirs.events(1).await;
        tokio::spawn(async move { while theirs.frames().await.1 == Next::More {} });
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_foreign_job_is_that_of_an_absent_one() {
    for triton in Triton::ALL {
        for cursor in [
            None,
            Some("nonsense"),
            Some("0000abcd-1"),
            // The end of the foreign job.
            Some("0000abcd-3"),
            Some("0000abcd-99"),
            Some("lost-0"),
        ] {
            let mut answers = Vec::new();
            for job in [None, Some(JobStatus::Running), Some(JobStatus::Completed)] {
                let world = world(job).await;
                triton.befall(&world);
                let attached = world.hub.watch_as(&c1(), &job_id("j"), cursor).await;
                answers.push(told(attached).await);
            }
            let absent = &answers[0];
            for foreign in &answers[1..] {
                assert_eq!(foreign, absent, "{triton:?} {cursor:?}");
            }
            let lost = absent.1.iter().any(|seen| matches!(seen, Seen::Event(id, data) if id == "lost-0" && data["job_id"] == "j"));
            assert_eq!(
                lost,
                cursor.is_some_and(|c| c.starts_with("0000")),
                "{absent:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ones_own_job_is_there_as_ever() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = watch_as(&world, &c1(), "j", None).await;
    assert_eq!(ids(&eyes.events(2).await), ["0000abcd-1", "0000abcd-2"]);
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
    let nobody = caller(&[], Timestamp::from_micros(i64::MAX));
    let attached = world.hub.watch_as(&nobody, &job_id("j"), None).await;
    assert_eq!(name(&attached), "Unknown");
}

/// Both stores are down when somebody attaches, so that nothing is known of the job until later.
#[tokio::test(start_paused = true)]
async fn a_job_that_becomes_known_later_is_looked_at_then() {
    for (client, cursor) in [
        ("c1", None),
        ("c2", None),
        ("c2", Some("0000abcd-1")),
        ("c2", Some("nonsense")),
    ] {
        let world = World::new();
        let mut job = world.job_of("j", client);
        job.start().await;
        world.triton.fail(ErrorKind::Unavailable);
        world.fail_reads(10);
        let mut eyes = watch_as(&world, &c1(), "j", cursor).await;
        world.triton.heal();
        if client == "c1" {
            assert_eq!(ids(&eyes.events(2).await), ["0000abcd-1", "0000abcd-2"]);
            continue;
        }
        let begun = tokio::time::Instant::now();
        let rest = eyes.rest().await;
        if cursor == Some("0000abcd-1") {
            assert_eq!(ids(&rest)[0], "lost-0", "{rest:?}");
            assert_eq!(data(&rest[0])["job_id"], "j");
            assert_eq!(data(&rest[0])["client_id"], serde_json::Value::Null);
            assert!(begun.elapsed() >= Settings::default().record_lost_after);
        } else {
            assert_eq!(
                rest,
                [],
                "it ends, and the reconnect is told that there is none"
            );
        }
    }
}

/// The log can be read again in the moment in which somebody has waited long enough. Whether it is
/// then read before the stream begins is left to chance, hence the rounds.
#[tokio::test(start_paused = true)]
async fn a_job_that_becomes_known_in_the_last_moment_of_attaching_is_looked_at_too() {
    for _ in 0..20 {
        let world = World::new();
        let mut job = world.job_of("j", "c2");
        job.start().await;
        job.complete().await;
        world.triton.hang();
        world.fail_reads(1000);
        let faults = world.memory.faults();
        tokio::spawn(async move {
            let patience = Settings::default().attach_patience;
            tokio::time::sleep(patience.mul_f64(0.999)).await;
            faults.fail_no_more();
        });
        let at_its_end = Some("0000abcd-3");
        let attached = world.hub.watch_as(&c1(), &job_id("j"), at_its_end).await;
        assert_eq!(name(&attached), "Stream", "as for an absent one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_begins_anew_as_another_client_s_is_hidden() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = watch_as(&world, &c1(), "j", None).await;
    eyes.events(2).await;
    let mut theirs = world.watch("j", None).await;
    theirs.events(2).await;
    world.faults.wipe();
    let mut usurper = world.job_of("j", "c2");
    usurper
        .begin_again("0000ffff", crate::world::queued())
        .await;
    assert_eq!(data(&theirs.events(1).await[0])["client_id"], "c2");
    usurper.append(crate::world::started()).await;
    usurper.complete().await;
    let rest = eyes.rest().await;
    assert_eq!(ids(&rest)[0], "lost-0", "{rest:?}");
    assert!(!format!("{rest:?}").contains("c2"), "{rest:?}");
}
