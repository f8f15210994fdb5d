//! The laws of [`JobQueue`](conch_ports::JobQueue) about what is lost on the way: an answer, a part of a
//! job's place, a key that something else has written to.

use std::time::Duration;

use conch_domain::{JobId, RetryReason};
use conch_ports::{Appended, Commit, Fence, Lease, PutTemplate, Sweep};

use crate::build::{self, Script};
use crate::observe::{AFTER_SHORT, LONG, SHORT, append_all, claim, claimed, submitted};
use crate::{Loss, Outcome, StoreSubject};

/// A claim that is asked again gets its lease again, for as long as asked, while it runs; then another job.
pub async fn claims_are_answered_again(subject: &dyn StoreSubject) {
    let queue = subject.queue();
    let (first, second) = (submitted(subject).await, submitted(subject).await);
    let token = build::token();
    let ask = async |duration| {
        let answer = queue.claim("conformance", &token, duration).await;
        answer.unwrap().expect("a job waits")
    };
    let lease = ask(SHORT).await;
    assert_eq!(
        (&lease.job_id, &lease.token),
        (first.id(), &token),
        "a claim's token is its lease's"
    );
    assert_eq!(ask(SHORT).await, lease, "the same claim takes another job");
    subject.lose_from_queue(first.id(), Loss::Place).await;
    assert_eq!(
        ask(LONG).await,
        lease,
        "the end of the lease is lost: the same claim takes another job"
    );
    subject.advance(AFTER_SHORT).await;
    assert!(
        queue.renew(&lease, LONG).await.unwrap(),
        "it lasts as long as it was asked for the last time"
    );
    let other = claim(subject, SHORT).await.expect("one more waits");
    assert_eq!(other.job_id, *second.id());

    // Asked again too late, the lease is lost.
    let third = submitted(subject).await;
    subject.advance(AFTER_SHORT).await;
    let again = queue.claim("conformance", &other.token, LONG).await;
    let again = again.unwrap().expect("one waits");
    assert_eq!(
        again.job_id,
        *third.id(),
        "a lease that has run out is no answer"
    );
    assert_eq!(queue.expired(10).await.unwrap(), [other]);
}

/// The jobs that a sweep over all pages finds.
pub(super) async fn swept(subject: &dyn StoreSubject) -> Vec<JobId> {
    let mut sweep = Sweep {
        from: 0,
        limit: 2,
        grace: LONG,
    };
    let mut found = Vec::new();
    loop {
        let page = subject.queue().sweep(&sweep).await.unwrap();
        found.extend(page.found);
        match page.next {
            Some(next) => {
                assert!(next > sweep.from, "pages go on");
                sweep.from = next;
            }
            None => return found,
        }
    }
}

async fn end(subject: &dyn StoreSubject, mut script: Script, lease: &Lease) {
    script.hold(lease);
    append_all(&*subject.log(), [script.failed()]).await;
}

/// Takes a job back whose worker lost everything, and claims it anew.
async fn taken_back(subject: &dyn StoreSubject, script: &mut Script) -> Lease {
    let expired = subject.queue().expired(10).await.unwrap();
    let lost = expired.iter().find(|lease| lease.job_id == *script.id());
    let lost = lost.expect("it is listed like any silent worker's");
    let requeue = Commit {
        fence: Fence::Expired(lost.token.clone()),
        ..script.retrying(RetryReason::LeaseExpired, Duration::ZERO)
    };
    append_all(&*subject.log(), [requeue]).await;
    let lease = claim(subject, LONG).await.expect("it was requeued");
    assert_eq!(lease.job_id, *script.id());
    lease
}

/// Whatever is lost of the place of a job that waits or is held, a sweep puts it back, and nothing else.
pub async fn lost_places_are_found(subject: &dyn StoreSubject) {
    let queue = subject.queue();
    let (_, bystander) = claimed(subject, LONG).await;
    let (mut later, _) = claimed(subject, LONG).await;
    append_all(
        &*subject.log(),
        [later.started(), later.retrying(RetryReason::Error, LONG)],
    )
    .await;
    let (mut ended, _) = claimed(subject, LONG).await;
    append_all(&*subject.log(), [ended.failed()]).await;
    assert_eq!(swept(subject).await, [], "nothing was lost");

    for losses in [
        &[Loss::Entry][..],
        &[Loss::Place],
        &[Loss::Entry, Loss::Place],
    ] {
        let waiting = submitted(subject).await;
        for loss in losses {
            subject.lose_from_queue(waiting.id(), *loss).await;
        }
        assert_eq!(
            swept(subject).await,
            [waiting.id().clone()],
            "{losses:?} of one that waits"
        );
        let lease = claim(subject, LONG).await.expect("it is claimable again");
        assert_eq!(lease.job_id, *waiting.id());
        assert_eq!(claim(subject, LONG).await, None, "once");
        end(subject, waiting, &lease).await;

        let (mut held, lease) = claimed(subject, LONG).await;
        append_all(&*subject.log(), [held.started()]).await;
        for loss in losses {
            subject.lose_from_queue(held.id(), *loss).await;
        }
        let unknown = losses.contains(&Loss::Entry);
        if unknown {
            assert!(
                !queue.renew(&lease, LONG).await.unwrap(),
                "{losses:?}: nothing of it is left to renew"
            );
        }
        assert_eq!(
            swept(subject).await,
            [held.id().clone()],
            "{losses:?} of one that is held"
        );
        let lease = if unknown {
            taken_back(subject, &mut held).await
        } else {
            assert!(
                queue.renew(&lease, LONG).await.unwrap(),
                "its worker goes on"
            );
            lease
        };
        end(subject, held, &lease).await;
    }
    a_lease_whose_end_is_lost_is_its_workers(subject).await;
    a_running_job_that_waits_without_its_entry_is_taken_back(subject).await;
    assert_eq!(swept(subject).await, [], "found once");
    assert!(queue.renew(&bystander, LONG).await.unwrap());
    assert_eq!(
        claim(subject, LONG).await,
        None,
        "nothing else was requeued"
    );
    assert_eq!(queue.expired(10).await.unwrap(), []);
}

