//! Workers that die, are cut off or come back too late.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conch_conformance::build::{self, Script};
use conch_domain::{Job, JobId, JobStatus, LeaseToken, TemplateId};
use conch_ports::{
    Cancelled, Claimed, Idempotency, JobQueue, Lease, PutTemplate, QueuePlace, Result, Submission,
    Submitted, Sweep, Swept,
};
use conch_services::worker::Settings;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::system::{Call, Generator, System, count, field, settings, story};

#[tokio::test(start_paused = true)]
async fn another_worker_takes_over_and_keeps_what_was_finished() {
    let system = System::new().await;
    let dying = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 3).await;
    dying.kill();
    let began = Instant::now();
    let generator = Generator::reliable();
    let _worker = system.worker(settings("b"), &generator);
    system.until(&id, |job| job.attempt == 2).await;
    // Lease, half a lease until it is looked at, and the pause before the next attempt.
    assert!(began.elapsed() <= Duration::from_secs(6 + 3 + 2));
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(field(&log, "retrying", "reason"), ["lease_expired"]);
    assert_eq!(count(&log, "started"), 1);
    assert_eq!(count(&log, "template_completed"), 7);
    assert_eq!(
        generator.calls()[0],
        Call::Asked {
            index: 4,
            attempt: 2
        }
    );
    let stored = system.memory.catalogue().templates_of(&id).await.unwrap();
    let ids: Vec<_> = stored.into_iter().map(|t| t.id).collect();
    assert_eq!(log.job.template_ids, ids);
}

#[tokio::test(start_paused = true)]
async fn a_template_that_was_stored_and_not_told_of_is_told_of_once() {
    let system = System::new().await;
    let id = system.submitted().await;
    let queue = system.memory.queue();
    let lease = queue
        .claim(
            "dying",
            &conch_conformance::build::token(),
            Duration::from_secs(1),
        )
        .await
        .unwrap()
        .unwrap()
        .lease;
    let template = build::template(&system.job(&id).await, 1);
    let put = system
        .memory
        .catalogue()
        .put_template(&template, &lease)
        .await
        .unwrap();
    assert_eq!(put, PutTemplate::Stored);

    let generator = Generator::reliable();
    let _worker = system.worker(settings("b"), &generator);
    let log = system.ended(&id).await;
    let told = field(&log, "template_completed", "template_id");
    assert_eq!(told.len(), 7);
    assert_eq!(told[0], template.id.as_str());
    // Nothing was said of it, so it is made again, in vain. What began with no event doesn't count.
    let again = Call::Asked {
        index: 1,
        attempt: 1,
    };
    assert_eq!(generator.calls()[0], again);
    let kept = system.memory.catalogue().templates_of(&id).await.unwrap();
    assert_eq!((kept.len(), &kept[0]), (7, &template));
}

/// A queue as a worker sees it that is told that its lease is fine, when it is not; and the latest lease that it was
/// given.
pub(crate) struct Deceived(Arc<dyn JobQueue>, Mutex<Option<Lease>>);

impl Deceived {
    pub(crate) fn of(system: &System) -> Arc<Self> {
        Arc::new(Self(system.memory.queue(), Mutex::default()))
    }

    pub(crate) fn lease(&self) -> Lease {
        self.1.lock().clone().expect("it was claimed")
    }
}

#[async_trait]
impl JobQueue for Deceived {
    async fn submit(&self, submission: Submission) -> Result<Submitted> {
        self.0.submit(submission).await
    }
    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        self.0.recall(idempotency).await
    }
    async fn claim(
        &self,
        worker: &str,
        token: &LeaseToken,
        duration: Duration,
    ) -> Result<Option<Claimed>> {
        let claimed = self.0.claim(worker, token, duration).await?;
        if let Some(claimed) = &claimed {
            *self.1.lock() = Some(claimed.lease.clone());
        }
        Ok(claimed)
    }
    async fn renew(&self, _lease: &Lease, _duration: Duration) -> Result<bool> {
        Ok(true)
    }
    async fn expired(&self, _limit: usize) -> Result<Vec<Lease>> {
        Ok(Vec::new())
    }
    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        self.0.sweep(sweep).await
    }

    async fn places(&self, job_ids: &[JobId]) -> Result<Vec<Option<QueuePlace>>> {
        self.0.places(job_ids).await
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        Ok(None)
    }
    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        self.0.restore(lease, job, duration).await
    }
}

