//! Many jobs on one stream: states first, then what comes; resume; the end of those that are named.

use bytes::Bytes;
use conch_domain::{ClientId, EventKind, JobStatus, RetryReason, Timestamp};
use conch_services::mare::hub::{Next, Selection, Settings};

use crate::world::{Eyes, World, data, ids, name, named, queued, started};

#[tokio::test(start_paused = true)]
async fn named_jobs_begin_with_their_states_and_end_with_the_last() {
    let world = World::new();
    let (mut a, mut b) = (world.job("a"), world.job("b"));
    a.start().await;
    b.start().await;
    a.complete().await;
    let mut eyes = world.watch_many(named(&["a", "b"]), None).await;
    let begun = eyes.events(2).await;
    for (seen, (id, status)) in begun.iter().zip([("a", "completed"), ("b", "running")]) {
        assert_eq!(data(seen)["event_type"], "job:snapshot");
        assert_eq!(data(seen)["job_id"], id);
        assert_eq!(data(seen)["status"], status);
    }
    assert!(
        ids(&begun).iter().all(|id| id.starts_with("m-")),
        "{begun:?}"
    );
    b.progress(50).await;
    b.complete().await;
    let rest = eyes.rest().await;
    assert_eq!(data(&rest[0])["event_type"], "job:progress");
    assert_eq!(data(&rest[1])["event_type"], "job:completed");
    assert_eq!(rest.len(), 3, "{rest:?}");
    // The end's id is recognised; any other cursor is given the states again.
    let last = ids(&rest)[1].clone();
    let again = world.hub.watch_many(named(&["a", "b"]), Some(&last)).await;
    assert_eq!(name(&again), "Ended");
    let mut resumed = world
        .watch_many(named(&["a", "b"]), Some(&ids(&rest)[0]))
        .await;
    let seen = resumed.rest().await;
    assert_eq!(seen.len(), 3, "both ends are told again: {seen:?}");
    assert_eq!(ids(&seen)[1], last);
}

