//! The laws of [`JobQueue`](conch_ports::JobQueue) about whose job a claim gets, and where the others stand.

use std::time::Duration;

use conch_domain::{ClientId, JobId, Priority, RetryReason, Schedule};
use conch_ports::QueuePlace;

use super::lost::swept;
use crate::build::{self, Script};
use crate::observe::{AFTER_SHORT, LONG, SHORT, append_all, claim};
use crate::{Loss, StoreSubject};

/// Enough for the next job to be younger by any store's clock.
const TICK: Duration = Duration::from_millis(5);

fn priority(number: u64) -> Schedule {
    Schedule {
        priority: Priority::new(number).expect("0 to 9"),
        run_at: None,
    }
}

async fn submitted(subject: &dyn StoreSubject, client: &ClientId, schedule: Schedule) -> Script {
    let mut script = Script::of_client(client).scheduled(schedule);
    let answer = subject.queue().submit(script.submission()).await;
    assert_eq!(answer.unwrap(), conch_ports::Submitted::New);
    subject.advance(TICK).await;
    script
}

/// A job of each of the clients, in their order.
async fn one_each(subject: &dyn StoreSubject, clients: &[&ClientId]) -> Vec<Script> {
    let mut scripts = Vec::new();
    for client in clients {
        scripts.push(submitted(subject, client, Schedule::default()).await);
    }
    scripts
}

async fn assert_claimed(subject: &dyn StoreSubject, what: &str, expected: &Script) {
    let lease = claim(subject, LONG).await;
    let lease = lease.unwrap_or_else(|| panic!("{what}: nothing is claimed"));
    assert_eq!(lease.job_id, *expected.id(), "{what}");
}

/// The job waits again. Whether its attempt counts is another law's.
async fn requeued(subject: &dyn StoreSubject, script: &mut Script, after: Duration) {
    append_all(
        &*subject.log(),
        [script.retrying(RetryReason::Error, after)],
    )
    .await;
    subject.advance(TICK).await;
}

/// However many jobs a client has, each other one is given one before it is given the next; and one that
/// comes while they wait has its turn after at most one claim of each.
pub async fn claims_rotate_over_clients(subject: &dyn StoreSubject) {
    let (a, b, c, late) = four_clients();
    let scripts = one_each(subject, &[&a, &a, &a, &a, &b, &c, &c]).await;
    for next in [0, 4, 5] {
        assert_claimed(subject, "the first round", &scripts[next]).await;
    }
    let newcomer = submitted(subject, &late, Schedule::default()).await;
    for next in [1, 6] {
        assert_claimed(subject, "the second round", &scripts[next]).await;
    }
    assert_claimed(subject, "after one claim of each other", &newcomer).await;
    for next in [2, 3] {
        assert_claimed(subject, "who is left", &scripts[next]).await;
    }
    assert_eq!(claim(subject, LONG).await, None);
}

fn four_clients() -> (ClientId, ClientId, ClientId, ClientId) {
    let client = build::client_id;
    (client(), client(), client(), client())
}

/// A client that has one job at a time has its turn after all who wait, whether it submits a new job or its
/// last one is requeued.
pub async fn who_comes_back_queues_up(subject: &dyn StoreSubject) {
    let (a, b, c, _) = four_clients();
    let mut scripts = one_each(subject, &[&a, &b, &b, &b, &c, &c, &c]).await;
    assert_claimed(subject, "the first turn", &scripts[0]).await;
    let again = submitted(subject, &a, Schedule::default()).await;
    for next in [1, 4] {
        assert_claimed(subject, "who waited when it came back", &scripts[next]).await;
    }
    assert_claimed(subject, "its turn", &again).await;
    scripts[0] = again;
    requeued(subject, &mut scripts[0], Duration::ZERO).await;
    for next in [2, 5, 0, 3, 6] {
        assert_claimed(subject, "after a requeue", &scripts[next]).await;
    }
    assert_eq!(claim(subject, LONG).await, None);
}

