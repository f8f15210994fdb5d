//! A job's end on request: before, while and after it runs.

use conch_conformance::build::{self, Script};
use conch_domain::JobStatus;
use conch_doubles::When;
use conch_ports::{Cancelled, ErrorKind};
use std::time::Duration;
use tokio::time::Instant;

use crate::system::{Call, Generator, PACE, System, count, field, settings, story};

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_ends_at_once_and_is_never_run() {
    let system = System::new().await;
    let id = system.submitted().await;
    let cancel = system.cancel();
    assert_eq!(
        cancel.cancel(&id, None).await.unwrap(),
        Cancelled::Requested
    );
    assert_eq!(
        cancel.cancel(&id, None).await.unwrap(),
        Cancelled::AlreadyEnded
    );
    let log = system.ended(&id).await;
    assert_eq!(story(&log), ["queued", "cancelled"]);
    assert_eq!(system.memory.queue().next_due().await.unwrap(), None);

    let generator = Generator::reliable();
    let _worker = system.worker(settings("a"), &generator);
    let other = system.submitted().await;
    system.ended(&other).await;
    assert_eq!(generator.calls().len(), 14, "only the other one");
}

#[tokio::test(start_paused = true)]
async fn a_running_job_stops_in_the_middle_of_a_template() {
    let system = System::new().await;
    let generator = Generator::reliable();
    let _worker = system.worker(settings("a"), &generator);
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 2).await;
    let began = Instant::now();
    let reason = Some("a mistake".to_owned());
    assert_eq!(
        system.cancel().cancel(&id, reason).await.unwrap(),
        Cancelled::Requested
    );
    let log = system.ended(&id).await;
    assert!(
        began.elapsed() < PACE / 2,
        "the announcement tells the worker"
    );
    assert_eq!(log.job.status, JobStatus::Cancelled);
    assert_eq!(log.job.template_count, 2);
    assert_eq!(field(&log, "cancel_requested", "reason"), ["a mistake"]);
    assert_eq!(story(&log).last().unwrap(), "cancelled 1");
    assert_eq!(generator.calls().last(), Some(&Call::Dropped { index: 3 }));
    assert_eq!(
        system.cancel().cancel(&id, None).await.unwrap(),
        Cancelled::AlreadyEnded
    );
}

#[tokio::test(start_paused = true)]
async fn asking_twice_is_one_request() {
    let system = System::new().await;
    let id = system.submitted().await;
    // Somebody holds it, and says nothing.
    let lease = Duration::from_mins(1);
    system
        .memory
        .queue()
        .claim("mute", &conch_conformance::build::token(), lease)
        .await
        .unwrap()
        .expect("a job waits");
    for _ in 0..2 {
        assert_eq!(
            system.cancel().cancel(&id, None).await.unwrap(),
            Cancelled::Requested
        );
    }
    assert_eq!(
        count(
            &system.until(&id, |job| job.cancel_requested).await,
            "cancel_requested"
        ),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_announcement_is_lost_is_seen_with_the_next_event() {
    let system = System::new().await;
    let _worker = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 2).await;
    system.memory.faults().disconnect_subscribers();
    system.cancel().cancel(&id, None).await.unwrap();
    tokio::time::sleep(2 * PACE).await;
    assert_eq!(system.job(&id).await.status, JobStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_job_given_back_after_the_request_is_not_run_again() {
    let system = System::new().await;
    let id = system.submitted().await;
    let queue = system.memory.queue();
    let lease = queue
        .claim(
            "mute",
            &conch_conformance::build::token(),
            Duration::from_mins(1),
        )
        .await
        .unwrap()
        .unwrap()
        .lease;
    system.cancel().cancel(&id, None).await.unwrap();
    let mut script = Script::of(system.job(&id).await);
    script.hold(&lease);
    let back = script.retrying(conch_domain::RetryReason::Shutdown, Duration::ZERO);
    system.memory.log().append(back).await.unwrap();
    let generator = Generator::reliable();
    let _worker = system.worker(settings("a"), &generator);
    assert_eq!(system.ended(&id).await.job.status, JobStatus::Cancelled);
    assert_eq!(generator.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn only_our_own_jobs_are_ours_to_end() {
    let system = System::new().await;
    let cancel = system.cancel();
    assert_eq!(
        cancel.cancel(&build::job_id(), None).await.unwrap(),
        Cancelled::NotFound
    );
    let mut foreign = Script::foreign();
    system.memory.log().append(foreign.started()).await.unwrap();
    assert_eq!(
        cancel.cancel(foreign.id(), None).await.unwrap(),
        Cancelled::NotFound
    );
    assert_eq!(system.job(foreign.id()).await.status, JobStatus::Running);
}

/// The request comes to a store that has just forgotten the job. A log with nothing in it but the request
/// would be one that nobody ends, and would keep the worker from putting the job back.
#[tokio::test(start_paused = true)]
async fn a_request_begins_no_log() {
    for lives in [false, true] {
        let system = System::new().await;
        let worker = system.worker(settings("a"), &Generator::reliable());
        let id = system.submitted().await;
        system.until(&id, |job| job.template_count == 2).await;
        let worker = lives.then_some(worker);
        let faults = system.memory.faults();
        let append = "job_log.append";
        faults.fail_next(append, 1, ErrorKind::Timeout, When::Before);
        let before = faults.calls(append);
        let forgotten = async {
            while faults.calls(append) == before {
                tokio::task::yield_now().await;
            }
            faults.wipe();
        };
        let cancel = system.cancel();
        let (answer, ()) = tokio::join!(cancel.cancel(&id, None), forgotten);
        assert_eq!(answer.unwrap(), Cancelled::NotFound);
        assert!(system.memory.log().read(&id, 0, 0).await.unwrap().is_none());
        if worker.is_some() {
            assert_eq!(system.ended(&id).await.job.status, JobStatus::Completed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_job_that_is_being_put_back() {
    let system = System::new().await;
    let mut renewing = settings("a");
    // Renewed while the third template is made: that puts the job back, and its event doesn't get through.
    renewing.lease = PACE * 15 / 2;
    let _worker = system.worker(renewing, &Generator::reliable());
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 2).await;
    tokio::time::sleep(PACE / 4).await;
    let faults = system.memory.faults();
    faults.fail_next("job_log.append", 4, ErrorKind::Timeout, When::Before);
    faults.wipe();
    while system.memory.catalogue().job(&id).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(system.memory.log().read(&id, 0, 0).await.unwrap().is_none());
    let answer = system.cancel().cancel(&id, None).await.unwrap();
    assert_eq!(answer, Cancelled::Requested);
    assert_eq!(system.ended(&id).await.job.status, JobStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_place_alone_tells_the_worker() {
    let system = System::new().await;
    let generator = Generator::reliable();
    let _worker = system.worker(settings("a"), &generator);
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 2).await;
    let faults = system.memory.faults();
    faults.lose_announcements(|_, _| true);
    let began = Instant::now();
    let requested = system.cancel().cancel(&id, None).await;
    assert_eq!(requested.unwrap(), Cancelled::Requested);
    let requested = br#"{"event_type":"job:cancel_requested"}"#;
    let position = system.job(&id).await.position;
    faults.lose_no_announcements();
    faults.announce_raw(conch_wire::announcement::shorten(requested, &id, position));
    let log = system.ended(&id).await;
    assert!(began.elapsed() < PACE / 2, "{:?}", began.elapsed());
    assert_eq!(log.job.status, JobStatus::Cancelled);
}
