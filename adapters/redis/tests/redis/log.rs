//! Logs, announcements and cached results as redis-cli and other programs see them.

use std::collections::HashMap;

use conch_conformance::build::{Script, event_of, with_event_id};
use conch_domain::{Epoch, EventId};
use conch_ports::{Appended, Bucket, Commit, EVENT_IDS_REMEMBERED, Fence, Stamp, Submitted};
use conch_redis::Settings;
use futures::StreamExt;

use crate::jobs::{
    commit, completed, held, initial, job_id, position, progress, queued, retrying, submission,
};
use crate::renewal::an_hour_later;
use crate::server::Server;

#[tokio::test]
async fn both_channels_carry_the_bytes_that_were_appended() {
    let server = Server::start();
    let logs = server.stores().log;
    let mut listener = server.listen(&["triton:jobs:all", "triton:jobs:j-1"]).await;

    let commit = commit(&initial("j-1"), queued());
    let line = event_of(&commit).line.clone();
    assert_eq!(logs.append(commit).await.unwrap(), Appended::Appended);

    let mut heard = listener.on_message();
    for channel in ["triton:jobs:all", "triton:jobs:j-1"] {
        let message = heard.next().await.unwrap();
        assert_eq!(message.get_channel_name(), channel);
        assert_eq!(message.get_payload_bytes(), &line[..]);
    }
    let log = logs.read(&job_id("j-1"), 0, 10).await.unwrap().unwrap();
    assert_eq!(log.entries[0].line, line);
}

#[tokio::test]
async fn what_is_not_announced_is_appended_silently() {
    let server = Server::start();
    let logs = server.stores().log;
    let mut listener = server.listen(&["triton:jobs:all"]).await;

    let silent = Commit {
        announce: false,
        ..commit(&initial("j-1"), queued())
    };
    let job = silent.job.clone();
    logs.append(silent).await.unwrap();
    let loud = commit(&job, progress(10));
    let line = event_of(&loud).line.clone();
    logs.append(loud).await.unwrap();

    let message = listener.on_message().next().await.unwrap();
    assert_eq!(
        message.get_payload_bytes(),
        &line[..],
        "the first one was silent"
    );
}

#[tokio::test]
async fn the_result_is_a_plain_string_with_a_time_to_live() {
    let server = Server::start();
    let stores = server.stores();
    let first = commit(&initial("j-1"), queued());
    stores.log.append(first.clone()).await.unwrap();
    assert!(!server.run::<bool>(&["EXISTS", "triton:job:result:j-1"]));

    let last = commit(&first.job, completed());
    let result = conch_wire::job::encode(&last.job);
    stores.log.append(last).await.unwrap();

    let keys: Vec<String> = server.run(&["KEYS", "triton:job:result:*"]);
    assert_eq!(keys, ["triton:job:result:j-1"]);
    let blob: Vec<u8> = server.run(&["GET", "triton:job:result:j-1"]);
    assert_eq!(blob, result);
    let ttl: i64 = server.run(&["TTL", "triton:job:result:j-1"]);
    assert!((3590..=3600).contains(&ttl), "{ttl}");
    let cached = stores.cache.get(&job_id("j-1")).await.unwrap();
    assert_eq!(cached.unwrap(), result);
}

#[tokio::test]
async fn with_a_cache_elsewhere_a_commit_caches_nothing() {
    let (server, other) = (Server::start(), Server::start());
    let mut settings = server.settings();
    settings.cache_url = Some(other.url());
    let stores = settings.build().unwrap();
    assert!(!stores.log.guarantees().caches_results);

    let first = commit(&initial("j-1"), queued());
    stores.log.append(first.clone()).await.unwrap();
    stores
        .log
        .append(commit(&first.job, completed()))
        .await
        .unwrap();
    for redis in [&server, &other] {
        assert!(!redis.run::<bool>(&["EXISTS", "triton:job:result:j-1"]));
    }

    stores.cache.put(&job_id("j-1"), "{}".into()).await.unwrap();
    assert_eq!(other.run::<String>(&["GET", "triton:job:result:j-1"]), "{}");
    let ttl: i64 = other.run(&["TTL", "triton:job:result:j-1"]);
    assert!(ttl > 3590, "{ttl}");
    assert!(!server.run::<bool>(&["EXISTS", "triton:job:result:j-1"]));
}

