//! Laws of announcements, of subscriptions, and of what a subscriber finds that hears of an event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::{JobStatus, RetryReason};
use conch_ports::{Commit, EventBus, Fence, Published, Signal};
use futures::StreamExt;

use crate::build::{self, Script};
use crate::observe::{
    LONG, claim, claimed, flowing, log_of, next_of, position_in, publish_all, soon,
};
use crate::{Outcome, Subject};

/// Publishes in a task of its own, so that subscribers run in between.
fn publish_meanwhile(bus: Arc<dyn EventBus>, commits: Vec<Commit>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { publish_all(&*bus, commits).await })
}

/// Every announcement that is heard is in the log already, with the same bytes; what wasn't appended
/// or wasn't to be announced isn't heard.
pub async fn announce_follows_append(subject: &dyn Subject) {
    let bus = subject.bus();
    let mut signals = flowing(&*bus).await;
    let mut script = Script::foreign();
    let mut commits = vec![script.queued(), script.started()];
    commits.extend((0..18).map(|n| script.progress(n * 5)));
    let (id, total) = (script.id().clone(), commits.len() as u64);
    let writer = publish_meanwhile(subject.bus(), commits);
    let mut heard = 0;
    while heard < total {
        let (place, line) = next_of(&mut signals, &id).await;
        let log = bus.read(&id, place.sequence - 1, 1).await.unwrap();
        let log = log.expect("heard of an event before it was appended");
        let entry = log
            .entries
            .first()
            .expect("heard of an event before it was appended");
        assert_eq!(entry.sequence, place.sequence);
        assert_eq!(entry.line, line, "other bytes were announced than appended");
        heard = place.sequence;
    }
    writer.await.expect("publishing doesn't panic");

    let fenced = Commit {
        fence: Fence::Held(build::token()),
        ..script.clone().progress(1)
    };
    let fenced_line = fenced.line.clone();
    assert_eq!(bus.publish(fenced).await.unwrap(), Published::Fenced);
    let silent = Commit {
        announce: false,
        ..script.progress(95)
    };
    let silent_line = silent.line.clone();
    let last = script.completed();
    let last_line = last.line.clone();
    publish_all(&*bus, [silent, last]).await;
    loop {
        let (_, line) = next_of(&mut signals, &id).await;
        assert_ne!(line, fenced_line, "a fenced event was announced");
        assert_ne!(line, silent_line, "a silent event was announced");
        if line == last_line {
            break;
        }
    }
}

/// Of each of three jobs that are written to at the same time, what is heard comes in the order of
/// the appends.
pub async fn announcements_keep_their_order(subject: &dyn Subject) {
    const EVENTS: u64 = 30;
    let bus = subject.bus();
    let mut signals = flowing(&*bus).await;
    let mut writers = Vec::new();
    let mut heard: HashMap<_, Vec<u64>> = HashMap::new();
    for _ in 0..3 {
        let mut script = Script::foreign();
        let mut commits = vec![script.queued(), script.started()];
        commits.extend((2..EVENTS).map(|n| script.progress(n as u8)));
        heard.insert(script.id().clone(), Vec::new());
        writers.push(publish_meanwhile(subject.bus(), commits));
    }
    soon("every announcement of each job", async {
        while heard
            .values()
            .any(|sequences| (sequences.len() as u64) < EVENTS)
        {
            let signal = signals.next().await;
            let Some(Signal::Message(line)) = signal else {
                panic!("{signal:?}: so few announcements fit a subscriber's queue");
            };
            for (id, sequences) in &mut heard {
                if let Some(place) = position_in(&line, id)
                    && !sequences.contains(&place.sequence)
                {
                    sequences.push(place.sequence);
                }
            }
        }
    })
    .await;
    for sequences in heard.values() {
        assert!(sequences.is_sorted(), "heard in this order: {sequences:?}");
    }
    for writer in writers {
        writer.await.expect("publishing doesn't panic");
    }
}

