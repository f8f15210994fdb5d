//! Jobs that are watched and say nothing: what they cost, and that nothing of theirs is missed for it.
//! Counted is what the store and Triton are asked, and how many tasks run.

use std::time::Duration;

use conch_domain::{EventKind, Job, JobRecord, JobStatus};
use conch_doubles::When;
use conch_ports::ErrorKind;
use conch_services::mare::hub::Settings;
use tokio::time::{Instant, timeout};

use crate::counters::Counters;
use crate::world::{Eyes, POSITION_CHECK, World, Writer, data, ids, only_triton_knows};

const CLOSING: &str = ": Connection closing - job completed";

/// So many jobs that run, our own or not, each with a watcher that has seen what there is.
async fn watched(world: &World, own: bool, count: usize) -> Vec<(Writer, Eyes)> {
    let mut watched = Vec::new();
    for n in 0..count {
        let id = format!("j{n}");
        let mut job = if own {
            world.job(&id)
        } else {
            world.external_job(&id)
        };
        job.start().await;
        let mut eyes = world.watch(&id, None).await;
        eyes.events(2).await;
        watched.push((job, eyes));
    }
    watched
}

/// Reads of logs, and questions for the ends of many.
fn looks(world: &World) -> (u64, u64) {
    let calls = |what| world.faults.calls(what);
    (calls("job_log.read"), calls("job_log.positions"))
}

/// A question is about 500 jobs at most: whichever place a job has in one, it isn't forgotten.
#[tokio::test(start_paused = true)]
async fn an_unheard_event_is_found_whatever_the_number_of_silent_jobs() {
    for count in [1, 31, 33, 499, 500, 501, 1001] {
        let world = World::new();
        let mut watched = watched(&world, true, count).await;
        tokio::time::sleep(POSITION_CHECK * 2).await;
        let before = looks(&world);
        world.faults.lose_announcements(|_, _| true);
        let begun = Instant::now();
        for (job, _) in &mut watched {
            job.complete().await;
        }
        for (n, (_, eyes)) in watched.iter_mut().enumerate() {
            let rest = timeout(POSITION_CHECK * 5, eyes.rest()).await;
            assert!(rest.is_ok(), "{n} of {count} was forgotten");
            let took = begun.elapsed();
            assert!(took <= POSITION_CHECK, "{n} of {count}: {took:?}");
        }
        let (reads, asked) = looks(&world);
        assert_eq!(reads - before.0, count as u64, "each log is read once");
        let questions = asked - before.1;
        let least = count.div_ceil(500) as u64;
        assert!(
            (least..=least + 1).contains(&questions),
            "{count}: {questions} questions"
        );
    }
}

/// Questions for the latest commits of buckets.
fn stamps(world: &World) -> u64 {
    world.faults.calls("job_log.latest")
}

/// Between the checks that ask about every log, only jobs in whose buckets something was appended are asked
/// about: an end that was not announced is found all the same, and each other job stays where it is.
#[tokio::test(start_paused = true)]
async fn an_unheard_event_among_silent_jobs_is_found_by_its_stamp() {
    let counters = Counters::start();
    let world = World::new();
    let mut watched = watched(&world, true, 500).await;
    tokio::time::sleep(POSITION_CHECK * 2).await;
    world.faults.lose_announcements(|_, _| true);
    for n in 0..20 {
        let (job, eyes) = &mut watched[n * 25];
        let reads = looks(&world).0;
        // At other moments of a period.
        tokio::time::sleep(POSITION_CHECK * 7 / 20).await;
        let begun = Instant::now();
        job.complete().await;
        let rest = timeout(POSITION_CHECK * 5, eyes.rest()).await;
        assert!(rest.is_ok(), "{n} was forgotten");
        let took = begun.elapsed();
        assert!(took <= POSITION_CHECK, "{n}: {took:?}");
        assert_eq!(looks(&world).0 - reads, 1, "{n}: one log is read");
    }
    let checks = r#"conch_backstop_deliveries_total{source="position_check"}"#;
    assert_eq!(counters.of(checks), 20);
    world.faults.lose_no_announcements();
    let (job, eyes) = &mut watched[1];
    job.complete().await;
    eyes.rest().await;
    tokio::time::sleep(POSITION_CHECK * 7).await;
    assert_eq!(counters.of(checks), 20, "that one was announced");
}