#[tokio::test]
async fn another_type_under_the_result_key_is_no_result() {
    let server = Server::start();
    let cache = server.stores().cache;
    let _: i64 = server.run(&["LPUSH", "triton:job:result:j-1", "x"]);
    assert_eq!(cache.get(&job_id("j-1")).await.unwrap(), None);
    let _: String = server.run(&["SET", "triton:job:result:j-2", "\u{fffd} not JSON"]);
    let foreign = cache.get(&job_id("j-2")).await.unwrap().unwrap();
    assert_eq!(foreign, "\u{fffd} not JSON", "bytes come as they are");
}

/// Keys that serve the moment. The rest is the catalogue, the queue, where a job waits as long as it must, and the
/// latest commits, whose number is bounded.
fn serving_keys(server: &Server) -> Vec<(String, i64)> {
    server
        .run::<Vec<String>>(&["KEYS", "*"])
        .into_iter()
        .filter(|key| !key.starts_with("triton:catalogue:") && !key.starts_with("triton:queue:"))
        .filter(|key| key != "triton:log::latest")
        .map(|key| {
            let ttl = server.run(&["TTL", &key]);
            (key, ttl)
        })
        .collect()
}

#[tokio::test]
async fn every_serving_key_but_the_queues_has_a_time_to_live_from_its_creation() {
    let server = Server::start();
    let stores = server.stores();
    let minute = std::time::Duration::from_mins(1);

    stores.queue.submit(submission("j-1")).await.unwrap();
    let mut keyed = submission("j-2");
    keyed.idempotency = Some(conch_ports::Idempotency {
        key: "caller k".into(),
        digest: "d".into(),
        lifetime: minute,
    });
    stores.queue.submit(keyed).await.unwrap();
    // Log, state and ids of each, and the caller's key.
    assert_eq!(
        serving_keys(&server).len(),
        7,
        "{:?}",
        serving_keys(&server)
    );
    stores
        .queue
        .claim("w", &conch_conformance::build::token(), minute)
        .await
        .unwrap()
        .unwrap();
    let running = commit(&submission("j-1").commit.job, progress(1));
    stores.log.append(running.clone()).await.unwrap();
    for (key, ttl) in serving_keys(&server) {
        assert!(ttl > 0 && ttl <= 49 * 3600, "{key} has {ttl}");
    }

    stores
        .log
        .append(commit(&running.job, completed()))
        .await
        .unwrap();
    for (key, ttl) in serving_keys(&server) {
        let limit = if key.ends_with("log:j-1") { 24 } else { 49 };
        assert!(ttl > 0 && ttl <= limit * 3600, "{key} has {ttl}");
    }
}

#[tokio::test]
async fn history_is_trimmed_and_the_state_stays_whole() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.history_limit = 3;
    let logs = settings.build().unwrap().log;
    let mut job = initial("j-1");
    for n in 0..10 {
        let next = commit(&job, progress(n));
        job = next.job.clone();
        assert_eq!(logs.append(next).await.unwrap(), Appended::Appended);
    }
    assert_eq!(server.run::<u64>(&["XLEN", "triton:log:j-1"]), 4);
    let log = logs.read(&job_id("j-1"), 0, 100).await.unwrap().unwrap();
    assert_eq!(log.job, job);
    assert_eq!(log.oldest, 7);
    assert_eq!(log.base.unwrap().position.sequence, 6);
    let sequences: Vec<u64> = log.entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences, [7, 8, 9, 10]);
    let cut = logs.read(&job_id("j-1"), 8, 1).await.unwrap().unwrap();
    assert_eq!((cut.entries[0].sequence, cut.entries.len()), (9, 1));
    let none = logs
        .read(&job_id("j-1"), u64::MAX, 10)
        .await
        .unwrap()
        .unwrap();
    assert!(none.entries.is_empty());

    let _: i64 = server.run(&["DEL", "triton:log:j-1"]);
    let evicted = logs.read(&job_id("j-1"), 0, 100).await.unwrap().unwrap();
    assert_eq!(
        (evicted.oldest, evicted.entries.len()),
        (11, 0),
        "nothing is kept"
    );
    assert_eq!(evicted.base, Some(job), "but the state is");
}

#[tokio::test]
async fn an_event_id_is_known_for_long_and_forgotten_some_day() {
    let server = Server::start();
    let logs = server.stores().log;
    let first = commit(&initial("j-1"), queued());
    logs.append(first.clone()).await.unwrap();
    let mut job = first.job.clone();
    for _ in 0..EVENT_IDS_REMEMBERED {
        let next = commit(&job, retrying());
        job = next.job.clone();
        logs.append(next).await.unwrap();
    }
    // Whatever else it says: a fence that would refuse, a place that would conflict.
    let again = Commit {
        fence: Fence::Held(conch_domain::LeaseToken::parse("stale").unwrap()),
        ..first.clone()
    };
    let appended = logs.append(again).await.unwrap();
    assert_eq!(appended, Appended::Duplicate(first.job.position));

    for _ in 0..10 {
        let next = commit(&job, retrying());
        job = next.job.clone();
        logs.append(next).await.unwrap();
    }
    assert_eq!(
        server.run::<usize>(&["ZCARD", "triton:seen:j-1"]),
        EVENT_IDS_REMEMBERED + 1,
        "bounded"
    );
}

