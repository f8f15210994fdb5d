//! The laws of [`JobQueue`](conch_ports::JobQueue).

mod lost;

use std::collections::HashSet;
use std::time::Duration;

use conch_domain::{Job, RetryReason};
use conch_ports::{
    Commit, ErrorKind, Fence, Idempotency, Lease, Paging, Published, Quota, Submission, Submitted,
};

use crate::build::{self, Script};
use crate::observe::{
    AFTER_SHORT, LONG, SHORT, claim, claimed, flowing, log_of, next_of, publish_all, submitted,
};
use crate::{Outcome, Subject};

pub use lost::{broken_keys_hold_up_nobody, claims_are_answered_again, lost_places_are_found};

const ALL: Paging = Paging {
    page: 1,
    page_size: 100,
};

async fn records(subject: &dyn Subject) -> u64 {
    let jobs = subject
        .catalogue()
        .jobs(&conch_ports::JobFilter::default(), ALL)
        .await;
    jobs.unwrap().total
}

/// Log, record, queue entry and key come together, and the announcement after them. The same commit
/// again is `New` again, and still one job. Another job under a known id is refused.
pub async fn submission_is_one_step(subject: &dyn Subject) {
    let (bus, queue) = (subject.bus(), subject.queue());
    let mut signals = flowing(&*bus).await;
    let mut script = Script::own();
    let submission = Submission {
        idempotency: Some(build::idempotency("caller one-step", "d")),
        ..script.submission()
    };
    let task = {
        let (queue, submission) = (subject.queue(), submission.clone());
        tokio::spawn(async move { queue.submit(submission).await.expect("the store answers") })
    };
    let (place, line) = next_of(&mut signals, script.id()).await;
    assert_eq!(
        (place, &line),
        (script.job().position, &submission.commit.line)
    );
    let log = log_of(&*bus, script.id()).await;
    assert_eq!((&log.job, log.entries.len()), (script.job(), 1));
    assert_eq!(log.entries[0].line, line);
    let record = subject.catalogue().job(script.id()).await.unwrap();
    assert_eq!(record.as_ref(), Some(script.job()), "the record");
    assert_eq!(
        queue.next_due().await.unwrap(),
        Some(Duration::ZERO),
        "the queue entry"
    );
    assert_eq!(task.await.unwrap(), Submitted::New);

    assert_eq!(
        queue.submit(submission.clone()).await.unwrap(),
        Submitted::New,
        "a hidden success"
    );
    let keyless = Submission {
        idempotency: None,
        ..submission
    };
    assert_eq!(
        queue.submit(keyless).await.unwrap(),
        Submitted::New,
        "told by its event id"
    );
    let tasks: Vec<_> = {
        let same = Script::own().submission();
        let submit = |_| {
            let (queue, same) = (subject.queue(), same.clone());
            tokio::spawn(async move { queue.submit(same).await.expect("the store answers") })
        };
        (0..4).map(submit).collect()
    };
    for task in tasks {
        assert_eq!(
            task.await.unwrap(),
            Submitted::New,
            "the same commit at once"
        );
    }
    assert_eq!(records(subject).await, 2);
    assert!(claim(subject, LONG).await.is_some());
    assert!(claim(subject, LONG).await.is_some());
    assert_eq!(claim(subject, LONG).await, None, "one job for each commit");

    let mut usurper = Script::of(Job::initial(script.id().clone(), build::epoch(), true));
    let error = queue
        .submit(usurper.submission())
        .await
        .expect_err("the id is taken");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(log_of(&*bus, script.id()).await.job, *script.job());
}

