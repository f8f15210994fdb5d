//! The laws of [`JobQueue`](conch_ports::JobQueue) about which job a claim gets, and when.

use std::collections::HashSet;
use std::time::Duration;

use conch_domain::RetryReason;
use conch_ports::Lease;

use crate::StoreSubject;
use crate::build;
use crate::observe::{AFTER_SHORT, LONG, SHORT, append_all, claim, claimed, submitted};

/// Eight workers that claim twenty jobs at once get each job once; a claimed job isn't claimable.
pub async fn one_holder(subject: &dyn StoreSubject) {
    const JOBS: usize = 20;
    let mut submitted_ids = HashSet::new();
    for _ in 0..JOBS {
        submitted_ids.insert(submitted(subject).await.id().clone());
    }
    let work = |worker: usize| {
        let queue = subject.queue();
        tokio::spawn(async move {
            let mut leases: Vec<Lease> = Vec::new();
            while let Some(lease) = queue
                .claim(&format!("worker-{worker}"), &build::token(), LONG)
                .await
                .expect("the store answers")
            {
                leases.push(lease.lease);
                tokio::task::yield_now().await;
            }
            leases
        })
    };
    let workers: Vec<_> = (0..8).map(work).collect();
    let mut leases = Vec::new();
    for worker in workers {
        leases.extend(worker.await.expect("claiming doesn't panic"));
    }
    assert_eq!(leases.len(), JOBS, "a job was claimed twice or never");
    let ids: HashSet<_> = leases.iter().map(|lease| lease.job_id.clone()).collect();
    assert_eq!(ids, submitted_ids);
    let tokens: HashSet<_> = leases.iter().map(|lease| lease.token.clone()).collect();
    assert_eq!(tokens.len(), JOBS, "a token was given out twice");
    assert_eq!(claim(subject, LONG).await, None);
    assert_eq!(
        subject.queue().next_due().await.unwrap(),
        None,
        "nothing waits"
    );
    for lease in &leases {
        assert!(
            subject.queue().renew(lease, LONG).await.unwrap(),
            "each lease holds"
        );
    }
}

/// A requeued job isn't claimable before its time, is after it, and `next_due` says when.
pub async fn requeued_not_before_its_time(subject: &dyn StoreSubject) {
    let (logs, queue) = (subject.log(), subject.queue());
    assert_eq!(
        queue.next_due().await.unwrap(),
        None,
        "an empty queue has nothing due"
    );
    let (mut later, _) = claimed(subject, LONG).await;
    assert_eq!(
        queue.next_due().await.unwrap(),
        None,
        "a held job isn't due"
    );
    append_all(&*logs, [later.retrying(RetryReason::Error, LONG)]).await;
    assert_eq!(claim(subject, LONG).await, None, "claimed before its time");
    let due = queue.next_due().await.unwrap().expect("it waits");
    assert!(due <= LONG && due > LONG / 2, "{due:?}");

    let (mut soon, _) = claimed(subject, LONG).await;
    append_all(&*logs, [soon.retrying(RetryReason::Error, SHORT)]).await;
    let due = queue.next_due().await.unwrap().expect("both wait");
    assert!(due <= SHORT, "{due:?}: the next one, not the last");
    subject.advance(AFTER_SHORT).await;
    assert_eq!(queue.next_due().await.unwrap(), Some(Duration::ZERO));
    let lease = claim(subject, LONG).await.expect("its time has come");
    assert_eq!(lease.job_id, *soon.id());
    assert_eq!(claim(subject, LONG).await, None, "the other's has not");
}

/// 1 at first; one more after a requeue that counts; the same again after one that doesn't.
pub async fn attempts_count_up(subject: &dyn StoreSubject) {
    let logs = subject.log();
    let (mut script, lease) = claimed(subject, LONG).await;
    assert_eq!(lease.attempt, 1);
    let rows = [
        (RetryReason::Error, 2),
        (RetryReason::Shutdown, 2),
        (RetryReason::Shutdown, 2),
        (RetryReason::LeaseExpired, 3),
        (RetryReason::Error, 4),
    ];
    for (reason, attempt) in rows {
        append_all(&*logs, [script.retrying(reason, Duration::ZERO)]).await;
        let lease = claim(subject, LONG).await.expect("it was requeued");
        assert_eq!(lease.attempt, attempt, "after {reason:?}");
        script.hold(&lease);
    }
}