/// What a restart means for a log that was there before: from an append-only file that was written
/// at the log's latest append, nothing was lost; from any other copy, something may have been.
#[tokio::test]
async fn a_restart_is_doubted_unless_an_append_only_file_was_written() {
    for (written, doubted) in [(false, true), (true, false)] {
        let mut server = Server::start();
        let logs = server.stores().log;
        if written {
            server.append_only();
        }
        let first = commit(&initial("j-1"), queued());
        logs.append(first.clone()).await.unwrap();
        if !written {
            let _: String = server.run(&["SAVE"]);
        }
        server.restart();
        let second = commit(&first.job, progress(1));
        let answer = logs.append(second.clone()).await.unwrap();
        let expected = if doubted {
            Appended::Doubtful(first.job.position)
        } else {
            Appended::Appended
        };
        assert_eq!(answer, expected, "append-only: {written}");
        if doubted {
            let renewed = first.job.with_epoch(Epoch::from_random([1; 4]));
            let anew = Commit {
                replaces: Some(first.job.position),
                base: Some(renewed.clone()),
                ..commit(&renewed, progress(1))
            };
            assert_eq!(logs.append(anew).await.unwrap(), Appended::Appended);
            let log = logs.read(&job_id("j-1"), 0, 9).await.unwrap().unwrap();
            assert_eq!(log.base, Some(renewed));
        }
    }
}

/// That an append-only file is written counts from the next event on that a new connection appends.
#[tokio::test]
async fn an_append_only_file_that_came_later_is_noted() {
    let mut server = Server::start();
    let first = commit(&initial("j-1"), queued());
    let second = commit(&first.job, progress(1));
    let third = commit(&second.job, progress(2));
    let fourth = commit(&third.job, progress(3));
    let logs = server.stores().log;
    for commit in [first, second] {
        assert_eq!(logs.append(commit).await.unwrap(), Appended::Appended);
    }
    server.append_only();
    let logs = server.stores().log;
    assert_eq!(logs.append(third).await.unwrap(), Appended::Appended);
    server.restart();
    assert_eq!(logs.append(fourth).await.unwrap(), Appended::Appended);
}

#[tokio::test]
async fn of_several_reasons_to_refuse_the_first_is_told() {
    let server = Server::start();
    let logs = server.stores().log;
    let id = |text: &str| EventId::parse(text).unwrap();
    let stale = || Fence::Held(conch_domain::LeaseToken::parse("stale").unwrap());
    let first = commit(&initial("j-1"), queued());
    logs.append(first.clone()).await.unwrap();
    let second = commit(&first.job, progress(1));

    // The place conflicts and the fence refuses.
    let mut gap = commit(&second.job, progress(2));
    assert_eq!(
        logs.append(gap.clone()).await.unwrap(),
        Appended::Conflict(Some(first.job.position))
    );
    gap.fence = stale();
    assert_eq!(logs.append(gap.clone()).await.unwrap(), Appended::Fenced);

    logs.append(commit(&first.job, completed())).await.unwrap();
    assert_eq!(logs.append(gap).await.unwrap(), Appended::Ended);
    let replacing = Commit {
        replaces: Some(position(crate::jobs::EPOCH, 2)),
        ..with_event_id(&id("other"), commit(&initial("j-1"), queued()))
    };
    assert_eq!(logs.append(replacing).await.unwrap(), Appended::Ended);
    let nowhere = commit(&commit(&initial("j-9"), queued()).job, progress(1));
    assert_eq!(
        logs.append(nowhere).await.unwrap(),
        Appended::Conflict(None)
    );
}

