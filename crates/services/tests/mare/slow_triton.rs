//! While Triton is being asked and takes its time: whatever can be known without it is known, nobody is
//! kept for it, and those who have to wait for their turn are told to ask again.

use std::time::Duration;

use conch_domain::{Clients, Job, JobRecord, JobStatus};
use conch_doubles::When;
use conch_ports::{Cancelled, ErrorKind};
use conch_services::mare::edge_cancel::EdgeCancel;
use conch_services::mare::hub::{Selection, Settings};
use conch_services::mare::reconcile::{Asked, Reconcile};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::world::{Eyes, POSITION_CHECK, World, Writer, ids, job_id, name, named, told};

const CLOSING: &str = ": Connection closing - job completed";
/// Within which a question that gets no turn is given up.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions under way at once.
const TURNS: u64 = 16;

/// A watched job of which Triton is being asked, for ever.
async fn being_asked(world: &World) -> (Writer, Eyes) {
    let mut job = world.external_job("j");
    job.start().await;
    world.triton.hang();
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    // Until between two turns in the position check.
    tokio::time::sleep(POSITION_CHECK * 2 + Duration::from_secs(1)).await;
    assert_eq!(world.triton.calls("job"), 1, "Triton is being asked");
    (job, eyes)
}

#[tokio::test(start_paused = true)]
async fn the_log_is_read_again_on_silence() {
    let world = World::new();
    let (mut job, mut eyes) = being_asked(&world).await;
    world.faults.lose_announcements(|_, _| true);
    let begun = Instant::now();
    job.progress(50).await;
    job.complete().await;
    let rest = timeout(POSITION_CHECK, eyes.rest()).await;
    let rest = rest.expect("by the position check");
    assert_eq!(ids(&rest), ["0000abcd-3", "0000abcd-4", CLOSING]);
    assert!(begun.elapsed() > Duration::ZERO, "nobody said anything");
    assert_eq!(world.triton.calls("job"), 1, "the question was one");
}

