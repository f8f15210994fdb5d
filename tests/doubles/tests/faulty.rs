//! Planned failures: which call fails, before or after it was carried out, and which isn't touched.

use conch_conformance::build::Script;
use conch_doubles::{FaultyMemory, When};
use conch_memory::Settings;
use conch_ports::{Appended, ErrorKind, Result};

fn kind<T: std::fmt::Debug>(answer: Result<T>) -> ErrorKind {
    answer.expect_err("it must fail").kind()
}

#[tokio::test(start_paused = true)]
async fn a_call_fails_before_or_after_its_effect() {
    let memory = FaultyMemory::new(Settings::default());
    let (faults, log) = (memory.faults(), memory.log());
    let mut script = Script::foreign();
    let commit = script.queued();
    faults.fail_next("job_log.append", 1, ErrorKind::Unavailable, When::Before);
    faults.fail_next("job_log.append", 1, ErrorKind::Timeout, When::After);
    assert_eq!(
        kind(log.append(commit.clone()).await),
        ErrorKind::Unavailable
    );
    assert!(
        log.read(script.id(), 0, 1).await.unwrap().is_none(),
        "nothing was done"
    );
    assert_eq!(kind(log.append(commit.clone()).await), ErrorKind::Timeout);
    let place = commit.job.position;
    let answer = log.append(commit).await.unwrap();
    assert_eq!(
        answer,
        Appended::Duplicate(place),
        "the time-out hid a success"
    );
    assert_eq!(faults.calls("job_log.append"), 3);
    assert_eq!(faults.calls("job_queue.claim"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_panics_before_it_fails_and_no_more_once_all_is_forgotten() {
    let memory = FaultyMemory::new(Settings::default());
    let (faults, cache) = (memory.faults(), memory.cache());
    let (kind_of_failure, job_id) = (ErrorKind::OutOfSpace, Script::own().id().clone());
    faults.fail_next("result_cache.get", 2, kind_of_failure, When::Before);
    faults.panic_next("result_cache.get", 1);
    let panics = tokio::spawn({
        let (cache, job_id) = (memory.cache(), job_id.clone());
        async move { cache.get(&job_id).await }
    });
    assert!(panics.await.expect_err("it must panic").is_panic());
    assert_eq!(kind(cache.get(&job_id).await), kind_of_failure);
    cache.ping().await.expect("it is another operation");
    faults.fail_no_more();
    assert_eq!(cache.get(&job_id).await.expect("memory answers"), None);
    assert_eq!(faults.calls("result_cache.get"), 3);
    // What the test itself does to the store is under no plan.
    let cache = (*memory).cache();
    faults.fail_next("result_cache.get", 1, kind_of_failure, When::Before);
    assert_eq!(cache.get(&job_id).await.expect("memory answers"), None);
}