#[tokio::test(start_paused = true)]
async fn naming_only_unknown_jobs_is_unknown() {
    let world = World::new();
    let attached = world.hub.watch_many(named(&["nobody"]), None).await;
    assert_eq!(name(&attached), "Unknown");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_everything_hears_of_new_jobs() {
    let world = World::new();
    let mut old = world.job("old");
    old.start().await;
    world.triton.set_job(old.job.clone());
    let mut eyes = world.watch_many(Selection::default(), None).await;
    let begun = eyes.events(1).await;
    assert_eq!(data(&begun[0])["job_id"], "old");
    let mut new = world.job("new");
    new.append(queued()).await;
    let mut seen = eyes.events(1).await;
    new.append(started()).await;
    old.complete().await;
    seen.extend(eyes.events(2).await);
    let mut told: Vec<String> = seen
        .iter()
        .map(|s| format!("{} {}", data(s)["job_id"], data(s)["event_type"]).replace('"', ""))
        .collect();
    told.sort();
    assert_eq!(
        told,
        ["new job:queued", "new job:started", "old job:completed"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_selection_by_client_leaves_the_others_out() {
    let world = World::new();
    let other = Selection {
        job_ids: Vec::new(),
        client_ids: vec![ClientId::parse("somebody-else").expect("an id")],
    };
    let mut theirs = world.watch_many(other, None).await;
    let mine = Selection {
        job_ids: Vec::new(),
        client_ids: vec![ClientId::parse("c1").expect("an id")],
    };
    let mut ours = world.watch_many(mine, None).await;
    // Nobody listens to the channel yet: the job is found all the same.
    let mut job = world.job("j");
    job.start().await;
    world.triton.set_job(job.job.clone());
    assert_eq!(data(&ours.events(1).await[0])["job_id"], "j");
    // Only heartbeats for the others.
    theirs.frames().await;
    assert_eq!(theirs.frames().await.0, [": keep-alive\n"]);
}

#[tokio::test(start_paused = true)]
async fn a_resume_tells_what_ended_meanwhile() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    world.triton.set_job(job.job.clone());
    let mut eyes = world.watch_many(Selection::default(), None).await;
    let cursor = ids(&eyes.events(1).await)[0].clone();
    drop(eyes);
    job.complete().await;
    world.triton.set_job(job.job.clone());
    let mut eyes = world.watch_many(Selection::default(), Some(&cursor)).await;
    // The state, and then the event if the state is from before it.
    while data(&eyes.events(1).await[0])["status"] != JobStatus::Completed.as_str() {}
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_is_a_snapshot_and_the_end_still_comes() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    for progress in 1..6 {
        job.progress(progress).await;
    }
    let mut eyes = world.watch_many(named(&["j"]), None).await;
    eyes.events(1).await;
    world.faults.wipe();
    let progress = EventKind::Progress {
        progress: 40,
        completed_templates: 3,
        total_templates: 7,
        message: None,
    };
    job.begin_again("0000ffff", progress).await;
    let seen = eyes.events(1).await;
    assert_eq!(data(&seen[0])["event_type"], "job:snapshot");
    assert_eq!(data(&seen[0])["reset"], true);
    // Its number is far below what the lost log had reached.
    job.complete().await;
    let seen = eyes.rest().await;
    assert_eq!(data(&seen[0])["event_type"], "job:completed");
    assert_eq!(data(&seen[0])["sequence"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_record_ends_a_stream_that_named_it() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch_many(named(&["j"]), None).await;
    eyes.events(1).await;
    world.faults.wipe();
    let seen = eyes.rest().await;
    assert_eq!(data(&seen[0])["error_code"], "record-lost");
}

#[tokio::test(start_paused = true)]
async fn who_falls_out_of_the_ring_begins_again_with_states() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch_many(named(&["j"]), None).await;
    eyes.events(1).await;
    for _ in 0..4200 {
        // A lifecycle event: no cap refuses it.
        let kind = EventKind::Retrying {
            max_attempts: 3,
            retry_at: Timestamp::from_micros(0),
            reason: RetryReason::Shutdown,
            error_message: None,
        };
        job.append(kind).await;
        tokio::task::yield_now().await;
    }
    job.complete().await;
    let seen = eyes.rest().await;
    let last = data(&seen[seen.len() - 2]);
    assert_eq!(last["status"], "completed");
    assert!(seen.len() < 4200, "{}", seen.len());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_finds_no_room_does_not_count_as_ended() {
    let settings = Settings {
        max_topics: 1,
        ..Settings::default()
    };
    let world = World::with(conch_memory::Settings::default(), settings);
    let (mut a, mut b) = (world.job("a"), world.job("b"));
    a.start().await;
    a.complete().await;
    b.start().await;
    let attached = world.hub.watch_many(named(&["a", "b"]), None).await;
    assert_eq!(name(&attached), "Full");
}

#[tokio::test(start_paused = true)]
async fn a_publisher_whose_clock_is_ahead_gives_out_no_cursor_from_the_future() {
    let world = World::new();
    let mut eyes = world.watch_many(Selection::default(), None).await;
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    let event = r#"{"event_type":"job:started","job_id":"f","timestamp":"2099-01-01T00:00:00"}"#;
    world.faults.announce_raw(event);
    let seen = ids(&eyes.events(1).await);
    let millis: i64 = seen[0].trim_start_matches("m-").parse().expect("millis");
    assert!(millis < 1_800_000_060_000, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cursor_from_the_future_is_not_handed_on() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    world.triton.set_job(job.job.clone());
    let everything = Selection::default();
    let mut eyes = world.watch_many(everything, Some("m-4000000000000")).await;
    let now = "m-1800000000000";
    assert_eq!(ids(&eyes.events(1).await), [now]);
    job.complete().await;
    assert_eq!(ids(&eyes.events(1).await), [now]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_nothing_follows_any_more_ends_the_streams_that_are_about_it() {
    let world = World::new();
    let (mut a, mut b) = (world.job("a"), world.job("b"));
    for job in [&mut a, &mut b] {
        job.start().await;
        world.triton.set_job(job.job.clone());
    }
    let mut about_a = world.watch_many(named(&["a"]), None).await;
    let mut about_all = world.watch_many(Selection::default(), None).await;
    let mut about_b = world.watch_many(named(&["b"]), None).await;
    about_a.events(1).await;
    about_all.events(2).await;
    about_b.events(1).await;
    world.faults.panic_next("job_log.read", 1);
    world.forge("a", 9);
    world.has_heard().await;
    a.progress(50).await;
    for eyes in [&mut about_a, &mut about_all] {
        let (frames, next) = eyes.frames().await;
        assert_eq!(next, Next::End, "{frames:?}");
        assert!(frames[0].starts_with(b"retry: "), "{frames:?}");
    }
    for (selection, jobs) in [(named(&["a"]), 1), (Selection::default(), 2)] {
        let seen = world.watch_many(selection, None).await.events(jobs).await;
        let of_a = seen.iter().map(data).find(|state| state["job_id"] == "a");
        assert_eq!(of_a.expect("a snapshot")["progress"], 50, "{seen:?}");
    }
    b.complete().await;
    let rest = about_b.rest().await;
    assert_eq!(data(&rest[0])["event_type"], "job:completed", "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_topic_panics_each_time_is_named_in_vain_and_holds_up_no_other() {
    let world = World::new();
    let (mut a, mut b) = (world.job("a"), world.job("b"));
    for job in [&mut a, &mut b] {
        job.start().await;
        world.triton.set_job(job.job.clone());
    }
    world.faults.panic_next("job_log.read", 1);
    let attached = world.hub.watch_many(named(&["a"]), None).await;
    assert_eq!(name(&attached), "Full", "come back later");
    world.faults.panic_next("job_log.read", 1);
    let mut eyes = world.watch_many(Selection::default(), None).await;
    let seen = eyes.events(1).await;
    let other = data(&seen[0])["job_id"].clone();
    let writer = if other == "a" { &mut a } else { &mut b };
    writer.complete().await;
    let seen = eyes.events(1).await;
    assert_eq!(data(&seen[0])["job_id"], other);
    assert_eq!(data(&seen[0])["event_type"], "job:completed");
}

/// The frame that tells of such an event next, as it goes to the socket.
async fn frame_of(eyes: &mut Eyes, kind: &str) -> Bytes {
    let mut seen = Vec::new();
    while seen.len() < 100 {
        let (frames, next) = eyes.frames().await;
        let is_it = |frame: &&Bytes| String::from_utf8_lossy(frame).contains(kind);
        if let Some(frame) = frames.iter().find(is_it) {
            return frame.clone();
        }
        seen.extend(frames);
        assert_eq!(next, Next::More, "no {kind}: {seen:?}");
    }
    panic!("no {kind}: {seen:?}");
}

/// The bytes of an event exist once, however many streams send it.
#[tokio::test(start_paused = true)]
async fn an_event_is_one_copy_for_streams_of_one_job_and_of_many() {
    let world = World::new();
    let mut everything = world.watch_many(Selection::default(), None).await;
    let mut job = world.job("j");
    job.start().await;
    everything.events(1).await;
    let mut by_name = world.watch_many(named(&["j", "to-come"]), None).await;
    by_name.events(1).await;
    let mut alone = world.watch("j", None).await;
    for kind in ["job:progress", "job:completed"] {
        match kind {
            "job:progress" => job.progress(50).await,
            _ => job.complete().await,
        }
        let whole = frame_of(&mut alone, kind).await;
        for eyes in [&mut everything, &mut by_name] {
            let data = frame_of(eyes, kind).await;
            assert!(whole.as_ptr_range().contains(&data.as_ptr()), "a copy");
            assert!(whole.ends_with(&data), "{data:?}");
        }
    }
    // The first event of a job, on a stream that is already open.
    let mut new = world.job("new");
    new.append(queued()).await;
    let data = frame_of(&mut everything, "job:queued").await;
    let whole = frame_of(&mut world.watch("new", None).await, "job:queued").await;
    assert!(whole.as_ptr_range().contains(&data.as_ptr()), "a copy");
}