#[tokio::test(start_paused = true)]
async fn the_topic_goes_with_its_last_watcher() {
    let world = World::new();
    let (_job, eyes) = being_asked(&world).await;
    drop(eyes);
    tokio::time::sleep(Settings::default().linger * 2).await;
    assert_eq!(world.hub.topics(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_behind_hears_of_it() {
    let world = World::new();
    let (mut job, mut eyes) = being_asked(&world).await;
    world.faults.lose_announcements(|_, _| true);
    job.progress(50).await;
    // Another process was ahead, and this one can't look right now.
    world.fail_reads(1);
    let _ahead = world.watch("j", Some("0000abcd-3")).await;
    let seen = timeout(Duration::from_secs(1), eyes.events(1)).await;
    assert_eq!(ids(&seen.expect("at once")), ["0000abcd-3"]);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_whoever_attaches_reads_is_the_end_of_the_question() {
    let world = World::new();
    // A stream that names no jobs, for which the topic is held until its job ends.
    let mut all = world.watch_many(Selection::default(), None).await;
    all.until_idle().await;
    let (mut job, mut eyes) = being_asked(&world).await;
    world.faults.lose_announcements(|_, _| true);
    job.complete().await;
    let attached = world.hub.watch(&job_id("j"), Some("0000abcd-3")).await;
    assert_eq!(name(&attached), "Ended");
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
    drop(eyes);
    tokio::time::sleep(POSITION_CHECK * 2).await;
    assert_eq!(world.hub.topics(), 0);
    assert_eq!(world.triton.calls("job"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_interruption_is_made_up_for() {
    let world = World::new();
    let (mut job, mut eyes) = being_asked(&world).await;
    world.faults.disconnect_subscribers();
    job.complete().await;
    world.faults.reconnect_subscribers();
    let rest = timeout(Duration::from_secs(1), eyes.rest()).await;
    assert_eq!(ids(&rest.expect("at once")), ["0000abcd-3", CLOSING]);
}

/// A stream that names jobs, of which one doesn't exist yet, and another one that names none.
async fn one_is_to_come(world: &World) -> (Eyes, Eyes) {
    world.job("here").start().await;
    let names = named(&["here", "later"]);
    let mut eyes = world.watch_many(names, None).await;
    eyes.until_idle().await;
    let all = world.watch_many(Selection::default(), None).await;
    (eyes, all)
}

#[tokio::test(start_paused = true)]
async fn jobs_to_come_are_looked_for_while_triton_s_list_is_awaited() {
    let world = World::new();
    let (mut eyes, _all) = one_is_to_come(&world).await;
    world.triton.hang_at("triton_gateway.jobs");
    tokio::time::sleep(POSITION_CHECK * 2).await;
    let lists = world.triton.calls("jobs");
    let looks = world.faults.calls("job_log.positions");
    tokio::time::sleep(POSITION_CHECK * 4).await;
    assert_eq!(world.triton.calls("jobs"), lists, "it is being asked");
    let looked = world.faults.calls("job_log.positions") - looks;
    assert!((3..=5).contains(&looked), "{looked} looks");
    world.faults.lose_announcements(|_, _| true);
    world.job("later").start().await;
    let looks = world.faults.calls("job_log.positions");
    let seen = timeout(POSITION_CHECK * 2, eyes.events(1)).await;
    assert_eq!(told(&seen.expect("seen")), ["later job:snapshot 2"]);
    let looked = world.faults.calls("job_log.positions") - looks;
    assert_eq!(looked, 1);
}

/// Triton's answer that it knows of no such job comes late, and is none of the log that began meanwhile.
#[tokio::test(start_paused = true)]
async fn a_log_is_read_before_its_job_is_given_up_if_it_was_not_looked_for_lately() {
    for begins in [true, false] {
        let world = World::new();
        world.has_heard().await;
        world.triton.hang();
        let mut eyes = world.watch("later", None).await;
        let (operation, kind) = ("job_log.positions", ErrorKind::Unavailable);
        world.faults.fail_next(operation, 99, kind, When::Before);
        tokio::time::sleep(POSITION_CHECK * 2).await;
        if begins {
            world.faults.lose_announcements(|_, _| true);
            world.external_job("later").start().await;
        }
        let reads = world.faults.calls("job_log.read");
        let asked = world.triton.calls("job");
        assert_eq!((reads, asked), (1, 1), "that with which it began");
        world.triton.heal();
        if begins {
            assert_eq!(told(&eyes.events(2).await)[0], "later job:queued 1");
        } else {
            assert_eq!(eyes.rest().await, []);
        }
        assert_eq!(world.faults.calls("job_log.read"), 2, "once more");
        assert_eq!(world.triton.calls("job"), 1);
    }
}

/// Questions enough that one more has to wait, for as long as these are kept.
async fn all_turns_taken(world: &World, reconcile: &Reconcile) -> JoinSet<()> {
    world.triton.hang_at("triton_gateway.job");
    let mut asking = JoinSet::new();
    for number in 0..TURNS {
        let reconcile = reconcile.clone();
        asking.spawn(async move {
            let asked = reconcile.ask(&job_id(&format!("q{number}"))).await;
            assert_eq!(asked.expect("Triton answers"), Asked::Unknown);
        });
    }
    world.has_heard().await;
    assert_eq!(world.triton.calls("job"), TURNS);
    asking
}

#[tokio::test(start_paused = true)]
async fn a_question_that_gets_no_turn_is_to_be_asked_again_later() {
    let world = World::new();
    let reconcile = reconcile(&world);
    let mut asking = all_turns_taken(&world, &reconcile).await;
    let one_more = timeout(PATIENCE * 2, reconcile.ask(&job_id("one-more"))).await;
    let error = one_more.expect("in time").expect_err("no turn");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.is_retryable());
    assert_eq!(world.triton.calls("job"), TURNS, "Triton was not asked");
    world.triton.heal();
    while let Some(asked) = asking.join_next().await {
        asked.expect("no panic");
    }
    let asked = reconcile.ask(&job_id("one-more")).await;
    assert_eq!(asked.expect("Triton answers"), Asked::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_answered_though_nobody_tells_what_became_of_it() {
    for turns_are_taken in [false, true] {
        let world = World::new();
        let reconcile = reconcile(&world);
        let initial = Job::initial(job_id("j"), "0000abcd".parse().expect("an epoch"), false);
        let running = Job::restore(JobRecord {
            status: JobStatus::Running,
            ..(*initial).clone()
        });
        world.triton.set_job(running);
        let _asking = if turns_are_taken {
            all_turns_taken(&world, &reconcile).await
        } else {
            world.triton.hang_at("triton_gateway.job");
            JoinSet::new()
        };
        let cancel = EdgeCancel::new(
            world.triton.clone(),
            world.lookup.clone(),
            reconcile,
            world.hub.clone(),
        );
        let answer = timeout(PATIENCE * 2, cancel.cancel(&Clients::ALL, &job_id("j"))).await;
        let answer = answer.expect("in time").expect("Triton took it");
        assert_eq!(answer, Cancelled::Requested, "{turns_are_taken}");
    }
}

fn reconcile(world: &World) -> Reconcile {
    Reconcile::new(
        world.memory.log(),
        world.triton.clone(),
        world.clock.clone(),
    )
}
