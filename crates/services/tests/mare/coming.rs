//! Streams that name jobs which don't exist yet, or never will: such a job is taken up when it comes,
//! the stream ends when all have ended, and ids that nobody has cost little.

use std::time::Duration;

use conch_domain::{Caller, Job, JobRecord, JobStatus};
use conch_services::mare::hub::{Attached, Selection, Settings};
use tokio::time::Instant;

use crate::world::{
    Eyes, POSITION_CHECK, Seen, World, caller, data, ids, job_id, name, named, queued, told,
};

const END: &str = "m-253402300799999";
const CLOSING: &str = ": Connection closing - all jobs ended";

/// One job that runs; the stream names another one, too, that comes later.
async fn one_is_there() -> (World, crate::world::Writer, Eyes) {
    let world = World::new();
    let mut here = world.job("here");
    here.start().await;
    let mut eyes = world.watch_many(named(&["here", "later"]), None).await;
    assert_eq!(told(&eyes.until_idle().await), ["here job:snapshot 2"]);
    (world, here, eyes)
}

fn is_the_end(seen: &[Seen], last: &str) {
    let (closing, events) = seen.split_last().expect("the end is told");
    assert_eq!(*closing, Seen::Line(CLOSING.to_owned()));
    assert_eq!(told(events).last().map(String::as_str), Some(last));
    assert_eq!(ids(events).last().map(String::as_str), Some(END));
}

#[tokio::test(start_paused = true)]
async fn a_named_job_that_comes_later_is_taken_up_and_the_stream_ends_with_the_last() {
    let (world, mut here, mut eyes) = one_is_there().await;
    let names = named(&["here", "later"]);
    here.complete().await;
    let seen = eyes.until_idle().await;
    assert_eq!(told(&seen), ["here job:completed 3"]);
    assert_ne!(ids(&seen), [END], "one is to come");
    // A reconnect isn't told that it is over, either.
    let mut back = world.watch_many(names.clone(), Some(&ids(&seen)[0])).await;
    assert_eq!(told(&back.until_idle().await), ["here job:snapshot 3"]);

    let begun = Instant::now();
    let mut later = world.job("later");
    later.append(queued()).await;
    assert_eq!(told(&eyes.events(1).await), ["later job:snapshot 1"]);
    assert!(
        begun.elapsed() < Duration::from_millis(100),
        "{:?}",
        begun.elapsed()
    );
    later.append(crate::world::started()).await;
    assert_eq!(told(&eyes.events(1).await), ["later job:started 2"]);
    later.complete().await;
    is_the_end(&eyes.rest().await, "later job:completed 3");
    // This one looks only now.
    is_the_end(&back.rest().await, "later job:snapshot 3");
    let again = world.hub.watch_many(names, Some(END)).await;
    assert_eq!(name(&again), "Ended");
}

#[tokio::test(start_paused = true)]
async fn it_is_found_though_its_announcements_are_lost() {
    let (world, mut here, mut eyes) = one_is_there().await;
    world.faults.lose_announcements(|_, _| true);
    let mut later = world.job("later");
    later.append(queued()).await;
    let begun = Instant::now();
    assert_eq!(told(&eyes.events(1).await), ["later job:snapshot 1"]);
    assert!(begun.elapsed() <= POSITION_CHECK);
    later.complete().await;
    here.complete().await;
    let seen = eyes.rest().await;
    assert_eq!(ids(&seen)[seen.len() - 2..], [END, CLOSING]);
}

#[tokio::test(start_paused = true)]
async fn it_is_found_when_only_triton_knows_of_it() {
    let (world, _here, mut eyes) = one_is_there().await;
    let initial = Job::initial(
        job_id("later"),
        "00000000".parse().expect("an epoch"),
        false,
    );
    world.triton.set_job(Job::restore(JobRecord {
        status: JobStatus::Running,
        ..(*initial).clone()
    }));
    let begun = Instant::now();
    let seen = eyes.events(1).await;
    assert_eq!(data(&seen[0])["job_id"], "later");
    assert!(begun.elapsed() <= POSITION_CHECK);
}

