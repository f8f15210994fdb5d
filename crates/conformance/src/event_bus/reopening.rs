//! The law of external jobs that go on after their end.

use conch_domain::{JobStatus, Position};
use conch_ports::{Commit, ErrorKind, EventBus, Fence, Published, Quota};

use crate::build::Script;
use crate::observe::{log_of, publish_all, submitted};
use crate::{Outcome, Subject};

fn external(commit: Commit) -> Commit {
    Commit {
        fence: Fence::Foreign,
        announce: false,
        ..commit
    }
}

/// A job that has failed, and the commits that it was told by.
async fn failed(bus: &dyn EventBus) -> (Script, Vec<Commit>) {
    let mut script = Script::foreign();
    let commits = vec![external(script.started()), external(script.failed())];
    publish_all(bus, commits.clone()).await;
    (script, commits)
}

/// A commit that reopens takes the place of an ended log: its events and its result are gone, and what
/// was appended before stays a duplicate, at the place that it had.
pub async fn an_external_job_goes_on(subject: &dyn Subject) -> Outcome {
    let (bus, cache) = (subject.bus(), subject.cache());
    let (mut script, told) = failed(&*bus).await;
    let ended_at = script.job().position;
    let restart = script.reopened(Script::started);
    assert_eq!(
        bus.publish(restart.clone()).await.unwrap(),
        Published::Appended
    );
    let log = log_of(&*bus, script.id()).await;
    assert_eq!(log.job, *script.job(), "the state is that of the new epoch");
    assert_eq!(
        (log.oldest, log.entries.len()),
        (1, 1),
        "the old events are gone"
    );
    assert!(log.base.is_none(), "it begins with its first event");
    let cached = cache.get(script.id()).await.unwrap();
    if bus.guarantees().atomic_commit {
        assert_eq!(
            cached, None,
            "the result of the old end is gone in the same step"
        );
    }

    let at = |sequence| Position {
        sequence,
        ..ended_at
    };
    for (commit, sequence) in told.iter().zip(1..) {
        let late = bus.publish(commit.clone()).await.unwrap();
        assert_eq!(
            late,
            Published::Duplicate(at(sequence)),
            "an earlier epoch's event"
        );
    }
    let again = bus.publish(restart.clone()).await.unwrap();
    assert_eq!(again, Published::Duplicate(restart.job.position));
    // Not from a place where it no longer ends, and not while it goes on.
    let other = Commit {
        event_id: crate::build::event_id(),
        ..restart
    };
    let answer = bus.publish(other).await.unwrap();
    assert_eq!(answer, Published::Conflict(Some(script.job().position)));

    // An end alone, in a third epoch: its result is there with it.
    publish_all(
        &*bus,
        [external(script.progress(30)), external(script.failed())],
    )
    .await;
    let second_end = script.job().position;
    let end = script.reopened(Script::completed);
    assert_eq!(bus.publish(end).await.unwrap(), Published::Appended);
    let log = log_of(&*bus, script.id()).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(log.job.past, [ended_at, second_end]);
    if bus.guarantees().atomic_commit {
        let cached = cache.get(script.id()).await.unwrap();
        assert_eq!(cached, Some(conch_wire::job::encode(script.job())));
    }
    for (commit, sequence) in told.into_iter().zip(1..) {
        let late = bus.publish(commit).await.unwrap();
        assert_eq!(late, Published::Duplicate(at(sequence)), "two epochs later");
    }
    one_of_several_goes_on(&*bus).await;
    only_by_external_events(subject).await;
    within_the_quota(subject).await;
    Outcome::of_a_bus(bus.guarantees())
}

/// Several offer the same event, each in an epoch of its own: one epoch begins.
async fn one_of_several_goes_on(bus: &dyn EventBus) {
    let (script, _) = failed(bus).await;
    let mut first = script.clone();
    let restart = first.reopened(Script::started);
    let offers = (0..8).map(|_| {
        let mut script = script.clone();
        let commit = Commit {
            event_id: restart.event_id.clone(),
            ..script.reopened(Script::started)
        };
        bus.publish(commit)
    });
    let answers = futures::future::join_all(offers).await;
    let began: Vec<&Published> = answers
        .iter()
        .flatten()
        .filter(|answer| **answer == Published::Appended)
        .collect();
    assert_eq!(began.len(), 1, "{answers:?}");
    let at = log_of(bus, script.id()).await.job.position;
    let others = |answer: &Published| *answer == Published::Duplicate(at);
    assert_eq!(
        answers.iter().flatten().filter(|a| others(a)).count(),
        7,
        "{answers:?}"
    );
}

/// What isn't an external program's event begins no epoch after an end, and neither does one for a job
/// of our own.
async fn only_by_external_events(subject: &dyn Subject) {
    let bus = subject.bus();
    let (mut script, _) = failed(&*bus).await;
    let before = log_of(&*bus, script.id()).await.job;
    let restart = script.reopened(Script::started);
    for fence in [Fence::Open, Fence::Unclaimed] {
        let commit = Commit {
            fence,
            ..restart.clone()
        };
        assert_eq!(bus.publish(commit).await.unwrap(), Published::Ended);
    }
    assert_eq!(log_of(&*bus, script.id()).await.job, before);

    let mut own = submitted(subject).await;
    publish_all(&*bus, [own.failed()]).await;
    let before = log_of(&*bus, own.id()).await.job;
    let refused = bus.publish(own.reopened(Script::started)).await.unwrap();
    assert_eq!(refused, Published::Fenced, "a job of our own");
    assert_eq!(log_of(&*bus, own.id()).await.job, before);
}

/// With as many unfinished as may be, none goes on but by an end.
async fn within_the_quota(subject: &dyn Subject) {
    let (bus, quotas) = (subject.bus(), subject.limits().quotas);
    let (script, _) = failed(&*bus).await;
    for _ in 0..quotas.foreign_jobs {
        if bus
            .publish(external(Script::foreign().started()))
            .await
            .is_err()
        {
            break;
        }
    }
    let error = bus.publish(script.clone().reopened(Script::started)).await;
    let error = error.expect_err("one more unfinished job than there may be");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
    assert!(
        error.message().contains(Quota::ForeignJobs.setting()),
        "{error}"
    );
    assert_eq!(
        log_of(&*bus, script.id()).await.job,
        *script.job(),
        "it has ended as before"
    );
    let end = script.clone().reopened(Script::completed);
    assert_eq!(bus.publish(end).await.unwrap(), Published::Appended);
}