/// What another process with the same lease, or this one's lost request, has stored stays, and is what is told of.
#[tokio::test(start_paused = true)]
async fn a_template_whose_place_is_taken_gives_way() {
    let system = System::new().await;
    let generator = Generator::reliable();
    let queue = Deceived::of(&system);
    let mut long = settings("a");
    long.lease = Duration::from_mins(10);
    let _worker = system.worker_on(long, &generator, queue.clone());
    let id = system.submitted().await;
    let log = system.until(&id, |job| job.template_count == 1).await;
    let first = build::template(&log.job, 2);
    let lease = queue.lease();
    let catalogue = system.memory.catalogue();
    let put = catalogue.put_template(&first, &lease).await.unwrap();
    assert_eq!(put, PutTemplate::Stored);
    let log = system.ended(&id).await;
    let kept = catalogue.templates_of(&id).await.unwrap();
    assert_eq!(kept[1], first);
    let kept: Vec<_> = kept.iter().map(|template| template.id.clone()).collect();
    assert_eq!(kept.len(), 7);
    assert_eq!(log.job.template_ids, kept);
    let told = field(&log, "template_completed", "template_id");
    assert_eq!(
        told,
        kept.iter().map(TemplateId::as_str).collect::<Vec<_>>()
    );
    assert_eq!(count(&log, "progress"), 7);
}