/// Of eight submissions with one key at once one is `New` and the others name its job; another
/// digest is refused; a key is forgotten after its lifetime.
pub async fn same_key_same_job(subject: &dyn Subject) {
    let queue = subject.queue();
    let with = |key: &str, digest: &str| Submission {
        idempotency: Some(build::idempotency(key, digest)),
        ..Script::own().submission()
    };
    let submissions: Vec<_> = (0..8).map(|_| with("caller \u{1f41a}:*", "d1")).collect();
    let mut tasks = Vec::new();
    for submission in submissions {
        let (queue, id) = (subject.queue(), submission.commit.job.id.clone());
        tasks.push(tokio::spawn(async move {
            (
                id,
                queue.submit(submission).await.expect("the store answers"),
            )
        }));
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("submitting doesn't panic"));
    }
    let new: Vec<_> = answers
        .iter()
        .filter(|(_, answer)| *answer == Submitted::New)
        .collect();
    assert_eq!(new.len(), 1, "{answers:?}");
    let winner = new[0].0.clone();
    let existing = Submitted::Existing(winner.clone());
    let others = answers.iter().filter(|(_, answer)| *answer == existing);
    assert_eq!(others.count(), 7, "{answers:?}");
    assert_eq!(records(subject).await, 1, "one job was made");

    let reused = queue
        .submit(with("caller \u{1f41a}:*", "d2"))
        .await
        .unwrap();
    assert_eq!(reused, Submitted::KeyReused);
    assert_eq!(
        queue.submit(with("another", "d1")).await.unwrap(),
        Submitted::New
    );
    assert_eq!(records(subject).await, 2);
    // The answer outlives the job's end.
    publish_all(
        &*subject.bus(),
        [Script::of(log_of(&*subject.bus(), &winner).await.job).failed()],
    )
    .await;
    assert_eq!(
        queue
            .submit(with("caller \u{1f41a}:*", "d1"))
            .await
            .unwrap(),
        existing
    );

    let mut short = with("brief", "d1");
    short.idempotency.as_mut().expect("it has one").lifetime = SHORT;
    assert_eq!(queue.submit(short).await.unwrap(), Submitted::New);
    subject.advance(AFTER_SHORT).await;
    assert_eq!(
        queue.submit(with("brief", "d2")).await.unwrap(),
        Submitted::New,
        "forgotten"
    );
}

/// A key is known by itself from its submission on, with its job or as taken by another digest, also
/// when the job has ended; until its lifetime is over. Asking doesn't make it known.
pub async fn recall_asks_for_the_key_alone(subject: &dyn Subject) {
    let queue = subject.queue();
    let with = |digest: &str| build::idempotency("caller \u{1f41a}:*", digest);
    for _ in 0..2 {
        let unknown = queue.recall(&with("d1")).await.unwrap();
        assert_eq!(unknown, None, "nothing was submitted under it");
    }
    let mut script = Script::own();
    let submission = Submission {
        idempotency: Some(with("d1")),
        ..script.submission()
    };
    assert_eq!(queue.submit(submission).await.unwrap(), Submitted::New);
    let existing = Some(Submitted::Existing(script.id().clone()));
    publish_all(&*subject.bus(), [script.started()]).await;
    assert_eq!(queue.recall(&with("d1")).await.unwrap(), existing);
    publish_all(&*subject.bus(), [script.failed()]).await;
    assert_eq!(
        queue.recall(&with("d1")).await.unwrap(),
        existing,
        "the answer outlives the job's end"
    );
    assert_eq!(
        queue.recall(&with("d2")).await.unwrap(),
        Some(Submitted::KeyReused),
        "another digest"
    );
    let another = build::idempotency("another", "d1");
    assert_eq!(queue.recall(&another).await.unwrap(), None, "another key");

    let brief = Idempotency {
        lifetime: SHORT,
        ..build::idempotency("brief", "d1")
    };
    let submission = Submission {
        idempotency: Some(brief.clone()),
        ..Script::own().submission()
    };
    assert_eq!(queue.submit(submission).await.unwrap(), Submitted::New);
    subject.advance(AFTER_SHORT).await;
    assert_eq!(queue.recall(&brief).await.unwrap(), None, "forgotten");
    assert_eq!(records(subject).await, 2, "asking makes no job");
}

/// Eight workers that claim twenty jobs at once get each job once; a claimed job isn't claimable.
pub async fn one_holder(subject: &dyn Subject) {
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
                leases.push(lease);
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

/// First come, first served; a requeued job goes behind those that became claimable before it.
pub async fn claim_in_order(subject: &dyn Subject) {
    let tick = Duration::from_millis(5);
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(submitted(subject).await);
        subject.advance(tick).await;
    }
    let mut first = waiting.remove(0);
    let lease = claim(subject, LONG).await.expect("five wait");
    assert_eq!(lease.job_id, *first.id(), "claimed out of order");
    first.hold(&lease);
    publish_all(
        &*subject.bus(),
        [first.retrying(RetryReason::Error, Duration::ZERO)],
    )
    .await;
    waiting.push(first);
    for expected in &waiting {
        let lease = claim(subject, LONG).await.expect("it waits");
        assert_eq!(lease.job_id, *expected.id(), "claimed out of order");
    }
}

