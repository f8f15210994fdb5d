//! What is announced beside a log: every law of a store over one in memory that announces nothing by itself, and
//! what no law says.

#[allow(dead_code)] // other tests count limits
#[path = "support/counters.rs"]
mod counters;
#[path = "../../../adapters/memory/tests/subject/mod.rs"]
mod subject;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_conformance::build::{self, Script, event_of, together, with_event_id, with_line};
use conch_conformance::{Cannot, ForeignBlob, Limits, Loss, StoreSubject};
use conch_domain::{JobId, Timestamp};
use conch_doubles::{FaultyMemory, When};
use conch_memory::Settings;
use conch_ports::{
    Appended, Bucket, Catalogue, Commit, ErrorKind, EventBus, JobLog, JobQueue, Message,
    ResultCache, Signal, Signals, Submitted, TicketStore,
};
use conch_services::announcing::announcing;
use conch_wire::event::Incoming;
use futures::{FutureExt as _, StreamExt as _};
use subject::InMemory;

/// A store in memory whose appends are announced on another one's bus.
struct Beside {
    store: InMemory,
    log: Arc<dyn JobLog>,
    queue: Arc<dyn JobQueue>,
    bus: Arc<dyn EventBus>,
}

#[allow(clippy::unused_async)] // the suite awaits it
async fn fresh() -> Beside {
    let settings = Settings {
        announces: false,
        begins: Some(build::BEGINNING),
        ..subject::settings()
    };
    let store = settings.build();
    let bus = subject::settings().build().bus();
    let (log, queue) = announcing(store.log(), store.queue(), &bus);
    Beside {
        store: InMemory::of(store, true),
        log,
        queue,
        bus,
    }
}

#[async_trait]
impl StoreSubject for Beside {
    fn log(&self) -> Arc<dyn JobLog> {
        Arc::clone(&self.log)
    }

    fn bus(&self) -> Option<Arc<dyn EventBus>> {
        Some(Arc::clone(&self.bus))
    }

    fn cache(&self) -> Arc<dyn ResultCache> {
        self.store.cache()
    }

    fn queue(&self) -> Arc<dyn JobQueue> {
        Arc::clone(&self.queue)
    }

    fn catalogue(&self) -> Arc<dyn Catalogue> {
        self.store.catalogue()
    }

    fn tickets(&self) -> Arc<dyn TicketStore> {
        self.store.tickets()
    }

    fn limits(&self) -> Limits {
        self.store.limits()
    }

    fn cannot(&self) -> &'static [Cannot] {
        StoreSubject::cannot(&self.store)
    }

    fn elsewhere(&self) -> Option<Arc<dyn JobLog>> {
        StoreSubject::elsewhere(&self.store)
    }

    fn tickets_elsewhere(&self) -> Option<Arc<dyn TicketStore>> {
        self.store.tickets_elsewhere()
    }

    async fn advance(&self, by: Duration) {
        self.store.advance(by).await;
    }

    async fn outlive(&self) -> bool {
        self.store.outlive().await
    }

    async fn restart_from_a_copy(&self) -> bool {
        self.store.restart_from_a_copy().await
    }

    async fn lose_from_queue(&self, job_id: &JobId, loss: Loss) {
        self.store.lose_from_queue(job_id, loss).await;
    }

    async fn break_entry(&self, job_id: &JobId) -> bool {
        self.store.break_entry(job_id).await
    }

    async fn write_foreign_result(&self, job_id: &JobId, blob: ForeignBlob) -> bool {
        self.store.write_foreign_result(job_id, blob).await
    }
}