/// The first signal is `Lapsed`, and what is published after it arrives, or another `Lapsed` does:
/// at the beginning, after an interruption, after an overflow.
pub async fn subscription_starts_with_lapsed(subject: &dyn Subject) {
    let bus = subject.bus();
    let mut signals = flowing(&*bus).await;
    let mut script = Script::foreign();
    publish_all(&*bus, [script.queued()]).await;
    assert_eq!(
        next_of(&mut signals, script.id()).await.0,
        script.job().position
    );

    let mut late = flowing(&*bus).await;
    publish_all(&*bus, [script.started()]).await;
    for signals in [&mut signals, &mut late] {
        assert_eq!(next_of(signals, script.id()).await.0, script.job().position);
    }

    subject.interrupt_subscription().await;
    for signals in [&mut signals, &mut late] {
        soon("Lapsed after an interruption", async {
            while signals.next().await != Some(Signal::Lapsed) {}
        })
        .await;
    }
    publish_all(&*bus, [script.progress(1)]).await;
    for signals in [&mut signals, &mut late] {
        assert_eq!(next_of(signals, script.id()).await.0, script.job().position);
    }

    // `late` reads nothing of a flood: it gets all of it, or is told that it missed some.
    let flood: Vec<_> = (0..300).map(|n| script.progress((n % 100) as u8)).collect();
    publish_all(&*bus, flood).await;
    let mut expected = script.job().position.sequence - 300;
    soon("the flood's end or Lapsed", async {
        while expected < script.job().position.sequence {
            match late.next().await {
                Some(Signal::Message(line)) => {
                    let place = position_in(&line, script.id()).expect("only one job speaks");
                    assert!(
                        place.sequence <= expected + 1,
                        "announcements were lost in silence"
                    );
                    expected = expected.max(place.sequence);
                }
                Some(Signal::Lapsed) => break,
                None => panic!("a subscription must not end"),
            }
        }
    })
    .await;
    publish_all(&*bus, [script.completed()]).await;
    let end = script.job().position;
    soon("what follows the flood", async {
        loop {
            match late.next().await {
                Some(Signal::Message(line)) if position_in(&line, script.id()) == Some(end) => {
                    break;
                }
                Some(_) => {}
                None => panic!("a subscription must not end"),
            }
        }
    })
    .await;
}

/// A subscriber that hears of an event finds the queue effect, the record and the result done.
pub async fn effects_belong_to_the_append(subject: &dyn Subject) -> Outcome {
    let bus = subject.bus();
    if !bus.guarantees().atomic_commit {
        return Outcome::Skipped;
    }
    let (queue, catalogue, cache) = (subject.queue(), subject.catalogue(), subject.cache());
    let mut signals = flowing(&*bus).await;
    let (mut script, first) = claimed(subject, LONG).await;
    let id = script.id().clone();

    let requeued = vec![
        script.started(),
        script.retrying(RetryReason::Error, Duration::ZERO),
    ];
    let retried_at = script.job().position;
    let writer = publish_meanwhile(subject.bus(), requeued);
    while next_of(&mut signals, &id).await.0 != retried_at {}
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
    writer.await.expect("publishing doesn't panic");

    script.hold(&second);
    let ended = vec![script.progress(90), script.completed()];
    let writer = publish_meanwhile(subject.bus(), ended);
    while next_of(&mut signals, &id).await.0 != script.job().position {}
    assert_eq!(
        cache.get(&id).await.unwrap(),
        Some(conch_wire::job::encode(script.job())),
        "the cached result"
    );
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
    writer.await.expect("publishing doesn't panic");

    let mut foreign = Script::foreign();
    publish_all(&*bus, [foreign.queued(), foreign.failed()]).await;
    assert_eq!(
        log_of(&*bus, foreign.id()).await.job.status,
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
    Outcome::Held
}

/// A bus that declares itself shared is: what one process appends, another reads and hears. One that
/// doesn't has no elsewhere.
pub async fn shared_means_shared(subject: &dyn Subject) -> Outcome {
    let bus = subject.bus();
    let elsewhere = subject.elsewhere();
    assert_eq!(
        bus.guarantees().shared,
        elsewhere.is_some(),
        "the declaration is wrong"
    );
    let Some(elsewhere) = elsewhere else {
        return Outcome::Skipped;
    };
    assert_eq!(elsewhere.guarantees(), bus.guarantees());
    let mut signals = flowing(&*elsewhere).await;
    let mut script = Script::foreign();
    publish_all(&*bus, [script.queued(), script.started()]).await;
    while next_of(&mut signals, script.id()).await.0 != script.job().position {}
    assert_eq!(log_of(&*elsewhere, script.id()).await.job, *script.job());
    publish_all(&*elsewhere, [script.completed()]).await;
    assert_eq!(log_of(&*bus, script.id()).await.job, *script.job());
    Outcome::Held
}
