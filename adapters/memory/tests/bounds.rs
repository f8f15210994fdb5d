//! What the store in memory promises beyond the laws: its bounds, and faults on demand.

mod subject;

use std::time::Duration;

use bytes::Bytes;
use conch_conformance::build::{self, Script, event_of};
use conch_domain::Schedule;
use conch_memory::{Memory, Settings};
use conch_ports::{
    Appended, Commit, ErrorKind, EventBus, Fence, JobFilter, JobLog, JobQueue, Lease, Message,
    Paging, QueueEffect, QueuePlace, Result, ResultCache, Signal, Signals,
};
use futures::{FutureExt, StreamExt};

async fn append_all(memory: &Memory, commits: impl IntoIterator<Item = Commit>) {
    for commit in commits {
        let answer = memory.append(commit).await.expect("the store answers");
        assert_eq!(answer, Appended::Appended);
    }
}

/// What a subscriber has to read right now.
fn waiting(signals: &mut Signals) -> Vec<Signal> {
    std::iter::from_fn(|| signals.next().now_or_never().flatten()).collect()
}

fn message(commit: &Commit) -> Signal {
    Signal::Message(Message::own(event_of(commit).line.clone()))
}

fn kind<T: std::fmt::Debug>(answer: Result<T>) -> ErrorKind {
    answer.expect_err("it must fail").kind()
}

