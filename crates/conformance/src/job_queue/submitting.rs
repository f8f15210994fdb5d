//! The laws of [`JobQueue`](conch_ports::JobQueue) about what a submission leaves behind: one job per key, within the quotas.

use std::collections::HashSet;
use std::time::Duration;

use conch_domain::{Job, RetryReason};
use conch_ports::{ErrorKind, Idempotency, Quota, Submission, Submitted};

use super::records;
use crate::StoreSubject;
use crate::build::{self, Script, event_of};
use crate::observe::{AFTER_SHORT, LONG, SHORT, append_all, claim, log_of, soon, submitted};

/// Log, record, queue entry and key come together. The same commit
/// again is `New` again, and still one job. Another job under a known id is refused.
pub async fn submission_is_one_step(subject: &dyn StoreSubject) {
    let (logs, queue) = (subject.log(), subject.queue());
    let mut script = Script::own();
    let submission = Submission {
        idempotency: Some(build::idempotency("caller one-step", "d")),
        ..script.submission()
    };
    let task = {
        let (queue, submission) = (subject.queue(), submission.clone());
        tokio::spawn(async move { queue.submit(submission).await.expect("the store answers") })
    };
    let log = soon("the job's log", async {
        loop {
            match logs.read(script.id(), 0, 9).await.unwrap() {
                Some(log) => break log,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_eq!((&log.job, log.entries.len()), (script.job(), 1));
    assert_eq!(log.entries[0].line, event_of(&submission.commit).line);
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
    assert_eq!(log_of(&*logs, script.id()).await.job, *script.job());
}

/// Of eight submissions with one key at once one is `New` and the others name its job; another
/// digest is refused; a key is forgotten after its lifetime.
pub async fn same_key_same_job(subject: &dyn StoreSubject) {
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
    append_all(
        &*subject.log(),
        [Script::of(log_of(&*subject.log(), &winner).await.job).failed()],
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
pub async fn recall_asks_for_the_key_alone(subject: &dyn StoreSubject) {
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
    append_all(&*subject.log(), [script.started()]).await;
    assert_eq!(queue.recall(&with("d1")).await.unwrap(), existing);
    append_all(&*subject.log(), [script.failed()]).await;
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

/// A submission over a quota: refused in words that name the setting, and nothing of it is left.
async fn over_quota(subject: &dyn StoreSubject, quota: Quota) {
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
    let log = subject.log().read(script.id(), 0, 1).await.unwrap();
    assert!(log.is_none(), "a refused submission left a log");
    let record = subject.catalogue().job(script.id()).await.unwrap();
    assert_eq!(record, None, "a refused submission left a record");
    assert_eq!(records(subject).await, before, "or was counted");
    let known = queue.recall(&key).await.unwrap();
    assert_eq!(known, None, "a refused submission left its key");
}

/// Four submissions where there is room for one. Gives the one that was taken.
async fn one_of_four_at_once(subject: &dyn StoreSubject) -> Script {
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
pub async fn quotas_refuse_before_anything_changes(subject: &dyn StoreSubject) {
    let (logs, queue, quotas) = (subject.log(), subject.queue(), subject.limits().quotas);
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
    // A worker that runs one goes on, and may give its job back.
    let back = scripts[0].retrying(RetryReason::Shutdown, Duration::ZERO);
    append_all(&*logs, [back]).await;
    let mut waiting = HashSet::new();
    while let Some(lease) = claim(subject, LONG).await {
        let script = scripts.iter_mut().find(|s| *s.id() == lease.job_id);
        script.expect("a refused job waits").hold(&lease);
        waiting.insert(lease.job_id);
    }
    assert_eq!(waiting.len(), quotas.queued_jobs);

    for script in &mut scripts[..2] {
        append_all(&*logs, [script.failed()]).await;
        let mut next = one_of_four_at_once(subject).await;
        over_quota(subject, Quota::QueuedJobs).await;
        append_all(&*logs, [next.failed()]).await;
        submitted(subject).await;
        over_quota(subject, Quota::QueuedJobs).await;
    }
    for script in &mut scripts[2..] {
        append_all(&*logs, [script.failed()]).await;
    }
    let mut last = None;
    while records(subject).await < quotas.jobs as u64 {
        let before = last.replace(submitted(subject).await);
        if let Some(mut before) = before {
            append_all(&*logs, [before.failed()]).await;
        }
    }
    over_quota(subject, Quota::Jobs).await;
    let mut last: Script = last.expect("there was room for one");
    append_all(&*logs, [last.started(), last.failed()]).await;
    over_quota(subject, Quota::Jobs).await;
}
