//! What watchers cost, and that it is given back: memory, descriptors, counters.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::{Scale, start};
use crate::chaos::{Figures, Shape};
use crate::eventually::eventually;
use crate::http::{metric, until_metric};
use crate::{Stream, http};

/// What a process may have grown by after all streams are gone, in KiB: the allocator's own.
pub(super) const GROWTH_KIB: u64 = 16 * 1024;

/// A watcher that takes nothing is cut in time, costs a bounded amount, and can resume.
pub(super) async fn a_watcher_that_never_reads(scale: Scale) -> Figures {
    let shape = Shape::default().env("WRITE_STALL_SECONDS", "1");
    let run = start("bounds-never-reads", shape).await;
    let port = run.cluster.apis[0].conch.lock().await.mare_port();
    let external = run.external_job("never-read").await;
    run.watch(&external.id, 2);
    let base = run.cluster.apis[0].resident().await;
    let mut idle = Vec::new();
    for _ in 0..scale.of(20, 500) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("it is small");
        let address = ([127, 0, 0, 1], port).into();
        let mut peer = socket.connect(address).await.expect("it listens");
        let request = format!(
            "GET /v1/triton/jobs/{}/subscribe HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n",
            external.id
        );
        peer.write_all(request.as_bytes())
            .await
            .expect("it is taken");
        idle.push(peer);
    }
    http::until_streams(port, scale.of(20, 500)).await;
    // More than their sockets hold.
    for rows in 0..40 {
        external.big(rows, 20_000).await;
    }
    let cut = "conch_streams_cut_total{reason=\"write_stall\"}";
    until_metric(port, cut, |cut| cut >= scale.of(20.0, 500.0)).await;
    let grown = run.cluster.apis[0].resident().await.saturating_sub(base);
    // The kept events once, and what each socket was handed.
    let limit = GROWTH_KIB + 20 * 40 + scale.of(20, 500) * 128;
    run.bound("api-0", "resident KiB", grown, limit);
    // Who was cut finds out, and gets the whole of it when it comes back.
    let mut first = idle.remove(0);
    let mut taken = Vec::new();
    drop(tokio::time::timeout(Duration::from_secs(5), first.read_to_end(&mut taken)).await);
    let text = String::from_utf8_lossy(&taken).into_owned();
    let last = text
        .lines()
        .filter_map(|l| l.strip_prefix("id: "))
        .next_back();
    let last = last.expect("it had been sent something").to_owned();
    let mut resumed = Stream::open(&run.mare(0).subscribe_url(&external.id), Some(&last)).await;
    assert!(resumed.next_event().await.is_some());
    drop(resumed);
    run.finish().await.expect_clean()
}

/// Streams that are aborted midway leave no task, no descriptor, no memory, no counter behind.
pub(super) async fn aborted_streams_leave_nothing(scale: Scale) -> Figures {
    let run = start("bounds-aborted", Shape::default()).await;
    let port = run.cluster.apis[0].conch.lock().await.mare_port();
    let at_once = scale.of(100, 1000);
    // A job that ends when it is told to.
    let job = run.external_job("aborted").await;
    // One that stays, and is there before the others are counted.
    run.watch_at(&job.id, 1, &run.cluster.fronts()[..1]);
    until_metric(port, "conch_streams", |n| n >= 1.0).await;
    let mare = crate::Mare::on(port);
    let mut base = None;
    // The first round is the allocator's: what it took then is the base line.
    for _ in 0..scale.of(3, 6) {
        let watched = metric(port, "conch_streams").await;
        let url = mare.subscribe_url(&job.id);
        let open = (0..at_once).map(|_| async {
            let mut stream = Stream::open_with(&run.http, &url, None).await;
            stream.next_event().await.expect("its history");
            stream
        });
        let streams = futures::future::join_all(open).await;
        until_metric(port, "conch_streams", |n| n >= watched + f64::from(at_once)).await;
        drop(streams);
        until_metric(port, "conch_streams", |n| n <= watched).await;
        let now = (
            run.cluster.apis[0].descriptors().await,
            run.cluster.apis[0].resident().await,
        );
        let (base_descriptors, base_resident) = *base.get_or_insert(now);
        run.bound("api-0", "descriptors", now.0, base_descriptors + 16);
        run.bound("api-0", "resident KiB", now.1, base_resident + GROWTH_KIB);
    }
    let (base_descriptors, base_resident) = base.expect("there was a round");
    eventually("idle connections are given back", async || {
        (run.cluster.apis[0].descriptors().await <= base_descriptors + 16).then_some(())
    })
    .await;
    run.bound(
        "api-0",
        "resident KiB",
        run.cluster.apis[0].resident().await,
        base_resident + GROWTH_KIB,
    );
    run.finish().await.expect_clean()
}