#[tokio::test]
async fn replacing_takes_exactly_the_log_that_was_seen() {
    let server = Server::start();
    let logs = server.stores().log;
    let first = commit(&initial("j-1"), queued());
    let second = commit(&first.job, progress(1));
    for commit in [&first, &second] {
        logs.append(commit.clone()).await.unwrap();
    }
    let epoch = conch_domain::Epoch::from_random([1, 2, 3, 4]);
    let mut replacing = commit(&second.job.with_epoch(epoch), progress(2));
    replacing.replaces = Some(first.job.position);
    assert_eq!(
        logs.append(replacing.clone()).await.unwrap(),
        Appended::Conflict(Some(second.job.position)),
        "the log went on"
    );
    replacing.replaces = Some(second.job.position);
    assert_eq!(
        logs.append(replacing.clone()).await.unwrap(),
        Appended::Appended
    );
    let log = logs.read(&job_id("j-1"), 0, 10).await.unwrap().unwrap();
    assert_eq!(log.job, replacing.job);
    assert_eq!(
        (log.oldest, log.entries.len()),
        (1, 1),
        "the old events are gone"
    );
    assert_eq!(
        logs.append(replacing.clone()).await.unwrap(),
        Appended::Duplicate(replacing.job.position)
    );
}

#[tokio::test]
async fn a_foreign_event_never_gets_into_an_own_job() {
    let server = Server::start();
    let stores = server.stores();
    let foreign = |commit: Commit| Commit {
        fence: Fence::Foreign,
        ..commit
    };
    stores.queue.submit(submission("j-1")).await.unwrap();
    let forged = foreign(commit(&submission("j-1").commit.job, completed()));
    assert_eq!(
        stores.log.append(forged.clone()).await.unwrap(),
        Appended::Fenced
    );
    // The log is lost, the record is there.
    let _: i64 = server.run(&["DEL", "triton:state:j-1"]);
    assert_eq!(
        stores.log.append(forged.clone()).await.unwrap(),
        Appended::Fenced
    );

    let stranger = conch_domain::Job::initial(job_id("j-2"), "00000001".parse().unwrap(), false);
    let first = foreign(commit(&stranger, progress(5)));
    assert_eq!(
        stores.log.append(first.clone()).await.unwrap(),
        Appended::Appended
    );
    let next = foreign(commit(&first.job, completed()));
    assert_eq!(stores.log.append(next).await.unwrap(), Appended::Appended);
    assert!(
        stores
            .catalogue
            .job(&job_id("j-2"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(stores.cache.get(&job_id("j-2")).await.unwrap().is_some());
}

#[tokio::test]
async fn external_logs_are_listed_as_long_as_they_live() {
    const UNFINISHED: &str = "triton:foreign:unfinished";
    const ENDED: &str = "triton:foreign:ended";
    const BYTES: &str = "triton:foreign:bytes";
    let server = Server::start();
    let mut settings = server.settings();
    settings.quotas.foreign_jobs = 1;
    let stores = settings.build().unwrap();
    let epoch = conch_domain::Epoch::from_random(crate::jobs::EPOCH);
    let external = |id| conch_domain::Job::initial(job_id(id), epoch, false);
    let listed = |key: &str| server.run::<Vec<String>>(&["ZRANGE", key, "0", "-1"]);
    let runs_out = || server.run::<f64>(&["ZSCORE", UNFINISHED, "f-1"]);
    let short = |key: &str| (1..=49 * 3600).contains(&server.run::<i64>(&["TTL", key]));

    stores.queue.submit(submission("j-1")).await.unwrap();
    let first = commit(&external("f-1"), progress(1));
    stores.log.append(first.clone()).await.unwrap();
    assert_eq!(
        listed(UNFINISHED),
        ["f-1"],
        "a job of our own is not listed"
    );
    assert!(short(UNFINISHED));
    let before = runs_out();
    an_hour_later(&server, "f-1");
    let second = commit(&first.job, progress(2));
    stores.log.append(second.clone()).await.unwrap();
    assert!(runs_out() > before, "an append extends its time");
    let third = commit(&second.job, completed());
    stores.log.append(third).await.unwrap();
    assert_eq!(
        (listed(UNFINISHED).len(), listed(ENDED)),
        (0, vec!["f-1".to_owned()])
    );
    assert!(short(ENDED));

    // Expired logs are no longer counted; the next append of the same kind removes them.
    for n in 0..10 {
        for key in [UNFINISHED, ENDED] {
            let _: i64 = server.run(&["ZADD", key, "1", &format!("gone-{n}")]);
        }
        let _: i64 = server.run(&["HSET", BYTES, &format!("gone-{n}"), "300"]);
        let _: i64 = server.run(&["HINCRBY", BYTES, "all", "300"]);
    }
    let _: i64 = server.run(&["EXPIRE", ENDED, "60"]);
    let next = commit(&external("f-2"), progress(1));
    let appended = stores.log.append(next.clone()).await.unwrap();
    assert_eq!(appended, Appended::Appended);
    assert_eq!(listed(UNFINISHED), ["f-2"]);
    let counted: HashMap<String, u64> = server.run(&["HGETALL", BYTES]);
    let all = counted["f-1"] + counted["f-2"];
    assert_eq!((counted.len(), counted["all"]), (3, all), "{counted:?}");
    assert!(
        server.run::<i64>(&["TTL", ENDED]) > 60,
        "what it lists is on the bytes, which live on"
    );

    let end = commit(&next.job, completed());
    for key in [UNFINISHED, ENDED] {
        let aside = format!("{key}:aside");
        let _: i64 = server.run(&["COPY", key, &aside]);
        let _: String = server.run(&["SET", key, "somebody else's"]);
        let error = stores.log.append(end.clone()).await.unwrap_err();
        assert_eq!(error.kind(), conch_ports::ErrorKind::BadResponse, "{error}");
        let log = stores.log.read(&next.job.id, 0, 9).await.unwrap().unwrap();
        assert_eq!(log.entries.len(), 1, "nothing was half written");
        let _: String = server.run(&["RENAME", &aside, key]);
    }
    stores.log.append(end).await.unwrap();
    assert_eq!(listed(ENDED), ["f-1", "f-2"]);
}

#[tokio::test]
async fn two_prefixes_in_one_redis_know_nothing_of_each_other() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.prefix = "other".into();
    let (ours, theirs) = (server.stores(), settings.build().unwrap());
    theirs.queue.submit(submission("j-1")).await.unwrap();
    assert!(ours.log.read(&job_id("j-1"), 0, 1).await.unwrap().is_none());
    assert!(ours.queue.next_due().await.unwrap().is_none());
    let keys: Vec<String> = server.run(&["KEYS", "*"]);
    assert!(keys.iter().all(|key| key.starts_with("other:")), "{keys:?}");
}

/// Each append is noted, the usual one of a lease's holder too. Where it can't be, nothing is known, and appends
/// go on.
#[tokio::test]
async fn the_latest_commit_of_a_bucket_is_noted() {
    const LATEST: &str = "triton:log::latest";
    let server = Server::start();
    let stores = server.stores();
    let queued = submission("j-1");
    let mut job = queued.commit.job.clone();
    let bucket = Bucket::of(&job.id);
    let latest = async || stores.log.latest(&[bucket, bucket]).await.unwrap();
    assert_eq!(latest().await, [None, None]);
    stores.queue.submit(queued).await.unwrap();
    let token = conch_conformance::build::token();
    let minute = std::time::Duration::from_mins(1);
    let claimed = stores.queue.claim("w", &token, minute).await.unwrap();
    assert!(claimed.is_some());
    for n in 1..=3 {
        let stamp = Some(Stamp::of(&job.id, job.position));
        assert_eq!(latest().await, [stamp.clone(), stamp]);
        let next = held(commit(&job, progress(n)), &token);
        job = next.job.clone();
        assert_eq!(stores.log.append(next).await.unwrap(), Appended::Appended);
    }
    server.set(LATEST, b"another program's");
    let next = held(commit(&job, progress(4)), &token);
    assert_eq!(stores.log.append(next).await.unwrap(), Appended::Appended);
    assert_eq!(latest().await, [None, None], "it can't be noted");
    let _: u64 = server.run(&["DEL", LATEST]);
    let _: u64 = server.run(&["HSET", LATEST, &bucket.to_string(), "x"]);
    assert_ne!(latest().await, [None, None]);
    let _: String = server.run(&["ACL", "SETUSER", "default", "-hmget"]);
    assert_eq!(latest().await, [None, None], "this user may not read it");
}

#[tokio::test]
async fn a_store_whose_events_are_announced_elsewhere_publishes_nothing() {
    let server = Server::start();
    let settings = Settings {
        announces: false,
        ..server.settings()
    };
    let stores = settings.build().unwrap();
    assert_eq!(stores.log.announces(), None);
    let mut script = Script::own();
    let submitted = stores.queue.submit(script.submission()).await.unwrap();
    assert_eq!(submitted, Submitted::New);
    let mut external = Script::foreign();
    for commit in [script.started(), external.queued(), external.completed()] {
        let appended = stores.log.append(commit).await.unwrap();
        assert_eq!(appended, Appended::Appended);
    }
    let published = |server: &Server| {
        let statistics: String = server.run(&["INFO", "commandstats"]);
        statistics.contains("cmdstat_publish:")
    };
    assert!(!published(&server));
    // As it would show.
    let announcing = server.stores();
    announcing.log.append(script.completed()).await.unwrap();
    assert!(published(&server));
}
