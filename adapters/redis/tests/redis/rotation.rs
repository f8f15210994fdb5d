//! The indexes that order the claims, where an earlier build knows nothing of them or something is missing.

use std::time::Duration;

use conch_conformance::build::{self, Script};
use conch_domain::{ClientId, JobId, Priority, Schedule};
use conch_ports::{ErrorKind, QueuePlace, Submitted, Sweep};
use conch_redis::Stores;

use crate::jobs::client_id;
use crate::server::Server;

const MINUTE: Duration = Duration::from_mins(1);
const READY: &str = "triton:queue:ready";
const CLIENTS: &str = "triton:queue:clients";

async fn submitted(stores: &Stores, client: &str, priority: u64) -> JobId {
    let schedule = Schedule {
        priority: Priority::new(priority).expect("0 to 9"),
        run_at: None,
    };
    let mut script = Script::of_client(&client_id(client)).scheduled(schedule);
    let answer = stores.queue.submit(script.submission()).await;
    assert_eq!(answer.unwrap(), Submitted::New);
    script.id().clone()
}

async fn claimed(stores: &Stores) -> Option<JobId> {
    let lease = stores.queue.claim("w", &build::token(), MINUTE).await;
    lease.unwrap().map(|claimed| claimed.lease.job_id)
}

/// How many jobs a sweep found.
async fn swept(stores: &Stores) -> usize {
    let sweep = Sweep {
        from: 0,
        limit: 100,
        grace: MINUTE,
    };
    stores.queue.sweep(&sweep).await.unwrap().found.len()
}

fn due_of(client: &str) -> String {
    let client: ClientId = client_id(client);
    format!("triton:queue:due:{client}")
}

/// Takes away what an earlier build doesn't write.
fn as_an_earlier_build_left_it(server: &Server, jobs: &[&JobId], clients: &[&str]) {
    for job in jobs {
        let entry = format!("triton:queue:entry:{job}");
        let gone: u64 = server.run(&["HDEL", &entry, "client", "priority"]);
        assert_eq!(gone, 2);
    }
    for client in clients {
        assert_eq!(server.run::<u64>(&["DEL", &due_of(client)]), 1);
    }
    assert_eq!(server.run::<u64>(&["DEL", CLIENTS]), 1);
}

#[tokio::test]
async fn jobs_of_an_earlier_build_have_their_turns_and_priorities() {
    for by_sweep in [false, true] {
        let server = Server::start();
        let stores = server.stores();
        let modest = submitted(&stores, "a", 3).await;
        let urgent = submitted(&stores, "a", 8).await;
        let other = submitted(&stores, "b", 5).await;
        as_an_earlier_build_left_it(&server, &[&modest, &urgent, &other], &["a", "b"]);
        if by_sweep {
            assert_eq!(swept(&stores).await, 0, "they have their places");
            let places = stores.queue.places(&[modest.clone(), urgent.clone()]).await;
            let exact = |place| Some(QueuePlace::Exact(place));
            assert_eq!(places.unwrap(), [exact(3), exact(1)]);
        }
        let mut claims = Vec::new();
        while let Some(id) = claimed(&stores).await {
            claims.push(id);
        }
        assert_eq!(claims, [urgent, other, modest], "by the sweep: {by_sweep}");
    }
}

#[tokio::test]
async fn what_an_earlier_build_claims_or_requeues_uses_up_no_turn() {
    let server = Server::start();
    let stores = server.stores();
    let taken = submitted(&stores, "a", 5).await;
    let next = submitted(&stores, "a", 5).await;
    let other = submitted(&stores, "b", 5).await;
    let claim = |id: &JobId| {
        let entry = format!("triton:queue:entry:{id}");
        let _: u64 = server.run(&["ZREM", READY, id.as_str()]);
        let _: u64 = server.run(&["HSET", &entry, "token", "t", "worker", "w"]);
        let _: u64 = server.run(&["ZADD", "triton:queue:leases", "9e15", id.as_str()]);
        entry
    };
    let entry = claim(&taken);
    let places = stores.queue.places(&[taken.clone(), next.clone()]).await;
    assert_eq!(
        places.unwrap()[0],
        None,
        "it is held, whatever an index says"
    );
    assert_eq!(claimed(&stores).await, Some(next), "the same client's turn");
    // And requeues it for later.
    let _: u64 = server.run(&["HDEL", &entry, "token", "worker"]);
    let _: u64 = server.run(&["ZREM", "triton:queue:leases", taken.as_str()]);
    let time: Vec<u64> = server.run(&["TIME"]);
    let soon = (time[0] * 1_000_000 + time[1] + 300_000).to_string();
    let _: u64 = server.run(&["ZADD", READY, &soon, taken.as_str()]);
    let rank: u64 = server.run(&["ZADD", &due_of("a"), "0", taken.as_str()]);
    assert_eq!(rank, 1, "listed as if it were due");
    let _: u64 = server.run(&["ZADD", CLIENTS, "0", "a"]);
    assert_eq!(claimed(&stores).await, Some(other));
    assert_eq!(claimed(&stores).await, None, "claimed before its time");
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(claimed(&stores).await, Some(taken), "its time has come");
}

