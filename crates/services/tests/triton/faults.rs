//! A store that loses answers, events or everything.

use std::time::Duration;

use conch_conformance::build::{self, Script};
use conch_domain::{EventKind, Job, JobId, JobStatus};
use conch_doubles::When;
use conch_ports::{Appended, Commit, ErrorKind, Fence, JobFilter, Paging, Signal};
use futures::StreamExt;
use tokio::task::JoinError;

use crate::lines;
use crate::system::{Generator, PACE, System, Working, count, epoch, field, settings, story};

#[tokio::test(start_paused = true)]
async fn lost_answers_are_no_duplicates() {
    let system = System::new().await;
    let faults = system.memory.faults();
    let _worker = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    for done in 1..=6 {
        system.until(&id, |job| job.template_count == done).await;
        faults.fail_next("job_log.append", 2, ErrorKind::Timeout, When::After);
        faults.fail_next("job_queue.renew", 1, ErrorKind::Timeout, When::After);
    }
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(count(&log, "template_completed"), 7);
    assert_eq!(count(&log, "progress"), 7);
    assert_eq!(log.job.attempt, 1);
    assert_eq!(log.job.template_ids.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn each_event_of_ours_is_told_to_the_operator_once() {
    let (lines, _guard) = lines::listen();
    let system = System::new().await;
    let faults = system.memory.faults();
    faults.fail_next("job_queue.submit", 1, ErrorKind::Timeout, When::After);
    let id = system.submitted().await;
    // Each is appended, and the answer is lost.
    faults.fail_next("job_log.append", 3, ErrorKind::Timeout, When::After);
    let _worker = system.worker(settings("a"), &Generator::reliable());
    let log = system.ended(&id).await;
    let told = lines.with("Published event");
    assert_eq!(told.len() as u64, log.job.position.sequence, "{told:#?}");
    for (line, sequence) in told.iter().zip(1..) {
        assert!(line.contains("INFO"), "{line}");
        let field = format!("job.sequence={sequence}");
        assert!(line.ends_with(&field), "{line}");
    }
    for event in ["job:queued", "job:started", "job:completed"] {
        let line = format!("Published event '{event}' for job {id} job.id={id} ");
        assert_eq!(lines.with(&line).len(), 1, "{event}: {told:#?}");
    }
}

/// A worker at its job's first template, and how it goes on with the job when it ends by itself.
async fn ends_and_gives_its_job_back(
    system: &System,
    worker: Working,
    hurt: impl FnOnce(),
) -> std::result::Result<(), JoinError> {
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 1).await;
    hurt();
    let ended = worker.ended().await;
    let log = system
        .until(&id, |job| job.status == JobStatus::Pending)
        .await;
    assert_eq!(field(&log, "retrying", "reason"), ["shutdown"]);
    ended
}

#[tokio::test(start_paused = true)]
async fn a_worker_does_not_outlive_its_reaper() {
    let system = System::new().await;
    let worker = system.worker(settings("a"), &Generator::reliable());
    let faults = system.memory.faults();
    let ended = ends_and_gives_its_job_back(&system, worker, || {
        faults.panic_next("job_queue.expired", 1);
    });
    let panic = ended.await.expect_err("it is told of").into_panic();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("job_queue.expired"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_does_not_outlive_its_ears() {
    for panics in [true, false] {
        let system = System::new().await;
        let (hurt, hurting) = tokio::sync::oneshot::channel();
        let end = futures::stream::once(async move {
            hurting.await.unwrap();
            assert!(!panics, "a defect in an adapter");
            Signal::Gap
        });
        let signals = futures::stream::iter([Signal::Gap]).chain(end).boxed();
        let worker = system.worker_that_hears(settings("a"), &Generator::reliable(), signals);
        let ended = ends_and_gives_its_job_back(&system, worker, || hurt.send(()).unwrap()).await;
        assert_eq!(ended.is_err_and(|error| error.is_panic()), panics);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_within_the_lease_costs_no_attempt() {
    let system = System::new().await;
    let faults = system.memory.faults();
    let _worker = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 2).await;
    let operations = ["job_log.append", "job_log.read", "job_queue.renew"];
    for operation in operations {
        faults.fail_next(operation, 10_000, ErrorKind::Unavailable, When::Before);
    }
    let before = faults.calls("job_log.append");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(faults.calls("job_log.append") > before + 3, "it was tried");
    faults.fail_no_more();
    let log = system.ended(&id).await;
    assert_eq!(log.job.attempt, 1);
    assert_eq!(count(&log, "template_completed"), 7);
}

#[tokio::test(start_paused = true)]
async fn claims_go_on_when_the_queue_is_back() {
    let system = System::new().await;
    let faults = system.memory.faults();
    faults.fail_next("job_queue.claim", 8, ErrorKind::Unavailable, When::Before);
    let _worker = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert!(faults.calls("job_queue.claim") < 40, "the pauses grow");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_forgot_everything_gets_a_new_epoch_and_an_end() {
    for (hidden, done) in [(0, 3), (1, 3), (0, 6), (1, 6)] {
        let system = System::new().await;
        let faults = system.memory.faults();
        let generator = Generator::reliable();
        let _worker = system.worker(settings("a"), &generator);
        let id = system.submitted().await;
        let before = system.until(&id, |job| job.template_count == done).await;
        faults.fail_next("job_queue.restore", hidden, ErrorKind::Timeout, When::After);
        faults.wipe();
        let log = system.ended(&id).await;
        assert_ne!(epoch(&log), epoch(&before));
        assert_eq!(log.job.status, JobStatus::Completed);
        assert!(log.job.own);
        assert_eq!(log.job.attempt, 1);
        let stored = system.memory.catalogue().templates_of(&id).await.unwrap();
        let ids: Vec<_> = stored.into_iter().map(|t| t.id).collect();
        assert_eq!(log.job.template_ids, ids, "the finished ones were put back");
        assert_eq!(ids.len(), 7);
        assert_eq!(generator.calls().len(), 14, "nothing was made twice");
        assert_eq!(system.memory.queue().expired(10).await.unwrap(), []);
    }
}

/// What a forger says of a job first, and whether it is taken.
async fn forged(system: &System, id: &JobId, kind: EventKind) -> Appended {
    let initial = Job::initial(id.clone(), build::epoch(), false);
    let commit = Commit {
        fence: Fence::Foreign,
        announce: false,
        ..Script::of(initial).then(kind)
    };
    system.memory.log().append(commit).await.unwrap()
}

fn lies(now: conch_domain::Timestamp) -> [EventKind; 4] {
    let completed_at = now;
    [
        EventKind::Started { started_at: now },
        EventKind::CancelRequested { reason: None },
        EventKind::Failed {
            error_message: "forged".to_owned(),
            generation_duration_ms: None,
            completed_at,
        },
        EventKind::Completed {
            template_ids: vec!["forged".parse().unwrap()],
            template_count: 1,
            generation_duration_ms: None,
            completed_at,
            failed_templates: Vec::new(),
            error_message: None,
        },
    ]
}

/// Wherever the worker is when it learns of it: before a template is stored, at an append, at a
/// renewal, with its answer lost.
#[tokio::test(start_paused = true)]
async fn a_worker_outdoes_what_was_forged_of_its_job_while_the_store_had_forgotten_it() {
    for (lie, (hidden, done)) in (0..4).flat_map(|lie| {
        let moments = [(0, 0), (0, 3), (1, 3), (0, 6), (1, 6)];
        moments.into_iter().map(move |moment| (lie, moment))
    }) {
        let system = System::new().await;
        let faults = system.memory.faults();
        let generator = Generator::reliable();
        let _worker = system.worker(settings("a"), &generator);
        let id = system.submitted().await;
        let before = system
            .until(&id, |job| {
                job.started_at.is_some() && job.template_count == done
            })
            .await;
        faults.fail_next("job_queue.restore", hidden, ErrorKind::Timeout, When::After);
        faults.wipe();
        let lie = lies((system.clock)())[lie].clone();
        let answer = forged(&system, &id, lie.clone()).await;
        assert_eq!(answer, Appended::Appended, "the store knows no better");
        let log = system
            .until(&id, |job| job.own && job.status.is_terminal())
            .await;
        assert_eq!(log.job.status, JobStatus::Completed, "{lie:?}");
        assert!(!log.job.cancel_requested);
        assert_eq!(log.job.attempt, 1);
        assert_eq!(log.job.template_count, 7);
        assert_ne!(epoch(&log), epoch(&before));
        assert_eq!(generator.calls().len(), 14, "nothing was made twice");
        let cached = system.memory.cache().get(&id).await.unwrap();
        assert_eq!(cached, Some(conch_wire::job::encode(&log.job)));
        let all = Paging {
            page: 1,
            page_size: 10,
        };
        let catalogue = system.memory.catalogue();
        let jobs = catalogue.jobs(&JobFilter::default(), all).await.unwrap();
        assert_eq!(jobs.items, [log.job], "Triton's own list");
    }
}

/// Lets time pass until the operation is called once more.
async fn called(system: &System, operation: &str) {
    let faults = system.memory.faults();
    let before = faults.calls(operation);
    while faults.calls(operation) == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_forged_end_that_meets_an_append_is_no_end() {
    let system = System::new().await;
    let faults = system.memory.faults();
    let _worker = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 3).await;
    // The template is stored; what tells of it is tried again in a moment.
    faults.fail_next("job_log.append", 1, ErrorKind::Unavailable, When::Before);
    called(&system, "job_log.append").await;
    faults.wipe();
    let [.., end] = lies((system.clock)());
    assert_eq!(forged(&system, &id, end).await, Appended::Appended);
    let log = system
        .until(&id, |job| job.own && job.status.is_terminal())
        .await;
    assert_eq!(log.job.template_count, 7);
    assert_eq!(log.job.attempt, 1);
}

/// All that is left to say of a job whose worker knows nothing of it yet is that it was lost; but that is
/// its worker's to say.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_forged_between_its_claim_and_its_first_look_is_still_ours() {
    let system = System::new().await;
    let faults = system.memory.faults();
    let id = system.submitted().await;
    // A claim brings what its log says, so that must have run out.
    tokio::time::sleep(Duration::from_hours(200)).await;
    assert!(system.memory.log().read(&id, 0, 0).await.unwrap().is_none());
    faults.fail_next("job_log.read", 1, ErrorKind::Unavailable, When::Before);
    let _worker = system.worker(settings("a"), &Generator::reliable());
    called(&system, "job_log.read").await;
    faults.wipe();
    let [started, ..] = lies((system.clock)());
    assert_eq!(forged(&system, &id, started).await, Appended::Appended);
    let log = system
        .until(&id, |job| job.own && job.status.is_terminal())
        .await;
    assert_eq!(
        log.job.error_message.as_deref(),
        Some("the job's records were lost")
    );
}

/// Whatever got in beside the lease, a worker takes nothing of it over.
#[tokio::test(start_paused = true)]
async fn a_worker_goes_on_with_its_own_story_over_a_foreign_one() {
    let system = System::new().await;
    let faults = system.memory.faults();
    let _worker = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 2).await;
    // It is put back before the next template is, and its worker learns of that in a moment.
    faults.fail_next("job_queue.restore", 1, ErrorKind::Timeout, When::After);
    faults.wipe();
    called(&system, "job_queue.restore").await;
    let initial = Job::initial(id.clone(), build::epoch(), false);
    let [_, cancel, ..] = lies((system.clock)());
    let derived = Script::of(initial).then(cancel);
    let answer = system.memory.log().append(derived).await.unwrap();
    assert_eq!(answer, Appended::Appended);
    let log = system
        .until(&id, |job| job.own && job.status.is_terminal())
        .await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert!(!log.job.cancel_requested);
}

/// Once the job is back, no forger is let in.
#[tokio::test(start_paused = true)]
async fn a_job_that_was_put_back_takes_no_forged_event() {
    let system = System::new().await;
    let mut often = settings("a");
    often.lease = PACE / 2;
    let _worker = system.worker(often, &Generator::reliable());
    let id = system.submitted().await;
    let before = system.until(&id, |job| job.template_count == 3).await;
    system.memory.faults().wipe();
    let [.., end] = lies((system.clock)());
    assert_eq!(forged(&system, &id, end.clone()).await, Appended::Appended);
    let anew = system
        .until(&id, |job| {
            job.own && job.position.epoch != before.job.position.epoch
        })
        .await;
    assert_eq!(
        anew.job.template_count, 3,
        "before the next template is made"
    );
    assert_eq!(system.memory.cache().get(&id).await.unwrap(), None);
    assert_eq!(forged(&system, &id, end).await, Appended::Fenced);
    assert_eq!(system.ended(&id).await.job.template_count, 7);
}

/// Nobody of ours held the job: what is announced of it is all that there is, and stays.
#[tokio::test(start_paused = true)]
async fn a_foreign_log_is_left_to_whoever_announced_it() {
    let system = System::new().await;
    let worker = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 3).await;
    worker.kill();
    system.memory.faults().wipe();
    let [started, ..] = lies((system.clock)());
    forged(&system, &id, started).await;
    let foreign = system.job(&id).await;
    let _second = system.worker(settings("b"), &Generator::reliable());
    tokio::time::sleep(60 * PACE).await;
    assert_eq!(system.job(&id).await, foreign);
    assert_eq!(system.memory.catalogue().job(&id).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_job_is_put_back_before_its_next_template_is_made() {
    let system = System::new().await;
    let mut often = settings("a");
    often.lease = PACE / 2;
    let _worker = system.worker(often, &Generator::reliable());
    let id = system.submitted().await;
    let before = system.until(&id, |job| job.template_count == 3).await;
    system.memory.faults().wipe();
    let log = system
        .until(&id, |job| job.position.epoch != before.job.position.epoch)
        .await;
    assert_eq!(
        log.job.template_count, 3,
        "told at once, not with the next template"
    );
    assert_eq!(count(&log, "progress"), 1);
    assert_eq!(
        system
            .memory
            .catalogue()
            .templates_of(&id)
            .await
            .unwrap()
            .len(),
        3
    );
    assert_eq!(system.ended(&id).await.job.template_count, 7);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_tail_is_replaced_by_a_new_epoch() {
    let system = System::new().await;
    let _worker = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    let before = system.until(&id, |job| job.template_count == 3).await;
    assert!(system.memory.faults().cut_log(&id, 2));
    let log = system.ended(&id).await;
    assert_ne!(epoch(&log), epoch(&before));
    assert_eq!(log.job.template_count, 7);
    assert_eq!(log.job.status, JobStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_request_to_cancel_survives_a_lost_tail() {
    let system = System::new().await;
    let _worker = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    let before = system.until(&id, |job| job.template_count == 3).await;
    let faults = system.memory.faults();
    faults.disconnect_subscribers();
    assert!(faults.cut_log(&id, 3));
    system.cancel().cancel(&id, None).await.unwrap();
    tokio::time::sleep(2 * PACE).await;
    let job = system.job(&id).await;
    assert_ne!(job.position.epoch, before.job.position.epoch);
    assert_eq!(job.status, JobStatus::Cancelled);
}

/// No worker holds the job any more: whoever says something of it first begins another epoch.
#[tokio::test(start_paused = true)]
async fn a_doubtful_log_goes_on_in_another_epoch_whoever_goes_on() {
    let system = System::new().await;
    let faults = system.memory.faults();
    let first = system.worker(settings("a"), &Generator::reliable());
    let id = system.submitted().await;
    let before = system.until(&id, |job| job.template_count == 3).await;
    first.kill();
    assert!(faults.cut_log(&id, 2));
    faults.doubt_logs();
    let cut = system.job(&id).await;
    let _second = system.worker(settings("b"), &Generator::reliable());
    let log = system
        .until(&id, |job| job.position.epoch != before.job.position.epoch)
        .await;
    assert_eq!(story(&log)[0], "retrying 1", "the reaper came first");
    let base = log.base.as_ref().expect("it began in mid-life");
    assert_eq!(base.template_ids, cut.template_ids);
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(log.job.template_count, 7, "the finished ones were kept");

    let waiting = system.submitted().await;
    let before = system.job(&waiting).await.position.epoch;
    faults.doubt_logs();
    system.cancel().cancel(&waiting, None).await.unwrap();
    let log = system.ended(&waiting).await;
    assert_ne!(epoch(&log), before);
}
