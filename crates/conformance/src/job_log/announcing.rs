//! Laws of what an append announces, and of what is found by who hears of an event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::{JobId, JobStatus, LogSecret, Position, RetryReason};
use conch_ports::{Appended, Channel, Commit, EventBus, Fence, JobLog};
use conch_wire::envelope::Sealed;

use crate::build::{self, Script, event_of, together};
use crate::event_bus::hear_in_order;
use crate::observe::{
    LONG, append_all, claim, claimed, flowing, log_of, message_before, next_of, position_in, soon,
    submitted,
};
use crate::{Outcome, StoreSubject};

/// Appends in a task of its own, so that subscribers run in between.
fn append_meanwhile(logs: Arc<dyn JobLog>, commits: Vec<Commit>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { append_all(&*logs, commits).await })
}

/// Every announcement that is heard is in the log already, with the same bytes and in the order of the
/// appends; what wasn't appended or wasn't to be announced isn't heard.
pub async fn announce_follows_append(subject: &dyn StoreSubject) -> Outcome {
    let (logs, bus) = (subject.log(), subject.bus());
    let named = bus.as_ref().map(|bus| bus.id());
    assert_eq!(logs.announces(), named, "the declaration is wrong");
    let Some(bus) = bus else {
        return Outcome::Skipped;
    };
    appends_are_heard_in_order(subject, &*bus).await;
    a_submission_is_heard(subject, &*bus).await;
    only_what_is_appended_is_heard(subject, &*bus).await;
    what_is_sealed_was_appended(subject, &*bus).await;
    Outcome::Held
}

/// Where a job has a secret, our own programs are told sealed, in order and before any copy that is public. So
/// they may be of an event that isn't announced publicly.
async fn what_is_sealed_was_appended(subject: &dyn StoreSubject, bus: &dyn EventBus) {
    let logs = subject.log();
    let secret = LogSecret::from_random([7; 16]);
    for announce in [true, false] {
        let mut signals = flowing(bus).await;
        let mut script = Script::of(Script::foreign().job().clone().with_secret(secret));
        let id = script.id().clone();
        let mut commits = vec![script.queued(), script.started()];
        commits.push(together([script.progress(10), script.progress(20)]));
        commits.push(script.completed());
        let commits = commits.into_iter().map(|c| Commit { announce, ..c });
        append_all(&*logs, commits.collect::<Vec<_>>()).await;
        let mut after = Script::foreign();
        append_all(&*logs, [after.queued(), after.completed()]).await;
        let mut told = 0;
        while let Some(message) = message_before(&mut signals, &id, after.id()).await {
            let place = position_in(&message.bytes, &id).expect("it is this job's");
            let Some(sealed) = Sealed::read(&message.bytes) else {
                assert!(announce, "an event was announced where others listen");
                assert!(place.sequence <= told, "a public copy came first");
                continue;
            };
            assert_eq!(message.channel, Channel::Own);
            assert!(sealed.is_made_with(&secret));
            assert_eq!(sealed.first().sequence, told + 1);
            let log = logs.read(&id, told, sealed.lines.len()).await.unwrap();
            let log = log.expect("heard of an event before it was appended");
            assert_eq!(log.job.secret, Some(secret));
            let appended: Vec<_> = log.entries.into_iter().map(|entry| entry.line).collect();
            assert_eq!(sealed.lines, appended);
            told = sealed.last.sequence;
        }
        let all = script.job().position.sequence;
        assert!(
            told == all || !announce && told == 0,
            "{told} of {all} were sealed"
        );
    }
}

/// A job that is submitted is announced once it is in the log.
async fn a_submission_is_heard(subject: &dyn StoreSubject, bus: &dyn EventBus) {
    let mut signals = flowing(bus).await;
    let script = submitted(subject).await;
    let (place, line) = next_of(&mut signals, script.id()).await;
    assert_eq!(place, script.job().position);
    let log = log_of(&*subject.log(), script.id()).await;
    assert_eq!(log.entries[0].line, line);
}

async fn only_what_is_appended_is_heard(subject: &dyn StoreSubject, bus: &dyn EventBus) {
    let logs = subject.log();
    let mut signals = flowing(bus).await;
    let mut script = Script::foreign();
    let mut commits = vec![script.queued(), script.started()];
    commits.extend((0..18).map(|n| script.progress(n * 5)));
    let (id, total) = (script.id().clone(), commits.len() as u64);
    let writer = append_meanwhile(subject.log(), commits);
    let mut heard = 0;
    while heard < total {
        let (place, line) = next_of(&mut signals, &id).await;
        let log = logs.read(&id, place.sequence - 1, 1).await.unwrap();
        let log = log.expect("heard of an event before it was appended");
        let entry = log
            .entries
            .first()
            .expect("heard of an event before it was appended");
        assert_eq!(entry.sequence, place.sequence);
        assert_eq!(entry.line, line, "other bytes were announced than appended");
        heard = place.sequence;
    }
    writer.await.expect("appending doesn't panic");

    let fenced = Commit {
        fence: Fence::Held(build::token()),
        ..script.clone().progress(1)
    };
    let fenced_line = event_of(&fenced).line.clone();
    assert_eq!(logs.append(fenced).await.unwrap(), Appended::Fenced);
    let silent = Commit {
        announce: false,
        ..script.progress(95)
    };
    let silent_line = event_of(&silent).line.clone();
    let last = script.completed();
    let last_line = event_of(&last).line.clone();
    append_all(&*logs, [silent, last]).await;
    loop {
        let (_, line) = next_of(&mut signals, &id).await;
        assert_ne!(line, fenced_line, "a fenced event was announced");
        assert_ne!(line, silent_line, "a silent event was announced");
        if line == last_line {
            break;
        }
    }
}