/// A requeued job isn't claimable before its time, is after it, and `next_due` says when.
pub async fn requeued_not_before_its_time(subject: &dyn Subject) {
    let (bus, queue) = (subject.bus(), subject.queue());
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
    publish_all(&*bus, [later.retrying(RetryReason::Error, LONG)]).await;
    assert_eq!(claim(subject, LONG).await, None, "claimed before its time");
    let due = queue.next_due().await.unwrap().expect("it waits");
    assert!(due <= LONG && due > LONG / 2, "{due:?}");

    let (mut soon, _) = claimed(subject, LONG).await;
    publish_all(&*bus, [soon.retrying(RetryReason::Error, SHORT)]).await;
    let due = queue.next_due().await.unwrap().expect("both wait");
    assert!(due <= SHORT, "{due:?}: the next one, not the last");
    subject.advance(AFTER_SHORT).await;
    assert_eq!(queue.next_due().await.unwrap(), Some(Duration::ZERO));
    let lease = claim(subject, LONG).await.expect("its time has come");
    assert_eq!(lease.job_id, *soon.id());
    assert_eq!(claim(subject, LONG).await, None, "the other's has not");
}

/// A lease that isn't renewed shows in `expired` and only there, until `Fence::Expired` requeues it.
pub async fn lease_runs_out(subject: &dyn Subject) {
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
    publish_all(&*subject.bus(), [requeue]).await;
    assert_eq!(queue.expired(10).await.unwrap().len(), 1);
    let again = claim(subject, LONG).await.expect("it was requeued");
    assert_eq!((&again.job_id, again.attempt), (first.id(), 2));
    assert!(
        !queue.renew(&first_lease, LONG).await.unwrap(),
        "the old lease stays lost"
    );
}

/// However long nobody comes, the jobs that wait are claimed in their order, and those that were held
/// are listed, with their attempts, though their logs have run out. Each log begins anew, and each end
/// takes its job out of the queue.
pub async fn who_waits_never_runs_out(subject: &dyn Subject) -> Outcome {
    let (bus, queue) = (subject.bus(), subject.queue());
    let (mut retried, _) = claimed(subject, LONG).await;
    let (mut silent, silent_lease) = claimed(subject, SHORT).await;
    let back = retried.retrying(RetryReason::Error, Duration::ZERO);
    publish_all(&*bus, [silent.started(), back]).await;
    let (mut waiting, mut cancelled) = (submitted(subject).await, submitted(subject).await);
    if !subject.outlive().await {
        return Outcome::Skipped;
    }
    subject.advance(AFTER_SHORT).await;
    for script in [&mut retried, &mut silent, &mut waiting, &mut cancelled] {
        let log = bus.read(script.id(), 0, 1).await.unwrap();
        assert!(log.is_none(), "see Subject::outlive");
        let record = subject.catalogue().job(script.id()).await.unwrap();
        let record = record.expect("the record is kept");
        *script = Script::of(record.with_epoch(build::epoch()));
    }

    // Ended without being claimed.
    let end = Commit {
        fence: Fence::Unclaimed,
        ..cancelled.cancelled()
    };
    publish_all(&*bus, [end]).await;
    let expired = queue.expired(10).await.unwrap();
    let listed = std::slice::from_ref(&silent_lease);
    assert_eq!(expired, listed, "who was held is listed");
    let requeue = Commit {
        fence: Fence::Expired(silent_lease.token.clone()),
        ..silent.retrying(RetryReason::LeaseExpired, Duration::ZERO)
    };
    publish_all(&*bus, [requeue]).await;
    assert_eq!(queue.next_due().await.unwrap(), Some(Duration::ZERO));
    for (script, attempt) in [(retried, 2), (waiting, 1), (silent, 2)] {
        let lease = claim(subject, LONG).await.expect("who waits is claimed");
        assert_eq!((&lease.job_id, lease.attempt), (script.id(), attempt));
        let log = bus.read(script.id(), 0, 0).await.unwrap();
        let mut script = log.map_or(script, |log| Script::of(log.job));
        script.hold(&lease);
        publish_all(&*bus, [script.progress(1), script.failed()]).await;
    }
    assert_eq!(claim(subject, LONG).await, None, "each end takes its job");
    assert_eq!(queue.expired(10).await.unwrap(), []);
    Outcome::Held
}

