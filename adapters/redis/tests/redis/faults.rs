//! What a caller is told when Redis is away, full, or holds something else.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conch_ports::{Appended, ErrorKind, JobFilter, Message, Paging, Signal};
use futures::StreamExt;

use crate::jobs::{commit, completed, initial, job_id, progress, queued, submission};
use crate::server::Server;

#[tokio::test]
async fn a_redis_that_is_down_is_unavailable_and_found_again() {
    let mut server = Server::start();
    let bus = server.stores().bus;
    bus.ping().await.unwrap();
    server.kill();
    let error = bus.ping().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(error.operation(), "event_bus.ping");
    assert!(error.is_retryable());
    server.restart();
    bus.ping().await.unwrap();
}

#[tokio::test]
async fn a_redis_that_hangs_is_a_timeout_within_the_limit() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.response_timeout = Duration::from_millis(200);
    settings.connect_timeout = Duration::from_millis(200);
    let stores = settings.build().unwrap();
    stores.bus.ping().await.unwrap();
    server.signal("STOP");
    let begun = Instant::now();
    let error = stores.log.read(&job_id("j-1"), 0, 1).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable),
        "{error}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    server.signal("CONT");
    stores.bus.ping().await.unwrap();
}

#[tokio::test]
async fn scripts_are_loaded_again_when_redis_has_forgotten_them() {
    let mut server = Server::start();
    let stores = server.stores();
    let first = commit(&initial("j-1"), queued());
    stores.log.append(first.clone()).await.unwrap();
    let _: String = server.run(&["SCRIPT", "FLUSH"]);
    let second = commit(&first.job, progress(1));
    assert_eq!(stores.log.append(second).await.unwrap(), Appended::Appended);
    server.restart();
    assert!(
        stores
            .log
            .read(&job_id("j-1"), 0, 1)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(stores.log.append(first).await.unwrap(), Appended::Appended);
}

#[tokio::test]
async fn a_full_redis_is_out_of_space_and_still_tells_and_reads() {
    let server = Server::start();
    let stores = server.stores();
    let first = commit(&initial("j-1"), queued());
    stores.log.append(first.clone()).await.unwrap();
    let mut signals = stores.bus.subscribe();
    assert_eq!(signals.next().await, Some(Signal::Gap));

    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = stores
        .log
        .append(commit(&first.job, progress(1)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
    let error = stores.queue.submit(submission("j-2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
    let error = stores
        .cache
        .put(&job_id("j-1"), "{}".into())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
    let log = stores
        .log
        .read(&job_id("j-1"), 0, 10)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(log.job, first.job, "nothing was half written");
    assert!(
        stores
            .catalogue
            .job(&job_id("j-2"))
            .await
            .unwrap()
            .is_none()
    );
    let _: u64 = server.run(&["PUBLISH", "triton:jobs:all", "x"]);
    assert_eq!(
        signals.next().await,
        Some(Signal::Message(Message::public("x")))
    );

    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "0"]);
    let again = stores
        .log
        .append(commit(&first.job, progress(1)))
        .await
        .unwrap();
    assert_eq!(again, Appended::Appended);
}

#[tokio::test]
async fn a_key_of_another_type_is_found_before_anything_is_written() {
    let keys = ["triton:log:j-1", "triton:state:j-1", "triton:seen:j-1"];
    let server = Server::start();
    let stores = server.stores();
    for key in keys {
        let _: String = server.run(&["SET", key, "somebody else's"]);
        let errors = [
            stores
                .log
                .append(commit(&initial("j-1"), queued()))
                .await
                .unwrap_err(),
            stores.queue.submit(submission("j-1")).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::BadResponse, "{key}: {error}");
            assert!(error.to_string().contains("another type"), "{key}: {error}");
        }
        assert_eq!(server.run::<Vec<String>>(&["KEYS", "*"]), [key]);
        let _: i64 = server.run(&["DEL", key]);
    }
    assert!(
        stores
            .log
            .append(commit(&initial("j-1"), completed()))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_never_shown() {
    let server = Server::start();
    let _: String = server.run(&[
        "ACL", "SETUSER", "conch", "on", ">right", "~*", "&*", "+@all",
    ]);
    let mut settings = server.settings();
    settings.url = format!("redis://conch:hunter2@127.0.0.1:{}/0", server.port);
    let error = settings.build().unwrap().bus.ping().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert!(
        !format!("{error} {error:?}").contains("hunter2"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_full_redis_costs_no_worker_its_lease() {
    let server = Server::start();
    let queue = server.stores().queue;
    queue.submit(submission("j-1")).await.unwrap();
    let minute = Duration::from_mins(1);
    let lease = queue
        .claim("w", &conch_conformance::build::token(), minute)
        .await
        .unwrap()
        .unwrap()
        .lease;
    let ends = || server.run::<f64>(&["ZSCORE", "triton:queue:leases", "j-1"]);
    let before = ends();
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(queue.renew(&lease, 2 * minute).await.unwrap());
    assert!(ends() > before);
}

#[tokio::test]
async fn reads_at_once_share_one_connection_that_replaces_a_broken_one() {
    let mut server = Server::start();
    let cache = server.stores().cache;
    cache.get(&job_id("j-1")).await.unwrap();
    server.restart();
    let received = || {
        let info: String = server.run(&["INFO", "stats"]);
        let line = info
            .lines()
            .find_map(|l| l.strip_prefix("total_connections_received:"));
        line.unwrap().parse::<u64>().unwrap()
    };
    let before = received();
    let id = job_id("j-1");
    let reads = futures::future::join_all((0..200).map(|_| cache.get(&id))).await;
    assert!(reads.into_iter().all(|read| read.unwrap().is_none()));
    let opened = received() - before;
    assert!(opened < 10, "{opened} connections for reads that share one");
}

/// The connections of clients that are there, but the one that asks.
fn clients(server: &Server) -> HashSet<String> {
    let list: String = server.run(&["CLIENT", "LIST", "TYPE", "normal"]);
    let id = |line: &str| line.split(' ').next().unwrap().to_owned();
    let others = list.lines().filter(|line| !line.contains("cmd=client"));
    others.map(id).collect()
}

#[tokio::test]
async fn each_runtime_shares_one_and_all_are_given_up_where_one_was_refused_a_write() {
    let server = Server::start();
    let stores = server.stores();
    let other = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let read = || {
        let cache = Arc::clone(&stores.cache);
        async move { cache.get(&job_id("j")).await.unwrap() }
    };
    for connections in [1, 2] {
        for _ in 0..3 {
            read().await;
            if connections == 2 {
                other.spawn(read()).await.unwrap();
            }
        }
        assert_eq!(clients(&server).len(), connections);
    }
    let before = clients(&server);
    let _: String = server.run(&["REPLICAOF", "127.0.0.1", "1"]);
    let event = commit(&initial("j-1"), queued());
    stores.log.append(event.clone()).await.unwrap_err();
    let _: String = server.run(&["REPLICAOF", "NO", "ONE"]);
    stores.log.append(event).await.unwrap();
    other.spawn(read()).await.unwrap();
    let kept: Vec<_> = clients(&server).intersection(&before).cloned().collect();
    assert!(kept.is_empty(), "{kept:?}");
    other.shutdown_background();
}

#[tokio::test]
async fn connections_to_a_redis_that_is_no_primary_any_more_are_not_kept() {
    let server = Server::start();
    let stores = server.stores();
    let paging = Paging {
        page: 1,
        page_size: 1,
    };
    // A list writes nothing, so its connection finds nothing out by itself.
    let all = JobFilter::default();
    let list = || stores.catalogue.jobs(&all, paging);
    list().await.unwrap();
    let first = commit(&initial("j-0"), queued());
    stores.log.append(first).await.unwrap();
    let ids = || clients(&server);
    let before = ids();
    assert!(before.len() >= 2, "{before:?}");
    let _: String = server.run(&["REPLICAOF", "127.0.0.1", "1"]);
    let event = commit(&initial("j-2"), queued());
    let error = stores.log.append(event.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let _: String = server.run(&["REPLICAOF", "NO", "ONE"]);
    stores.log.append(event).await.unwrap();
    list().await.unwrap();
    let kept: Vec<_> = ids().intersection(&before).cloned().collect();
    assert!(kept.is_empty(), "{kept:?}");
}
