//! The laws of [`JobQueue`](conch_ports::JobQueue) about what a store that lost a job takes back from its worker.

use std::time::Duration;

use conch_domain::{Job, RetryReason};
use conch_ports::{Appended, Commit, Fence, Lease};

use crate::build::{self, Script};
use crate::observe::{AFTER_SHORT, LONG, SHORT, append_all, claim, log_of, submitted};
use crate::{Outcome, StoreSubject};

/// `restore` gives a lease and a record back to a store that knows nothing of the job, once.
pub async fn restore_only_from_nothing(subject: &dyn StoreSubject) {
    let (logs, queue, catalogue) = (subject.log(), subject.queue(), subject.catalogue());
    let lease_of = |script: &Script, attempt| Lease {
        job_id: script.id().clone(),
        attempt,
        token: build::token(),
    };
    let waiting = submitted(subject).await;
    let refused = lease_of(&waiting, 1);
    assert!(
        !queue.restore(&refused, waiting.job(), LONG).await.unwrap(),
        "it waits here"
    );
    assert!(!queue.renew(&refused, LONG).await.unwrap());
    let mut foreign = Script::foreign();
    append_all(&*logs, [foreign.queued()]).await;
    let refused = lease_of(&foreign, 1);
    assert!(
        !queue.restore(&refused, foreign.job(), LONG).await.unwrap(),
        "its log is here"
    );
    let mut ended = Script::own();
    append_all(&*logs, [ended.queued(), ended.cancelled()]).await;
    let ttl = subject.limits().ended_log_ttl + Duration::from_millis(50);
    subject.advance(ttl).await;
    let refused = lease_of(&ended, 1);
    assert!(
        !queue.restore(&refused, ended.job(), LONG).await.unwrap(),
        "its record is here"
    );
    assert_eq!(
        catalogue.job(ended.id()).await.unwrap().as_ref(),
        Some(ended.job())
    );

    let mut lost = Script::own();
    lost.queued();
    lost.started();
    let lease = lease_of(&lost, 2);
    lost.hold(&lease);
    lost.progress(40);
    assert!(queue.restore(&lease, lost.job(), LONG).await.unwrap());
    assert_eq!(
        catalogue.job(lost.id()).await.unwrap().as_ref(),
        Some(lost.job()),
        "the record"
    );
    assert!(
        !queue.restore(&lease, lost.job(), LONG).await.unwrap(),
        "once"
    );
    assert!(
        queue.renew(&lease, LONG).await.unwrap(),
        "it holds the lease"
    );
    assert!(
        logs.read(lost.id(), 0, 10).await.unwrap().is_none(),
        "no log was made up"
    );
    let mut anew = Script::of(lost.job().with_epoch(build::epoch()));
    anew.hold(&lease);
    append_all(
        &*logs,
        [
            anew.progress(50),
            anew.retrying(RetryReason::Error, Duration::ZERO),
        ],
    )
    .await;

    let first = claim(subject, LONG).await.expect("two wait");
    assert_eq!(first.job_id, *waiting.id());
    let again = claim(subject, SHORT).await.expect("one waits");
    assert_eq!(
        (&again.job_id, again.attempt),
        (lost.id(), 3),
        "the attempts count on"
    );

    let gone = Script::own();
    let short = lease_of(&gone, 1);
    assert!(queue.restore(&short, gone.job(), SHORT).await.unwrap());
    subject.advance(AFTER_SHORT).await;
    let expired = queue.expired(10).await.unwrap();
    assert!(
        expired.contains(&short),
        "a restored lease runs out like any other"
    );
}

/// A foreign log under the id of a job of ours, unfinished or ended, is no obstacle: it is gone with the
/// restore, and so are its cached result and its share of the quota. Nothing else restores over one.
pub async fn restore_replaces_external_logs(subject: &dyn StoreSubject) -> Outcome {
    let quotas = subject.limits().quotas;
    for ended in [false, true] {
        if ended {
            // As many as leave room for the last of what follows, once one is gone.
            for _ in 2 * quotas.foreign_jobs..quotas.ended_foreign_jobs() {
                let end = foreign(Script::foreign().completed());
                append_all(&*subject.log(), [end]).await;
            }
        }
        let mut told = Vec::new();
        while told.len() < quotas.foreign_jobs {
            told.push(an_own_job_of_which_others_told(subject, ended).await);
        }
        for (ours, forged) in told {
            is_restored_over(subject, ours, &forged, ended).await;
        }
    }
    Outcome::of_a_log(subject.log().guarantees())
}

/// What a foreign program announced.
fn foreign(commit: Commit) -> Commit {
    Commit {
        fence: Fence::Foreign,
        announce: false,
        ..commit
    }
}

/// An own job that the store has forgotten, held by its worker, and the log that stands in its place.
async fn an_own_job_of_which_others_told(
    subject: &dyn StoreSubject,
    ended: bool,
) -> ((Script, Lease), Script) {
    let mut ours = Script::own();
    ours.queued();
    ours.started();
    let lease = Lease {
        job_id: ours.id().clone(),
        attempt: 2,
        token: build::token(),
    };
    ours.hold(&lease);
    ours.progress(40);
    let mut forged = Script::of(Job::initial(ours.id().clone(), build::epoch(), false));
    let mut story = vec![foreign(forged.started())];
    if ended {
        story.push(foreign(forged.failed()));
    }
    append_all(&*subject.log(), story).await;
    ((ours, lease), forged)
}

async fn is_restored_over(
    subject: &dyn StoreSubject,
    (ours, lease): (Script, Lease),
    forged: &Script,
    ended: bool,
) {
    let (logs, queue, cache) = (subject.log(), subject.queue(), subject.cache());
    let id = ours.id();
    let atomic = logs.guarantees().caches_results;
    if atomic {
        let cached = cache.get(id).await.unwrap();
        assert_eq!(cached.is_some(), ended, "what the end left");
    }
    assert!(
        !queue.restore(&lease, forged.job(), LONG).await.unwrap(),
        "a foreign job over a foreign log"
    );
    assert_eq!(log_of(&*logs, id).await.job, *forged.job());

    assert!(
        queue.restore(&lease, ours.job(), LONG).await.unwrap(),
        "what others told of our job kept it from its worker"
    );
    assert!(
        logs.read(id, 0, 10).await.unwrap().is_none(),
        "the foreign log is still there"
    );
    if atomic {
        assert_eq!(
            cache.get(id).await.unwrap(),
            None,
            "the foreign result is still there"
        );
    }
    let record = subject.catalogue().job(id).await.unwrap();
    assert_eq!(record.as_ref(), Some(ours.job()), "the record");
    let mut again = Script::of(Job::initial(id.clone(), build::epoch(), false));
    let answer = logs.append(foreign(again.started())).await.unwrap();
    assert_eq!(answer, Appended::Fenced, "others told of it again");

    // There is room for another foreign job at once.
    let mut another = Script::foreign();
    append_all(
        &*logs,
        [foreign(another.started()), foreign(another.failed())],
    )
    .await;

    let mut anew = Script::of(ours.job().with_epoch(build::epoch()));
    anew.hold(&lease);
    let mut begins = anew.progress(50);
    begins.base = Some(ours.job().with_epoch(anew.job().position.epoch));
    append_all(&*logs, [begins]).await;
    let log = log_of(&*logs, id).await;
    assert_eq!((&log.job, log.entries.len()), (anew.job(), 1));
    assert!(
        !queue.restore(&lease, anew.job(), LONG).await.unwrap(),
        "its own log is here"
    );
    append_all(&*logs, [anew.failed()]).await;
    assert!(log_of(&*logs, id).await.job.own);
}
