//! Templates that can't be made, or not at once: tries within an attempt, attempts that a template takes
//! its worker with it, and what is told of those that are missing.

use std::sync::Arc;
use std::time::Duration;

use conch_conformance::build;
use conch_domain::JobStatus;
use conch_ports::{Brief, Log};
use conch_services::worker::Settings;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::system::{Call, Generator, System, count, field, settings, story};

fn tries(template_tries: u32) -> Settings {
    Settings {
        template_tries,
        ..settings("w")
    }
}

/// What each call was given beside its place.
type Given = Arc<Mutex<Vec<(u32, u32, Option<String>, Vec<String>)>>>;

fn recording(
    fails: impl Fn(&Brief) -> Option<String> + Send + Sync + 'static,
) -> (Arc<Generator>, Given) {
    let given = Given::default();
    let record = Arc::clone(&given);
    let generator = Generator::making(move |brief| {
        record.lock().push((
            brief.index,
            brief.try_number,
            brief.last_failure.clone(),
            brief.names.clone(),
        ));
        if let Some(failure) = fails(brief) {
            return Err(failure);
        }
        let mut draft = build::draft(brief.item.category, brief.item.audience);
        draft.name = format!("name {} by try {}", brief.index, brief.try_number);
        Ok(draft)
    });
    (generator, given)
}