/// `renew` extends a lease that holds, and only that: no other token, none that ran out or ended.
pub async fn renewal_needs_the_lease(subject: &dyn Subject) {
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
    publish_all(&*subject.bus(), [script.progress(1)]).await;

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
    publish_all(&*subject.bus(), [script.completed()]).await;
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

/// 1 at first; one more after a requeue that counts; the same again after one that doesn't.
pub async fn attempts_count_up(subject: &dyn Subject) {
    let bus = subject.bus();
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
        publish_all(&*bus, [script.retrying(reason, Duration::ZERO)]).await;
        let lease = claim(subject, LONG).await.expect("it was requeued");
        assert_eq!(lease.attempt, attempt, "after {reason:?}");
        script.hold(&lease);
    }
}

/// A submission over a quota: refused in words that name the setting, and nothing of it is left.
async fn over_quota(subject: &dyn Subject, quota: Quota) {
    let (queue, before) = (subject.queue(), records(subject).await);
    let mut script = Script::own();
    let key = build::idempotency("caller over the quota", "d");
    let submission = Submission {
        idempotency: Some(key.clone()),
        ..script.submission()
    };
    let answer = queue.submit(submission).await;
    let error = answer.expect_err("one more than there may be was taken");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
    assert!(error.message().contains(quota.setting()), "{error}");
    let log = subject.bus().read(script.id(), 0, 1).await.unwrap();
    assert!(log.is_none(), "a refused submission left a log");
    let record = subject.catalogue().job(script.id()).await.unwrap();
    assert_eq!(record, None, "a refused submission left a record");
    assert_eq!(records(subject).await, before, "or was counted");
    let known = queue.recall(&key).await.unwrap();
    assert_eq!(known, None, "a refused submission left its key");
}

/// Four submissions where there is room for one. Gives the one that was taken.
async fn one_of_four_at_once(subject: &dyn Subject) -> Script {
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (queue, mut script) = (subject.queue(), Script::own());
        let submission = script.submission();
        tasks.push(tokio::spawn(async move {
            (queue.submit(submission).await, script)
        }));
    }
    let mut taken = Vec::new();
    for task in tasks {
        match task.await.expect("submitting doesn't panic") {
            (Ok(answer), script) => {
                assert_eq!(answer, Submitted::New);
                taken.push(script);
            }
            (Err(error), _) => assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}"),
        }
    }
    assert_eq!(taken.len(), 1, "there was room for one");
    taken.remove(0)
}

/// As many jobs wait or run, and as many records are kept, as may; one more is refused and leaves
/// nothing behind. What is known is answered as ever, and what is there goes on.
pub async fn quotas_refuse_before_anything_changes(subject: &dyn Subject) {
    let (bus, queue, quotas) = (subject.bus(), subject.queue(), subject.limits().quotas);
    assert!(quotas.jobs > quotas.queued_jobs + 4, "see Limits");
    let mut first = Script::own();
    let known = Submission {
        idempotency: Some(build::idempotency("caller", "d")),
        ..first.submission()
    };
    assert_eq!(queue.submit(known.clone()).await.unwrap(), Submitted::New);
    let mut scripts = vec![first];
    while scripts.len() < quotas.queued_jobs {
        scripts.push(submitted(subject).await);
    }
    over_quota(subject, Quota::QueuedJobs).await;
    let lease = claim(subject, LONG).await.expect("they wait");
    assert_eq!(lease.job_id, *scripts[0].id());
    scripts[0].hold(&lease);
    over_quota(subject, Quota::QueuedJobs).await;

    assert_eq!(
        queue.submit(known.clone()).await.unwrap(),
        Submitted::New,
        "a hidden success"
    );
    let again = Submission {
        idempotency: known.idempotency,
        ..Script::own().submission()
    };
    assert_eq!(
        queue.submit(again).await.unwrap(),
        Submitted::Existing(scripts[0].id().clone())
    );
    // Whoever runs goes on, and may give its job back.
    let back = scripts[0].retrying(RetryReason::Shutdown, Duration::ZERO);
    publish_all(&*bus, [back]).await;
    let mut waiting = HashSet::new();
    while let Some(lease) = claim(subject, LONG).await {
        let script = scripts.iter_mut().find(|s| *s.id() == lease.job_id);
        script.expect("a refused job waits").hold(&lease);
        waiting.insert(lease.job_id);
    }
    assert_eq!(waiting.len(), quotas.queued_jobs);

    for script in &mut scripts[..2] {
        publish_all(&*bus, [script.failed()]).await;
        let mut next = one_of_four_at_once(subject).await;
        over_quota(subject, Quota::QueuedJobs).await;
        publish_all(&*bus, [next.failed()]).await;
        submitted(subject).await;
        over_quota(subject, Quota::QueuedJobs).await;
    }
    for script in &mut scripts[2..] {
        publish_all(&*bus, [script.failed()]).await;
    }
    let mut last = None;
    while records(subject).await < quotas.jobs as u64 {
        let before = last.replace(submitted(subject).await);
        if let Some(mut before) = before {
            publish_all(&*bus, [before.failed()]).await;
        }
    }
    over_quota(subject, Quota::Jobs).await;
    let mut last: Script = last.expect("there was room for one");
    publish_all(&*bus, [last.started(), last.failed()]).await;
    over_quota(subject, Quota::Jobs).await;
}

