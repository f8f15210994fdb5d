//! Taking jobs in: from which value proposition, and once per idempotency key.

use std::time::Duration;

use conch_conformance::build;
use conch_domain::{ClientId, JobStatus, Priority, Schedule};
use conch_doubles::When;
use conch_ports::{ErrorKind, JobFilter, NewJob, Paging, Requested, Signal};
use futures::StreamExt;
use serde_json::Value;

use crate::system::{Generator, System, settings, story};

async fn jobs(system: &System) -> u64 {
    let paging = Paging {
        page: 1,
        page_size: 10,
    };
    let catalogue = system.memory.catalogue();
    let jobs = catalogue.jobs(&JobFilter::default(), paging).await;
    jobs.unwrap().total
}

fn accepted(requested: Requested) -> conch_domain::Job {
    match requested {
        Requested::Accepted(job) | Requested::Repeated(job) => *job,
        refused => panic!("{refused:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_submission_is_a_pending_job_with_its_first_event() {
    let system = System::new().await;
    let job = accepted(system.submit().submit(system.new_job(), "a").await.unwrap());
    assert_eq!(job.status, JobStatus::Pending);
    assert!(job.own);
    assert_eq!(
        job.value_proposition_id,
        Some(system.value_proposition.id.clone())
    );
    let log = system.until(&job.id, |_| true).await;
    assert_eq!(story(&log), ["queued"]);
    assert_eq!(log.job, job);
}

/// The first try had succeeded, and its log had gone on; then the store forgot it all, and the second
/// try began it again.
#[tokio::test(start_paused = true)]
async fn each_try_of_a_submission_would_begin_an_epoch_of_its_own() {
    let system = System::new().await;
    let faults = system.memory.faults();
    faults.fail_next("job_queue.submit", 1, ErrorKind::Timeout, When::After);
    let bus = system.memory.bus();
    let mut announced = bus.subscribe().skip(1);
    let forgotten = async {
        let announced = announced.next().await;
        faults.wipe();
        match announced {
            Some(Signal::Message(message)) => {
                serde_json::from_slice::<Value>(&message.bytes).unwrap()
            }
            other => panic!("{other:?}"),
        }
    };
    let submit = system.submit();
    let (answer, before) = tokio::join!(submit.submit(system.new_job(), "a"), forgotten);
    let job = accepted(answer.unwrap());
    let log = system.until(&job.id, |_| true).await;
    assert_eq!(log.job, job);
    assert_eq!(before["job_id"], job.id.as_str(), "one job");
    assert_ne!(before["epoch"], job.position.epoch.to_string());
}

#[tokio::test(start_paused = true)]
async fn the_latest_active_value_proposition_is_taken_unless_one_is_named() {
    let system = System::new().await;
    let catalogue = system.memory.catalogue();
    let newer = build::value_proposition(&system.client.id, 10);
    let mut newest = build::value_proposition(&system.client.id, 20);
    newest.is_active = false;
    for value_proposition in [&newer, &newest] {
        assert!(
            catalogue
                .add_value_proposition(value_proposition)
                .await
                .unwrap()
        );
    }
    let submit = system.submit();
    let job = accepted(submit.submit(system.new_job(), "a").await.unwrap());
    assert_eq!(job.value_proposition_id, Some(newer.id));
    let named = NewJob {
        value_proposition_id: Some(newest.id.clone()),
        ..system.new_job()
    };
    let job = accepted(submit.submit(named, "a").await.unwrap());
    assert_eq!(job.value_proposition_id, Some(newest.id));
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_said_in_words() {
    let system = System::new().await;
    let catalogue = system.memory.catalogue();
    let stranger = build::client("banks", 0);
    let theirs = build::value_proposition(&stranger.id, 0);
    catalogue.create_client(&stranger).await.unwrap();
    let check = async |client_id: &ClientId, value_proposition_id, words: &str| {
        let new = NewJob {
            client_id: client_id.clone(),
            value_proposition_id,
            schedule: conch_domain::Schedule::default(),
            idempotency_key: None,
        };
        match system.submit().submit(new, "a").await.unwrap() {
            Requested::NotFound(said) => assert!(said.contains(words), "{said}"),
            other => panic!("{other:?}"),
        }
    };
    check(&build::client_id(), None, "no client").await;
    let unknown = build::value_proposition(&stranger.id, 0).id;
    check(&build::client_id(), Some(unknown.clone()), "no client").await;
    check(&stranger.id, Some(unknown), "has no value proposition").await;
    check(&stranger.id, None, "no active value proposition").await;
    assert!(catalogue.add_value_proposition(&theirs).await.unwrap());
    check(
        &system.client.id,
        Some(theirs.id),
        "has no value proposition",
    )
    .await;
    assert_eq!(jobs(&system).await, 0);
}

#[tokio::test(start_paused = true)]
async fn one_key_is_one_job_per_caller() {
    let system = System::new().await;
    let submit = system.submit();
    let with_key = NewJob {
        idempotency_key: Some("k".to_owned()),
        ..system.new_job()
    };
    let first = accepted(submit.submit(with_key.clone(), "a").await.unwrap());
    let again = accepted(submit.submit(with_key.clone(), "a").await.unwrap());
    assert_eq!(again, first);
    let named = NewJob {
        value_proposition_id: Some(system.value_proposition.id.clone()),
        ..with_key.clone()
    };
    assert_eq!(
        submit.submit(named, "a").await.unwrap(),
        Requested::KeyReused
    );
    assert_eq!(jobs(&system).await, 1);
    let others = accepted(submit.submit(with_key, "b").await.unwrap());
    assert_ne!(others.id, first.id);
}

#[tokio::test(start_paused = true)]
async fn a_key_answers_its_job_whatever_became_of_the_value_proposition() {
    let system = System::new().await;
    let submit = system.submit();
    let with_key = NewJob {
        idempotency_key: Some("k".to_owned()),
        ..system.new_job()
    };
    let first = accepted(submit.submit(with_key.clone(), "a").await.unwrap());
    let catalogue = system.memory.catalogue();
    let id = &system.value_proposition.id;
    let off = catalogue
        .set_value_proposition_active(&system.client.id, id, false, build::BEGINNING)
        .await;
    assert!(off.unwrap().is_some());
    let again = accepted(submit.submit(with_key.clone(), "a").await.unwrap());
    assert_eq!(again.id, first.id);
    // What another body names needn't be there either.
    let named = NewJob {
        value_proposition_id: Some(build::value_proposition(&system.client.id, 0).id),
        ..with_key.clone()
    };
    assert_eq!(
        submit.submit(named, "a").await.unwrap(),
        Requested::KeyReused
    );
    let fresh = NewJob {
        idempotency_key: Some("another".to_owned()),
        ..with_key
    };
    assert!(matches!(
        submit.submit(fresh, "a").await.unwrap(),
        Requested::NotFound(_)
    ));
    assert_eq!(jobs(&system).await, 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_first_tries_at_once_one_makes_the_job() {
    let system = System::new().await;
    let with_key = NewJob {
        idempotency_key: Some("k".to_owned()),
        ..system.new_job()
    };
    // The first try of each fails, so both have asked for the key before either has submitted.
    let faults = system.memory.faults();
    faults.fail_next("job_queue.submit", 2, ErrorKind::Unavailable, When::Before);
    let submit = system.submit();
    let (one, two) = tokio::join!(
        submit.submit(with_key.clone(), "a"),
        submit.submit(with_key.clone(), "a"),
    );
    assert_eq!(faults.calls("job_queue.recall"), 2);
    assert_eq!(accepted(one.unwrap()).id, accepted(two.unwrap()).id);
    assert_eq!(jobs(&system).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_named_value_proposition_is_not_looked_for_in_a_list() {
    let system = System::new().await;
    let named = NewJob {
        value_proposition_id: Some(system.value_proposition.id.clone()),
        ..system.new_job()
    };
    accepted(system.submit().submit(named, "a").await.unwrap());
    let faults = system.memory.faults();
    assert_eq!(faults.calls("catalogue.value_propositions"), 0);
    assert_eq!(faults.calls("catalogue.value_proposition"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_time_out_that_hid_a_success_makes_no_second_job() {
    let system = System::new().await;
    system
        .memory
        .faults()
        .fail_next("job_queue.submit", 2, ErrorKind::Timeout, When::After);
    let job = accepted(system.submit().submit(system.new_job(), "a").await.unwrap());
    assert_eq!(jobs(&system).await, 1);
    let stored = system.job(&job.id).await;
    let epoch = stored.position.epoch;
    assert_eq!(stored.with_epoch(epoch), job.with_epoch(epoch));
}

#[tokio::test(start_paused = true)]
async fn a_store_out_of_reach_is_an_error_in_bounded_time() {
    let system = System::new().await;
    system.memory.faults().fail_next(
        "job_queue.submit",
        1000,
        ErrorKind::Unavailable,
        When::Before,
    );
    let began = tokio::time::Instant::now();
    let error = system
        .submit()
        .submit(system.new_job(), "a")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(began.elapsed().as_secs() < 5);
    system.memory.faults().fail_no_more();
    system.memory.faults().fail_next(
        "job_queue.submit",
        1,
        ErrorKind::QuotaExceeded,
        When::Before,
    );
    let error = system
        .submit()
        .submit(system.new_job(), "a")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "not tried again");
}

/// What was asked for is in the first event, the record and the key's digest; a time too far ahead is refused.
#[tokio::test(start_paused = true)]
async fn a_job_is_scheduled_as_its_submission_asked() {
    let system = System::new().await;
    let submit = system.submit();
    let now = (system.clock)();
    let asked = |priority, days: i64| NewJob {
        schedule: Schedule {
            priority: Priority::new(priority).unwrap(),
            run_at: Some(now.plus_millis(days * 24 * 3600 * 1000)),
        },
        idempotency_key: Some("k".to_owned()),
        ..system.new_job()
    };
    let new = asked(8, 7);
    let job = accepted(submit.submit(new.clone(), "a").await.unwrap());
    assert_eq!(job.schedule, new.schedule);
    let log = system.memory.log().read(&job.id, 0, 9).await.unwrap();
    let line: serde_json::Value = serde_json::from_slice(&log.unwrap().entries[0].line).unwrap();
    assert_eq!(line["priority"], 8);
    let run_at = conch_wire::time::parse(line["run_at"].as_str().unwrap());
    assert_eq!(run_at, new.schedule.run_at);
    let again = accepted(submit.submit(new, "a").await.unwrap());
    assert_eq!(again.id, job.id);
    for other in [
        asked(7, 7),
        asked(8, 6),
        NewJob {
            schedule: Schedule::default(),
            ..asked(8, 7)
        },
    ] {
        let answer = submit.submit(other, "a").await.unwrap();
        assert_eq!(answer, Requested::KeyReused);
    }
    let mut far = asked(5, 7);
    far.schedule.run_at = Some(now.plus_millis(7 * 24 * 3600 * 1000 + 1));
    match submit.submit(far, "a").await.unwrap() {
        Requested::Invalid { path, detail } => {
            assert_eq!(
                (path.as_str(), detail.as_str()),
                ("run_at", "must be at most 7 days ahead")
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(jobs(&system).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_s_deadline_counts_from_when_it_may_run() {
    for (hours, status) in [(0, JobStatus::Failed), (20, JobStatus::Completed)] {
        let system = System::new().await;
        let now = (system.clock)();
        let new = NewJob {
            schedule: Schedule {
                run_at: Some(now.plus_millis(hours * 3600 * 1000)),
                ..Schedule::default()
            },
            ..system.new_job()
        };
        let job = accepted(system.submit().submit(new, "a").await.unwrap());
        tokio::time::advance(Duration::from_hours(24)).await;
        let settings = conch_services::worker::Settings {
            deadline: Duration::from_hours(12),
            ..settings("late")
        };
        let _worker = system.worker(settings, &Generator::reliable());
        let log = system.ended(&job.id).await;
        assert_eq!(log.job.status, status, "{hours} hours ahead");
    }
}