/// The most urgent job of the client whose turn it is; what another client thinks of its own job gives it no
/// turn.
pub async fn priority_within_a_client(subject: &dyn StoreSubject) {
    let (a, b, ..) = four_clients();
    let mut scripts = Vec::new();
    for number in [4, 0, 9, 9, 6] {
        scripts.push(submitted(subject, &a, priority(number)).await);
    }
    let default = submitted(subject, &a, Schedule::default()).await;
    let modest = submitted(subject, &b, priority(0)).await;
    assert_claimed(subject, "9 first", &scripts[2]).await;
    assert_claimed(subject, "the other client's turn", &modest).await;
    let urgent = submitted(subject, &b, priority(9)).await;
    assert_claimed(subject, "the second 9", &scripts[3]).await;
    assert_claimed(subject, "the other client's turn", &urgent).await;
    for (what, next) in [
        ("6 before the default", &scripts[4]),
        ("the default is 5", &default),
        ("4", &scripts[0]),
        ("0 last", &scripts[1]),
    ] {
        assert_claimed(subject, what, next).await;
    }
}

/// Of one client's equally urgent jobs the one that has been due longest: since it was submitted, or since
/// the moment for which it was requeued.
pub async fn age_within_a_priority(subject: &dyn StoreSubject) {
    let client = build::client_id();
    let mut waiting = one_each(subject, &[&client; 5]).await;
    let mut first = waiting.remove(0);
    assert_claimed(subject, "the oldest", &first).await;
    requeued(subject, &mut first, Duration::ZERO).await;
    waiting.push(first);
    waiting.push(submitted(subject, &client, Schedule::default()).await);
    let mut second = waiting.remove(0);
    assert_claimed(subject, "the next oldest", &second).await;
    requeued(subject, &mut second, SHORT).await;
    subject.advance(AFTER_SHORT).await;
    waiting.push(second);
    waiting.push(submitted(subject, &client, Schedule::default()).await);
    for expected in &waiting {
        assert_claimed(subject, "by age", expected).await;
    }
}

/// Until its `run_at` a job is no claim's, however urgent; from then on it is its client's like any other.
pub async fn not_before_it_is_due(subject: &dyn StoreSubject) {
    let queue = subject.queue();
    let now = subject.log().now().await.unwrap();
    let at = |after: Duration| Schedule {
        priority: Priority::HIGHEST,
        run_at: Some(now.plus_millis(i64::try_from(after.as_millis()).expect("minutes"))),
    };
    let (a, b, c, _) = four_clients();
    let mut far = submitted(subject, &a, at(LONG)).await;
    assert_eq!(claim(subject, LONG).await, None, "claimed before its time");
    let due = queue.next_due().await.unwrap().expect("it waits");
    assert!(due <= LONG && due > LONG / 2, "{due:?}");
    let soon = submitted(subject, &a, at(SHORT)).await;
    let due = queue.next_due().await.unwrap().expect("both wait");
    assert!(due <= SHORT, "{due:?}");
    assert_eq!(claim(subject, LONG).await, None, "claimed before its time");
    let past = submitted(
        subject,
        &b,
        Schedule {
            run_at: Some(now),
            ..at(LONG)
        },
    )
    .await;
    assert_claimed(subject, "a time that has passed", &past).await;
    let waiting = one_each(subject, &[&a, &c]).await;
    subject.advance(AFTER_SHORT).await;
    assert_eq!(queue.next_due().await.unwrap(), Some(Duration::ZERO));
    assert_claimed(subject, "its time has come, and it is urgent", &soon).await;
    assert_claimed(subject, "the other client's turn", &waiting[1]).await;
    assert_claimed(subject, "one without a time", &waiting[0]).await;
    assert_eq!(claim(subject, LONG).await, None, "claimed before its time");
    append_all(&*subject.log(), [far.cancelled()]).await;
    assert_eq!(
        queue.next_due().await.unwrap(),
        None,
        "the end takes it out"
    );
}