/// The last event's fields of what is missing, and those of the job object.
fn missing(log: &Log) -> (Value, Value, Value, Value) {
    let last = &log.entries.last().expect("it has events").line;
    let last: Value = serde_json::from_slice(last).unwrap();
    let object: Value = serde_json::from_slice(&conch_wire::job::encode(&log.job)).unwrap();
    (
        last["failed_templates"].clone(),
        last["error_message"].clone(),
        object["failed_templates"].clone(),
        object["error_message"].clone(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_is_tried_again_with_what_was_wrong_and_which_names_there_are() {
    let system = System::new().await;
    let (generator, given) = recording(|brief| {
        let bad = brief.index == 3 && brief.try_number < 3;
        bad.then(|| format!("widgets.{}: no title", brief.try_number))
    });
    let _worker = system.worker(tries(3), &generator);
    let id = system.submitted().await;
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(count(&log, "template_failed"), 0);
    assert_eq!(log.job.template_count, 7);
    assert_eq!(
        missing(&log),
        (Value::Null, Value::Null, json!([]), Value::Null)
    );
    let names = vec!["name 1 by try 1".to_owned(), "name 2 by try 1".to_owned()];
    let wrong = |n: u32| Some(format!("widgets.{n}: no title"));
    assert_eq!(
        given.lock()[2..5],
        [
            (3, 1, None, names.clone()),
            (3, 2, wrong(1), names.clone()),
            (3, 3, wrong(2), names),
        ]
    );
    assert_eq!(given.lock().len(), 9);
    assert_eq!(given.lock()[8].3[2], "name 3 by try 3");
}

#[tokio::test(start_paused = true)]
async fn a_template_that_fails_each_try_is_told_of_and_the_others_are_made() {
    let system = System::new().await;
    let (generator, given) = recording(|brief| {
        let bad = [2, 5].contains(&brief.index);
        bad.then(|| format!("no idea, try {}", brief.try_number))
    });
    let _worker = system.worker(tries(2), &generator);
    let id = system.submitted().await;
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(given.lock().len(), 9);
    assert_eq!(field(&log, "template_failed", "template_index"), [2, 5]);
    assert_eq!(
        field(&log, "template_failed", "error_message"),
        ["no idea, try 2", "no idea, try 2"]
    );
    assert_eq!(log.job.template_count, 5);
    let why = json!("2 of 7 templates are missing: 2 (no idea, try 2), 5 (no idea, try 2)");
    assert_eq!(
        missing(&log),
        (json!([2, 5]), why.clone(), json!([2, 5]), why.clone())
    );
    let cached = system.memory.cache().get(&id).await.unwrap().unwrap();
    let cached: Value = serde_json::from_slice(&cached).unwrap();
    assert_eq!(cached["failed_templates"], json!([2, 5]));
    assert_eq!(cached["error_message"], why);
}

/// Nothing is gained by asking again for what is refused.
#[tokio::test(start_paused = true)]
async fn what_a_generator_refuses_is_not_tried_again() {
    let system = System::new().await;
    let generator = Generator::refusing();
    let worker = Settings {
        max_attempts: 1,
        ..tries(3)
    };
    let _worker = system.worker(worker, &generator);
    let id = system.submitted().await;
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Failed);
    let asked = generator.calls();
    let asked = asked.iter().filter(|c| matches!(c, Call::Asked { .. }));
    assert_eq!(asked.count(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_and_a_shutdown_stop_between_two_tries() {
    for cancels in [true, false] {
        let system = System::new().await;
        let generator = Generator::new(|_| true);
        let worker = system.worker(tries(10), &generator);
        let id = system.submitted().await;
        system.until(&id, |job| job.started_at.is_some()).await;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        if cancels {
            system.cancel().cancel(&id, None).await.unwrap();
            let log = system.ended(&id).await;
            assert_eq!(log.job.status, JobStatus::Cancelled);
        } else {
            worker.stop().await;
            let job = system.job(&id).await;
            assert_eq!(job.status, JobStatus::Pending, "given back");
            assert_eq!(job.least_attempt, 1, "it doesn't count");
        }
        let calls = generator.calls().len();
        assert_eq!(calls, 6, "two tries failed, the third was dropped");
    }
}

/// Kills each worker that makes one of these templates, until the job has ended.
async fn with_killers(system: &System, killers: &[u32]) -> Log {
    let id = system.submitted().await;
    for life in 0..30 {
        let worker = system.worker(tries(3), &Generator::reliable());
        let log = system
            .until(&id, |job| {
                job.status.is_terminal()
                    || job.status == JobStatus::Running
                        && job.attempts.making.is_some_and(|at| killers.contains(&at))
                        && job.attempt > life
            })
            .await;
        if log.job.status.is_terminal() {
            return log;
        }
        worker.kill();
    }
    panic!("the job has no end");
}

#[tokio::test(start_paused = true)]
async fn a_template_that_kills_its_worker_is_given_up_and_the_others_are_made() {
    let system = System::new().await;
    let log = with_killers(&system, &[3]).await;
    assert_eq!(log.job.status, JobStatus::Completed, "{:?}", story(&log));
    assert_eq!(log.job.template_count, 6);
    assert_eq!(count(&log, "template_completed"), 6);
    assert_eq!(log.job.attempt, 4);
    assert_eq!(field(&log, "template_failed", "template_index"), [3]);
    let why = "its worker fell silent in each of 3 attempts";
    assert_eq!(field(&log, "template_failed", "error_message"), [why]);
    let all = json!(format!("1 of 7 templates is missing: 3 ({why})"));
    assert_eq!(missing(&log), (json!([3]), all.clone(), json!([3]), all));
    assert_eq!(
        field(&log, "retrying", "max_attempts"),
        [3, 3, 4],
        "no attempt is beyond what was said"
    );
}

#[tokio::test(start_paused = true)]
async fn each_template_has_attempts_of_its_own_and_a_job_without_any_fails() {
    let system = System::new().await;
    let log = with_killers(&system, &[1, 4, 7]).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(log.job.template_count, 4);
    assert_eq!(field(&log, "template_failed", "template_index"), [1, 4, 7]);
    assert_eq!(log.job.attempt, 10);

    let system = System::new().await;
    let log = with_killers(&system, &[1, 2, 3, 4, 5, 6, 7]).await;
    assert_eq!(log.job.status, JobStatus::Failed);
    assert_eq!(log.job.attempt, 22);
    let why = "no template could be made: its worker fell silent in each of 3 attempts";
    assert_eq!(log.job.error_message.as_deref(), Some(why));
}

#[tokio::test(start_paused = true)]
async fn what_the_deadline_left_unmade_is_told() {
    let system = System::new().await;
    let worker = Settings {
        deadline: Duration::from_millis(4500),
        ..tries(1)
    };
    let _worker = system.worker(worker, &Generator::reliable());
    let id = system.submitted().await;
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(log.job.template_count, 4);
    assert_eq!(field(&log, "template_failed", "template_index"), [5, 6, 7]);
    let (listed, _, object, _) = missing(&log);
    assert_eq!((listed, object), (json!([5, 6, 7]), json!([5, 6, 7])));
}
