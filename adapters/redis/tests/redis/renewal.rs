//! What most appends leave alone (lifetimes, lists) is written again in a while, and at once where it was lost
//! or something else has written to it.

use std::collections::HashMap;
use std::time::Duration;

use conch_domain::{Job, LeaseToken};
use conch_ports::{Appended, ErrorKind, Fence, JobFilter, Paging};
use conch_redis::Stores;

use crate::jobs::{commit, completed, held, job_id, progress, submission};
use crate::server::Server;

const DAY: i64 = 24 * 3600;

const ALL: Paging = Paging {
    page: 1,
    page_size: 100,
};

/// Lets a log's lifetime have been renewed an hour earlier than it was.
pub(crate) fn an_hour_later(server: &Server, id: &str) {
    let state = format!("triton:state:{id}");
    let renewed: f64 = server.run(&["HGET", &state, "renewed"]);
    let before = format!("{:.0}", renewed - 3.6e9);
    let _: u64 = server.run(&["HSET", &state, "renewed", &before]);
}

async fn append(stores: &Stores, job: &Job) -> Job {
    append_as(stores, job, None).await
}

/// By the holder of that lease, or without one.
async fn append_as(stores: &Stores, job: &Job, token: Option<&LeaseToken>) -> Job {
    let sequence = u8::try_from(job.position.sequence).expect("few");
    let mut next = commit(job, progress(sequence));
    if let Some(token) = token {
        next = held(next, token);
    }
    let job = next.job.clone();
    let published = stores.log.append(next).await.unwrap();
    assert_eq!(published, Appended::Appended);
    job
}

/// A job that runs, with one event more than its state's change.
async fn running(stores: &Stores) -> Job {
    stores.queue.submit(submission("j-1")).await.unwrap();
    let job = append(stores, &submission("j-1").commit.job).await;
    append(stores, &job).await
}

/// The token of a lease on the only job there is, if it is to be held.
async fn token_if(is_held: bool, stores: &Stores) -> Option<LeaseToken> {
    let token = conch_conformance::build::token();
    if !is_held {
        return None;
    }
    let minute = Duration::from_mins(1);
    let claimed = stores.queue.claim("w", &token, minute).await.unwrap();
    claimed.map(|claimed| claimed.lease.token)
}

/// How many jobs run, as the catalogue lists them, and their latest ones.
async fn listed(stores: &Stores, job: &Job) -> (u64, Vec<Job>) {
    let filter = JobFilter {
        client_id: job.client_id.clone(),
        status: Some(job.status),
        updated_since: None,
    };
    let page = stores.catalogue.jobs(&filter, ALL).await.unwrap();
    let changed = JobFilter {
        updated_since: job.updated_at,
        ..filter
    };
    let latest = stores.catalogue.jobs(&changed, ALL).await.unwrap();
    (page.total, latest.items)
}

#[tokio::test]
async fn what_was_lost_beside_a_log_is_there_again_with_its_next_event() {
    let ways: &[&[&str]] = &[
        &["DEL", "triton:log:j-1"],
        &["DEL", "triton:seen:j-1"],
        &["DEL", "triton:catalogue:job:j-1"],
        &["HDEL", "triton:catalogue:job:j-1", "body"],
        &["SET", "triton:catalogue:job:j-1", "x"],
        &["SET", "triton:catalogue:jobs:updated", "x"],
        // An earlier build appends without noting which event is the latest.
        &["HDEL", "triton:state:j-1", "latest"],
        &["HSET", "triton:state:j-1", "latest", "e-5f3a9c1e-1"],
        &["HDEL", "triton:state:j-1", "listed"],
        &["HDEL", "triton:state:j-1", "renewed"],
        &["HSET", "triton:state:j-1", "renewed", "never"],
    ];
    for (way, is_held) in ways.iter().flat_map(|way| [(way, false), (way, true)]) {
        let server = Server::start();
        let stores = server.stores();
        let job = running(&stores).await;
        let token = token_if(is_held, &stores).await;
        let _: redis::Value = server.run(way);
        if way[1].contains("state") {
            let _: u64 = server.run(&["ZREM", "triton:catalogue:jobs:status:running", "j-1"]);
        }
        let job = append_as(&stores, &job, token.as_ref()).await;
        for key in ["log", "state", "seen"] {
            let ttl: i64 = server.run(&["TTL", &format!("triton:{key}:j-1")]);
            assert!(ttl > 2 * DAY, "{way:?}: {key} has {ttl}");
        }
        let found = stores.catalogue.job(&job.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(&job), "{way:?}");
        assert_eq!(
            listed(&stores, &job).await,
            (1, vec![job.clone()]),
            "{way:?}"
        );
        let every = JobFilter {
            status: Some(job.status),
            ..JobFilter::default()
        };
        let page = stores.catalogue.jobs(&every, ALL).await.unwrap();
        assert_eq!(page.total, 1, "{way:?}");
        let log = stores.log.read(&job.id, 0, 9).await.unwrap().unwrap();
        assert_eq!(log.entries.last().unwrap().sequence, 4, "{way:?}");

        // And it goes out of all lists with the state it was in.
        let end = commit(&job, completed()).job;
        stores.log.append(commit(&job, completed())).await.unwrap();
        assert_eq!(listed(&stores, &job).await, (0, vec![]), "{way:?}");
        assert_eq!(listed(&stores, &end).await, (1, vec![end]), "{way:?}");
    }
}