#[tokio::test(start_paused = true)]
async fn one_who_asks_for_a_job_that_others_wait_for_is_answered_anew() {
    let (world, _here, _eyes) = one_is_there().await;
    let attached = world.hub.watch(&job_id("later"), None).await;
    assert_eq!(name(&attached), "Unknown");
    world.faults.lose_announcements(|_, _| true);
    world.job("later").append(queued()).await;
    let seen = world.watch("later", None).await.events(1).await;
    assert_eq!(data(&seen[0])["event_type"], "job:queued");
}

#[tokio::test(start_paused = true)]
async fn another_tenant_s_job_that_comes_later_never_comes() {
    let world = World::new();
    let mut ours = world.job("ours");
    ours.start().await;
    let caller = caller(&["c1"], (world.clock)().plus_millis(3_600_000));
    let names = named(&["ours", "theirs", "absent"]);
    let attached = world.hub.watch_many_as(&caller, names, None).await;
    let Attached::Stream(watcher) = attached else {
        panic!("expected a stream, got {}", name(&attached));
    };
    let mut eyes = Eyes(watcher);
    assert_eq!(told(&eyes.until_idle().await), ["ours job:snapshot 2"]);
    let mut theirs = world.job_of("theirs", "c2");
    theirs.start().await;
    theirs.complete().await;
    assert!(eyes.until_idle().await.is_empty());
    ours.complete().await;
    assert_eq!(told(&eyes.until_idle().await), ["ours job:completed 3"]);
    assert!(
        eyes.until_idle().await.is_empty(),
        "both are to come, for all they know"
    );
}

/// So many ids that nobody has, and one that somebody does.
fn made_up(count: usize, mark: &str) -> Selection {
    let ids: Vec<String> = (0..count).map(|n| format!("{mark}-{n}")).collect();
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ids.push("here");
    named(&ids)
}

fn anybody() -> Caller {
    Caller::unrestricted().from_peer("10.0.0.1".parse().expect("an address"))
}

