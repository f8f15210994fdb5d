//! One job, many watchers: attach without a hole, resume, reset, silence, loss, the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conch_domain::{EventKind, Job, JobRecord, JobStatus};
use conch_memory::When;
use conch_ports::ErrorKind;
use conch_services::Clock;
use conch_services::hub::{Attached, Next, Settings};
use futures::FutureExt;

use crate::world::{
    Eyes, POSITION_CHECK, World, clock, completed, data, ids, is_greeting, job_id, name, queued,
    retry, started,
};

const CLOSING: &str = ": Connection closing - job completed";

#[tokio::test(start_paused = true)]
async fn a_late_watcher_gets_the_whole_history_and_then_what_comes() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    assert_eq!(ids(&eyes.events(2).await), ["0000abcd-1", "0000abcd-2"]);
    job.progress(50).await;
    job.complete().await;
    let rest = eyes.rest().await;
    assert_eq!(ids(&rest), ["0000abcd-3", "0000abcd-4", CLOSING]);
    assert_eq!(data(&rest[1])["status"], "completed");
}

/// As from a thread that answers requests.
#[tokio::test]
async fn a_watcher_outlives_the_runtime_that_it_attached_on() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let elsewhere = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a thread");
    let hub = world.hub.clone();
    let attach = async move { hub.watch(&job_id("j"), None).await };
    let Attached::Stream(watcher) = elsewhere.spawn(attach).await.expect("no panic") else {
        panic!("expected a stream");
    };
    let mut eyes = Eyes(watcher);
    assert_eq!(ids(&eyes.events(2).await), ["0000abcd-1", "0000abcd-2"]);
    elsewhere.shutdown_background();
    job.complete().await;
    let rest = tokio::time::timeout(Duration::from_secs(10), eyes.rest()).await;
    assert_eq!(ids(&rest.expect("it is told")), ["0000abcd-3", CLOSING]);
}

#[tokio::test(start_paused = true)]
async fn a_finished_job_is_its_history_and_the_close() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    job.complete().await;
    let seen = world.watch("j", None).await.rest().await;
    assert_eq!(
        ids(&seen),
        ["0000abcd-1", "0000abcd-2", "0000abcd-3", CLOSING]
    );
}

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

