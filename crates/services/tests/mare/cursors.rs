//! Where a stream of one job goes on: cursors of this process and of others, trimmed logs, lag.

use std::time::Duration;

use conch_domain::EventKind;
use conch_services::mare::hub::Settings;

use crate::world::{Eyes, World, Writer, data, ids, job_id, name};

const CLOSING: &str = ": Connection closing - job completed";

#[tokio::test(start_paused = true)]
async fn cursors() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    job.complete().await;
    for (cursor, expected) in [
        (
            "0000abcd-0",
            &["0000abcd-1", "0000abcd-2", "0000abcd-3", CLOSING][..],
        ),
        ("0000abcd-1", &["0000abcd-2", "0000abcd-3", CLOSING]),
        ("0000abcd-2", &["0000abcd-3", CLOSING]),
        // Another epoch, the future, garbage: a reset at the head.
        ("11111111-2", &["0000abcd-3", CLOSING]),
        ("0000abcd-9", &["0000abcd-3", CLOSING]),
        ("abc", &["0000abcd-3", CLOSING]),
        ("-1", &["0000abcd-3", CLOSING]),
        ("0000abcd-18446744073709551616", &["0000abcd-3", CLOSING]),
    ] {
        let seen = world.watch("j", Some(cursor)).await.rest().await;
        assert_eq!(ids(&seen), expected, "{cursor}");
        let first = data(&seen[0]);
        let is_reset = first["event_type"] == "job:snapshot";
        let honoured =
            cursor.starts_with("0000abcd-") && cursor.len() == 10 && cursor < "0000abcd-4";
        assert_eq!(is_reset, !honoured, "{cursor}: {first}");
        if is_reset {
            assert_eq!(first["reset"], true);
            assert_eq!(first["requested"], cursor);
            assert_eq!(first["status"], "completed");
            assert_eq!(first["template_ids"][0], "t1");
        }
    }
    for cursor in ["0000abcd-3", "lost-0"] {
        let attached = world.hub.watch(&job_id("j"), Some(cursor)).await;
        assert_eq!(name(&attached), "Ended", "{cursor}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trimmed_log_begins_with_the_state_before_its_kept_events() {
    let memory = conch_memory::Settings {
        history_limit: 5,
        ..conch_memory::Settings::default()
    };
    let settings = Settings {
        history_limit: 5,
        ..Settings::default()
    };
    let world = World::with(memory, settings);
    let mut job = world.job("j");
    job.start().await;
    for progress in 1..10 {
        job.progress(progress).await;
    }
    let mut eyes = world.watch("j", None).await;
    let seen = eyes.events(7).await;
    let kept: Vec<_> = (5..=11).map(|n| format!("0000abcd-{n}")).collect();
    assert_eq!(ids(&seen), kept);
    let base = data(&seen[0]);
    assert_eq!(base["event_type"], "job:snapshot");
    assert_eq!(
        (&base["reset"], &base["progress"]),
        (&false.into(), &3.into())
    );
    assert_eq!(data(&seen[1])["event_type"], "job:progress");
    // A cursor that was trimmed away is a reset, one that is just kept is not.
    let trimmed = world.watch("j", Some("0000abcd-3")).await.events(7).await;
    assert_eq!(ids(&trimmed), kept);
    assert_eq!(data(&trimmed[0])["reset"], true);
    let resumed = world.watch("j", Some("0000abcd-5")).await.events(6).await;
    assert_eq!(ids(&resumed)[0], "0000abcd-6");
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-12", CLOSING]);
    // What a watcher joins after the topic has let go of its oldest events joins on as well.
    let late = world.watch("j", None).await.rest().await;
    assert_eq!(ids(&late)[0], "0000abcd-5");
    assert_eq!(ids(&late)[late.len() - 2..], ["0000abcd-12", CLOSING]);
}

/// What the hub keeps of a job after two small events and `count` large ones that a stream is told, each as
/// it comes. Another one is there, for whom they are kept.
async fn told_of_large_events(world: &World, job: &mut Writer, count: u8) -> [Eyes; 2] {
    job.start().await;
    let id = job.job.id.clone();
    let mut eyes = world.watch(id.as_str(), None).await;
    let other = world.watch(id.as_str(), None).await;
    eyes.events(2).await;
    for progress in 1..=count {
        job.append(EventKind::Progress {
            progress,
            completed_templates: 0,
            total_templates: 7,
            message: Some("x".repeat(1000)),
        })
        .await;
        let told = eyes.events(1).await;
        assert_eq!(ids(&told), [format!("0000abcd-{}", progress + 2)]);
        assert_eq!(data(&told[0])["event_type"], "job:progress");
    }
    [eyes, other]
}

#[tokio::test(start_paused = true)]
async fn every_stream_joins_on_where_an_external_jobs_events_were_let_go_of_by_their_bytes() {
    let settings = Settings {
        external_history_bytes: 10_000,
        ..Settings::default()
    };
    let world = World::with(conch_memory::Settings::default(), settings);
    let mut job = world.external_job("f");
    let [mut eyes, _other] = told_of_large_events(&world, &mut job, 30).await;
    // The log itself has all of them: what is missing was let go of here.
    for cursor in [None, Some("0000abcd-3")] {
        let mut seen = world.watch("f", cursor).await.until_idle().await;
        let base = data(&seen[0]).clone();
        assert_eq!(base["event_type"], "job:snapshot", "{cursor:?}");
        assert_eq!(base["reset"], cursor.is_some(), "{cursor:?}");
        let at = base["sequence"].as_u64().expect("a number");
        assert!((13..28).contains(&at), "cut at {at}");
        assert_eq!(base["progress"], at - 2, "{cursor:?}");
        let joined: Vec<_> = (at..=32).map(|n| format!("0000abcd-{n}")).collect();
        assert_eq!(ids(&seen), joined, "{cursor:?}");
        // Right behind the cut there is no need of the base.
        let kept = world.watch("f", Some(&joined[0])).await.until_idle().await;
        assert_eq!(kept, seen.split_off(1));
    }
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-33", CLOSING]);
    // One of ours is kept by the number of its events.
    let mut job = world.job("j");
    let _eyes = told_of_large_events(&world, &mut job, 30).await;
    let seen = world
        .watch("j", Some("0000abcd-3"))
        .await
        .until_idle()
        .await;
    assert_eq!(ids(&seen)[0], "0000abcd-4");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_lags_is_spared_superseded_progress_and_nothing_else() {
    let (_world, mut job, mut eyes) = World::watched().await;
    // More of them than are handed over at a time: no heartbeat must be waited for.
    let begun = tokio::time::Instant::now();
    for progress in 0..90 {
        job.progress(progress).await;
    }
    job.append(EventKind::CancelRequested { reason: None })
        .await;
    job.complete().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let seen = eyes.rest().await;
    assert_eq!(
        ids(&seen),
        ["0000abcd-92", "0000abcd-93", "0000abcd-94", CLOSING]
    );
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_lags_behind_the_kept_events_is_reset() {
    let settings = Settings {
        history_limit: 10,
        ..Settings::default()
    };
    let world = World::with(conch_memory::Settings::default(), settings);
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    let _other = world.watch("j", None).await;
    eyes.events(2).await;
    for progress in 0..60 {
        job.progress(progress).await;
        // Read one by one, so that the topic lets go of the oldest.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    job.complete().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let seen = eyes.rest().await;
    assert_eq!(ids(&seen), ["0000abcd-63", CLOSING]);
    assert_eq!(data(&seen[0])["requested"], "0000abcd-2");
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_another_process_gave_out_is_not_the_future() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let _keeps_the_topic = world.watch("j", None).await;
    world.faults.lose_announcements(|_, _| true);
    job.progress(10).await;
    job.progress(20).await;
    // The topic here still stands at 2, but the watcher has seen 3 elsewhere.
    let mut eyes = world.watch("j", Some("0000abcd-3")).await;
    let seen = eyes.events(1).await;
    assert_eq!(ids(&seen), ["0000abcd-4"]);
    assert_eq!(data(&seen[0])["event_type"], "job:progress");
}

/// Another process was ahead, and this one can't look right now: that is no reason to tell a client that
/// history was lost.
#[tokio::test(start_paused = true)]
async fn a_cursor_ahead_of_a_process_that_can_not_read_waits_until_it_can() {
    for ends in [false, true] {
        let world = World::new();
        let mut job = world.job("j");
        job.start().await;
        world.watch("j", None).await.events(2).await;
        world.faults.lose_announcements(|_, _| true);
        job.progress(10).await;
        if ends {
            job.complete().await;
        }
        world.fail_reads(20);
        let at = job.job.position.to_string();
        let mut ahead = world.watch("j", Some(&at)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.faults.fail_no_more();
        if !ends {
            job.complete().await;
        }
        let seen = ids(&ahead.rest().await);
        let rest = ["0000abcd-4", CLOSING];
        assert_eq!(seen, rest[usize::from(ends)..]);
    }
}

/// Here the job has ended; elsewhere it is known that the store lost the end and goes on in another epoch.
#[tokio::test(start_paused = true)]
async fn a_cursor_of_a_later_epoch_waits_for_a_process_that_can_not_read() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let running = job.job.clone();
    job.complete().await;
    world.watch("j", None).await.events(3).await;
    world.faults.lose_announcements(|_, _| true);
    assert!(world.faults.cut_log(&job_id("j"), 1));
    job.job = running;
    job.begin_again("0000beef", EventKind::CancelRequested { reason: None })
        .await;
    world.fail_reads(20);
    let mut ahead = world.watch("j", Some("0000beef-1")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.faults.fail_no_more();
    job.complete().await;
    assert_eq!(ids(&ahead.rest().await), ["0000beef-2", CLOSING]);
}

#[tokio::test(start_paused = true)]
async fn the_end_that_another_process_streamed_is_the_end_here_too() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let _keeps_the_topic = world.watch("j", None).await;
    world.faults.lose_announcements(|_, _| true);
    job.complete().await;
    let attached = world.hub.watch(&job_id("j"), Some("0000abcd-3")).await;
    assert_eq!(name(&attached), "Ended");
}