#[tokio::test(start_paused = true)]
async fn history_keeps_its_limit_and_less_than_twice_as_much() {
    let memory = Settings {
        history_limit: 5,
        ..Settings::default()
    }
    .build();
    let mut script = Script::foreign();
    append_all(&memory, [script.queued()]).await;
    for n in 2..40 {
        append_all(&memory, [script.progress(n as u8)]).await;
        let log = memory.read(script.id(), 0, 100).await.unwrap();
        let kept = log.expect("it has a log").entries.len();
        assert!((n.min(5)..10).contains(&kept), "{kept} of {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_collection_is_bounded() {
    let settings = Settings {
        max_logs: 3,
        max_results: 2,
        max_idempotency_keys: 1,
        ..Settings::default()
    };
    let memory = settings.build();
    for _ in 0..3 {
        append_all(&memory, [Script::foreign().queued()]).await;
    }
    let fourth = memory.append(Script::foreign().queued()).await;
    assert_eq!(kind(fourth), ErrorKind::OutOfSpace);

    let ids = [build::job_id(), build::job_id(), build::job_id()];
    for id in &ids {
        memory.put(id, Bytes::from_static(b"{}")).await.unwrap();
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(
        memory.get(&ids[0]).await.unwrap(),
        None,
        "the oldest makes room"
    );
    assert!(memory.get(&ids[2]).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_list_by_change_looks_at_the_newest_changes_alone() {
    let memory = Settings::default().build();
    let most = JobFilter::NEWEST_CHANGES;
    let mut first = Script::own();
    memory.submit(first.submission()).await.unwrap();
    for _ in 0..most {
        memory.submit(Script::own().submission()).await.unwrap();
    }
    let list = async |filter: &JobFilter| {
        let all = Paging {
            page: 1,
            page_size: 100,
        };
        let page = memory.catalogue().jobs(filter, all).await.unwrap();
        page.total
    };
    let since = JobFilter {
        updated_since: Some(build::BEGINNING),
        ..JobFilter::default()
    };
    let theirs = JobFilter {
        client_id: first.job().client_id.clone(),
        ..since.clone()
    };
    assert_eq!(list(&JobFilter::default()).await, most as u64 + 1);
    assert_eq!(list(&since).await, most as u64);
    // All changed at one moment, and its id is the least of them.
    assert_eq!(list(&theirs).await, 0);
    append_all(&memory, [first.started()]).await;
    assert_eq!(list(&theirs).await, 1, "now it changed last");
    assert_eq!(list(&since).await, most as u64);
}

/// What is kept of a job that may run much later lives so much longer.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_to_run_later_outlives_its_wait() {
    let hour = Duration::from_hours(1);
    let settings = Settings {
        unfinished_ttl: 24 * hour,
        retention: Some(48 * hour),
        ..Settings::default()
    };
    let memory = settings.build();
    let mut script = Script::own().scheduled(Schedule {
        run_at: Some(build::BEGINNING.plus_millis(5 * 24 * 3_600_000)),
        ..Schedule::default()
    });
    memory.submit(script.submission()).await.unwrap();
    tokio::time::advance(143 * hour).await;
    assert!(memory.read(script.id(), 0, 1).await.unwrap().is_some());
    tokio::time::advance(24 * hour).await;
    assert!(memory.read(script.id(), 0, 1).await.unwrap().is_none());
    let catalogue = memory.catalogue();
    assert!(catalogue.job(script.id()).await.unwrap().is_some());
    tokio::time::advance(hour).await;
    assert!(catalogue.job(script.id()).await.unwrap().is_none());
}

/// Of more than a hundred clients the first jobs have exact places, all others are estimated.
#[tokio::test(start_paused = true)]
async fn places_beyond_a_hundred_clients_are_estimated() {
    let memory = Settings::default().build();
    let clients: Vec<_> = (0..150).map(|_| build::client_id()).collect();
    let mut first = Vec::new();
    let mut second = Vec::new();
    for jobs in [&mut first, &mut second] {
        for client in &clients {
            let mut script = Script::of_client(client);
            memory.submit(script.submission()).await.unwrap();
            jobs.push(script.id().clone());
        }
    }
    let places = memory.places(&first).await.unwrap();
    let exact: Vec<_> = (1..=150).map(|n| Some(QueuePlace::Exact(n))).collect();
    assert_eq!(places, exact);
    let places = memory.places(&second).await.unwrap();
    let about: Vec<_> = (151..=300).map(|n| Some(QueuePlace::About(n))).collect();
    assert_eq!(places, about);
}

#[tokio::test(start_paused = true)]
async fn what_is_unfinished_or_old_runs_out() {
    let day = Duration::from_hours(24);
    let settings = Settings {
        unfinished_ttl: day,
        retention: Some(2 * day),
        max_logs: 1,
        ..Settings::default()
    };
    let memory = settings.build();
    let mut script = Script::own();
    memory.submit(script.submission()).await.unwrap();
    tokio::time::advance(day / 2).await;
    append_all(&memory, [script.progress(1)]).await;
    tokio::time::advance(day / 2).await;
    assert!(
        memory.read(script.id(), 0, 1).await.unwrap().is_some(),
        "an append keeps it"
    );
    tokio::time::advance(day).await;
    assert!(memory.read(script.id(), 0, 1).await.unwrap().is_none());
    // Its room is free again. The job itself waits on.
    append_all(&memory, [Script::foreign().queued()]).await;
    let lease = memory
        .claim("w", &conch_conformance::build::token(), day)
        .await
        .unwrap();
    assert_eq!(lease.expect("it waits").job_id, *script.id());
    let catalogue = memory.catalogue();
    assert!(
        catalogue.job(script.id()).await.unwrap().is_some(),
        "the record stays"
    );
    tokio::time::advance(day).await;
    assert_eq!(
        catalogue.job(script.id()).await.unwrap(),
        None,
        "for its own time"
    );
    let all = Paging {
        page: 1,
        page_size: 10,
    };
    assert_eq!(
        catalogue
            .jobs(&JobFilter::default(), all)
            .await
            .unwrap()
            .total,
        0
    );
}

#[tokio::test(start_paused = true)]
async fn announcements_are_lost_held_and_repeated() {
    let memory = subject::memory(true);
    let faults = memory.faults();
    let mut signals = memory.subscribe();
    assert_eq!(waiting(&mut signals), [Signal::Gap]);
    let mut script = Script::foreign();
    let commits = [
        script.queued(),
        script.started(),
        script.progress(1),
        script.progress(2),
    ];

    faults.lose_announcements(|_, sequence| sequence == 2);
    append_all(&memory, commits[..2].iter().cloned()).await;
    assert_eq!(waiting(&mut signals), [message(&commits[0])]);
    faults.lose_no_announcements();

    faults.hold_announcements();
    append_all(&memory, commits[2..].iter().cloned()).await;
    assert_eq!(waiting(&mut signals), []);
    faults.release_announcements();
    assert_eq!(
        waiting(&mut signals),
        [message(&commits[2]), message(&commits[3])]
    );

    faults.repeat_announcements(2);
    faults.announce_raw(&b"not json"[..]);
    let raw = Signal::Message(Message::public(&b"not json"[..]));
    assert_eq!(
        waiting(&mut signals),
        [raw.clone(), raw.clone(), raw.clone()]
    );
    faults.repeat_announcements(0);

    faults.disconnect_subscribers();
    faults.announce_raw(&b"lost"[..]);
    faults.reconnect_subscribers();
    faults.announce_raw(&b"not json"[..]);
    assert_eq!(waiting(&mut signals), [Signal::Gap, raw]);
    let log = memory
        .read(script.id(), 0, 10)
        .await
        .unwrap()
        .expect("it has a log");
    assert_eq!(log.entries.len(), 4, "the log has them all");
}

#[tokio::test(start_paused = true)]
async fn a_log_loses_its_tail_and_a_store_everything() {
    let memory = subject::memory(true);
    let faults = memory.faults();
    let mut script = Script::own();
    append_all(
        &memory,
        [script.queued(), script.started(), script.progress(10)],
    )
    .await;
    let (there, tail) = (script.clone(), [script.progress(20), script.completed()]);
    append_all(&memory, tail.clone()).await;
    assert!(faults.cut_log(script.id(), 2));
    let log = memory
        .read(script.id(), 0, 10)
        .await
        .unwrap()
        .expect("its head is left");
    assert_eq!((&log.job, log.entries.len()), (there.job(), 3));
    append_all(&memory, tail).await;
    assert!(faults.cut_log(script.id(), 9), "all of it");
    assert!(memory.read(script.id(), 0, 10).await.unwrap().is_none());
    assert!(!faults.cut_log(script.id(), 1), "there is nothing to cut");

    let mut signals = memory.subscribe();
    assert_eq!(waiting(&mut signals), [Signal::Gap]);
    faults.wipe();
    assert_eq!(waiting(&mut signals), [Signal::Gap]);
    assert_eq!(memory.catalogue().job(script.id()).await.unwrap(), None);
    assert_eq!(memory.get(script.id()).await.unwrap(), None);
    let lease = Lease {
        job_id: script.id().clone(),
        attempt: 1,
        token: build::token(),
    };
    assert!(
        memory
            .restore(&lease, there.job(), Duration::from_secs(1))
            .await
            .unwrap()
    );
    let mut again = Script::of(there.job().with_epoch(build::epoch()));
    let first = Commit {
        fence: Fence::Held(lease.token),
        ..again.progress(30)
    };
    append_all(&memory, [first]).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_restarts_from_a_backup_knows_what_it_knew_then_and_doubts_it() {
    let memory = Settings::default().build();
    let faults = memory.faults();
    let mut script = Script::own();
    memory.submit(script.submission()).await.unwrap();
    let backup = faults.back_up();
    let mut signals = memory.subscribe();
    let lease = memory
        .claim(
            "w",
            &conch_conformance::build::token(),
            Duration::from_secs(1),
        )
        .await
        .unwrap();
    script.hold(&lease.expect("one is due"));
    append_all(&memory, [script.started()]).await;
    let mut later = Script::own();
    memory.submit(later.submission()).await.unwrap();

    faults.restart_from(&backup);
    let log = memory.read(script.id(), 0, 10).await.unwrap();
    assert_eq!(log.expect("it was there then").job.position.sequence, 1);
    let log = memory.read(later.id(), 0, 10).await.unwrap();
    assert!(log.is_none(), "it came later");
    let next = memory.append(script.progress(10)).await.unwrap();
    assert_eq!(next, Appended::Fenced, "the restart ended its lease");
    assert_eq!(waiting(&mut signals).last(), Some(&Signal::Gap));
    let lease = memory
        .claim(
            "w",
            &conch_conformance::build::token(),
            Duration::from_secs(1),
        )
        .await
        .unwrap();
    assert_eq!(lease.expect("it waits again").attempt, 1);
    let mut again = Script::of(memory.read(script.id(), 0, 0).await.unwrap().unwrap().job);
    let next = memory.append(again.cancelled()).await.unwrap();
    assert!(matches!(next, Appended::Doubtful(_)), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_by_itself_asks_nobody_who_holds_the_job() {
    let memory = Settings::default().build();
    let mut script = Script::own();
    memory.submit(script.submission()).await.unwrap();
    memory
        .claim(
            "w",
            &conch_conformance::build::token(),
            Duration::from_mins(1),
        )
        .await
        .unwrap();
    let requeue = QueueEffect::Requeue {
        after: Duration::ZERO,
        counts: true,
    };
    memory.faults().acknowledge(script.id(), requeue);
    let lease = memory
        .claim(
            "w",
            &conch_conformance::build::token(),
            Duration::from_secs(1),
        )
        .await
        .unwrap();
    assert_eq!(lease.expect("it is claimable").attempt, 2);
}