#[tokio::test(start_paused = true)]
async fn a_lost_announcement_is_made_up_for_by_the_position_check() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    world.faults.lose_announcements(|_, _| true);
    let begun = tokio::time::Instant::now();
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
    assert!(begun.elapsed() <= POSITION_CHECK, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whichever_announcement_is_lost_every_watcher_gets_every_event_in_time() {
    for lost in 1..=6 {
        let world = World::new();
        let mut job = world.job("j");
        world
            .faults
            .lose_announcements(move |_, sequence| sequence == lost);
        job.append(queued()).await;
        let mut eyes = vec![world.watch("j", None).await, world.watch("j", None).await];
        for step in 2..=6 {
            let begun = tokio::time::Instant::now();
            match step {
                2 => job.append(started()).await,
                6 => job.complete().await,
                _ => job.progress(step * 10).await,
            }
            for eye in &mut eyes {
                let before = if step == 2 { 2 } else { 1 };
                let seen = ids(&eye.events(before).await);
                assert_eq!(seen[before - 1], format!("0000abcd-{step}"), "lost {lost}");
            }
            assert!(
                begun.elapsed() <= POSITION_CHECK,
                "{lost}: {:?}",
                begun.elapsed()
            );
        }
        for eye in &mut eyes {
            assert_eq!(ids(&eye.rest().await), [CLOSING; 0]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_subscription_is_made_up_for_at_once() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    world.faults.disconnect_subscribers();
    job.complete().await;
    let begun = tokio::time::Instant::now();
    world.faults.reconnect_subscribers();
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn repeated_and_late_announcements_show_nothing_twice() {
    let world = World::new();
    let mut job = world.job("j");
    world.faults.repeat_announcements(3);
    world.faults.hold_announcements();
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    job.progress(10).await;
    world.faults.release_announcements();
    job.complete().await;
    let seen = eyes.rest().await;
    let expected = [
        "0000abcd-1",
        "0000abcd-2",
        "0000abcd-3",
        "0000abcd-4",
        CLOSING,
    ];
    assert_eq!(ids(&seen), expected);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_watchers_cost_one_read() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = Vec::new();
    for _ in 0..1000 {
        eyes.push(world.watch("j", None).await);
    }
    for eye in &mut eyes {
        eye.events(2).await;
    }
    let before = world.faults.calls("event_bus.read");
    job.complete().await;
    for eye in &mut eyes {
        assert_eq!(ids(&eye.rest().await), ["0000abcd-3", CLOSING]);
    }
    let reads = world.faults.calls("event_bus.read") - before;
    assert!(reads <= 2, "{reads} reads for one event");
    assert_eq!(world.hub.watchers(), 1000);
    drop(eyes);
    assert_eq!(world.hub.watchers(), 0);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(
        world.hub.topics(),
        0,
        "the topic went with its last watcher"
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_is_a_reset_never_a_renumbering() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    let progress = EventKind::Progress {
        progress: 40,
        completed_templates: 3,
        total_templates: 7,
        message: None,
    };
    job.begin_again("0000ffff", progress).await;
    let seen = eyes.events(1).await;
    assert_eq!(ids(&seen), ["0000ffff-1"]);
    assert_eq!(data(&seen[0])["event_type"], "job:snapshot");
    assert_eq!(data(&seen[0])["reset"], true);
    assert_eq!(data(&seen[0])["requested"], "0000abcd-2");
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000ffff-2", CLOSING]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_gone_everywhere_is_told_to_those_who_saw_it() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    world.faults.wipe();
    // One who comes back with a cursor waits with the others.
    let mut back: Eyes = world.watch("j", Some("0000abcd-2")).await;
    for seen in [eyes.rest().await, back.rest().await] {
        assert_eq!(ids(&seen), ["lost-0", ": Connection closing - job failed"]);
        assert_eq!(data(&seen[0])["error_code"], "record-lost");
        assert_eq!(data(&seen[0])["status"], "failed");
        assert_eq!(data(&seen[0])["reset"], true);
    }
    // One without was never promised anything.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let attached = world.hub.watch(&job_id("j"), None).await;
    assert_eq!(name(&attached), "Unknown");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_forgot_is_healed_by_the_writer() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    world.faults.wipe();
    tokio::time::sleep(Duration::from_secs(8)).await;
    job.begin_again("0000ffff", completed()).await;
    let seen = eyes.rest().await;
    assert_eq!(ids(&seen), ["0000ffff-1", CLOSING]);
    assert_eq!(data(&seen[0])["status"], "completed");
}

/// A store that had forgotten the job holds its record again, from the worker that runs it, and not yet
/// its log. Whoever begins that log must be able to go on with it.
#[tokio::test(start_paused = true)]
async fn an_unfinished_job_of_our_own_is_put_back_by_its_worker_and_derived_by_nobody() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    world.faults.wipe();
    world.triton.set_job(job.job.clone());
    tokio::time::sleep(POSITION_CHECK * 4).await;
    assert!(world.triton.calls("job") > 0, "it was asked for");
    let log = world.memory.bus().read(&job_id("j"), 0, 0).await;
    assert!(log.expect("memory answers").is_none());
    job.begin_again("0000ffff", completed()).await;
    assert_eq!(ids(&eyes.rest().await), ["0000ffff-1", CLOSING]);
}

fn told(id: &str, status: JobStatus) -> Job {
    let initial = Job::initial(job_id(id), "00000000".parse().expect("an epoch"), false);
    Job::restore(JobRecord {
        status,
        template_ids: vec!["t1".parse().expect("an id")],
        template_count: 1,
        ..(*initial).clone()
    })
}

#[tokio::test(start_paused = true)]
async fn a_job_that_only_triton_knows_gets_its_events_and_its_end() {
    let world = World::new();
    world.triton.set_job(told("j", JobStatus::Running));
    let mut eyes = world.watch("j", None).await;
    let begun = eyes.events(2).await;
    assert_eq!(data(&begun[0])["event_type"], "job:queued");
    assert_eq!(data(&begun[1])["event_type"], "job:started");
    assert!(begun.iter().all(|e| data(e)["derived"] == true));
    // Nobody ever announces the end: the silence is noticed.
    world.triton.set_job(told("j", JobStatus::Completed));
    let rest = eyes.rest().await;
    assert_eq!(data(&rest[0])["event_type"], "job:completed");
    assert_eq!(data(&rest[0])["template_ids"][0], "t1");
    assert_eq!(ids(&rest)[1], CLOSING);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_only_triton_knows_waits_for_room_among_the_foreign_ones() {
    let mut memory = conch_memory::Settings::default();
    memory.quotas.foreign_jobs = 1;
    let world = World::with(memory, Settings::default());
    tokio::time::sleep(Duration::from_millis(10)).await;
    let say = |kind: &str| {
        let event = format!(r#"{{"event_type":"{kind}","job_id":"made-up"}}"#);
        world.faults.announce_raw(event);
    };
    say("job:started");
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.triton.set_job(told("j", JobStatus::Running));
    let mut eyes = world.watch("j", None).await;
    // Silence, however long, is no end that nobody told of.
    let waiting = tokio::time::timeout(Duration::from_mins(10), eyes.events(1)).await;
    assert!(waiting.is_err(), "{waiting:?}");
    say("job:failed");
    let story = eyes.events(2).await;
    assert_eq!(data(&story[1])["event_type"], "job:started");
    world.triton.set_job(told("j", JobStatus::Completed));
    let story = eyes.rest().await;
    assert_eq!(data(&story[0])["event_type"], "job:completed");
    assert_eq!(ids(&story)[1], CLOSING);
}

#[tokio::test(start_paused = true)]
async fn a_silent_job_is_asked_of_triton_once_however_many_watch() {
    let world = World::new();
    let mut job = world.foreign_job("j");
    job.start().await;
    let mut eyes = Vec::new();
    for _ in 0..100 {
        eyes.push(world.watch("j", None).await);
    }
    tokio::time::sleep(POSITION_CHECK * 2).await;
    let calls = world.triton.calls("job");
    assert!(
        (1..=4).contains(&calls),
        "{calls} calls in two position checks"
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_jobs() {
    let world = World::new();
    for cursor in [None, Some("garbage")] {
        let attached = world.hub.watch(&job_id("nobody"), cursor).await;
        assert_eq!(name(&attached), "Unknown", "{cursor:?}");
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.hub.topics(), 0, "what was never found is not kept");
}

#[tokio::test(start_paused = true)]
async fn while_store_and_triton_are_out_of_reach_the_stream_lives_on_heartbeats() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    world.faults.fail_next(
        "event_bus.read",
        20,
        ErrorKind::Unavailable,
        conch_memory::When::Before,
    );
    world.triton.fail(ErrorKind::Unavailable);
    let mut eyes = world.watch("j", None).await;
    let (greeting, _) = eyes.frames().await;
    is_greeting(&greeting);
    let (beat, _) = eyes.frames().await;
    assert_eq!(beat, [": keep-alive\n"]);
    world.faults.fail_no_more();
    job.complete().await;
    let seen = eyes.rest().await;
    assert_eq!(
        ids(&seen),
        ["0000abcd-1", "0000abcd-2", "0000abcd-3", CLOSING]
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_watcher_gets_one_heartbeat_per_interval() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    let begun = tokio::time::Instant::now();
    for _ in 0..4 {
        assert_eq!(eyes.frames().await.0, [": keep-alive\n"]);
    }
    let took = begun.elapsed();
    let interval = Settings::default().heartbeat;
    assert!(
        took > interval * 3 && took <= interval * 4 + Duration::from_secs(1),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_lags_is_spared_superseded_progress_and_nothing_else() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
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

/// Another process was ahead, and this one can't look right now: that is no reason to tell anybody that
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
        out_of_reach(&world);
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
    out_of_reach(&world);
    let mut ahead = world.watch("j", Some("0000beef-1")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.faults.fail_no_more();
    job.complete().await;
    assert_eq!(ids(&ahead.rest().await), ["0000beef-2", CLOSING]);
}

fn out_of_reach(world: &World) {
    let kind = ErrorKind::Unavailable;
    world
        .faults
        .fail_next("event_bus.read", 20, kind, When::Before);
}

#[tokio::test(start_paused = true)]
async fn too_many_are_turned_away_with_a_long_retry() {
    let settings = Settings {
        max_watchers: 1,
        ..Settings::default()
    };
    let world = World::with(conch_memory::Settings::default(), settings);
    let mut job = world.job("j");
    job.start().await;
    let _first = world.watch("j", None).await;
    let Attached::Full(watcher) = world.hub.watch(&job_id("j"), None).await else {
        panic!("the second must be turned away");
    };
    let (frames, next) = Eyes(watcher).frames().await;
    assert_eq!(next, Next::End);
    let millis = retry(&frames[0]);
    assert!((30_000..=60_000).contains(&millis), "{millis}");
}

#[tokio::test(start_paused = true)]
async fn each_stream_is_told_another_retry_spread_around_the_setting() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut told = Vec::new();
    for _ in 0..200 {
        let (frames, _) = world.watch("j", None).await.frames().await;
        assert!(
            frames[1].starts_with(b"id: "),
            "its next line is the event's: {frames:?}"
        );
        told.push(retry(&frames[0]));
    }
    told.sort_unstable();
    assert!(told[0] >= 1000 && told[199] <= 4000, "{told:?}");
    let most_at_once = |window| {
        let from = |i: usize| {
            told[i..]
                .iter()
                .take_while(|ms| **ms < told[i] + window)
                .count()
        };
        (0..told.len()).map(from).max().unwrap()
    };
    // Spread evenly over the doubling it is 36 of 200 within a quarter of a second.
    assert!(most_at_once(250) <= 70, "{told:?}");
    let below = told.iter().filter(|ms| **ms < 2000).count();
    assert!(
        (60..=140).contains(&below),
        "{below} of 200 wait for less than the setting"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_every_stream_with_a_retry() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    world.shutdown.cancel();
    let (frames, next) = eyes.frames().await;
    assert_eq!(next, Next::End);
    assert!((1000..=4000).contains(&retry(&frames[0])), "{frames:?}");
    assert!(frames[0].ends_with(b"\n: reconnect later\n"), "{frames:?}");
    world.hub.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_hub_whose_own_task_panicked_says_so_and_still_ends_its_streams() {
    let world = World::new();
    let panics = Arc::new(AtomicBool::new(false));
    let broken: Clock = {
        let (time, panics) = (clock(), Arc::clone(&panics));
        Arc::new(move || {
            assert!(!panics.load(Ordering::Relaxed), "a clock that is broken");
            time()
        })
    };
    let hub = world.hub_with(broken);
    let well = tokio::time::timeout(POSITION_CHECK * 3, hub.failed()).await;
    assert!(well.is_err(), "it says so though all is well");
    let mut eyes = match hub.watch(&job_id("j"), Some("0000abcd-1")).await {
        Attached::Stream(watcher) => Eyes(watcher),
        other => panic!("expected a stream, got {}", name(&other)),
    };
    panics.store(true, Ordering::Relaxed);
    hub.failed().await;
    // Whoever hears of it ends the process, and with it the streams.
    let stream = tokio::spawn(async move { eyes.rest().await });
    tokio::task::yield_now().await;
    world.shutdown.cancel();
    let rest = tokio::time::timeout(Duration::from_secs(1), stream).await;
    assert_eq!(rest.expect("it is woken").expect("and well"), []);
    hub.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_no_failure_of_the_hub() {
    let world = World::new();
    tokio::task::yield_now().await;
    world.shutdown.cancel();
    world.hub.stopped().await;
    assert!(world.hub.failed().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_question_to_triton_that_hangs_holds_no_event_up() {
    let world = World::new();
    let mut job = world.foreign_job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    world.triton.hang();
    tokio::time::sleep(POSITION_CHECK * 2).await;
    assert!(world.triton.calls("job") > 0, "Triton is being asked");
    job.complete().await;
    let rest = tokio::time::timeout(Duration::from_secs(1), eyes.rest()).await;
    assert_eq!(
        ids(&rest.expect("the log is enough")),
        ["0000abcd-3", CLOSING]
    );
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

#[tokio::test(start_paused = true)]
async fn a_job_that_goes_on_after_its_end_was_lost_is_followed_again() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let before_the_end = job.job.clone();
    job.complete().await;
    world.watch("j", None).await.rest().await;
    // The store forgets, its worker still runs the job, a watcher comes with the new epoch's cursor.
    world.faults.wipe();
    job.job = before_the_end;
    let kind = EventKind::CancelRequested { reason: None };
    job.begin_again("0000ffff", kind).await;
    let mut eyes = world.watch("j", Some("0000ffff-1")).await;
    job.complete().await;
    let rest = tokio::time::timeout(Duration::from_mins(1), eyes.rest()).await;
    assert_eq!(ids(&rest.expect("followed")), ["0000ffff-2", CLOSING]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_about_an_own_job_that_is_merely_silent() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    world.triton.set_job(told("j", JobStatus::Completed));
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    tokio::time::sleep(5 * POSITION_CHECK).await;
    assert_eq!(world.triton.calls("job"), 0);
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
}

/// The frames of a stream that says when to come back, and ends.
async fn farewell(eyes: &mut Eyes) {
    let (frames, next) = eyes.frames().await;
    assert_eq!(next, Next::End, "{frames:?}");
    let last = frames.last().expect("a farewell");
    assert!(last.starts_with(b"retry: "), "{frames:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pump_that_panicked_sends_its_watchers_to_a_fresh_topic() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = [world.watch("j", None).await, world.watch("j", None).await];
    for eyes in &mut eyes {
        eyes.events(2).await;
    }
    world.faults.panic_next("event_bus.read", 1);
    let begun = tokio::time::Instant::now();
    job.progress(50).await;
    for eyes in &mut eyes {
        farewell(eyes).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "at once");
    // With a cursor, as an EventSource does.
    let mut again = world.watch("j", Some("0000abcd-2")).await;
    assert_eq!(ids(&again.events(1).await), ["0000abcd-3"]);
    job.complete().await;
    assert_eq!(ids(&again.rest().await), ["0000abcd-4", CLOSING]);
    assert_eq!(world.hub.topics(), 1, "and the old one is gone");
}

#[tokio::test(start_paused = true)]
async fn a_pump_that_panics_at_once_keeps_nobody_waiting() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let begun = tokio::time::Instant::now();
    for cursor in [None, Some("0000abcd-1")] {
        // A cursor makes the attaching watcher read as well.
        world.faults.panic_next("event_bus.read", 1);
        farewell(&mut world.watch("j", cursor).await).await;
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(world.hub.topics(), 0);
    assert_eq!(
        ids(&world.watch("j", None).await.events(2).await),
        ["0000abcd-1", "0000abcd-2"]
    );
}
