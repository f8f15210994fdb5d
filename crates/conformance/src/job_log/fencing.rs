//! The law of who may append.

use std::time::Duration;

use conch_domain::{Job, RetryReason};
use conch_ports::{Appended, Commit, Fence, QueueEffect};

use crate::StoreSubject;
use crate::build::{self, Script};
use crate::observe::{
    AFTER_SHORT, LONG, SHORT, append_all, claim, claimed, log_of, parts, submitted,
};

/// Each fence lets through whom it says, by the store's clock; who is fenced changes nothing.
pub async fn fence_is_checked_in_the_step(subject: &dyn StoreSubject) {
    a_lease_that_holds(subject).await;
    a_lease_that_ran_out(subject).await;
    no_worker_holds_it(subject).await;
    foreign_events(subject).await;
}

/// Each fence is refused, and the queue entry, the log and the record stay as they are.
async fn refused(
    subject: &dyn StoreSubject,
    script: &Script,
    fences: impl IntoIterator<Item = Fence>,
) {
    let (logs, catalogue) = (subject.log(), subject.catalogue());
    let before = parts(log_of(&*logs, script.id()).await);
    let record = catalogue.job(script.id()).await.unwrap();
    let requeue = QueueEffect::Requeue {
        after: Duration::ZERO,
        counts: true,
    };
    for fence in fences {
        for effect in [requeue, QueueEffect::Remove] {
            let commit = Commit {
                fence: fence.clone(),
                effect,
                ..script.clone().progress(77)
            };
            let answer = logs.append(commit).await.unwrap();
            assert_eq!(answer, Appended::Fenced, "{fence:?} with {effect:?}");
        }
        // An end is fenced like anything else, its cached result included.
        let end = Commit {
            fence: fence.clone(),
            ..script.clone().failed()
        };
        assert_eq!(
            logs.append(end).await.unwrap(),
            Appended::Fenced,
            "{fence:?} with an end"
        );
        assert_eq!(
            subject.cache().get(script.id()).await.unwrap(),
            None,
            "{fence:?}"
        );
    }
    assert_eq!(
        parts(log_of(&*logs, script.id()).await),
        before,
        "a fenced commit changed the log"
    );
    assert_eq!(
        catalogue.job(script.id()).await.unwrap(),
        record,
        "a fenced commit changed the record"
    );
}

async fn a_lease_that_holds(subject: &dyn StoreSubject) {
    let (logs, queue) = (subject.log(), subject.queue());
    let (mut script, lease) = claimed(subject, LONG).await;
    let token = lease.token.clone();
    append_all(&*logs, [script.started(), script.progress(10)]).await;
    let others = [
        Fence::Held(build::token()),
        Fence::Expired(token),
        Fence::Expired(build::token()),
        Fence::Unclaimed,
    ];
    refused(subject, &script, others).await;
    assert!(
        queue.renew(&lease, LONG).await.unwrap(),
        "a fenced commit ended the lease"
    );
    assert_eq!(
        claim(subject, LONG).await,
        None,
        "a fenced commit requeued the job"
    );
    let open = Commit {
        fence: Fence::Open,
        ..script.progress(20)
    };
    append_all(&*logs, [open, script.completed()]).await;
}

async fn a_lease_that_ran_out(subject: &dyn StoreSubject) {
    let (logs, queue) = (subject.log(), subject.queue());
    let (mut script, lease) = claimed(subject, SHORT).await;
    let token = lease.token.clone();
    subject.advance(AFTER_SHORT).await;
    let others = [
        Fence::Held(token.clone()),
        Fence::Expired(build::token()),
        Fence::Unclaimed,
    ];
    refused(subject, &script, others).await;
    assert_eq!(
        queue.expired(10).await.unwrap(),
        [lease],
        "a fenced commit changed the lease"
    );
    let requeue = Commit {
        fence: Fence::Expired(token.clone()),
        ..script.retrying(RetryReason::LeaseExpired, Duration::ZERO)
    };
    append_all(&*logs, [requeue]).await;
    assert_eq!(queue.expired(10).await.unwrap(), []);
    refused(
        subject,
        &script,
        [Fence::Held(token.clone()), Fence::Expired(token.clone())],
    )
    .await;

    let again = claim(subject, LONG).await.expect("it was requeued");
    assert_eq!(again.job_id, *script.id());
    assert_ne!(again.token, token, "a token is given out once");
    refused(
        subject,
        &script,
        [Fence::Held(token.clone()), Fence::Expired(token)],
    )
    .await;
    script.hold(&again);
    append_all(&*logs, [script.completed()]).await;
}

async fn no_worker_holds_it(subject: &dyn StoreSubject) {
    let logs = subject.log();
    let unclaimed = |commit| Commit {
        fence: Fence::Unclaimed,
        ..commit
    };
    let mut waiting = submitted(subject).await;
    refused(
        subject,
        &waiting,
        [Fence::Held(build::token()), Fence::Expired(build::token())],
    )
    .await;
    append_all(&*logs, [unclaimed(waiting.cancelled())]).await;
    assert_eq!(
        claim(subject, LONG).await,
        None,
        "an ended job left the queue"
    );

    let mut in_no_queue = Script::foreign();
    append_all(
        &*logs,
        [
            unclaimed(in_no_queue.queued()),
            unclaimed(in_no_queue.started()),
        ],
    )
    .await;
    refused(
        subject,
        &in_no_queue,
        [Fence::Held(build::token()), Fence::Expired(build::token())],
    )
    .await;
}

async fn foreign_events(subject: &dyn StoreSubject) {
    let logs = subject.log();
    let foreign = |commit| Commit {
        fence: Fence::Foreign,
        announce: false,
        ..commit
    };
    let mut script = Script::foreign();
    append_all(
        &*logs,
        [foreign(script.queued()), foreign(script.started())],
    )
    .await;
    append_all(&*logs, [foreign(script.completed())]).await;

    let mut own = submitted(subject).await;
    refused(subject, &own, [Fence::Foreign]).await;
    append_all(&*logs, [own.cancelled()]).await;

    // The record is kept, the log has run out: what is forged now would begin one.
    subject
        .advance(subject.limits().ended_log_ttl + Duration::from_millis(50))
        .await;
    assert!(
        logs.read(own.id(), 0, 1).await.unwrap().is_none(),
        "the log has run out"
    );
    let initial = Job::initial(own.id().clone(), build::epoch(), false);
    let forged = foreign(Script::of(initial).started());
    assert_eq!(
        logs.append(forged).await.unwrap(),
        Appended::Fenced,
        "a record is enough"
    );
    assert!(
        logs.read(own.id(), 0, 1).await.unwrap().is_none(),
        "a fenced commit began a log"
    );
}