conch_conformance::store_conformance! { #[tokio::test(start_paused = true)] fresh }

/// A log and a queue beside a bus, either of which may fail as planned, and a subscriber.
struct World {
    store: FaultyMemory,
    bus: FaultyMemory,
    log: Arc<dyn JobLog>,
    queue: Arc<dyn JobQueue>,
    signals: Signals,
}

impl World {
    fn new() -> Self {
        let store = FaultyMemory::new(Settings {
            announces: false,
            ..Settings::default()
        });
        let bus = FaultyMemory::new(Settings::default());
        let port = bus.bus();
        let (log, queue) = announcing(store.log(), store.queue(), &port);
        let mut signals = port.subscribe();
        assert_eq!(signals.next().now_or_never(), Some(Some(Signal::Gap)));
        Self {
            store,
            bus,
            log,
            queue,
            signals,
        }
    }

    async fn append(&self, commit: &Commit) -> Appended {
        let appended = self.log.append(commit.clone()).await;
        appended.expect("nothing is to fail")
    }

    /// The announcements that were made since the last call.
    fn heard(&mut self) -> Vec<Bytes> {
        let mut heard = Vec::new();
        while let Some(signal) = self.signals.next().now_or_never() {
            let Some(Signal::Message(Message { bytes, .. })) = signal else {
                panic!("{signal:?}");
            };
            heard.push(bytes);
        }
        heard
    }
}

fn lines(commit: &Commit) -> Vec<Bytes> {
    commit.events.iter().map(|e| e.line.clone()).collect()
}

fn decoded(bytes: &[u8]) -> Incoming {
    conch_wire::event::decode(bytes, Timestamp::from_micros(0)).expect("an event or its short form")
}

/// What the short form of an announcement says: its type, and where the event stands.
fn short(bytes: &[u8]) -> (String, u64) {
    let fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(bytes).expect("it is JSON");
    assert_eq!(fields.len(), 4, "it isn't short: {fields:?}");
    let said = decoded(bytes);
    let event_type = said.event.kind.event_type().to_owned();
    (event_type, said.sequence.expect("its place"))
}

#[tokio::test]
async fn what_an_append_did_before_its_answer_was_lost_is_announced() {
    let mut world = World::new();
    let mut script = Script::foreign();
    let commit = together([script.queued(), script.started()]);
    let faults = world.store.faults();
    faults.fail_next("job_log.append", 1, ErrorKind::Timeout, When::After);
    world.log.append(commit.clone()).await.expect_err("lost");
    assert!(world.heard().is_empty());

    let known = Appended::Duplicate(commit.first());
    assert_eq!(world.append(&commit).await, known);
    let heard: Vec<_> = world.heard().iter().map(|line| short(line)).collect();
    let expected = [("job:queued".to_owned(), 1), ("job:started".to_owned(), 2)];
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn what_was_there_before_is_announced_where_it_is_and_without_what_the_commit_says() {
    let mut world = World::new();
    let mut script = Script::foreign();
    let first = script.queued();
    world.append(&first).await;
    let started = script.started();
    world.append(&started).await;
    world.append(&script.progress(10)).await;
    let id = &event_of(&started).event_id;
    world.heard();

    // The same event once more, as its appender would after it lost the race for its place.
    let elsewhere = with_event_id(id, script.progress(20));
    // At its place, but written at another time.
    let other = with_line(
        &Bytes::from_static(b"{\"event_type\":\"job:started\"}"),
        started.clone(),
    );
    for commit in [elsewhere, other] {
        let known = Appended::Duplicate(started.job.position);
        assert_eq!(world.append(&commit).await, known);
        let heard = world.heard();
        assert_eq!(heard.len(), 1);
        assert_eq!(short(&heard[0]).1, 2);
        assert_eq!(decoded(&heard[0]).epoch, Some(first.job.position.epoch));
    }
    // What is silent stays so.
    let silent = Commit {
        announce: false,
        ..started
    };
    assert!(matches!(
        world.append(&silent).await,
        Appended::Duplicate(_)
    ));
    assert!(world.heard().is_empty());
}

#[tokio::test]
async fn a_bus_that_fails_keeps_no_event_from_its_log_and_no_other_from_being_announced() {
    let counters = counters::Counters::start();
    let mut world = World::new();
    let faults = world.bus.faults();
    let mut script = Script::own();
    for kind in [ErrorKind::Unavailable, ErrorKind::Refused] {
        faults.fail_next("event_bus.announce", 1, kind, When::Before);
    }
    let submission = script.submission();
    let submitted = world.queue.submit(submission.clone()).await;
    assert_eq!(submitted.expect("it is in the log"), Submitted::New);

    let mut external = Script::foreign();
    let commit = together([external.queued(), external.started()]);
    assert_eq!(world.append(&commit).await, Appended::Appended);
    assert_eq!(
        world.heard(),
        lines(&commit)[1..],
        "after the one that failed"
    );
    assert_eq!(counters.of("conch_announcements_failed_total"), 2);

    // Asked again, as its caller does whose answer was lost.
    let submitted = world.queue.submit(submission.clone()).await;
    assert_eq!(submitted.expect("it is in the log"), Submitted::New);
    assert_eq!(world.heard(), lines(&submission.commit));
}

#[tokio::test]
async fn a_submission_that_was_made_before_is_announced_where_it_is() {
    let mut world = World::new();
    let mut script = Script::own();
    let mut submission = script.submission();
    submission.idempotency = Some(build::idempotency("key", "digest"));
    let submitted = world.queue.submit(submission.clone()).await;
    assert_eq!(submitted.expect("nothing fails"), Submitted::New);
    assert_eq!(world.heard(), lines(&submission.commit));

    // Its caller has learned nothing, and makes the same job anew: in another epoch.
    let mut again = submission.clone();
    again.commit.job = submission.commit.job.with_epoch(build::epoch());
    again.commit.job = conch_domain::Job::restore(conch_domain::JobRecord {
        position: conch_domain::Position {
            sequence: 1,
            ..again.commit.job.position
        },
        ..(*again.commit.job).clone()
    });
    let submitted = world.queue.submit(again).await;
    assert_eq!(submitted.expect("nothing fails"), Submitted::New);
    let heard = world.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!(short(&heard[0]), ("job:queued".to_owned(), 1));
    let position = submission.commit.job.position;
    assert_eq!(decoded(&heard[0]).epoch, Some(position.epoch));

    let faults = world.store.faults();
    faults.fail_next("job_log.positions", 1, ErrorKind::Timeout, When::Before);
    let submitted = world.queue.submit(submission).await;
    assert_eq!(submitted.expect("that is no failure"), Submitted::New);
    assert!(world.heard().is_empty(), "nothing is known of its log");
}

/// The law allows a log that knows of no latest commits, and would not notice that the answer gets lost here.
#[tokio::test]
async fn what_the_log_knows_of_latest_commits_is_answered() {
    let world = World::new();
    let mut script = Script::foreign();
    world.append(&script.started()).await;
    let bucket = [Bucket::of(script.id())];
    let known = world.store.log().latest(&bucket).await.unwrap();
    assert!(known[0].is_some());
    assert_eq!(world.log.latest(&bucket).await.unwrap(), known);
}

#[tokio::test]
async fn a_log_that_announces_on_that_bus_is_left_as_it_is() {
    let memory = Settings::default().build();
    let (log, queue) = (memory.log(), memory.queue());
    let (same, same_queue) = announcing(Arc::clone(&log), Arc::clone(&queue), &memory.bus());
    assert!(Arc::ptr_eq(&log, &same));
    assert!(Arc::ptr_eq(&queue, &same_queue));

    let bus = Settings::default().build().bus();
    let (other, _) = announcing(log, queue, &bus);
    assert_eq!(other.announces(), Some(bus.id()));
}
