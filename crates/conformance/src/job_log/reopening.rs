//! The law of external jobs that go on after their end.

use conch_domain::{JobStatus, Position};
use conch_ports::{Appended, Commit, ErrorKind, Fence, JobLog, Quota};

use crate::build::{self, Script, event_of, with_event_id};
use crate::observe::{append_all, log_of, submitted};
use crate::{Outcome, StoreSubject};

fn external(commit: Commit) -> Commit {
    Commit {
        fence: Fence::Foreign,
        announce: false,
        ..commit
    }
}

/// A job that has failed, and the commits that it was told by.
async fn failed(logs: &dyn JobLog) -> (Script, Vec<Commit>) {
    let mut script = Script::foreign();
    let commits = vec![external(script.started()), external(script.failed())];
    append_all(logs, commits.clone()).await;
    (script, commits)
}

/// A commit that reopens takes the place of an ended log: its events and its result are gone, and what
/// was appended before stays a duplicate, at the place that it had.
pub async fn an_external_job_goes_on(subject: &dyn StoreSubject) -> Outcome {
    let (logs, cache) = (subject.log(), subject.cache());
    let (mut script, told) = failed(&*logs).await;
    let ended_at = script.job().position;
    let restart = script.reopened(Script::started);
    assert_eq!(
        logs.append(restart.clone()).await.unwrap(),
        Appended::Appended
    );
    let log = log_of(&*logs, script.id()).await;
    assert_eq!(log.job, *script.job(), "the state is that of the new epoch");
    assert_eq!(
        (log.oldest, log.entries.len()),
        (1, 1),
        "the old events are gone"
    );
    assert!(log.base.is_none(), "it begins with its first event");
    let cached = cache.get(script.id()).await.unwrap();
    if logs.guarantees().caches_results {
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
        let late = logs.append(commit.clone()).await.unwrap();
        assert_eq!(
            late,
            Appended::Duplicate(at(sequence)),
            "an earlier epoch's event"
        );
    }
    let again = logs.append(restart.clone()).await.unwrap();
    assert_eq!(again, Appended::Duplicate(restart.job.position));
    // Not from a place where it no longer ends, and not while it goes on.
    let other = with_event_id(&build::event_id(), restart);
    let answer = logs.append(other).await.unwrap();
    assert_eq!(answer, Appended::Conflict(Some(script.job().position)));

    // An end alone, in a third epoch: its result is there with it.
    append_all(
        &*logs,
        [external(script.progress(30)), external(script.failed())],
    )
    .await;
    let second_end = script.job().position;
    let end = script.reopened(Script::completed);
    assert_eq!(logs.append(end).await.unwrap(), Appended::Appended);
    let log = log_of(&*logs, script.id()).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(log.job.past, [ended_at, second_end]);
    if logs.guarantees().caches_results {
        let cached = cache.get(script.id()).await.unwrap();
        assert_eq!(cached, Some(conch_wire::job::encode(script.job())));
    }
    for (commit, sequence) in told.into_iter().zip(1..) {
        let late = logs.append(commit).await.unwrap();
        assert_eq!(late, Appended::Duplicate(at(sequence)), "two epochs later");
    }
    one_of_several_goes_on(&*logs).await;
    only_by_external_events(subject).await;
    within_the_quota(subject).await;
    Outcome::of_a_log(logs.guarantees())
}

/// Several offer the same event, each in an epoch of its own: one epoch begins.
async fn one_of_several_goes_on(logs: &dyn JobLog) {
    let (script, _) = failed(logs).await;
    let mut first = script.clone();
    let restart = first.reopened(Script::started);
    let offers = (0..8).map(|_| {
        let mut script = script.clone();
        let event_id = event_of(&restart).event_id.clone();
        let commit = with_event_id(&event_id, script.reopened(Script::started));
        logs.append(commit)
    });
    let answers = futures::future::join_all(offers).await;
    let began: Vec<&Appended> = answers
        .iter()
        .flatten()
        .filter(|answer| **answer == Appended::Appended)
        .collect();
    assert_eq!(began.len(), 1, "{answers:?}");
    let at = log_of(logs, script.id()).await.job.position;
    let others = |answer: &Appended| *answer == Appended::Duplicate(at);
    assert_eq!(
        answers.iter().flatten().filter(|a| others(a)).count(),
        7,
        "{answers:?}"
    );
}

/// What isn't an external program's event begins no epoch after an end, and neither does one for a job
/// of our own.
async fn only_by_external_events(subject: &dyn StoreSubject) {
    let logs = subject.log();
    let (mut script, _) = failed(&*logs).await;
    let before = log_of(&*logs, script.id()).await.job;
    let restart = script.reopened(Script::started);
    for fence in [Fence::Open, Fence::Unclaimed] {
        let commit = Commit {
            fence,
            ..restart.clone()
        };
        assert_eq!(logs.append(commit).await.unwrap(), Appended::Ended);
    }
    assert_eq!(log_of(&*logs, script.id()).await.job, before);

    let mut own = submitted(subject).await;
    append_all(&*logs, [own.failed()]).await;
    let before = log_of(&*logs, own.id()).await.job;
    let refused = logs.append(own.reopened(Script::started)).await.unwrap();
    assert_eq!(refused, Appended::Fenced, "a job of our own");
    assert_eq!(log_of(&*logs, own.id()).await.job, before);
}

/// With as many unfinished as may be, none goes on but by an end.
async fn within_the_quota(subject: &dyn StoreSubject) {
    let (logs, quotas) = (subject.log(), subject.limits().quotas);
    let (script, _) = failed(&*logs).await;
    for _ in 0..quotas.foreign_jobs {
        if logs
            .append(external(Script::foreign().started()))
            .await
            .is_err()
        {
            break;
        }
    }
    let error = logs.append(script.clone().reopened(Script::started)).await;
    let error = error.expect_err("one more unfinished job than there may be");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
    assert!(
        error.message().contains(Quota::ForeignJobs.setting()),
        "{error}"
    );
    assert_eq!(
        log_of(&*logs, script.id()).await.job,
        *script.job(),
        "it has ended as before"
    );
    let end = script.clone().reopened(Script::completed);
    assert_eq!(logs.append(end).await.unwrap(), Appended::Appended);
}
