//! What is lost between a worker and its queue: answers to claims, a job's place.

use std::time::Duration;

use conch_domain::{Job, JobId, JobStatus};
use conch_doubles::When;
use conch_memory::Loss;
use conch_ports::{ErrorKind, Log};
use conch_services::worker::Settings;

use crate::system::{Generator, System, count, field, settings, story};

fn hasty() -> Settings {
    Settings {
        sweep: Duration::from_secs(2),
        poll: Duration::from_secs(1),
        ..settings("w")
    }
}

/// The connection is cut between a claim and its answer, three times.
#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_is_lost_is_asked_again_and_gets_the_same_job() {
    let system = System::new().await;
    let lost = ErrorKind::Timeout;
    let faults = system.memory.faults();
    faults.fail_next("job_queue.claim", 3, lost, When::After);
    let first = system.submitted().await;
    let second = system.submitted().await;
    let worker = Settings {
        concurrency: 1,
        ..hasty()
    };
    let _worker = system.worker(worker, &Generator::reliable());
    let log = system.ended(&first).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(log.job.attempt, 1);
    assert_eq!(count(&log, "retrying"), 0, "{:?}", story(&log));
    let log = system.ended(&second).await;
    assert_eq!(log.job.attempt, 1);
}

/// A job whose worker dies after its first template.
async fn left_behind(system: &System) -> JobId {
    let dying = system.worker(hasty(), &Generator::reliable());
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 1).await;
    dying.kill();
    id
}

