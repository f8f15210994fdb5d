//! The queue where Redis's clock and keys matter.

use std::time::Duration;

use conch_domain::{EventKind, Job, LeaseToken, Schedule};
use conch_ports::{
    Appended, Commit, Fence, Idempotency, JobQueue, Lease, QueueEffect, Submission, Submitted,
    Sweep,
};
use tokio::time::timeout;

use crate::jobs::{at, client, commit, completed, held, initial, job_id, progress, submission};
use crate::server::Server;

const MINUTE: Duration = Duration::from_mins(1);

fn keyed(id: &str, digest: &str) -> Submission {
    Submission {
        idempotency: Some(Idempotency {
            key: "tenant\r\n key with {anything}".into(),
            digest: digest.into(),
            lifetime: MINUTE,
        }),
        ..submission(id)
    }
}

async fn first_expired(queue: &dyn JobQueue) -> Lease {
    timeout(Duration::from_secs(10), async {
        loop {
            if let Some(lease) = queue.expired(10).await.unwrap().pop() {
                return lease;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .expect("the lease runs out")
}

#[tokio::test]
async fn a_submission_is_log_record_entry_and_key_in_one() {
    let server = Server::start();
    let stores = server.stores();
    assert_eq!(
        stores.queue.submit(keyed("j-1", "d")).await.unwrap(),
        Submitted::New
    );
    assert_eq!(
        stores.queue.submit(keyed("j-1", "d")).await.unwrap(),
        Submitted::New
    );
    let existing = stores.queue.submit(keyed("j-2", "d")).await.unwrap();
    assert_eq!(existing, Submitted::Existing(job_id("j-1")));
    assert_eq!(
        stores.queue.submit(keyed("j-3", "other")).await.unwrap(),
        Submitted::KeyReused
    );
    assert_eq!(server.run::<u64>(&["ZCARD", "triton:queue:ready"]), 1);
    let record = stores.catalogue.job(&job_id("j-1")).await.unwrap();
    assert_eq!(record, Some(keyed("j-1", "d").commit.job));
    for id in ["j-2", "j-3"] {
        assert!(stores.catalogue.job(&job_id(id)).await.unwrap().is_none());
        assert!(stores.log.read(&job_id(id), 0, 1).await.unwrap().is_none());
    }
    let keys: Vec<String> = server.run(&["KEYS", "triton:idempotency:*"]);
    let ttl: i64 = server.run(&["PTTL", &keys[0]]);
    assert!((1..=60_000).contains(&ttl), "{ttl}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_concurrent_submissions_with_one_key_one_is_new() {
    let server = Server::start();
    let queue = server.stores().queue;
    let calls = (0..24).map(|n| {
        let queue = queue.clone();
        tokio::spawn(async move { queue.submit(keyed(&format!("j-{n}"), "d")).await.unwrap() })
    });
    let answers = futures::future::join_all(calls).await;
    let new = answers.iter().filter(|a| matches!(a, Ok(Submitted::New)));
    assert_eq!(new.count(), 1);
    assert_eq!(server.run::<u64>(&["ZCARD", "triton:queue:ready"]), 1);
}

#[tokio::test]
async fn a_lease_fences_and_runs_out_by_the_clock_of_redis() {
    let server = Server::start();
    let stores = server.stores();
    stores.queue.submit(submission("j-1")).await.unwrap();
    let queued = submission("j-1").commit.job;
    let lease = stores
        .queue
        .claim("w-1", &conch_conformance::build::token(), MINUTE)
        .await
        .unwrap()
        .unwrap()
        .lease;
    assert_eq!((&lease.job_id, lease.attempt), (&job_id("j-1"), 1));
    assert_eq!(
        stores
            .queue
            .claim("w-2", &conch_conformance::build::token(), MINUTE)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        server.run::<String>(&["HGET", "triton:queue:entry:j-1", "worker"]),
        "w-1"
    );

    let unclaimed = Commit {
        fence: Fence::Unclaimed,
        ..commit(&queued, progress(1))
    };
    assert_eq!(
        stores.log.append(unclaimed).await.unwrap(),
        Appended::Fenced
    );
    let mut reaped = commit(&queued, progress(1));
    reaped.fence = Fence::Expired(lease.token.clone());
    reaped.effect = QueueEffect::Requeue {
        after: Duration::ZERO,
        counts: true,
    };
    assert_eq!(
        stores.log.append(reaped.clone()).await.unwrap(),
        Appended::Fenced
    );

    // A renewal to almost nothing: now it runs out.
    assert!(
        stores
            .queue
            .renew(&lease, Duration::from_micros(1))
            .await
            .unwrap()
    );
    assert_eq!(first_expired(&*stores.queue).await, lease);
    assert!(!stores.queue.renew(&lease, MINUTE).await.unwrap());
    assert_eq!(
        stores
            .queue
            .claim("w-2", &conch_conformance::build::token(), MINUTE)
            .await
            .unwrap(),
        None,
        "not yet requeued"
    );
    let zombie = held(commit(&queued, progress(2)), &lease.token);
    assert_eq!(stores.log.append(zombie).await.unwrap(), Appended::Fenced);
    assert_eq!(stores.log.append(reaped).await.unwrap(), Appended::Appended);
    assert!(stores.queue.expired(10).await.unwrap().is_empty());

    let second = stores
        .queue
        .claim("w-2", &conch_conformance::build::token(), MINUTE)
        .await
        .unwrap()
        .unwrap()
        .lease;
    assert_eq!(second.attempt, 2);
    assert_ne!(second.token, lease.token);
}

#[tokio::test]
async fn an_attempt_that_does_not_count_is_given_out_again_in_its_time() {
    let server = Server::start();
    let stores = server.stores();
    stores.queue.submit(submission("j-1")).await.unwrap();
    let lease = stores
        .queue
        .claim("w", &conch_conformance::build::token(), MINUTE)
        .await
        .unwrap()
        .unwrap()
        .lease;
    let mut back = held(
        commit(&submission("j-1").commit.job, progress(1)),
        &lease.token,
    );
    back.effect = QueueEffect::Requeue {
        after: Duration::from_mins(10),
        counts: false,
    };
    let job = back.job.clone();
    assert_eq!(stores.log.append(back).await.unwrap(), Appended::Appended);
    assert_eq!(
        stores
            .queue
            .claim("w", &conch_conformance::build::token(), MINUTE)
            .await
            .unwrap(),
        None
    );
    let due = stores.queue.next_due().await.unwrap().unwrap();
    assert!(
        due > Duration::from_secs(590) && due <= Duration::from_mins(10),
        "{due:?}"
    );

    let mut now = commit(&job, progress(2));
    now.fence = Fence::Unclaimed;
    now.effect = QueueEffect::Requeue {
        after: Duration::ZERO,
        counts: false,
    };
    stores.log.append(now).await.unwrap();
    assert_eq!(stores.queue.next_due().await.unwrap(), Some(Duration::ZERO));
    let lease = stores
        .queue
        .claim("w", &conch_conformance::build::token(), MINUTE)
        .await
        .unwrap()
        .unwrap()
        .lease;
    assert_eq!(lease.attempt, 1);
}

#[tokio::test]
async fn a_job_that_ended_in_the_queue_is_cleaned_out() {
    let server = Server::start();
    let stores = server.stores();
    for id in ["j-1", "j-2", "j-3"] {
        stores.queue.submit(submission(id)).await.unwrap();
    }
    // Ended by somebody who knows nothing of the queue; and lost altogether.
    stores
        .log
        .append(commit(&submission("j-1").commit.job, completed()))
        .await
        .unwrap();
    let _: i64 = server.run(&["DEL", "triton:state:j-2", "triton:catalogue:job:j-2"]);
    let lease = stores
        .queue
        .claim("w", &conch_conformance::build::token(), MINUTE)
        .await
        .unwrap()
        .unwrap()
        .lease;
    assert_eq!(lease.job_id, job_id("j-3"));
    assert_eq!(stores.queue.next_due().await.unwrap(), None);
    for id in ["j-1", "j-2"] {
        let entry = format!("triton:queue:entry:{id}");
        assert!(!server.run::<bool>(&["EXISTS", &entry]));
    }
}

/// What is there of the queue, and how many milliseconds each lives: -1, for as long as it takes.
fn queue_keys(server: &Server) -> Vec<(String, i64)> {
    let mut keys: Vec<String> = server.run(&["KEYS", "triton:queue:*"]);
    keys.sort();
    // What answers a claim that is asked again lives as long as its lease does unrenewed.
    keys.retain(|key| !key.starts_with("triton:queue:claim:"));
    keys.into_iter()
        .map(|key| {
            let ttl = server.run(&["PTTL", &key]);
            (key, ttl)
        })
        .collect()
}

#[tokio::test]
async fn nothing_of_the_queue_runs_out_and_all_of_it_goes_with_the_jobs() {
    const ENTRY: &str = "triton:queue:entry:j-1";
    const LEASES: &str = "triton:queue:leases";
    const READY: &str = "triton:queue:ready";
    const WAITS: [&str; 4] = ["triton:queue:clients", "triton:queue:due:c-1", ENTRY, READY];
    let server = Server::start();
    let stores = server.stores();
    // A build that gave them lifetimes was here before.
    let all_short = || {
        for key in [ENTRY, LEASES, READY] {
            let _: u64 = server.run(&["PEXPIRE", key, "600000"]);
        }
    };
    let for_good = |keys: &[&str]| {
        let expected: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), -1)).collect();
        assert_eq!(queue_keys(&server), expected);
    };
    stores.queue.submit(submission("j-1")).await.unwrap();
    for_good(&WAITS);
    let sweep = Sweep {
        from: 0,
        limit: 9,
        grace: MINUTE,
    };
    let swept = async || {
        all_short();
        assert_eq!(stores.queue.sweep(&sweep).await.unwrap().found, []);
    };
    swept().await;
    for_good(&WAITS);
    let lease = stores
        .queue
        .claim("w", &conch_conformance::build::token(), MINUTE)
        .await
        .unwrap()
        .unwrap()
        .lease;
    for_good(&[ENTRY, LEASES]);
    swept().await;
    for_good(&[ENTRY, LEASES]);
    assert!(stores.queue.renew(&lease, MINUTE).await.unwrap());

    let next = commit(&submission("j-1").commit.job, progress(1));
    let mut back = held(commit(&next.job, progress(2)), &lease.token);
    back.effect = QueueEffect::Requeue {
        after: Duration::ZERO,
        counts: true,
    };
    let job = back.job.clone();
    for commit in [held(next, &lease.token), back] {
        let appended = stores.log.append(commit).await.unwrap();
        assert_eq!(appended, Appended::Appended);
    }
    for_good(&WAITS);
    stores.queue.submit(submission("j-2")).await.unwrap();
    for before in [job, submission("j-2").commit.job] {
        let mut end = commit(&before, completed());
        end.effect = QueueEffect::Remove;
        let appended = stores.log.append(end).await.unwrap();
        assert_eq!(appended, Appended::Appended);
    }
    assert_eq!(queue_keys(&server), []);
}

/// What is kept of a job that may run much later lives so much longer, and so does what it is made from.
#[tokio::test]
async fn a_job_that_is_to_run_later_outlives_its_wait() {
    const DAY: u64 = 24 * 3600;
    const MS: u64 = 1000;
    let server = Server::start();
    let mut settings = server.settings();
    settings.retention = Some(Duration::from_secs(DAY));
    let stores = settings.build().expect("good settings");
    let client = client("c-1", None, 0);
    stores.catalogue.create_client(&client).await.unwrap();
    // By the jobs' own clock, which begins at second 1.
    let schedule = Schedule {
        run_at: Some(at(1 + 7 * DAY as i64)),
        ..Schedule::default()
    };
    let queued = EventKind::Queued {
        queued_at: at(0),
        value_proposition_id: None,
        schedule,
    };
    let later = Submission {
        commit: commit(&initial("j-1"), queued),
        idempotency: None,
    };
    stores.queue.submit(later).await.unwrap();
    stores.queue.submit(submission("j-2")).await.unwrap();
    let within = |what: &str, found: u64, days: u64| {
        let expected = days * DAY * MS;
        assert!(
            (expected - 60 * MS..=expected + 3600 * MS).contains(&found),
            "{what}: {found}"
        );
    };
    for (id, days) in [("j-1", 2 + 7), ("j-2", 2)] {
        for key in ["log", "state", "seen"] {
            let key = format!("triton:{key}:{id}");
            within(&key, server.run(&["PTTL", &key]), days);
        }
    }
    let time: Vec<u64> = server.run(&["TIME"]);
    let now = time[0] * MS + time[1] / 1000;
    for (record, days) in [("job:j-1", 1 + 7), ("job:j-2", 1), ("client:c-1", 1 + 7)] {
        let key = format!("triton:catalogue:{record}");
        let ends: f64 = server.run(&["ZSCORE", "triton:catalogue:retention", &key]);
        within(&key, ends as u64 / 1000 - now, days);
    }
}

#[tokio::test]
async fn restoring_needs_a_redis_that_knows_nothing() {
    let mut server = Server::start();
    let stores = server.stores();
    stores.queue.submit(submission("j-1")).await.unwrap();
    let job = submission("j-1").commit.job;
    let lease = stores
        .queue
        .claim("w", &conch_conformance::build::token(), MINUTE)
        .await
        .unwrap()
        .unwrap()
        .lease;
    assert!(!stores.queue.restore(&lease, &job, MINUTE).await.unwrap());
    server.restart();
    assert!(stores.queue.restore(&lease, &job, MINUTE).await.unwrap());
    assert!(!stores.queue.restore(&lease, &job, MINUTE).await.unwrap());
    assert_eq!(
        stores.catalogue.job(&job_id("j-1")).await.unwrap(),
        Some(job.clone())
    );
    assert!(stores.queue.renew(&lease, MINUTE).await.unwrap());
    let epoch = "00000002".parse().unwrap();
    let next = held(commit(&job.with_epoch(epoch), progress(1)), &lease.token);
    assert_eq!(stores.log.append(next).await.unwrap(), Appended::Appended);
}

/// Eviction takes what has a lifetime: log and record, and never the place in the queue.
#[tokio::test]
async fn a_worker_puts_its_job_back_where_only_its_own_place_is_left() {
    let server = Server::start();
    let stores = server.stores();
    let accepted = submission("j-1");
    let job = accepted.commit.job.clone();
    stores.queue.submit(accepted).await.unwrap();
    let lease = stores
        .queue
        .claim("w", &conch_conformance::build::token(), MINUTE)
        .await
        .unwrap()
        .unwrap()
        .lease;
    let gone: i64 = server.run(&[
        "DEL",
        "triton:log:j-1",
        "triton:state:j-1",
        "triton:seen:j-1",
        "triton:catalogue:job:j-1",
    ]);
    assert_eq!(gone, 4);
    let external = Job::initial(job.id.clone(), job.position.epoch, false);
    let mut forged = commit(&external, completed());
    forged.fence = Fence::Foreign;
    let appended = stores.log.append(forged).await.unwrap();
    assert_eq!(appended, Appended::Appended);
    let mut other = lease.clone();
    other.token = LeaseToken::parse("another").unwrap();
    assert!(!stores.queue.restore(&other, &job, MINUTE).await.unwrap());
    assert!(stores.queue.restore(&lease, &job, MINUTE).await.unwrap());
    assert!(stores.log.read(&job.id, 0, 0).await.unwrap().is_none());
    assert!(stores.queue.renew(&lease, MINUTE).await.unwrap());
}

/// What stands in a job's state may be anything: a claim says nothing of it, and is answered all the same.
#[tokio::test]
async fn a_claim_brings_no_fold_but_its_own_job_s() {
    let server = Server::start();
    let stores = server.stores();
    stores.queue.submit(submission("j-1")).await.unwrap();
    let other = submission("j-2").commit.job;
    let external = Job::initial(job_id("j-1"), other.position.epoch, false);
    let folds = [
        conch_wire::record::encode_job(&other),
        conch_wire::record::encode_job(&external),
        "no JSON".into(),
        vec![0xff, 0xfe].into(),
    ];
    let token = conch_conformance::build::token();
    let claim = async || {
        let claimed = stores.queue.claim("w", &token, MINUTE).await.unwrap();
        claimed.expect("it waits, or is this claim's").job
    };
    assert_eq!(claim().await, Some(submission("j-1").commit.job));
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    for fold in folds {
        let set = redis::cmd("HSET")
            .arg("triton:state:j-1")
            .arg("fold")
            .arg(&fold[..])
            .query(&mut connection);
        assert_eq!(set, Ok(0));
        assert_eq!(claim().await, None, "{fold:?}");
    }
}