/// The end of a lease is lost, and no sweep has come by: its worker writes, renews and has it listed again;
/// nobody else can. Once it has run out and the job was taken over, the old worker is fenced off, whatever
/// is lost again.
async fn a_lease_whose_end_is_lost_is_its_workers(subject: &dyn StoreSubject) {
    let (logs, queue) = (subject.log(), subject.queue());
    let (mut script, lease) = claimed(subject, LONG).await;
    append_all(&*logs, [script.started()]).await;
    subject.lose_from_queue(script.id(), Loss::Place).await;
    let stranger = Lease {
        token: build::token(),
        ..lease.clone()
    };
    assert!(
        !queue.renew(&stranger, LONG).await.unwrap(),
        "another token"
    );
    let fenced = async |fence: Fence| {
        let commit = Commit {
            fence: fence.clone(),
            ..script.clone().progress(1)
        };
        let answer = logs.append(commit).await.unwrap();
        assert_eq!(answer, Appended::Fenced, "{fence:?} without its end");
    };
    fenced(Fence::Held(stranger.token)).await;
    fenced(Fence::Expired(lease.token.clone())).await;
    fenced(Fence::Unclaimed).await;
    append_all(&*logs, [script.progress(1)]).await;
    let template = build::template(script.job(), 1);
    let put = subject.catalogue().put_template(&template, &lease).await;
    assert_eq!(put.unwrap(), PutTemplate::Stored, "its worker writes");
    assert!(
        queue.renew(&lease, SHORT).await.unwrap(),
        "its worker renews"
    );
    assert_eq!(swept(subject).await, [], "the renewal put it back");

    subject.advance(AFTER_SHORT).await;
    assert!(!queue.renew(&lease, LONG).await.unwrap(), "it has run out");
    let mut late = script.clone();
    let next = taken_back(subject, &mut script).await;
    subject.lose_from_queue(script.id(), Loss::Place).await;
    assert!(
        !queue.renew(&lease, LONG).await.unwrap(),
        "the job was taken over"
    );
    let answer = logs.append(late.progress(2)).await.unwrap();
    assert_eq!(answer, Appended::Fenced, "the job was taken over");
    assert!(queue.renew(&next, LONG).await.unwrap());
    end(subject, script, &next).await;
}

/// A job that runs, stands among those that wait and has lost its entry is held by nobody: it gets a lease
/// that has run out, and stands there alone.
async fn a_running_job_that_waits_without_its_entry_is_taken_back(subject: &dyn StoreSubject) {
    let mut script = submitted(subject).await;
    append_all(&*subject.log(), [script.started()]).await;
    subject.lose_from_queue(script.id(), Loss::Entry).await;
    assert_eq!(swept(subject).await, [script.id().clone()]);
    assert_eq!(
        claim(subject, LONG).await,
        None,
        "it is to be taken back, and no longer waits"
    );
    assert_eq!(swept(subject).await, [], "it has its place");
    let lease = taken_back(subject, &mut script).await;
    end(subject, script, &lease).await;
}

/// What something else wrote over one job's entry holds up no other job, and that job is found.
pub async fn broken_keys_block_no_other_job(subject: &dyn StoreSubject) -> Outcome {
    let queue = subject.queue();
    let broken = submitted(subject).await;
    subject.advance(Duration::from_millis(5)).await;
    let next = submitted(subject).await;
    if !subject.break_entry(broken.id()).await {
        return Outcome::Skipped;
    }
    assert_eq!(queue.next_due().await.unwrap(), Some(Duration::ZERO));
    let mut both = Vec::new();
    for _ in 0..2 {
        if let Some(lease) = claim(subject, LONG).await {
            both.push(lease);
        }
    }
    assert!(
        both.iter().any(|lease| lease.job_id == *next.id()),
        "one broken entry holds up the next job"
    );
    drop(swept(subject).await);
    both.extend(claim(subject, LONG).await);
    assert_eq!(both.len(), 2, "the job itself is claimed in the end");
    for lease in &both {
        let script = if lease.job_id == *next.id() {
            &next
        } else {
            &broken
        };
        end(subject, script.clone(), lease).await;
    }

    let (mut held, lease) = claimed(subject, LONG).await;
    append_all(&*subject.log(), [held.started()]).await;
    assert!(subject.break_entry(held.id()).await);
    assert!(!queue.renew(&lease, LONG).await.unwrap());
    assert_eq!(queue.expired(10).await.unwrap(), []);
    let other = submitted(subject).await;
    let lease = claim(subject, LONG).await.expect("one waits");
    assert_eq!(lease.job_id, *other.id());
    end(subject, other, &lease).await;
    assert_eq!(swept(subject).await, [held.id().clone()]);
    let lease = taken_back(subject, &mut held).await;
    end(subject, held, &lease).await;
    Outcome::Held
}