#[tokio::test]
async fn a_sweep_lists_again_what_the_indexes_lack_while_others_have_their_turns() {
    let server = Server::start();
    let stores = server.stores();
    let lost = submitted(&stores, "a", 5).await;
    let unlisted = submitted(&stores, "b", 5).await;
    for _ in 0..3 {
        submitted(&stores, "c", 5).await;
    }
    let _: u64 = server.run(&["ZREM", &due_of("a"), lost.as_str()]);
    let _: u64 = server.run(&["ZREM", CLIENTS, "b"]);
    let not_theirs = claimed(&stores).await.expect("one of the third client's");
    assert!(![&lost, &unlisted].contains(&&not_theirs));
    assert_eq!(swept(&stores).await, 0, "they have their places");
    let mut claims = Vec::new();
    for _ in 0..4 {
        claims.push(claimed(&stores).await.expect("four wait"));
    }
    let listed = &claims[1..3];
    assert!(
        listed.contains(&lost) && listed.contains(&unlisted),
        "before the third client's last: {claims:?}"
    );
    assert_eq!(claimed(&stores).await, None);
    for key in [CLIENTS, &due_of("a"), &due_of("b"), &due_of("c")] {
        assert!(!server.run::<bool>(&["EXISTS", key]), "{key} is left");
    }
}

/// An API may look at the queue, and may not change it.
#[tokio::test]
async fn places_are_told_to_a_user_that_may_only_read_the_queue() {
    let server = Server::start();
    let rights = include_str!("../../../../docs/operations.md")
        .lines()
        .find(|line| line.starts_with("ACL SETUSER conch-api "))
        .expect("what an API needs");
    let words: Vec<&str> = rights.split(' ').collect();
    let _: String = server.run(&words);
    let mut settings = server.settings();
    settings.url = format!("redis://conch-api:secret@127.0.0.1:{}/0", server.port);
    let api = settings.build().expect("good settings");
    let job_id = submitted(&server.stores(), "a", 5).await;
    let places = api.queue.places(std::slice::from_ref(&job_id)).await;
    assert_eq!(places.unwrap(), [Some(QueuePlace::Exact(1))]);
    let claim = api.queue.claim("w", &build::token(), MINUTE).await;
    assert!(claim.is_err(), "an API claimed a job");

    let _: String = server.run(&["ACL", "SETUSER", "conch-api", "-zrank"]);
    let refused = api.queue.places(std::slice::from_ref(&job_id)).await;
    let error = refused.expect_err("a right is missing");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
}

/// However many jobs become due at once, a claim lets a few of them in, and the next claims the others.
#[tokio::test]
async fn a_claim_lets_in_a_bounded_number_of_jobs_whose_time_has_come() {
    const LATER: &str = "triton:queue:later";
    let server = Server::start();
    let stores = server.stores();
    let mut all = Vec::new();
    for n in 0..450 {
        let client = format!("c-{}", n % 3);
        all.push(submitted(&stores, &client, 5).await);
    }
    for client in ["c-0", "c-1", "c-2"] {
        assert_eq!(server.run::<u64>(&["DEL", &due_of(client)]), 1);
    }
    let _: u64 = server.run(&["DEL", CLIENTS]);
    let _: u64 = server.run(&["ZUNIONSTORE", LATER, "1", READY]);
    let mut claims = Vec::new();
    for left in [250, 50, 0] {
        claims.push(claimed(&stores).await.expect("they wait"));
        assert_eq!(server.run::<u64>(&["ZCARD", LATER]), left);
    }
    while let Some(id) = claimed(&stores).await {
        claims.push(id);
    }
    claims.sort();
    all.sort();
    assert_eq!(claims, all);
}