/// `restore` gives a lease and a record back to a store that knows nothing of the job, once.
pub async fn restore_only_from_nothing(subject: &dyn Subject) {
    let (bus, queue, catalogue) = (subject.bus(), subject.queue(), subject.catalogue());
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
    publish_all(&*bus, [foreign.queued()]).await;
    let refused = lease_of(&foreign, 1);
    assert!(
        !queue.restore(&refused, foreign.job(), LONG).await.unwrap(),
        "its log is here"
    );
    let mut ended = Script::own();
    publish_all(&*bus, [ended.queued(), ended.cancelled()]).await;
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
        bus.read(lost.id(), 0, 10).await.unwrap().is_none(),
        "no log was made up"
    );
    let mut anew = Script::of(lost.job().with_epoch(build::epoch()));
    anew.hold(&lease);
    publish_all(
        &*bus,
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
pub async fn restore_outdoes_foreign_logs(subject: &dyn Subject) {
    let quotas = subject.limits().quotas;
    for ended in [false, true] {
        if ended {
            // As many as leave room for the last of what follows, once one is gone.
            for _ in 2 * quotas.foreign_jobs..quotas.ended_foreign_jobs() {
                let end = foreign(Script::foreign().completed());
                publish_all(&*subject.bus(), [end]).await;
            }
        }
        let mut told = Vec::new();
        while told.len() < quotas.foreign_jobs {
            told.push(an_own_job_of_which_others_told(subject, ended).await);
        }
        for (ours, forged) in told {
            outdoes(subject, ours, &forged, ended).await;
        }
    }
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
    subject: &dyn Subject,
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
    publish_all(&*subject.bus(), story).await;
    ((ours, lease), forged)
}

async fn outdoes(
    subject: &dyn Subject,
    (ours, lease): (Script, Lease),
    forged: &Script,
    ended: bool,
) {
    let (bus, queue, cache) = (subject.bus(), subject.queue(), subject.cache());
    let id = ours.id();
    let atomic = bus.guarantees().atomic_commit;
    if atomic {
        let cached = cache.get(id).await.unwrap();
        assert_eq!(cached.is_some(), ended, "what the end left");
    }
    assert!(
        !queue.restore(&lease, forged.job(), LONG).await.unwrap(),
        "a foreign job over a foreign log"
    );
    assert_eq!(log_of(&*bus, id).await.job, *forged.job());

    assert!(
        queue.restore(&lease, ours.job(), LONG).await.unwrap(),
        "what others told of our job kept it from its worker"
    );
    assert!(
        bus.read(id, 0, 10).await.unwrap().is_none(),
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
    let answer = bus.publish(foreign(again.started())).await.unwrap();
    assert_eq!(answer, Published::Fenced, "others told of it again");

    // There is room for another foreign job at once.
    let mut another = Script::foreign();
    publish_all(
        &*bus,
        [foreign(another.started()), foreign(another.failed())],
    )
    .await;

    let mut anew = Script::of(ours.job().with_epoch(build::epoch()));
    anew.hold(&lease);
    let mut begins = anew.progress(50);
    begins.base = Some(ours.job().with_epoch(anew.job().position.epoch));
    publish_all(&*bus, [begins]).await;
    let log = log_of(&*bus, id).await;
    assert_eq!((&log.job, log.entries.len()), (anew.job(), 1));
    assert!(
        !queue.restore(&lease, anew.job(), LONG).await.unwrap(),
        "its own log is here"
    );
    publish_all(&*bus, [anew.failed()]).await;
    assert!(log_of(&*bus, id).await.job.own);
}