#[tokio::test(start_paused = true)]
async fn ids_that_nobody_has_cost_one_look_and_a_bounded_number_of_questions() {
    let world = World::with_a_distant_store(conch_memory::Settings::default());
    world.job("here").start().await;
    // The first part of the position check has been, with nothing to look for.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let count = |what| world.faults.calls(what);
    let begun = Instant::now();
    let attached = world
        .hub
        .watch_many_as(&anybody(), made_up(900, "absent"), None)
        .await;
    let Attached::Stream(watcher) = attached else {
        panic!("expected a stream, got {}", name(&attached));
    };
    let mut eyes = Eyes(watcher);
    assert_eq!(told(&eyes.events(1).await), ["here job:snapshot 2"]);
    assert!(begun.elapsed() <= Settings::default().attach_patience);
    assert_eq!(count("job_log.positions"), 2, "500 at a time");
    assert_eq!(count("job_log.read"), 1, "that of the one that is there");
    // A hundred, and twenty for each second.
    assert!(
        world.triton.calls("job") <= 140,
        "{}",
        world.triton.calls("job")
    );
    assert!(count("result_cache.get") <= 140);
    // Once all are known to be absent nothing is asked of them one by one.
    tokio::time::sleep(Duration::from_mins(2)).await;
    let (asked, read) = (world.triton.calls("job"), count("job_log.read"));
    assert!(asked <= 901, "{asked}");
    tokio::time::sleep(POSITION_CHECK * 6).await;
    assert_eq!(world.triton.calls("job"), asked);
    assert_eq!(
        count("job_log.read"),
        read,
        "nor the log of the one that is there"
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_names_so_many_jobs_and_others_have_room() {
    let world = World::new();
    world.job("here").start().await;
    let mut let_in = Vec::new();
    for n in 0..100 {
        let selection = made_up(900, &format!("s{n}"));
        let attached = world.hub.watch_many_as(&anybody(), selection, None).await;
        match attached {
            Attached::Stream(watcher) => let_in.push(watcher),
            other => {
                assert_eq!(name(&other), "Full");
                let Attached::Full(watcher) = other else {
                    unreachable!()
                };
                let seen = Eyes(watcher).frames().await.0;
                assert!(seen[0].starts_with(b"retry: "), "{seen:?}");
            }
        }
    }
    assert_eq!(let_in.len(), 5, "of 900 each, where 5,000 may be named");
    assert!(world.hub.topics() <= 5_001);
    // One more stream of what is named already is no more.
    let again = world.hub.watch_as(&anybody(), &job_id("here"), None).await;
    assert_eq!(name(&again), "Stream");
    // There is room for another one, but its question hasn't had its turn yet.
    let more = world.hub.watch_as(&anybody(), &job_id("more"), None).await;
    assert_eq!(name(&more), "Stream");
    let somebody = Caller::unrestricted().from_peer("10.0.0.2".parse().expect("an address"));
    let other = world
        .hub
        .watch_many_as(&somebody, made_up(900, "o"), None)
        .await;
    assert_eq!(name(&other), "Stream");
    drop(let_in);
    let freed = world
        .hub
        .watch_many_as(&anybody(), made_up(900, "f"), None)
        .await;
    assert_eq!(name(&freed), "Stream");
}

/// Both name a job that only Triton knows; the first has used up its questions.
#[tokio::test(start_paused = true)]
async fn a_caller_with_questions_left_does_not_wait_for_an_earlier_caller() {
    let world = World::new();
    let initial = Job::initial(job_id("gone"), "00000000".parse().expect("an epoch"), true);
    world.triton.set_job(Job::restore(JobRecord {
        status: JobStatus::Completed,
        ..(*initial).clone()
    }));
    let mut jobs = made_up(900, "s");
    jobs.job_ids.push(job_id("gone"));
    let first = world.hub.watch_many_as(&anybody(), jobs, None).await;
    assert_eq!(name(&first), "Stream");
    let begun = Instant::now();
    let somebody = Caller::unrestricted().from_peer("10.0.0.2".parse().expect("an address"));
    let attached = world.hub.watch_as(&somebody, &job_id("gone"), None).await;
    let Attached::Stream(watcher) = attached else {
        panic!("expected a stream, got {}", name(&attached));
    };
    let rest = Eyes(watcher).rest().await;
    assert_eq!(data(&rest[rest.len() - 2])["status"], "completed");
    assert!(begun.elapsed() < Duration::from_secs(1), "{rest:?}");
}

fn from(peer: &str) -> Caller {
    Caller::unrestricted().from_peer(peer.parse().expect("an address"))
}

/// What Triton knows of a job whose record has expired.
fn ended(id: &str) -> Job {
    let initial = Job::initial(job_id(id), "00000000".parse().expect("an epoch"), true);
    Job::restore(JobRecord {
        status: JobStatus::Completed,
        ..(*initial).clone()
    })
}

/// Triton doesn't answer while a caller with questions left names a job, nor while callers without any
/// name it.
#[tokio::test(start_paused = true)]
async fn a_caller_with_questions_left_is_not_displaced_by_callers_without() {
    let world = World::new();
    world.job("here").start().await;
    world.triton.fail(conch_ports::ErrorKind::Unavailable);
    let mut eyes = stream(&world, &from("10.0.1.1"), named(&["here", "gone"])).await;
    eyes.until_idle().await;
    let mut spent = Vec::new();
    for n in 0..9 {
        let mut jobs = made_up(450, &format!("s{n}"));
        jobs.job_ids.push(job_id("gone"));
        spent.push(stream(&world, &from(&format!("10.0.2.{n}")), jobs).await);
    }
    world.triton.heal();
    world.triton.set_job(ended("gone"));
    let asked = world.triton.calls("job");
    let seen = eyes.events(1).await;
    assert_eq!(told(&seen), ["gone job:snapshot 2"]);
    // Its question doesn't wait for those of all others, 180 a second.
    let asked = world.triton.calls("job") - asked;
    assert!(asked < 9 * 20 * 10, "{asked} questions before it");
}

/// No question of another caller is charged to a caller that is gone.
#[tokio::test(start_paused = true)]
async fn a_caller_that_is_gone_pays_no_more() {
    let world = World::new();
    world.job("here").start().await;
    let mut jobs = made_up(900, "s");
    jobs.job_ids.push(job_id("absent"));
    let _stays = stream(&world, &from("10.0.1.1"), jobs).await;
    let rich = from("10.0.1.2");
    let attached = world.hub.watch_as(&rich, &job_id("absent"), None).await;
    assert_eq!(name(&attached), "Unknown");
    let asked = world.triton.calls("job");
    let hub = world.hub.clone();
    let again = tokio::spawn(async move {
        let absent = job_id("absent");
        hub.watch_as(&from("10.0.1.1"), &absent, None).await
    });
    world.has_heard().await;
    assert!(!again.is_finished(), "it waits for a turn of its own");
    assert_eq!(world.triton.calls("job"), asked);
}

async fn stream(world: &World, caller: &Caller, jobs: Selection) -> Eyes {
    let attached = world.hub.watch_many_as(caller, jobs, None).await;
    let Attached::Stream(watcher) = attached else {
        panic!("expected a stream, got {}", name(&attached));
    };
    Eyes(watcher)
}

/// Questions to the store so far: reads of single logs, and looks for many.
fn questions(world: &World) -> (u64, u64) {
    let count = |what| world.faults.calls(what);
    (count("job_log.read"), count("job_log.positions"))
}

#[tokio::test(start_paused = true)]
async fn absent_jobs_are_looked_for_together_while_they_wait_for_their_turn() {
    let world = World::new();
    world.has_heard().await;
    world.job("here").start().await;
    let mut eyes = stream(&world, &anybody(), made_up(900, "absent")).await;
    assert_eq!(told(&eyes.events(1).await), ["here job:snapshot 2"]);
    tokio::time::sleep(Duration::from_secs(25)).await;
    let asked = world.triton.calls("job");
    assert!((500..800).contains(&asked), "{asked}: not all had a turn");
    let (reads, looks) = questions(&world);
    assert_eq!(reads, 1, "that of the one that is there");
    assert!(looks <= 2 * 4, "{looks} looks");
    // One of the jobs that still wait begins, and its announcement is lost.
    world.faults.lose_announcements(|_, _| true);
    world.job("absent-899").append(queued()).await;
    let begun = Instant::now();
    assert_eq!(told(&eyes.events(1).await), ["absent-899 job:snapshot 1"]);
    assert!(begun.elapsed() <= POSITION_CHECK, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn absent_jobs_that_others_wait_for_are_looked_for_together_again() {
    let world = World::new();
    world.has_heard().await;
    world.job("here").start().await;
    let _first = stream(&world, &anybody(), made_up(900, "absent")).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.triton.calls("job"), 900, "all are known to be absent");
    let (reads, looks) = questions(&world);
    let _second = stream(&world, &anybody(), made_up(900, "absent")).await;
    let (reads_after, looks_after) = questions(&world);
    let (reads, looks) = (reads_after - reads, looks_after - looks);
    assert_eq!(reads, 0, "it was read before");
    // The position check of all of them may be due at the same moment.
    assert!((2..=4).contains(&looks), "{looks} looks");
}

/// Another tenant's jobs, whose ids can be guessed, cost a caller's streams what absent ones do.
#[tokio::test(start_paused = true)]
async fn hidden_jobs_take_no_more_room_however_many_streams_name_them() {
    let world = World::new();
    world.has_heard().await;
    world.job("here").start().await;
    for n in 0..300 {
        world.job_of(&format!("h-{n}"), "c2").start().await;
    }
    let caller = caller(&["c1"], (world.clock)().plus_millis(36_000_000));
    let mut streams = Vec::new();
    for n in 0..5 {
        let mut eyes = stream(&world, &caller, made_up(300, "h")).await;
        assert_eq!(told(&eyes.events(1).await), ["here job:snapshot 2"]);
        tokio::time::sleep(Duration::from_mins(1)).await;
        let topics = world.hub.topics();
        assert!(topics <= 301, "{topics} topics of {n} streams and one more");
        streams.push(eyes);
    }
    let (reads, looks) = questions(&world);
    tokio::time::sleep(POSITION_CHECK).await;
    let (reads_after, looks_after) = questions(&world);
    assert_eq!(reads_after, reads);
    // For the one that is there and for all the others.
    assert!((1..=2).contains(&(looks_after - looks)));
}