/// The store went back to an older copy: the stamp is the one of the last check again, and the topic has heard
/// of what was lost since.
#[tokio::test(start_paused = true)]
async fn what_was_heard_and_lost_again_between_two_checks_is_noticed() {
    let (world, mut job, mut eyes) = World::watched().await;
    // Between two checks.
    tokio::time::sleep(POSITION_CHECK * 7 / 2).await;
    job.progress(50).await;
    eyes.events(1).await;
    // Whatever else is read for its announcement has been read.
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.faults.lose_announcements(|_, _| true);
    let begun = Instant::now();
    assert!(world.faults.cut_log(&job.job.id, 1));
    let seen = timeout(POSITION_CHECK * 5, eyes.events(1)).await;
    let seen = seen.expect("it is noticed");
    assert_eq!(data(&seen[0])["reset"], true);
    assert!(begun.elapsed() <= POSITION_CHECK, "{:?}", begun.elapsed());
}

/// What no append did leaves the stamps as they were: it is found by the sixth check at the latest.
#[tokio::test(start_paused = true)]
async fn a_log_that_was_deleted_is_missed_within_six_checks() {
    let world = World::new();
    let mut watched = watched(&world, true, 50).await;
    tokio::time::sleep(POSITION_CHECK * 3).await;
    let begun = Instant::now();
    let reads = looks(&world).0;
    for (job, _) in &watched {
        assert!(world.faults.cut_log(&job.job.id, 2), "it has two events");
    }
    let lost = POSITION_CHECK * 3;
    for (n, (_, eyes)) in watched.iter_mut().enumerate() {
        let seen = timeout(POSITION_CHECK * 20, eyes.rest()).await;
        let seen = seen.unwrap_or_else(|_| panic!("{n}: not noticed"));
        assert_eq!(ids(&seen)[0], "lost-0", "{n}");
        let took = begun.elapsed();
        assert!(took <= POSITION_CHECK * 6 + lost * 2, "{n}: {took:?}");
    }
    assert!(looks(&world).0 > reads);
}

/// A log that took the place of another one is as long as that was.
#[tokio::test(start_paused = true)]
async fn a_log_that_began_anew_unheard_and_is_as_long_is_noticed() {
    let (world, mut job, mut eyes) = World::watched().await;
    world.faults.lose_announcements(|_, _| true);
    let begun = Instant::now();
    let kind = EventKind::CancelRequested { reason: None };
    job.begin_again("0000ffff", kind).await;
    job.progress(50).await;
    assert_eq!(job.job.position.sequence, 2, "as long as it was");
    let seen = timeout(POSITION_CHECK * 5, eyes.events(1)).await;
    let seen = seen.expect("it is noticed");
    assert!(begun.elapsed() <= POSITION_CHECK, "{:?}", begun.elapsed());
    assert_eq!(ids(&seen), ["0000ffff-2"]);
    assert_eq!(data(&seen[0])["reset"], true);
}