/// Of each of three jobs that are written to at the same time, what is heard comes in the order of the
/// appends.
async fn appends_are_heard_in_order(subject: &dyn StoreSubject, bus: &dyn EventBus) {
    const EVENTS: u64 = 30;
    let mut signals = flowing(bus).await;
    let mut writers = Vec::new();
    let mut heard = HashMap::new();
    for _ in 0..3 {
        let mut script = Script::foreign();
        let mut commits = vec![script.queued(), script.started()];
        commits.extend((2..EVENTS).map(|n| script.progress(n as u8)));
        heard.insert(script.id().clone(), Vec::new());
        writers.push(append_meanwhile(subject.log(), commits));
    }
    hear_in_order(&mut signals, heard, EVENTS).await;
    for writer in writers {
        writer.await.expect("appending doesn't panic");
    }
}

/// Who reads of an event in the log finds the queue effect, the record and the result done.
pub async fn effects_belong_to_the_append(subject: &dyn StoreSubject) -> Outcome {
    let logs = subject.log();
    let (queue, catalogue, cache) = (subject.queue(), subject.catalogue(), subject.cache());
    let (mut script, first) = claimed(subject, LONG).await;
    let id = script.id().clone();

    let requeued = vec![
        script.started(),
        script.retrying(RetryReason::Error, Duration::ZERO),
    ];
    let retried_at = script.job().position;
    let writer = append_meanwhile(subject.log(), requeued);
    stands_at(&*logs, &id, retried_at).await;
    assert_eq!(
        catalogue.job(&id).await.unwrap().as_ref(),
        Some(script.job()),
        "the record"
    );
    assert!(
        !queue.renew(&first, LONG).await.unwrap(),
        "the lease has ended"
    );
    let second = claim(subject, LONG).await.expect("the job is claimable");
    assert_eq!((&second.job_id, second.attempt), (&id, 2));
    writer.await.expect("appending doesn't panic");

    script.hold(&second);
    let ended = vec![script.progress(90), script.completed()];
    let writer = append_meanwhile(subject.log(), ended);
    stands_at(&*logs, &id, script.job().position).await;
    if logs.guarantees().caches_results {
        assert_eq!(
            cache.get(&id).await.unwrap(),
            Some(conch_wire::job::encode(script.job())),
            "the cached result"
        );
    }
    assert_eq!(
        catalogue.job(&id).await.unwrap().as_ref(),
        Some(script.job()),
        "the record"
    );
    assert!(
        !queue.renew(&second, LONG).await.unwrap(),
        "the lease has ended"
    );
    assert_eq!(
        queue.next_due().await.unwrap(),
        None,
        "the job has left the queue"
    );
    writer.await.expect("appending doesn't panic");

    let mut foreign = Script::foreign();
    append_all(&*logs, [foreign.queued(), foreign.failed()]).await;
    assert_eq!(
        log_of(&*logs, foreign.id()).await.job.status,
        JobStatus::Failed
    );
    assert_eq!(
        catalogue.job(foreign.id()).await.unwrap(),
        None,
        "a foreign job has no record"
    );
    assert_eq!(
        claim(subject, LONG).await,
        None,
        "a foreign job is in no queue"
    );
    Outcome::of_a_log(logs.guarantees())
}

/// Reads until the log stands there.
async fn stands_at(logs: &dyn JobLog, job_id: &JobId, position: Position) {
    soon("the event in the log", async {
        while log_of(logs, job_id).await.job.position != position {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A log that declares itself shared is: what one process appends, another reads. One that doesn't has no
/// elsewhere.
pub async fn shared_means_shared(subject: &dyn StoreSubject) -> Outcome {
    let logs = subject.log();
    let elsewhere = subject.elsewhere();
    assert_eq!(
        logs.guarantees().shared,
        elsewhere.is_some(),
        "the declaration is wrong"
    );
    let Some(elsewhere) = elsewhere else {
        return Outcome::Skipped;
    };
    assert_eq!(elsewhere.guarantees(), logs.guarantees());
    let mut script = Script::foreign();
    append_all(&*logs, [script.queued(), script.started()]).await;
    assert_eq!(log_of(&*elsewhere, script.id()).await.job, *script.job());
    append_all(&*elsewhere, [script.completed()]).await;
    assert_eq!(log_of(&*logs, script.id()).await.job, *script.job());
    Outcome::Held
}