#[tokio::test]
async fn lifetimes_and_lists_are_written_again_after_an_hour() {
    for is_held in [false, true] {
        lifetimes_are_renewed_after_an_hour(is_held).await;
    }
}

async fn lifetimes_are_renewed_after_an_hour(is_held: bool) {
    let server = Server::start();
    let mut settings = server.settings();
    settings.retention = Some(Duration::from_hours(48));
    let stores = settings.build().unwrap();
    let job = running(&stores).await;
    let token = token_if(is_held, &stores).await;
    let ttl = |key: &str| server.run::<i64>(&["TTL", &format!("triton:{key}:j-1")]);
    let record = "triton:catalogue:job:j-1";
    let due = || server.run::<f64>(&["ZSCORE", "triton:catalogue:retention", record]) as i64;
    let now = || server.run::<(i64, i64)>(&["TIME"]).0;
    let left = || due() / 1_000_000 - now();

    for key in ["log", "state", "seen"] {
        let _: u64 = server.run(&["EXPIRE", &format!("triton:{key}:j-1"), "1000"]);
    }
    let _: u64 = server.run(&["ZREM", "triton:catalogue:jobs", "j-1"]);
    let before = due();
    let job = append_as(&stores, &job, token.as_ref()).await;
    assert!(ttl("log") <= 1000 && due() == before, "not yet");
    an_hour_later(&server, "j-1");
    let job = append_as(&stores, &job, token.as_ref()).await;
    for key in ["log", "state", "seen"] {
        assert!((2 * DAY..=2 * DAY + 3600).contains(&ttl(key)), "{key}");
    }
    // Never less than what is promised, until the next time.
    let two_days = 2 * DAY;
    assert!(due() > before && left() >= two_days && left() <= two_days + 3601);
    let page = stores.catalogue.jobs(&JobFilter::default(), ALL).await;
    assert_eq!(page.unwrap().total, 1, "listed again");

    stores.log.append(commit(&job, completed())).await.unwrap();
    assert!(left() <= two_days + 1, "no longer once it has ended");
    assert!(ttl("log") <= DAY);
}

/// Where there is room only without what has run out, the next external event takes that off for good.
#[tokio::test]
async fn bytes_that_ran_out_are_taken_off_where_there_is_no_room_for_them() {
    const BYTES: &str = "triton:foreign:bytes";
    let server = Server::start();
    let mut settings = server.settings();
    settings.quotas.foreign_mib = 1;
    let stores = settings.build().unwrap();
    let external = Job::initial(job_id("f-1"), "00000001".parse().unwrap(), false);
    let job = append(&stores, &external).await;
    let _: u64 = server.run(&["ZADD", "triton:foreign:ended", "1", "gone"]);
    let _: u64 = server.run(&["HSET", BYTES, "gone", "1048576"]);
    let _: u64 = server.run(&["HINCRBY", BYTES, "all", "1048576"]);
    append(&stores, &job).await;
    let left: HashMap<String, u64> = server.run(&["HGETALL", BYTES]);
    assert_eq!((left.len(), left["f-1"]), (2, left["all"]), "{left:?}");
}

/// A job's place in the queue that something else has written to is no lease, whatever asks for it.
#[tokio::test]
async fn an_entry_that_is_no_entry_fences_and_is_set_aside() {
    let server = Server::start();
    let stores = server.stores();
    let job = running(&stores).await;
    let _: String = server.run(&["SET", "triton:queue:entry:j-1", "x"]);
    let token = conch_conformance::build::token();
    let late = held(commit(&job, progress(50)), &token);
    let published = stores.log.append(late).await.unwrap();
    assert_eq!(published, Appended::Fenced);
    let aside: Vec<String> = server.run(&["ZRANGE", "triton:set-aside", "0", "-1"]);
    assert_eq!(aside, ["triton:set-aside:triton:queue:entry:j-1"]);
    let mut cancelled = commit(&job, progress(50));
    cancelled.fence = Fence::Unclaimed;
    let published = stores.log.append(cancelled).await.unwrap();
    assert_eq!(published, Appended::Appended);
}

/// Redis refuses the first write of an append, whatever the append would write.
#[tokio::test]
async fn a_full_redis_takes_nothing_of_an_append() {
    let server = Server::start();
    let stores = server.stores();
    let job = running(&stores).await;
    let keys = || {
        let mut keys: Vec<String> = server.run(&["KEYS", "*"]);
        keys.sort();
        let dump = |key: &String| server.run::<Vec<u8>>(&["DUMP", key]);
        keys.iter().map(dump).collect::<Vec<_>>()
    };
    let before = keys();
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "1"]);
    for kind in [progress(50), completed()] {
        let error = stores.log.append(commit(&job, kind)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
        assert_eq!(keys(), before);
    }
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "0"]);
    let _: i64 = server.run(&["DEL", "triton:log:j-1"]);
    let before = keys();
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "1"]);
    stores
        .log
        .append(commit(&job, progress(50)))
        .await
        .unwrap_err();
    assert_eq!(keys(), before, "nor where the log was lost");
    let read = stores.log.read(&job_id("j-1"), 0, 9).await.unwrap();
    assert_eq!(read.unwrap().job, job);
}
