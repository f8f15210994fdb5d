//! What is lost between a worker and its queue: answers to claims, a job's place.

use std::time::Duration;

use conch_domain::JobStatus;
use conch_memory::{Loss, When};
use conch_ports::ErrorKind;
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

/// Workers that claim and die before they have said anything: not counted, but not for ever.
#[tokio::test(start_paused = true)]
async fn claims_that_begin_nothing_are_no_attempts_and_end_after_ten() {
    for (silent, status) in [(9, JobStatus::Completed), (10, JobStatus::Failed)] {
        let system = System::new().await;
        let id = system.submitted().await;
        for nth in 1..=silent {
            let queue = system.memory.queue();
            let token = conch_conformance::build::token();
            let claim = queue.claim("dying", &token, Duration::from_millis(100));
            let lease = claim.await.unwrap().expect("it waits");
            assert_eq!(lease.attempt, 1, "claim {nth}");
            tokio::time::sleep(Duration::from_millis(200)).await;
            // Only takes back: another one claims.
            let reaper = system.worker_on(hasty(), &Generator::reliable(), system.claims_nothing());
            system
                .until(&id, |job| {
                    job.attempts.idle_claims == nth || job.status.is_terminal()
                })
                .await;
            reaper.kill();
            tokio::time::sleep(Duration::from_mins(1)).await;
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

/// A job that lost its place is ended by a request and by its deadline, and a waiting one is run.
#[tokio::test(start_paused = true)]
async fn a_lost_job_can_be_cancelled_and_has_a_deadline() {
    for cancels in [true, false] {
        let system = System::new().await;
        let dying = system.worker(hasty(), &Generator::reliable());
        let id = system.submitted().await;
        system.until(&id, |job| job.template_count == 1).await;
        dying.kill();
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
