//! The laws of [`JobQueue`](conch_ports::JobQueue) about how long a job is held, and what becomes of it afterwards.

use std::time::Duration;

use conch_domain::{LeaseToken, RetryReason};
use conch_ports::{Commit, Fence, Lease};

use crate::build::{self, Script};
use crate::observe::{
    AFTER_SHORT, LONG, SHORT, append_all, claim, claim_with, claimed, log_of, submitted,
};
use crate::{Outcome, StoreSubject};

/// A lease that isn't renewed shows in `expired` and only there, until `Fence::Expired` requeues it.
pub async fn lease_runs_out(subject: &dyn StoreSubject) {
    let queue = subject.queue();
    let (_, kept) = claimed(subject, LONG).await;
    let (mut first, first_lease) = claimed(subject, SHORT).await;
    subject.advance(Duration::from_millis(10)).await;
    let (_, second_lease) = claimed(subject, SHORT).await;
    subject.advance(AFTER_SHORT).await;

    let expired = queue.expired(10).await.unwrap();
    assert_eq!(
        expired,
        [first_lease.clone(), second_lease],
        "oldest first, and no others"
    );
    assert_eq!(
        queue.expired(1).await.unwrap(),
        std::slice::from_ref(&first_lease),
        "at most as many as asked"
    );
    assert_eq!(claim(subject, LONG).await, None, "it isn't claimable yet");
    assert_eq!(queue.next_due().await.unwrap(), None, "nor due");
    assert!(
        queue.renew(&kept, LONG).await.unwrap(),
        "the long lease holds"
    );

    let requeue = Commit {
        fence: Fence::Expired(first_lease.token.clone()),
        ..first.retrying(RetryReason::LeaseExpired, Duration::ZERO)
    };
    append_all(&*subject.log(), [requeue]).await;
    assert_eq!(queue.expired(10).await.unwrap().len(), 1);
    let again = claim(subject, LONG).await.expect("it was requeued");
    assert_eq!((&again.job_id, again.attempt), (first.id(), 2));
    assert!(
        !queue.renew(&first_lease, LONG).await.unwrap(),
        "the old lease stays lost"
    );
}

/// What a claim says of its job is what a read would, asked again, too; nothing where there is no log.
pub async fn claims_bring_the_fold(subject: &dyn StoreSubject) {
    let logs = subject.log();
    let mut script = submitted(subject).await;
    let token = build::token();
    let ask = async |token: LeaseToken| {
        let claim = claim_with(subject, &token, LONG).await;
        claim.expect("a job waits")
    };
    let claimed = ask(token.clone()).await;
    assert_eq!(claimed.job.as_ref(), Some(script.job()), "at first");
    script.hold(&claimed);
    append_all(&*logs, [script.started(), script.progress(10)]).await;
    let again = ask(token).await;
    assert_eq!(again.lease, claimed.lease);
    assert_eq!(again.job.as_ref(), Some(script.job()), "asked again");
    append_all(
        &*logs,
        [script.retrying(RetryReason::Error, Duration::ZERO)],
    )
    .await;
    let next = ask(build::token()).await;
    assert_eq!(next.job.as_ref(), Some(script.job()), "of the next attempt");
    let read = log_of(&*logs, script.id()).await;
    assert_eq!(next.job, Some(read.job));
    script.hold(&next);
    append_all(
        &*logs,
        [script.retrying(RetryReason::Error, Duration::ZERO)],
    )
    .await;
    if subject.outlive().await {
        let last = ask(build::token()).await;
        assert_eq!(
            (&last.job_id, last.job.as_ref()),
            (script.id(), None),
            "it has no log"
        );
    }
}