#[tokio::test(start_paused = true)]
async fn a_zombie_writes_nothing() {
    let system = System::new().await;
    let zombies = Generator::reliable();
    let mut blind = settings("zombie");
    blind.concurrency = 1;
    // It runs on for a second beyond its lease, as if it had been stopped meanwhile.
    let queue = Deceived::of(&system);
    let _zombie = system.worker_on(blind, &zombies, queue);
    let id = system.submitted().await;
    system.until(&id, |job| job.started_at.is_some()).await;

    let _worker = system.worker(settings("b"), &Generator::reliable());
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    let story = story(&log);
    let taken_back = story
        .iter()
        .position(|event| event == "retrying 1")
        .unwrap();
    let after: Vec<_> = story[taken_back + 1..]
        .iter()
        .filter(|e| !e.ends_with(" 2"))
        .collect();
    assert_eq!(after, [] as [&String; 0], "nothing of the first attempt");
    assert_eq!(count(&log, "template_completed"), 7);
    let last_asked = zombies.calls().len();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(zombies.calls().len(), last_asked, "it has stopped");
    assert!(last_asked < 14, "it stopped at its first refused write");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_after_the_lease_even_if_nobody_took_over() {
    let system = System::new().await;
    // It stores no template, so that only the fence of its events can stop it.
    let zombies = Generator::new(|_| true);
    let queue = Deceived::of(&system);
    let _zombie = system.worker_on(settings("zombie"), &zombies, queue);
    let id = system.submitted().await;
    let log = system.until(&id, |job| job.started_at.is_some()).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let after = system.until(&id, |_| true).await;
    assert!(after.job.position.sequence > log.job.position.sequence);
    assert_eq!(after.job.status, JobStatus::Running);
    let failed = count(&after, "template_failed");
    assert_eq!(failed, 5, "one a second, for less than the lease's six");
    assert_eq!(zombies.calls().len(), 12, "the sixth write stopped it");
}

/// A job at its third attempt, whose worker fell silent.
async fn silent_at_the_last_attempt(system: &System, templates: u32) -> Script {
    let id = system.submitted().await;
    let queue = system.memory.queue();
    let log = system.memory.log();
    let mut script = Script::of(system.job(&id).await);
    for attempt in 1..=3 {
        let lease = queue
            .claim(
                "dying",
                &conch_conformance::build::token(),
                Duration::from_secs(1),
            )
            .await
            .unwrap()
            .unwrap()
            .lease;
        assert_eq!(lease.attempt, attempt);
        script.hold(&lease);
        if attempt < 3 {
            let back = script.retrying(conch_domain::RetryReason::Error, Duration::ZERO);
            log.append(back).await.unwrap();
        }
        if attempt == 3 {
            log.append(script.started()).await.unwrap();
        }
        for index in 1..=(if attempt == 3 { templates } else { 0 }) {
            let template = build::template(script.job(), index);
            let catalogue = system.memory.catalogue();
            let put = catalogue.put_template(&template, &lease).await.unwrap();
            assert_eq!(put, PutTemplate::Stored);
        }
    }
    script
}

#[tokio::test(start_paused = true)]
async fn silence_at_the_last_attempt_ends_the_job_with_what_there_is() {
    for (templates, status) in [(0, JobStatus::Failed), (2, JobStatus::Completed)] {
        let system = System::new().await;
        let script = silent_at_the_last_attempt(&system, templates).await;
        let generator = Generator::reliable();
        let _worker = system.worker(settings("b"), &generator);
        let log = system.ended(script.id()).await;
        assert_eq!(log.job.status, status);
        assert_eq!(log.job.template_count, u64::from(templates));
        assert_eq!(generator.calls(), [], "there is no fourth attempt");
        let told = field(&log, "template_failed", "template_index");
        let missing: Vec<_> = log.job.attempts.failed.keys().copied().collect();
        if status == JobStatus::Completed {
            assert_eq!(missing, [3, 4, 5, 6, 7]);
            assert_eq!(told, [3, 4, 5, 6, 7]);
        }
        assert_eq!(system.memory.queue().expired(10).await.unwrap(), []);
        if status == JobStatus::Failed {
            assert!(
                log.job
                    .error_message
                    .as_ref()
                    .unwrap()
                    .contains("fell silent")
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_workers_that_end_one_silent_job_at_once_tell_of_each_template_once() {
    let system = System::new().await;
    let script = silent_at_the_last_attempt(&system, 2).await;
    let _reapers = system.two_reapers();
    let log = system.ended(script.id()).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    let told = field(&log, "template_failed", "template_index");
    assert_eq!(told, [3, 4, 5, 6, 7]);
    assert_eq!(count(&log, "completed"), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_after_a_request_to_cancel_is_the_end() {
    let system = System::new().await;
    let dying = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 1).await;
    dying.kill();
    tokio::task::yield_now().await;
    system.cancel().cancel(&id, None).await.unwrap();
    let _worker = system.worker(settings("b"), &Generator::reliable());
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Cancelled);
    assert_eq!(log.job.template_count, 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_can_not_renew_stops_when_its_lease_must_have_run_out() {
    let system = System::new().await;
    let generator = Generator::reliable();
    let cut_off = system.worker(settings("a"), &generator);
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 1).await;
    let faults = system.memory.faults();
    for operation in [
        "job_log.append",
        "job_log.read",
        "job_queue.renew",
        "job_queue.expired",
        "job_queue.claim",
    ] {
        faults.fail_next(
            operation,
            10_000,
            conch_ports::ErrorKind::Unavailable,
            conch_doubles::When::Before,
        );
    }
    tokio::time::sleep(Duration::from_secs(7)).await;
    let calls = generator.calls();
    assert_eq!(
        calls.last(),
        Some(&Call::Made { index: 3 }),
        "the fourth wasn't begun while the second's commit had no answer"
    );
    drop(cut_off);
    faults.fail_no_more();
    let _worker = system.worker(settings("b"), &Generator::reliable());
    let log = system.ended(&id).await;
    assert_eq!(count(&log, "template_completed"), 7);
    assert_eq!(log.job.attempt, 2);
}

/// Longer than the store in memory keeps an unfinished log.
const EIGHT_DAYS: Duration = Duration::from_hours(8 * 24);

async fn nobody_works_for_eight_days(system: &System, id: &JobId) {
    tokio::time::advance(EIGHT_DAYS).await;
    let log = system.memory.log().read(id, 0, 0).await.unwrap();
    assert!(log.is_none(), "it has run out");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waited_longer_than_its_log_lives_is_run_or_past_its_deadline_ended() {
    for (deadline, status, events) in [
        (Settings::default().deadline, JobStatus::Failed, 0),
        (2 * EIGHT_DAYS, JobStatus::Completed, 7),
    ] {
        let system = System::new().await;
        let id = system.submitted().await;
        nobody_works_for_eight_days(&system, &id).await;
        let settings = Settings {
            deadline,
            ..settings("late")
        };
        let worker = system.worker(settings, &Generator::reliable());
        let log = system.ended(&id).await;
        assert_eq!(log.job.status, status);
        assert_eq!(count(&log, "template_completed"), events);
        assert_eq!(log.job.attempt, 1);
        worker.stop().await;
        let queue = system.memory.queue();
        assert_eq!(queue.next_due().await.unwrap(), None);
        assert_eq!(queue.expired(10).await.unwrap(), [], "its place is free");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_worker_died_longer_ago_than_its_log_lives_ends_with_what_was_made() {
    let system = System::new().await;
    let dying = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 3).await;
    dying.kill();
    nobody_works_for_eight_days(&system, &id).await;
    let generator = Generator::reliable();
    let _worker = system.worker(settings("b"), &generator);
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(log.job.template_count, 3);
    assert_eq!(field(&log, "retrying", "reason"), ["lease_expired"]);
    assert_eq!(generator.calls(), [], "its deadline has passed");
    assert_eq!(system.memory.queue().expired(10).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_without_a_log_can_be_cancelled() {
    let system = System::new().await;
    let id = system.submitted().await;
    nobody_works_for_eight_days(&system, &id).await;
    let answer = system.cancel().cancel(&id, None).await.unwrap();
    assert_eq!(answer, Cancelled::Requested);
    let log = system.ended(&id).await;
    assert_eq!(story(&log), ["cancelled"]);
    assert_eq!(system.memory.queue().next_due().await.unwrap(), None);
}
