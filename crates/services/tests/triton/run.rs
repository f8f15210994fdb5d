//! A worker's job when nothing fails but templates, and what a shutdown makes of it.

use std::sync::Arc;
use std::time::Duration;

use conch_domain::{JobStatus, PLAN};
use conch_doubles::When;
use conch_ports::ErrorKind;
use tokio::time::Instant;

use crate::system::{
    Call, FOR_THE_OPERATOR, Generator, PACE, System, count, field, settings, story,
};

#[tokio::test(start_paused = true)]
async fn a_job_tells_each_step_once_and_in_order() {
    let system = System::new().await;
    let generator = Generator::reliable();
    let _worker = system.worker(settings("a"), &generator);
    let id = system.submitted().await;
    let log = system.ended(&id).await;

    let mut expected = vec!["queued".to_owned(), "started 1".to_owned()];
    for _ in PLAN {
        expected.push("template_completed 1".to_owned());
        expected.push("progress 1".to_owned());
    }
    expected.push("completed 1".to_owned());
    assert_eq!(story(&log), expected);
    assert_eq!(
        field(&log, "progress", "progress"),
        [14, 28, 42, 57, 71, 85, 100]
    );

    let templates = system.memory.catalogue().templates_of(&id).await.unwrap();
    let places: Vec<_> = templates
        .iter()
        .map(|t| (t.category, t.target_audience))
        .collect();
    assert_eq!(places, PLAN.map(|item| (item.category, item.audience)));
    let ids: Vec<_> = templates.iter().map(|t| t.id.clone()).collect();
    assert_eq!(log.job.template_ids, ids);
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(log.job.generation_duration_ms, Some(7000));
    assert!(system.memory.cache().get(&id).await.unwrap().is_some());
    assert_eq!(system.memory.queue().next_due().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn an_announcement_wakes_a_worker_that_has_room() {
    let system = System::new().await;
    let _worker = system.worker(settings("a"), &Generator::reliable());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let began = Instant::now();
    let id = system.submitted().await;
    system.until(&id, |job| job.started_at.is_some()).await;
    assert!(
        began.elapsed() < Duration::from_millis(10),
        "the queue is looked into hourly only"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_announcement_only_delays_a_job_to_the_next_look() {
    let system = System::new().await;
    let mut often = settings("a");
    often.poll = Duration::from_secs(2);
    let _worker = system.worker(often, &Generator::reliable());
    tokio::time::sleep(Duration::from_secs(5)).await;
    system
        .memory
        .faults()
        .lose_announcements(|_, sequence| sequence == 1);
    let began = Instant::now();
    let id = system.submitted().await;
    system.until(&id, |job| job.started_at.is_some()).await;
    assert!(began.elapsed() <= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn no_more_jobs_at_once_than_there_are_slots() {
    let system = System::new().await;
    let generator = Generator::reliable();
    let _worker = system.worker(settings("a"), &generator);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(system.submitted().await);
    }
    for id in &ids {
        assert_eq!(system.ended(id).await.job.status, JobStatus::Completed);
    }
    let mut most = 0;
    let mut now = 0_usize;
    for call in generator.calls() {
        match call {
            Call::Asked { .. } => now += 1,
            _ => now -= 1,
        }
        most = most.max(now);
    }
    assert_eq!(most, 2);
}

#[tokio::test(start_paused = true)]
async fn a_failing_template_does_not_fail_its_job() {
    let system = System::new().await;
    let generator = Generator::new(|brief| [2, 5].contains(&brief.index));
    let _worker = system.worker(settings("a"), &generator);
    let id = system.submitted().await;
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(log.job.template_count, 5);
    assert_eq!(field(&log, "template_failed", "template_index"), [2, 5]);
    let errors = field(&log, "template_failed", "error_message");
    assert_eq!(errors[0], "no idea for template 2");
    assert_eq!(field(&log, "progress", "progress"), [14, 28, 42, 57, 71]);
}

#[tokio::test(start_paused = true)]
async fn a_job_without_templates_is_tried_again_and_then_fails() {
    let system = System::new().await;
    let _worker = system.worker(settings("a"), &Generator::new(|_| true));
    let id = system.submitted().await;
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Failed);
    assert_eq!(count(&log, "started"), 1);
    assert_eq!(count(&log, "template_failed"), 21);
    assert_eq!(field(&log, "retrying", "attempt"), [1, 2]);
    assert_eq!(field(&log, "retrying", "reason"), ["error", "error"]);
    let story = story(&log);
    let after_retry = |n: usize| {
        let retry = format!("retrying {n}");
        story
            .iter()
            .skip_while(|event| **event != retry)
            .nth(1)
            .unwrap()
    };
    assert_eq!(after_retry(1), "progress 2");
    assert_eq!(after_retry(2), "progress 3");
    let told = log.job.error_message.as_deref();
    let why = "no template could be made: no idea for template 7";
    assert_eq!(told, Some(why));
    for entry in &log.entries {
        let line = String::from_utf8_lossy(&entry.line);
        assert!(!line.contains(FOR_THE_OPERATOR), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_s_trouble_is_not_told_to_those_who_watch_the_job() {
    let system = System::new().await;
    let faults = system.memory.faults();
    let _worker = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    system
        .until(&id, |job| job.status == JobStatus::Running)
        .await;
    // Its first template's.
    faults.fail_next("job_log.append", 1, ErrorKind::Refused, When::Before);
    let log = system.ended(&id).await;
    let errors = field(&log, "template_failed", "error_message");
    assert_eq!(errors, ["the template could not be stored"]);
    assert_eq!(log.job.template_count, 6);
}

#[tokio::test(start_paused = true)]
async fn attempts_wait_longer_each_time_and_not_before_they_said() {
    let system = System::new().await;
    let mut settings = settings("a");
    settings.backoff = Duration::from_secs(10);
    let _worker = system.worker(settings, &Generator::new(|_| true));
    let id = system.submitted().await;
    let mut waits = Vec::new();
    for attempt in [1, 2] {
        let retrying = system.until(&id, |job| job.least_attempt > attempt).await;
        let told = field(&retrying, "retrying", "retry_at").pop().unwrap();
        let told = conch_wire::time::parse(told.as_str().unwrap()).unwrap();
        let ended = retrying.job.updated_at.unwrap();
        let again = system.until(&id, |job| job.attempt > attempt).await;
        let began = again.job.updated_at.unwrap();
        assert!(began >= told, "not before {told:?}");
        assert!(began.millis_since(told) < 100, "soon after");
        waits.push(began.millis_since(ended));
    }
    assert!((7_500..=10_100).contains(&waits[0]), "{waits:?}");
    assert!((15_000..=20_100).contains(&waits[1]), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_gives_its_jobs_back_without_counting() {
    let system = System::new().await;
    let generator = Generator::reliable();
    let first = system.worker(settings("a"), &generator);
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 3).await;
    let began = Instant::now();
    first.stop().await;
    assert!(began.elapsed() < PACE, "it waits for no template");
    assert_eq!(generator.calls().last(), Some(&Call::Dropped { index: 4 }));
    let given_back = system.job(&id).await;
    assert_eq!(given_back.status, JobStatus::Pending);

    let second = Generator::reliable();
    let _worker = system.worker(settings("b"), &second);
    let log = system.ended(&id).await;
    assert_eq!(log.job.template_count, 7);
    assert_eq!(log.job.attempt, 1, "a shutdown doesn't count");
    assert_eq!(count(&log, "started"), 1);
    assert_eq!(field(&log, "retrying", "reason"), ["shutdown"]);
    assert_eq!(count(&log, "template_completed"), 7);
    assert_eq!(
        second.calls()[0],
        Call::Asked {
            index: 4,
            attempt: 1
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_claims_nothing_more() {
    let system = System::new().await;
    let mut one = settings("a");
    one.concurrency = 1;
    let worker = system.worker(one, &Generator::reliable());
    let running = system.submitted().await;
    let waiting = system.submitted().await;
    system.until(&running, |job| job.started_at.is_some()).await;
    worker.stop().await;
    assert_eq!(system.job(&running).await.status, JobStatus::Pending);
    assert_eq!(system.job(&waiting).await.attempt, 0);
    assert_eq!(
        system.memory.queue().next_due().await.unwrap(),
        Some(Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn two_workers_share_the_jobs_and_run_each_once() {
    let system = System::new().await;
    let generators = [Generator::reliable(), Generator::reliable()];
    let _a = system.worker(settings("a"), &generators[0]);
    let _b = system.worker(settings("b"), &generators[1]);
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(system.submitted().await);
    }
    for id in &ids {
        let log = system.ended(id).await;
        assert_eq!(count(&log, "template_completed"), 7);
        assert_eq!(log.job.attempt, 1);
    }
    let asked: usize = generators
        .iter()
        .map(|g: &Arc<Generator>| g.calls().len())
        .sum();
    assert_eq!(
        asked,
        8 * 7 * 2,
        "each template asked for once and made once"
    );
}