/// However long no worker comes, the jobs that wait are claimed in their order, and those that were held
/// are listed, with their attempts, though their logs have run out. Each log begins anew, and each end
/// takes its job out of the queue.
pub async fn waiting_jobs_never_expire(subject: &dyn StoreSubject) -> Outcome {
    let (logs, queue) = (subject.log(), subject.queue());
    let (mut retried, _) = claimed(subject, LONG).await;
    let (mut silent, silent_lease) = claimed(subject, SHORT).await;
    let back = retried.retrying(RetryReason::Error, Duration::ZERO);
    append_all(&*logs, [silent.started(), back]).await;
    let (mut waiting, mut cancelled) = (submitted(subject).await, submitted(subject).await);
    if !subject.outlive().await {
        return Outcome::Skipped;
    }
    subject.advance(AFTER_SHORT).await;
    for script in [&mut retried, &mut silent, &mut waiting, &mut cancelled] {
        let log = logs.read(script.id(), 0, 1).await.unwrap();
        assert!(log.is_none(), "see StoreSubject::outlive");
        let record = subject.catalogue().job(script.id()).await.unwrap();
        let record = record.expect("the record is kept");
        *script = Script::of(record.with_epoch(build::epoch()));
    }

    // Ended without being claimed.
    let end = Commit {
        fence: Fence::Unclaimed,
        ..cancelled.cancelled()
    };
    append_all(&*logs, [end]).await;
    let expired = queue.expired(10).await.unwrap();
    let listed = std::slice::from_ref(&silent_lease);
    assert_eq!(expired, listed, "who was held is listed");
    let requeue = Commit {
        fence: Fence::Expired(silent_lease.token.clone()),
        ..silent.retrying(RetryReason::LeaseExpired, Duration::ZERO)
    };
    append_all(&*logs, [requeue]).await;
    assert_eq!(queue.next_due().await.unwrap(), Some(Duration::ZERO));
    for (script, attempt) in [(retried, 2), (waiting, 1), (silent, 2)] {
        let lease = claim(subject, LONG).await.expect("who waits is claimed");
        assert_eq!((&lease.job_id, lease.attempt), (script.id(), attempt));
        let log = logs.read(script.id(), 0, 0).await.unwrap();
        let mut script = log.map_or(script, |log| Script::of(log.job));
        script.hold(&lease);
        append_all(&*logs, [script.progress(1), script.failed()]).await;
    }
    assert_eq!(claim(subject, LONG).await, None, "each end takes its job");
    assert_eq!(queue.expired(10).await.unwrap(), []);
    Outcome::Held
}

/// `renew` extends a lease that holds, and only that: no other token, none that ran out or ended.
pub async fn renewal_needs_the_lease(subject: &dyn StoreSubject) {
    let moment = Duration::from_secs(1);
    let queue = subject.queue();
    let (mut script, lease) = claimed(subject, moment).await;
    assert!(queue.renew(&lease, LONG).await.unwrap());
    let stranger = Lease {
        token: build::token(),
        ..lease.clone()
    };
    assert!(
        !queue.renew(&stranger, LONG).await.unwrap(),
        "another token"
    );
    let unknown = Lease {
        job_id: build::job_id(),
        ..lease.clone()
    };
    assert!(!queue.renew(&unknown, LONG).await.unwrap(), "another job");
    subject.advance(moment + SHORT).await;
    assert_eq!(queue.expired(10).await.unwrap(), [], "the renewal counts");
    append_all(&*subject.log(), [script.progress(1)]).await;

    // A stranger's renewal shortens nothing either.
    assert!(
        !queue
            .renew(&stranger, Duration::from_millis(1))
            .await
            .unwrap()
    );
    subject.advance(SHORT).await;
    assert_eq!(
        queue.expired(10).await.unwrap(),
        [],
        "a stranger changed the lease"
    );
    append_all(&*subject.log(), [script.completed()]).await;
    assert!(
        !queue.renew(&lease, LONG).await.unwrap(),
        "the job has ended"
    );

    let (_, late) = claimed(subject, SHORT).await;
    subject.advance(AFTER_SHORT).await;
    assert!(!queue.renew(&late, LONG).await.unwrap(), "too late");
    assert_eq!(
        queue.expired(10).await.unwrap(),
        [late],
        "a late renewal changed the lease"
    );
}