/// A worker claims the only job, for that attempt, and dies before it has said anything.
async fn claim_in_silence(system: &System, attempt: u32) {
    let queue = system.memory.queue();
    let token = conch_conformance::build::token();
    let claim = queue.claim("dying", &token, Duration::from_millis(100));
    let lease = claim.await.unwrap().expect("it waits");
    assert_eq!(lease.attempt, attempt);
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// Another one takes the job back, or ends it, and claims nothing. The job is due again then.
async fn taken_back(system: &System, id: &JobId, is_taken_back: impl Fn(&Job) -> bool) -> Log {
    let reaper = system.worker_on(hasty(), &Generator::reliable(), system.claims_nothing());
    let done = |job: &Job| is_taken_back(job) || job.status.is_terminal();
    let log = system.until(id, done).await;
    reaper.kill();
    tokio::time::sleep(Duration::from_mins(1)).await;
    log
}

/// Workers that claim and die before they have said anything: not counted, but not for ever.
#[tokio::test(start_paused = true)]
async fn claims_that_begin_nothing_are_no_attempts_and_end_after_ten() {
    for (silent, status) in [(9, JobStatus::Completed), (10, JobStatus::Failed)] {
        let system = System::new().await;
        let id = system.submitted().await;
        for nth in 1..=silent {
            claim_in_silence(&system, 1).await;
            taken_back(&system, &id, |job| job.attempts.idle_claims == nth).await;
        }
        let _worker = system.worker(hasty(), &Generator::reliable());
        let log = system.ended(&id).await;
        assert_eq!(log.job.status, status);
        if status == JobStatus::Failed {
            let why = "10 workers in a row took the job and fell silent before they began";
            assert_eq!(log.job.error_message.as_deref(), Some(why));
        } else {
            assert_eq!(log.job.attempt, 1);
        }
    }
}

/// What was said of the end isn't an attempt that began, which would have the claims counted anew.
#[tokio::test(start_paused = true)]
async fn an_end_after_claims_that_begin_nothing_is_gone_on_with_after_an_error() {
    let system = System::new().await;
    let id = left_behind(&system).await;
    taken_back(&system, &id, |job| job.least_attempt == 2).await;
    for nth in 1..10 {
        claim_in_silence(&system, 2).await;
        taken_back(&system, &id, |job| job.attempts.idle_claims == nth).await;
    }
    claim_in_silence(&system, 2).await;
    // Of several events that end it the first one is appended.
    let (append, refused) = ("job_log.append", ErrorKind::Refused);
    let faults = system.memory.faults();
    faults.fail_next(append, 1, refused, When::After);
    let log = taken_back(&system, &id, |_| false).await;
    assert_eq!(log.job.status, JobStatus::Completed, "{:?}", story(&log));
    assert_eq!(count(&log, "retrying"), 10, "{:?}", story(&log));
    assert_eq!(count(&log, "template_failed"), 6);
    let why = "10 workers in a row took the job and fell silent before they began";
    let told = field(&log, "template_failed", "error_message");
    assert!(told.iter().all(|told| told == why), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_running_job_that_lost_its_lease_goes_on_and_one_that_lost_its_entry_is_run_again() {
    for (loss, attempts) in [(Loss::Place, 1), (Loss::Entry, 2)] {
        let system = System::new().await;
        let worker = Settings {
            // Swept before it is renewed.
            sweep: Duration::from_millis(500),
            ..hasty()
        };
        let _worker = system.worker(worker, &Generator::reliable());
        let id = system.submitted().await;
        system.until(&id, |job| job.template_count == 2).await;
        system.memory.faults().lose_from_queue(&id, loss);
        let log = system.ended(&id).await;
        assert_eq!(log.job.status, JobStatus::Completed, "{loss:?}");
        assert_eq!(log.job.template_count, 7);
        assert_eq!(log.job.attempt, attempts, "{:?}", story(&log));
        let reasons = field(&log, "retrying", "reason");
        assert!(reasons.iter().all(|reason| reason == "lease_expired"));
    }
}

/// An entry that is put back doesn't know how many attempts there were: the log does.
#[tokio::test(start_paused = true)]
async fn a_waiting_job_that_lost_its_entry_goes_on_counting_its_attempts() {
    for losses in [&[Loss::Entry][..], &[Loss::Entry, Loss::Place]] {
        let system = System::new().await;
        let id = left_behind(&system).await;
        taken_back(&system, &id, |job| job.least_attempt == 2).await;
        for loss in losses {
            system.memory.faults().lose_from_queue(&id, *loss);
        }
        let _worker = system.worker(hasty(), &Generator::reliable());
        let log = system.ended(&id).await;
        assert_eq!(log.job.status, JobStatus::Completed);
        assert_eq!(log.job.attempt, 2, "{:?}", story(&log));
        assert_eq!(count(&log, "retrying"), 1, "{:?}", story(&log));
    }
}

/// A job that lost its place is ended by a request and by its deadline, and a waiting one is run.
#[tokio::test(start_paused = true)]
async fn a_lost_job_can_be_cancelled_and_has_a_deadline() {
    for cancels in [true, false] {
        let system = System::new().await;
        let id = left_behind(&system).await;
        system.memory.faults().lose_from_queue(&id, Loss::Entry);
        system.memory.faults().lose_from_queue(&id, Loss::Place);
        if cancels {
            system.cancel().cancel(&id, None).await.unwrap();
        }
        let worker = Settings {
            deadline: Duration::from_secs(5),
            ..hasty()
        };
        tokio::time::sleep(Duration::from_secs(10)).await;
        let _worker = system.worker(worker, &Generator::reliable());
        let log = system.ended(&id).await;
        let expected = if cancels {
            JobStatus::Cancelled
        } else {
            JobStatus::Completed
        };
        assert_eq!(log.job.status, expected);
        assert_eq!(log.job.template_count, 1);
    }
    let system = System::new().await;
    let id = system.submitted().await;
    system.memory.faults().lose_from_queue(&id, Loss::Place);
    let _worker = system.worker(hasty(), &Generator::reliable());
    assert_eq!(system.ended(&id).await.job.status, JobStatus::Completed);
}

/// Looking for lost jobs is one question per page, whatever the number of jobs.
#[tokio::test(start_paused = true)]
async fn a_sweep_asks_once_for_all_jobs() {
    let system = System::new().await;
    for _ in 0..20 {
        system.submitted().await;
    }
    let worker = Settings {
        sweep: Duration::from_secs(10),
        ..hasty()
    };
    let _worker = system.worker_on(worker, &Generator::reliable(), system.claims_nothing());
    tokio::time::sleep(Duration::from_secs(100)).await;
    let asked = system.memory.faults().calls("job_queue.sweep");
    assert!((10..=20).contains(&asked), "{asked}");
}