/// Retried, or lost and found: a job waits with its priority again, and for its time.
pub async fn requeued_keeps_its_priority(subject: &dyn StoreSubject) {
    let client = build::client_id();
    let mut urgent = submitted(subject, &client, priority(7)).await;
    let mut older = submitted(subject, &client, Schedule::default()).await;
    for _ in 0..2 {
        assert_claimed(subject, "requeued at once", &urgent).await;
        requeued(subject, &mut urgent, Duration::ZERO).await;
    }
    assert_claimed(subject, "requeued at once", &urgent).await;
    requeued(subject, &mut urgent, SHORT).await;
    subject.advance(AFTER_SHORT).await;
    for losses in [
        &[Loss::Entry][..],
        &[Loss::Place],
        &[Loss::Entry, Loss::Place],
    ] {
        for loss in losses {
            subject.lose_from_queue(urgent.id(), *loss).await;
        }
        assert_eq!(swept(subject).await, [urgent.id().clone()], "{losses:?}");
        assert_claimed(subject, "lost and found", &urgent).await;
        requeued(subject, &mut urgent, Duration::ZERO).await;
    }
    assert_claimed(subject, "requeued at once", &urgent).await;
    assert_claimed(subject, "the less urgent one", &older).await;
    append_all(&*subject.log(), [urgent.failed(), older.failed()]).await;

    let now = subject.log().now().await.unwrap();
    let far = Schedule {
        run_at: Some(now.plus_millis(600_000)),
        ..priority(9)
    };
    let far = submitted(subject, &client, far).await;
    for loss in [Loss::Entry, Loss::Place] {
        subject.lose_from_queue(far.id(), loss).await;
    }
    assert_eq!(swept(subject).await, [far.id().clone()]);
    assert_eq!(claim(subject, LONG).await, None, "claimed before its time");
    let due = subject.queue().next_due().await.unwrap().expect("it waits");
    assert!(due > LONG / 2, "{due:?}");
}

/// The job at place n is the nth claim's; who isn't waiting has no place.
pub async fn places_are_those_of_claims(subject: &dyn StoreSubject) {
    let queue = subject.queue();
    let (a, b, c, d) = four_clients();
    let now = subject.log().now().await.unwrap();
    let held = submitted(subject, &a, priority(9)).await;
    assert_claimed(subject, "the only one", &held).await;
    let later = Schedule {
        run_at: Some(now.plus_millis(600_000)),
        ..priority(9)
    };
    let not_due = submitted(subject, &b, later).await;
    let mut ended = submitted(subject, &c, priority(9)).await;
    append_all(&*subject.log(), [ended.cancelled()]).await;
    let placeless = [held.id(), not_due.id(), ended.id(), &build::job_id()].map(JobId::clone);

    let mut waiting = Vec::new();
    for (client, number) in [
        (&a, 5),
        (&a, 9),
        (&a, 0),
        (&b, 1),
        (&c, 5),
        (&a, 5),
        (&c, 6),
        (&c, 6),
        (&d, 5),
        (&a, 9),
    ] {
        waiting.push(
            submitted(subject, client, priority(number))
                .await
                .id()
                .clone(),
        );
    }
    let asked: Vec<JobId> = placeless.iter().chain(&waiting).cloned().collect();
    let mut left = waiting.len();
    let mut expected = places(subject, &asked).await;
    assert_eq!(expected[..4], [None; 4], "held, not due, ended, unknown");
    let mut found: Vec<u64> = expected.iter().flatten().copied().collect();
    found.sort_unstable();
    assert_eq!(found, (1..=left as u64).collect::<Vec<_>>(), "{expected:?}");
    while left > 0 {
        let lease = claim(subject, LONG).await.expect("they wait");
        let next = asked.iter().position(|id| *id == lease.job_id);
        let next = next.expect("one of them");
        assert_eq!(expected[next], Some(1), "another one was next");
        for place in &mut expected {
            *place = place.filter(|place| *place > 1).map(|place| place - 1);
        }
        assert_eq!(places(subject, &asked).await, expected);
        left -= 1;
    }
    assert_eq!(queue.places(&[]).await.unwrap(), []);
}

/// The places, each of them exact: there are few.
async fn places(subject: &dyn StoreSubject, job_ids: &[JobId]) -> Vec<Option<u64>> {
    let places = subject.queue().places(job_ids).await.unwrap();
    let exact = |place: Option<QueuePlace>| match place {
        Some(QueuePlace::About(_)) => panic!("the first hundred places are exact"),
        place => place.map(QueuePlace::number),
    };
    places.into_iter().map(exact).collect()
}