#[tokio::test(start_paused = true)]
async fn silent_jobs_of_our_own_cost_a_question_for_hundreds_of_them_and_no_task() {
    let world = World::new();
    world.has_heard().await;
    let runtime = tokio::runtime::Handle::current();
    let tasks = runtime.metrics().num_alive_tasks();
    let watched = watched(&world, true, 1000).await;
    tokio::time::sleep(POSITION_CHECK * 2).await;
    assert_eq!(runtime.metrics().num_alive_tasks(), tasks);
    let ((reads, asked), of_stamps) = (looks(&world), stamps(&world));
    tokio::time::sleep(POSITION_CHECK * 10).await;
    let (reads_after, asked_after) = looks(&world);
    assert_eq!(reads_after, reads);
    // Of each check, the parts whose sixth it is: some 170 jobs.
    let questions = asked_after - asked;
    assert!((10..=25).contains(&questions), "{questions} questions");
    let questions = stamps(&world) - of_stamps;
    assert!((20..=33).contains(&questions), "{questions} of stamps");
    assert_eq!(world.triton.total_calls(), 0);
    drop(watched);
    tokio::time::sleep(Settings::default().linger * 2).await;
    assert_eq!(world.hub.topics(), 0, "each went with its watcher");
    assert_eq!(runtime.metrics().num_alive_tasks(), tasks);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_did_not_answer_is_made_up_for_once_it_does() {
    let world = World::new();
    let mut watched = watched(&world, true, 600).await;
    let (operation, kind) = ("job_log.positions", ErrorKind::Unavailable);
    world
        .faults
        .fail_next(operation, 100_000, kind, When::Before);
    world.faults.lose_announcements(|_, _| true);
    tokio::time::sleep(POSITION_CHECK * 3).await;
    for (job, _) in &mut watched {
        job.complete().await;
    }
    tokio::time::sleep(POSITION_CHECK * 3).await;
    world.faults.fail_no_more();
    let begun = Instant::now();
    for (_, eyes) in &mut watched {
        assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
    }
    // The longest wait between two tries, and a check.
    let took = begun.elapsed();
    assert!(took <= POSITION_CHECK * 2, "{took:?}");
}

/// As Triton lists a job that runs.
fn runs(id: &str) -> Job {
    Job::restore(JobRecord {
        client_id: Some("c1".parse().expect("an id")),
        ..(*only_triton_knows(id, JobStatus::Running)).clone()
    })
}

#[tokio::test(start_paused = true)]
async fn silent_external_jobs_are_compared_with_a_list() {
    let world = World::new();
    let mut watched = watched(&world, false, 1000).await;
    for n in 0..1000 {
        world.triton.set_job(runs(&format!("j{n}")));
    }
    // Each was asked about when its stream began; from now on the list says it.
    tokio::time::sleep(POSITION_CHECK * 3).await;
    let (singly, (reads, _)) = (world.triton.calls("job"), looks(&world));
    let pages = world.triton.calls("jobs");
    tokio::time::sleep(POSITION_CHECK * 10).await;
    assert_eq!(world.triton.calls("job"), singly);
    assert_eq!(looks(&world).0, reads);
    let pages = world.triton.calls("jobs") - pages;
    assert!((100..=200).contains(&pages), "{pages} pages in 100 seconds");
    // An end without an announcement: it isn't on the list any more.
    let ended = only_triton_knows("j500", JobStatus::Completed);
    world.triton.set_job(ended);
    let rest = timeout(POSITION_CHECK * 2, watched[500].1.rest()).await;
    let rest = rest.expect("noticed");
    assert_eq!(data(&rest[0])["event_type"], "job:completed");
    assert_eq!(data(&rest[0])["derived"], true);
    let asked = world.triton.calls("job") - singly;
    assert!((1..=2).contains(&asked), "{asked} questions");
}

/// Triton knows that the job began, and its log doesn't: the list is enough to see that it has to be asked.
#[tokio::test(start_paused = true)]
async fn what_the_list_says_beyond_a_log_is_asked_about() {
    let world = World::new();
    let _others = watched(&world, false, 100).await;
    let mut late = world.external_job("late");
    late.append(crate::world::queued()).await;
    let mut eyes = world.watch("late", None).await;
    eyes.events(1).await;
    for n in 0..100 {
        world.triton.set_job(runs(&format!("j{n}")));
    }
    let pending = Job::restore(JobRecord {
        status: JobStatus::Pending,
        ..(*runs("late")).clone()
    });
    world.triton.set_job(pending);
    tokio::time::sleep(POSITION_CHECK * 3).await;
    let singly = world.triton.calls("job");
    tokio::time::sleep(POSITION_CHECK * 3).await;
    assert_eq!(world.triton.calls("job"), singly);
    world.triton.set_job(runs("late"));
    let seen = timeout(POSITION_CHECK * 2, eyes.events(1)).await;
    assert_eq!(data(&seen.expect("seen")[0])["event_type"], "job:started");
}

#[tokio::test(start_paused = true)]
async fn jobs_that_triton_does_not_know_are_asked_about_a_few_at_a_time() {
    let world = World::new();
    let _watched = watched(&world, false, 1000).await;
    tokio::time::sleep(POSITION_CHECK * 3).await;
    let singly = world.triton.calls("job");
    tokio::time::sleep(POSITION_CHECK * 10).await;
    let asked = world.triton.calls("job") - singly;
    assert!(
        (900..=1050).contains(&asked),
        "{asked} questions in 100 seconds"
    );
}

#[tokio::test(start_paused = true)]
async fn while_the_list_is_out_of_reach_few_questions_are_asked() {
    for (kind, least, most) in [
        (ErrorKind::Unavailable, 350, 450),
        // The list can't be used, and single answers can.
        (ErrorKind::BadResponse, 900, 1100),
    ] {
        let world = World::new();
        for n in 0..100 {
            world.triton.set_job(runs(&format!("j{n}")));
        }
        let _watched = watched(&world, false, 100).await;
        world.triton.fail_at("triton_gateway.jobs", kind);
        tokio::time::sleep(POSITION_CHECK * 3).await;
        let singly = world.triton.calls("job");
        tokio::time::sleep(POSITION_CHECK * 10).await;
        let asked = world.triton.calls("job") - singly;
        assert!(
            (least..=most).contains(&asked),
            "{kind:?}: {asked} questions"
        );
    }
}

/// Where a topic rests and its history was dropped.
async fn at_rest() -> (World, Writer, Eyes) {
    let (world, job, eyes) = World::watched().await;
    tokio::time::sleep(POSITION_CHECK * 3).await;
    (world, job, eyes)
}

#[tokio::test(start_paused = true)]
async fn who_comes_to_a_topic_at_rest_is_given_what_any_other_is() {
    let (world, mut job, mut first) = at_rest().await;
    for (cursor, expected) in [
        (None, &["0000abcd-1", "0000abcd-2"] as &[_]),
        (Some("0000abcd-1"), &["0000abcd-2"]),
        (Some("0000abcd-2"), &[]),
    ] {
        let reads = looks(&world).0;
        let mut eyes = world.watch("j", cursor).await;
        assert_eq!(ids(&eyes.until_idle().await), expected, "{cursor:?}");
        let read = looks(&world).0 - reads;
        assert_eq!(read, u64::from(!expected.is_empty()), "{cursor:?}");
        tokio::time::sleep(POSITION_CHECK * 3).await;
    }
    job.progress(50).await;
    // The frame of the event alone is there.
    let mut late = world.watch("j", None).await;
    assert_eq!(late.events(3).await.len(), 3);
    job.complete().await;
    let rest = ids(&first.rest().await);
    assert_eq!(rest, ["0000abcd-3", "0000abcd-4", CLOSING]);
    assert_eq!(ids(&late.rest().await), ["0000abcd-4", CLOSING]);
}

#[tokio::test(start_paused = true)]
async fn who_comes_to_a_topic_at_rest_waits_for_a_store_that_does_not_answer() {
    let (world, mut job, _eyes) = at_rest().await;
    world.fail_reads(100_000);
    let mut eyes = world.watch("j", None).await;
    assert_eq!(ids(&eyes.until_idle().await), [""; 0]);
    world.faults.fail_no_more();
    let seen = timeout(POSITION_CHECK, eyes.events(2)).await;
    assert_eq!(ids(&seen.expect("read")), ["0000abcd-1", "0000abcd-2"]);
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
}

/// A watcher whose socket takes nothing has not seen all when the topic comes to rest.
#[tokio::test(start_paused = true)]
async fn who_has_not_read_all_when_a_topic_comes_to_rest_misses_nothing() {
    let (_world, mut job, mut slow) = World::watched().await;
    for progress in 1..=3 {
        job.progress(progress).await;
    }
    tokio::time::sleep(POSITION_CHECK * 3).await;
    let seen = ids(&slow.events(3).await);
    assert_eq!(seen, ["0000abcd-3", "0000abcd-4", "0000abcd-5"]);
    job.complete().await;
    assert_eq!(ids(&slow.rest().await), ["0000abcd-6", CLOSING]);
}

/// Its log is gone when a watcher comes: what is known is told, and then that the record is lost.
#[tokio::test(start_paused = true)]
async fn who_comes_to_a_topic_at_rest_whose_log_is_gone_is_told_so() {
    let (world, _job, _eyes) = at_rest().await;
    world.faults.wipe();
    let mut eyes = world.watch("j", None).await;
    let seen = eyes.rest().await;
    assert_eq!(
        ids(&seen),
        ["0000abcd-2", "lost-0", ": Connection closing - job failed"]
    );
    assert_eq!(data(&seen[0])["event_type"], "job:snapshot");
}

/// The same of one that has ended meanwhile, whose log has run out.
#[tokio::test(start_paused = true)]
async fn who_comes_to_an_ended_topic_whose_log_is_gone_is_told_of_the_end() {
    let (world, mut job, mut first) = at_rest().await;
    job.complete().await;
    first.rest().await;
    world.faults.wipe();
    let mut eyes = world.watch("j", None).await;
    let seen = timeout(Duration::from_secs(1), eyes.rest()).await;
    let seen = seen.expect("at once");
    assert_eq!(ids(&seen), ["0000abcd-3", CLOSING]);
    assert_eq!(data(&seen[0])["event_type"], "job:snapshot");
}

/// What one watcher alone was given isn't kept: for the next one it is read again, and then kept for both.
#[tokio::test(start_paused = true)]
async fn the_events_of_a_job_with_one_watcher_are_read_again_for_the_next_and_then_kept() {
    let (world, mut job, mut first) = World::watched().await;
    let mut all = vec!["0000abcd-1".to_owned(), "0000abcd-2".to_owned()];
    let mut others = Vec::new();
    for (n, reads) in [(3, 1), (4, 0), (5, 0)] {
        let before = looks(&world).0;
        job.progress(n).await;
        let event = format!("0000abcd-{n}");
        all.push(event.clone());
        assert_eq!(ids(&first.events(1).await), [event]);
        let mut eyes = world.watch("j", None).await;
        assert_eq!(ids(&eyes.events(all.len()).await), all);
        assert_eq!(looks(&world).0 - before, reads, "{n}");
        others.push(eyes);
    }
}
